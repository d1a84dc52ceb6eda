// Package jsonl writes the changes of graphs as JSON Lines, to files or to
// standard output.
//
// A line is a change as the changes feed gives it, with the instance and the
// position; of a snapshot, the lines between one with "snapshot": "begin" and one
// with "snapshot": "end". A snapshot without its end is void. A
// reader that meets a position twice has seen the lines before.
package jsonl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

// Rotation of files.
const (
	DefaultMaxBytes = 100 << 20 // a file is set aside once it is larger
	DefaultKeep     = 5         // that many are kept beside the current one
)

// Config is what a Sink is made of.
type Config struct {
	Path     string // "-" is Stdout
	MaxBytes int64  // default DefaultMaxBytes
	Keep     int    // default DefaultKeep
	Stdout   io.Writer
}

// Sink writes all instances to one file.
type Sink struct {
	cfg Config

	mu   sync.Mutex
	file *os.File // nil: standard output
	size int64
}

// line is a change, or one end of a snapshot.
type line struct {
	Instance string `json:"instance"`
	Position string `json:"position,omitempty"` // with it the destination has all up to there
	Snapshot string `json:"snapshot,omitempty"` // begin, end; or each for a line between
	*graph.Change
}

// New opens the file, and makes it if need be. What a crash left of a last line is cut off.
func New(cfg Config) (*Sink, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Keep == 0 {
		cfg.Keep = DefaultKeep
	}
	s := &Sink{cfg: cfg}
	if cfg.Path == "-" {
		return s, nil
	}
	return s, s.open()
}

func (s *Sink) open() error {
	f, err := os.OpenFile(s.cfg.Path, os.O_RDWR|os.O_CREATE, 0o600) // it names people
	if err != nil {
		return fmt.Errorf("jsonl: %w: make the directory, or name another file", err)
	}
	size, err := lastLineEnd(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("jsonl: %w", err)
	}
	s.file, s.size = f, size
	return nil
}

// lastLineEnd returns where the last whole line of the file ends.
func lastLineEnd(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// Name implements sink.Sink.
func (s *Sink) Name() string { return "jsonl:" + s.cfg.Path }

// Window implements sink.Sink: changes are written at once.
func (s *Sink) Window(context.Context, sink.Instance) (time.Duration, error) { return 0, nil }

// Position implements sink.Sink. A file that is gone holds nothing: then a
// snapshot is due, whatever is remembered.
func (s *Sink) Position(ctx context.Context, in sink.Instance) (string, error) {
	if s.cfg.Path != "-" {
		s.mu.Lock()
		size := s.size
		s.mu.Unlock()
		if size == 0 {
			if _, err := os.Stat(s.aside(1)); errors.Is(err, fs.ErrNotExist) {
				return "", nil
			}
		}
	}
	note, err := in.Memory.Load(ctx)
	return note.Position, err
}

// Apply implements sink.Sink.
func (s *Sink) Apply(ctx context.Context, in sink.Instance, b sink.Batch) error {
	s.mu.Lock()
	err := s.write(func(put func(line) error) error {
		for i, c := range b.Changes {
			l := line{Instance: in.ID, Change: &c}
			if i == len(b.Changes)-1 {
				l.Position = b.Position
			}
			if err := put(l); err != nil {
				return err
			}
		}
		return nil
	})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return in.Memory.Save(ctx, sink.Note{Position: b.Position})
}

// Replace implements sink.Sink: the lines of a snapshot follow those before.
func (s *Sink) Replace(ctx context.Context, in sink.Instance, snapshot sink.Snapshot, _ bool) error {
	s.mu.Lock()
	err := s.write(func(put func(line) error) error {
		if err := put(line{Instance: in.ID, Snapshot: "begin"}); err != nil {
			return err
		}
		for c, err := range snapshot.Changes {
			if err != nil {
				return err
			}
			if err := put(line{Instance: in.ID, Snapshot: "line", Change: &c}); err != nil {
				return err
			}
		}
		return put(line{Instance: in.ID, Snapshot: "end", Position: snapshot.Position()})
	})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return in.Memory.Save(ctx, sink.Note{Position: snapshot.Position()})
}

// write writes lines, all or, to a file, none; and sets a file aside that has become too large.
func (s *Sink) write(lines func(put func(line) error) error) error {
	var w io.Writer = s.file
	if s.file == nil {
		if s.cfg.Path != "-" {
			return errors.New("jsonl: the sink is closed")
		}
		w = s.cfg.Stdout
	}
	count := &counter{w: w}
	buf := bufio.NewWriterSize(count, 64<<10)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err := lines(func(l line) error { return enc.Encode(l) })
	if err == nil {
		err = buf.Flush()
	}
	if s.file == nil {
		return err
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		if _, back := s.file.Seek(s.size, io.SeekStart); back == nil {
			back = s.file.Truncate(s.size)
			err = errors.Join(err, back)
		}
		return fmt.Errorf("jsonl: %w", err)
	}
	if s.size += count.n; s.size > s.cfg.MaxBytes {
		return s.rotate()
	}
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// aside names the n-th file beside the current one, 1 being the newest.
func (s *Sink) aside(n int) string {
	ext := filepath.Ext(s.cfg.Path)
	return fmt.Sprintf("%s.%d%s", strings.TrimSuffix(s.cfg.Path, ext), n, ext)
}

// rotate sets the file aside and begins a new one. If it cannot be set aside,
// it is written on, and the next write tries again.
func (s *Sink) rotate() error {
	err := s.file.Close()
	s.file = nil
	for n := s.cfg.Keep; n > 0 && err == nil; n-- {
		from := s.aside(n - 1)
		if n == 1 {
			from = s.cfg.Path
		}
		if err = os.Rename(from, s.aside(n)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		err = fmt.Errorf("jsonl: set a full file aside: %w", err)
	}
	return errors.Join(err, s.open())
}

// Forget implements sink.Sink: lines that were written stay.
func (s *Sink) Forget(context.Context, string) error { return nil }

// Close implements sink.Sink.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}
