package engine

import (
	"fmt"

	"github.com/oktasync/oktasync/state"
)

// Concern is a setting or state of Redis that endangers a promise of the service.
type Concern struct {
	About  string // disk, eviction or memory
	What   string
	Why    string
	Todo   string
	Severe bool // parts of the graph, or deliveries, are being lost
}

func (c Concern) String() string { return c.What + ": " + c.Why + "; " + c.Todo }

// RedisConcerns tells what is wrong with a Redis, as far as it told.
func RedisConcerns(r state.Health) []Concern {
	var all []Concern
	add := func(c Concern) { all = append(all, c) }
	switch {
	case !r.AOF && r.RDB:
		add(Concern{About: "disk", What: "Redis keeps only snapshots (RDB)",
			Why: "a crash loses minutes of accepted events, which then come back late from the System Log", Todo: "set appendonly yes"})
	case !r.AOF:
		add(Concern{About: "disk", What: "Redis keeps nothing on disk",
			Why: "after its restart every instance is read in full again", Todo: "set appendonly yes"})
	case r.Fsync == "no":
		add(Concern{About: "disk", What: "Redis leaves it to the system when to write to disk",
			Why: "a crash of the machine loses up to half a minute", Todo: "set appendfsync everysec"})
	}
	if r.AOFBroken {
		add(Concern{About: "disk", Severe: true, What: "Redis could not write its append-only file",
			Why: "what it accepts now is lost with its next restart", Todo: "see its log, and whether its disk is full"})
	}
	if r.Eviction != "" && r.Eviction != "noeviction" {
		add(Concern{About: "eviction", Severe: true, What: "Redis may evict keys (maxmemory-policy " + r.Eviction + ")",
			Why: "that deletes parts of the graph unseen", Todo: "set maxmemory-policy noeviction"})
	}
	if r.Most > 0 && float64(r.Used) > maxMemory*float64(r.Most) {
		add(Concern{About: "memory", Severe: true, What: fmt.Sprintf("Redis uses %.0f %% of its memory", 100*float64(r.Used)/float64(r.Most)),
			Why: "event hooks are answered 503", Todo: "raise maxmemory"})
	}
	return all
}
