package jupiterone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
)

const (
	probePrefix = "oktasync-probe:" // begins the scopes that may be emptied
	probeEntity = "oktasync_probe"
	probeEdge   = "oktasync_probe_has_probe"

	readFor   = time.Minute     // how long the graph may lag behind a job
	readEvery = 5 * time.Second // J1QL allows some 30 queries a minute
	cleanFor  = 2 * time.Minute
)

// Result is what Probe found.
type Result struct {
	Scope string

	// Kept: what a job with partialDatasets did not upload is still there.
	Kept bool
	// Resolved: a relationship found an end that its job did not upload.
	Resolved bool

	// The counters of that job.
	EntitiesDeleted, RelationshipsDeleted, RelationshipCreateErrors int64

	// Cleaned: nothing of the probe is left in the scope.
	Cleaned bool
}

// Partial tells whether Config.Partial may be switched on.
func (r Result) Partial() bool { return r.Kept && r.Resolved }

// Probe finds out whether JupiterOne honours partialDatasets, on which Config.Partial
// rests, in a scope of its own that it empties in the end, also after an error. It
// takes some minutes at most, and prints what it does and finds.
func Probe(ctx context.Context, cfg Config, out io.Writer) (r Result, err error) {
	s, err := New(cfg)
	if err != nil {
		return r, err
	}
	defer s.Close()
	p := &probe{s: s, out: out, scope: probePrefix + strings.ToLower(rand.Text())}
	r.Scope = p.scope
	err = p.run(ctx, &r)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanFor)
	defer cancel()
	cleanErr := p.clean(ctx)
	r.Cleaned = cleanErr == nil
	if cleanErr != nil {
		err = errors.Join(err, fmt.Errorf("empty the scope %q: %w: look for what has this _scope in JupiterOne and delete it", p.scope, classify(cleanErr)))
	}
	if err != nil {
		p.say("The probe failed. Leave OKTASYNC_JUPITERONE_PARTIAL off.")
		return r, fmt.Errorf("jupiterone: probe: %w", classify(err))
	}
	p.verdict(r)
	return r, nil
}

type probe struct {
	s     *Sink
	out   io.Writer
	scope string
	jobs  []string // begun and not known to have ended
}

func (p *probe) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// run makes two jobs. The second uploads one changed and one new entity, and a
// relationship from the new one to one that it does not upload.
func (p *probe) run(ctx context.Context, r *Result) error {
	p.say("Uploading two entities and a relationship into the scope %s …", p.scope)
	_, err := p.job(ctx, nil, []graph.Entity{probed("changed", 1), probed("kept", 1)}, []graph.Relationship{has("changed", "kept")})
	if err != nil {
		return fmt.Errorf("first job: %w", err)
	}
	g, err := p.read(ctx, func(g seen) bool { return g.entities["kept"] == 1 && g.edges["changed|has|kept"] })
	if err != nil {
		return err
	}
	if g.entities["kept"] != 1 || !g.edges["changed|has|kept"] {
		return fmt.Errorf("what the first job uploaded cannot be read after %s: try again later", readFor)
	}
	p.say("Uploading one changed and one new entity, with all types as partialDatasets …")
	j, err := p.job(ctx, []string{probeEntity, probeEdge}, []graph.Entity{probed("changed", 2), probed("new", 1)}, []graph.Relationship{has("new", "kept")})
	if err != nil {
		return fmt.Errorf("second job: %w", err)
	}
	r.EntitiesDeleted, r.RelationshipsDeleted = j.Counters["entities_deleted"], j.Counters["relationships_deleted"]
	r.RelationshipCreateErrors = j.Counters["relationship_create_errors"]
	g, err = p.read(ctx, func(g seen) bool {
		return g.entities["changed"] == 2 && g.entities["new"] == 1 && g.edges["new|has|kept"]
	})
	if err != nil {
		return err
	}
	if g.entities["changed"] != 2 || g.entities["new"] != 1 {
		return fmt.Errorf("what the second job uploaded cannot be read after %s: try again later", readFor)
	}
	r.Kept = g.entities["kept"] == 1 && g.edges["changed|has|kept"] && r.EntitiesDeleted == 0 && r.RelationshipsDeleted == 0
	r.Resolved = g.edges["new|has|kept"] && r.RelationshipCreateErrors == 0
	return nil
}

