package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/engine"
)

// What a delivery costs this process and Redis, in CPU time, without the sockets
// of HTTP. The wall time of the same says little on a busy machine.
func BenchmarkDelivery(b *testing.B) {
	for _, events := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			url := statetest.URL(b)
			instruments := NewInstruments("", "", "")
			log := slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
			eng, err := engine.New(b.Context(), engine.Config{RedisURL: url, SecretKey: bytes.Repeat([]byte{7}, 32), Log: log, Observe: instruments.Engine()})
			if err != nil {
				b.Fatal(err)
			}
			defer eng.Close()
			id := statetest.Instance()
			if err := eng.Register(b.Context(), engine.Instance{ID: id, Name: id, OrgURL: "https://example.okta.com", Token: "00token-of-the-tests", HookSecrets: []string{hookSecret, newSecret}}); err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := eng.Delete(context.Background(), id); err != nil {
					b.Error(err)
				}
			}()
			opts, err := redis.ParseURL(url)
			if err != nil {
				b.Fatal(err)
			}
			rdb := redis.NewClient(opts)
			defer rdb.Close()
			api := New(eng, Config{Instruments: instruments, Log: log})
			body := deliveryOf(b, events)
			at := make([]int, events)
			for i := range at {
				at[i] = bytes.Index(body, fmt.Appendf(nil, "event-%012d", i))
			}
			b.ReportAllocs()
			b.ResetTimer()
			before, redisBefore := processCPU(b), redisCPU(b, rdb)
			for n := 0; b.Loop(); n++ {
				for i := range events {
					copy(body[at[i]:], fmt.Sprintf("event-%012d", n*events+i))
				}
				r := newRequest("POST", "/hooks/okta/"+id, bytes.NewReader(body))
				r.Header.Set("Authorization", hookSecret)
				w := newRecorder()
				api.ServeHTTP(w, r)
				if w.Code != http.StatusNoContent {
					b.Fatal(w.Code, w.Body)
				}
			}
			b.ReportMetric(float64((processCPU(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64((redisCPU(b, rdb)-redisBefore).Microseconds())/float64(b.N), "redis-µs/op")
		})
	}
}

// deliveryOf returns a delivery as Okta sends it, with that many events, event-…0 and so on.
func deliveryOf(b *testing.B, events int) []byte {
	sample, err := os.ReadFile("../sync/okta/testdata/events/group.user_membership.add.json")
	if err != nil {
		b.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(sample, &d); err != nil {
		b.Fatal(err)
	}
	data := d["data"].(map[string]any)
	one := data["events"].([]any)[0].(map[string]any)
	all := make([]any, events)
	for i := range all {
		e := maps.Clone(one)
		e["uuid"] = fmt.Sprintf("event-%012d", i)
		all[i] = e
	}
	data["events"] = all
	body, err := json.Marshal(d)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func processCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func redisCPU(b *testing.B, rdb *redis.Client) time.Duration {
	info, err := rdb.InfoMap(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	var total float64
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		var s float64
		if _, err := fmt.Sscan(info["CPU"][name], &s); err != nil {
			b.Fatal(err)
		}
		total += s
	}
	return time.Duration(total * float64(time.Second))
}
