package state_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

func TestURLs(t *testing.T) {
	for url, want := range map[string][]string{
		"redis://h":                          {"h:6379"},
		"redis://:p@h:1/2":                   {"h:1"},
		"rediss://u:p%2Fq@h1:1,h2:2,h3":      {"h1:1", "h2:2", "h3:6379"},
		"redis://h1:1?addr=h2:2&addr=h3:3":   {"h1:1", "h2:2", "h3:3"},
		"redis://[::1]:7,[::2]/0":            {"[::1]:7", "[::2]:6379"},
		"redis://:p@s1,s2:5/0?master_name=m": {"s1:26379", "s2:5"},
		"unix:///run/redis.sock":             {"/run/redis.sock"},
	} {
		a, err := state.ParseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if diff := cmp.Diff(want, a.Hosts); diff != "" {
			t.Errorf("%s: -want +got:\n%s", url, diff)
		}
	}
}

// What cannot be used is told, with a remedy, and without the password.
func TestURLsThatCannotBeUsed(t *testing.T) {
	one := strings.TrimPrefix(statetest.URL(t), "unix://")
	for url, want := range map[string]string{
		"http://:secret@h":                                    "redis://",
		"redis://:secret@h1,,h2":                              "commas",
		"redis://:sec@ret@h1/x@h2:1,h3":                       "cannot be used",
		"redis://h?password=secret":                           "before the @",
		"redis://:secret@127.0.0.1:1/x":                       "database",
		"redis://:secret@127.0.0.1:1,127.0.0.1:2/3":           "no database but 0",
		"redis://:secret@127.0.0.1:1,127.0.0.1:2":             "check OKTASYNC_REDIS_URL",
		"redis://:secret@127.0.0.1:1?master_name=m":           "Sentinels at 127.0.0.1:1 call m",
		"redis://:secret@127.0.0.1:1,127.0.0.1:2?read_only=1": "lag behind",
		"unix://:secret@" + one + "?nonsense=1":               "nonsense",
	} {
		s, err := state.Open(t.Context(), url)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", url)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "OKTASYNC_REDIS_URL") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
