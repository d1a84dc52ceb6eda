package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/engine"
)

const (
	leastRedis = 7 // major version
	roundTrips = 9 // of which the middle one counts
	slowRedis  = 10 * time.Millisecond
)

// checkRedis looks at the Redis that holds the state.
func (d *doctor) checkRedis(ctx context.Context) {
	if d.RedisURL == "" {
		d.r.skip("redis.answer", "Redis is not checked.", "OKTASYNC_REDIS_URL is not set: then the service keeps its state in memory, and loses it at exit", "set it, and run doctor again")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	store, err := state.Open(ctx, d.RedisURL.Reveal())
	var health state.Health
	if err == nil {
		defer store.Close()
		health, err = store.Health(ctx)
	}
	if err != nil {
		d.r.add(finding{"redis.answer", levelError, sentence(shown(err.Error())), "without Redis event hooks are answered with 503, and nothing else works",
			"check OKTASYNC_REDIS_URL, its password, and that Redis runs and lets this machine in"})
		return
	}
	d.redisAnswer(ctx, store)
	d.redisTLS()
	if major, _ := strconv.Atoi(strings.Split(health.Version, ".")[0]); major < leastRedis {
		d.r.add(finding{"redis.version", levelError, fmt.Sprintf("Redis has version %s.", health.Version),
			"the service is made for version 7 or later, and its scripts may fail on an older one", "update Redis"})
	} else {
		d.r.ok("redis.version", "Redis has version %s.", health.Version)
	}
	d.redisRole(health)
	d.redisConcerns(health)
	d.redisRoom(health)
	if now, err := store.Now(ctx); err == nil {
		d.skew("clock.redis", "Redis", time.Until(now))
	}
}

// redisAnswer measures the way to Redis and back.
func (d *doctor) redisAnswer(ctx context.Context, store *state.Store) {
	var took []time.Duration
	for range roundTrips {
		begun := time.Now()
		if store.Ping(ctx) != nil {
			break
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	if len(took) == 0 {
		return // Health tells more
	}
	if middle := took[len(took)/2]; middle > slowRedis {
		d.r.add(finding{"redis.answer", levelWarning, fmt.Sprintf("Redis answers after %s.", middle.Round(time.Millisecond)),
			"each step of the work waits for it several times, and Okta waits 3 s at most", "run the service near to Redis"})
		return
	}
	d.r.ok("redis.answer", "Redis answers within %s.", slowRedis)
}

// redisRole tells which server, or servers, are worked with.
func (d *doctor) redisRole(health state.Health) {
	if health.Role == "slave" {
		d.r.add(finding{"redis.role", levelError, "This Redis is a replica.", "it takes no writes", "set OKTASYNC_REDIS_URL to the primary"})
		return
	}
	switch {
	case !health.Cluster && !health.Sentinel:
		return
	case health.Replicas == 0:
		d.r.add(finding{"redis.role", levelWarning, "A master has no replica.", "when it dies its instances stand still until it is back, and their event hooks are answered with 503", "give each master a replica"})
	case health.Cluster:
		d.r.ok("redis.role", "This is a Redis Cluster of %d masters, each with a replica.", health.Masters)
	default:
		d.r.ok("redis.role", "Sentinels know the master, which has a replica.")
	}
}

// redisTLS looks at whether others can listen.
func (d *doctor) redisTLS() {
	a, err := state.ParseURL(d.RedisURL.Reveal())
	if err != nil || a.Scheme != "redis" || !slices.ContainsFunc(a.Hosts, func(host string) bool {
		name, _, _ := net.SplitHostPort(host)
		return !local(name)
	}) {
		return
	}
	d.r.add(finding{"redis.tls", levelWarning, "The connection to Redis is not encrypted.", "its password, and names of people, can be read on the way",
		"use rediss://, unless only machines that you trust are on that network"})
}

// redisConcerns tells what the service itself would warn of.
func (d *doctor) redisConcerns(health state.Health) {
	good := map[string]string{
		"disk":     "Redis keeps what it accepted on disk (append-only file, fsync " + health.Fsync + ").",
		"eviction": "Redis evicts nothing.",
		"memory":   "Redis has memory left.",
	}
	if health.Fsync == "" {
		good["disk"] = "Redis keeps what it accepted on disk (append-only file); how soon it syncs, it does not tell."
	}
	concerns := engine.RedisConcerns(health)
	for _, about := range []string{"disk", "eviction", "memory"} {
		fine := true
		for _, c := range concerns {
			if c.About != about {
				continue
			}
			fine = false
			l := levelWarning
			if c.Severe {
				l = levelError
			}
			d.r.add(finding{"redis." + about, l, c.What + ".", c.Why, c.Todo})
		}
		switch {
		case !fine:
		case about == "eviction" && health.Eviction == "":
			d.r.skip("redis.eviction", "Whether Redis evicts keys is not known.", "it does not tell its maxmemory-policy", "make sure that it is noeviction")
		default:
			d.r.ok("redis."+about, "%s", good[about])
		}
	}
}

// redisRoom compares what the org will need with what there is.
func (d *doctor) redisRoom(health state.Health) {
	if d.r.FullRead == nil {
		d.r.skip("redis.room", fmt.Sprintf("Redis uses %s; whether the org fits in is not checked.", megabytes(health.Used)), "how large the org is was not found out", "set OKTA_CLIENT_ORGURL and OKTA_CLIENT_TOKEN, and run doctor again")
		return
	}
	need, most, whose := d.r.FullRead.RedisBytesAtMost, health.Most, "maxmemory"
	org := fmt.Sprintf("This org needs about %s after its first full read, and up to %s as changes are kept for readers, the last %d of them.",
		megabytes(d.r.FullRead.RedisBytes), megabytes(need), state.KeepChanges)
	if most == 0 {
		most, whose = health.Machine, "the machine's memory"
	}
	what := fmt.Sprintf("Redis uses %s of %s (%s). %s", megabytes(health.Used), megabytes(most), whose, org)
	// What is used may be this org already, or another: both are looked at.
	switch {
	case most == 0:
		d.r.ok("redis.room", "Redis uses %s, without a limit. %s", megabytes(health.Used), org)
	case need > most*9/10:
		d.r.add(finding{"redis.room", levelError, what, "from 90 % on event hooks are answered with 503", "give Redis more memory"})
	case need+health.Used > most*9/10:
		d.r.add(finding{"redis.room", levelWarning, what, "if what it holds now is something else than this org, it will not do, and from 90 % on event hooks are answered with 503", "give Redis more memory, unless the org is in it already"})
	case health.Most == 0:
		d.r.ok("redis.room", "%s There is no maxmemory: when the memory is used up, the system ends Redis.", what)
	default:
		d.r.ok("redis.room", "%s", what)
	}
}

// megabytes is a size for people.
func megabytes(n int64) string { return fmt.Sprintf("%d MB", (n+(1<<20)-1)>>20) }