func probed(key string, revision int) graph.Entity {
	return graph.Entity{Key: key, Type: probeEntity, Class: []string{"Record"}, Properties: graph.Properties{
		"name": key, "displayName": key, "revision": revision,
	}}
}

func has(from, to string) graph.Relationship {
	return graph.Relationship{Key: from + "|has|" + to, Type: probeEdge, Class: "HAS", From: from, To: to, Properties: graph.Properties{"displayName": "HAS"}}
}

// job runs a job to its end.
func (p *probe) job(ctx context.Context, partial []string, entities []graph.Entity, relationships []graph.Relationship) (job, error) {
	up, err := delta{entities: entities, relationships: relationships}.upload(p.s.cfg.BatchBytes)
	if err != nil {
		return job{}, err
	}
	defer up.close()
	j, err := p.s.api.start(ctx, p.scope)
	if err != nil {
		return j, err
	}
	p.jobs = append(p.jobs, j.ID)
	if err := p.s.upload(ctx, j.ID, up); err != nil {
		return j, err
	}
	return p.end(ctx, j.ID, partial)
}

func (p *probe) end(ctx context.Context, id string, partial []string) (job, error) {
	if err := p.s.finalize(ctx, id, partial); err != nil {
		return job{}, err
	}
	j, err := p.s.wait(ctx, id)
	if err == nil {
		err = failure(j)
	}
	return j, err
}

// seen is what can be read of the scope.
type seen struct {
	entities map[string]int64 // revisions by key
	edges    map[string]bool
}

// read reads the scope until it is as wanted, or readFor is over.
func (p *probe) read(ctx context.Context, wanted func(seen) bool) (seen, error) {
	p.say("Reading …")
	for end := p.s.cfg.Now().Add(readFor); ; {
		g := seen{map[string]int64{}, map[string]bool{}}
		entities, err := p.s.api.query(ctx, fmt.Sprintf("FIND %s WITH _scope = '%s' AS e RETURN e._key AS key, e.revision AS revision", probeEntity, p.scope))
		if err != nil {
			return g, fmt.Errorf("read entities: %w", err)
		}
		edges, err := p.s.api.query(ctx, fmt.Sprintf("FIND %s WITH _scope = '%s' AS a THAT HAS AS r %s AS b RETURN r._key AS key", probeEntity, p.scope, probeEntity))
		if err != nil {
			return g, fmt.Errorf("read relationships: %w", err)
		}
		for _, row := range entities {
			revision, _ := row["revision"].(float64)
			g.entities[first(row["key"])] = int64(revision)
		}
		for _, row := range edges {
			g.edges[first(row["key"])] = true
		}
		if wanted(g) || !p.s.cfg.Now().Before(end) {
			return g, nil
		}
		if err := p.s.cfg.Sleep(ctx, readEvery); err != nil {
			return g, err
		}
	}
}

// clean ends the jobs of the probe and empties its scope, which is the one place
// where a job without uploads is right.
func (p *probe) clean(ctx context.Context) error {
	if !strings.HasPrefix(p.scope, probePrefix) || len(p.scope) == len(probePrefix) {
		return errors.New("this is no scope of a probe, and is not emptied")
	}
	if len(p.jobs) == 0 {
		return nil
	}
	for _, id := range p.jobs {
		if _, err := p.s.close(ctx, id); err != nil {
			return err
		}
	}
	p.say("Emptying the scope …")
	j, err := p.s.api.start(ctx, p.scope)
	if err == nil {
		_, err = p.end(ctx, j.ID, nil)
	}
	return err
}

func (p *probe) verdict(r Result) {
	p.say("")
	p.say("Of what the second job did not upload, JupiterOne deleted %d entities and %d relationships; reading says that it %s.",
		r.EntitiesDeleted, r.RelationshipsDeleted, choose(r.Kept, "is still there", "is not all there, or the counters say so"))
	p.say("A relationship to an entity that its job did not upload was %s (%d could not be created).",
		choose(r.Resolved, "created", "not created"), r.RelationshipCreateErrors)
	if r.Partial() {
		p.say("JupiterOne honours partialDatasets: changes alone can be delivered. Switch it on by OKTASYNC_JUPITERONE_PARTIAL=true.")
	} else {
		p.say("Leave OKTASYNC_JUPITERONE_PARTIAL off: each delivery stays the whole graph.")
	}
}

func choose(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
