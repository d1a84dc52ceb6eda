package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of the lab's own.
type redisServer struct {
	*process
	url    string
	client *redis.Client
}

// startRedis starts a redis-server on loopback that keeps nothing on disk, unless args
// say otherwise.
func (l *lab) startRedis(ctx context.Context, args ...string) (*redisServer, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("benchmarks need redis-server: install it, as by apt-get install redis-server")
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	dir, err := os.MkdirTemp(l.dir, "redis-") // a port may come twice
	if err != nil {
		return nil, err
	}
	all := append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"}, args...)
	p, err := l.start(ctx, "redis-"+port, path, all, nil)
	if err != nil {
		return nil, err
	}
	r := &redisServer{process: p, url: "redis://" + address, client: redis.NewClient(&redis.Options{Addr: address, ReadTimeout: time.Minute})}
	if err := p.await(ctx, 10*time.Second, func(ctx context.Context) error { return r.client.Ping(ctx).Err() }); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *redisServer) stop() {
	_ = r.client.Close()
	r.process.stop()
}

// info returns a number of Redis's INFO, as used_memory.
func (r *redisServer) info(ctx context.Context, name string) (int64, error) {
	text, err := r.infoText(ctx, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

func (r *redisServer) infoText(ctx context.Context, name string) (string, error) {
	all, err := r.client.Info(ctx).Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(all) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("INFO of Redis does not tell %s", name)
}
