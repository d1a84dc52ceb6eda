package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/oktasync/oktasync/sync/engine"
)

// plainEvery is how often progress is told where no screen can redraw it.
const plainEvery = 5 * time.Second

// progress shows how far a run is: bars on a screen, else a line now and then.
// It is a writer for the log as well, which would tear the bars.
type progress struct {
	out  io.Writer
	bars *mpb.Progress // nil without a screen

	mu       sync.Mutex
	families map[string]*family
	closed   bool
	told     time.Time
}

type family struct {
	bar  *mpb.Bar
	last atomic.Pointer[engine.Progress]
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, families: map[string]*family{}, told: time.Now()}
	if terminal(out) {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
	}
	return p
}

// Write writes a line of the log above the bars.
func (p *progress) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars != nil && !p.closed {
		return p.bars.Write(line)
	}
	return p.out.Write(line)
}

// show takes the state of the run; the last time when it has ended.
func (p *progress) show(run engine.Run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars == nil {
		if run.State == engine.RunRunning && time.Since(p.told) < plainEvery {
			return
		}
		p.told = time.Now()
		for _, name := range slices.Sorted(maps.Keys(run.Progress)) {
			fmt.Fprintf(p.out, "%s: %s\n", name, describe(run.Progress[name]))
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(run.Progress)) {
		f, ok := p.families[name]
		if !ok {
			f = &family{}
			f.last.Store(&engine.Progress{})
			f.bar = p.bars.AddBar(0, // the total is learned on the way
				mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
				mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return describe(*f.last.Load()) })))
			p.families[name] = f
		}
		now := run.Progress[name]
		f.last.Store(&now)
		f.bar.SetTotal(now.Total, false)
		f.bar.SetCurrent(now.Done)
	}
}

// close leaves the bars as they stand.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars == nil || p.closed {
		return
	}
	for _, f := range p.families {
		f.bar.Abort(false)
	}
	p.bars.Wait()
	p.closed = true
}

func describe(p engine.Progress) string {
	s := fmt.Sprintf("%d of %d lists, %d objects, %d calls", p.Done, p.Total, p.Objects, p.Calls)
	if p.RateLimitWaits > 0 {
		s += fmt.Sprintf(", waited %d times for the rate limit", p.RateLimitWaits)
	}
	return s
}
