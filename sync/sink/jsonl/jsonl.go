// Package jsonl writes the changes of graphs as JSON Lines, to a file or to
// standard output.
//
// A line is a change as the changes feed gives it, with the instance and the
// position; of a snapshot, the lines between one with "snapshot": "begin" and one
// with "snapshot": "end". A snapshot without its end is void. A
// reader that meets a position twice has seen the lines before. The first line of a
// file names it, "file": …, and a file that is set aside hands its name on: an
// instance whose lines are in another file gets a snapshot.
package jsonl

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

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
	Log      *slog.Logger // default: none
}

// Sink writes all instances to one file, which no other process may write to meanwhile.
type Sink struct {
	cfg  Config
	lock *flock.Flock

	mu   sync.Mutex
	file *os.File // nil: not open
	name string   // of the file and of those that were set aside before it
	size int64
}

// line is a change, or one end of a snapshot.
type line struct {
	Instance string `json:"instance"`
	Position string `json:"position,omitempty"` // with it the destination has all up to there
	Snapshot string `json:"snapshot,omitempty"` // begin, end; or line for each between
	*graph.Change
}

// header is the first line of a file.
type header struct {
	File string `json:"file"`
}

// New returns a sink; the file is opened when it is first needed.
func New(cfg Config) (*Sink, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Keep == 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{cfg: cfg}
	if s.standard() {
		return s, nil
	}
	if info, err := os.Stat(filepath.Dir(cfg.Path)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("jsonl: the directory of %s does not exist: make it, or name another file", cfg.Path)
	}
	s.lock = flock.New(cfg.Path+".lock", flock.SetPermissions(0o600))
	return s, nil
}

// standard tells whether standard output is meant.
func (s *Sink) standard() bool { return s.cfg.Path == "-" }

// ready opens the file, or opens it again if another one, or none, has its place.
// What a crash left of a last line is cut off.
func (s *Sink) ready() error {
	if s.file != nil {
		mine, err := s.file.Stat()
		if err != nil {
			return fmt.Errorf("jsonl: %w", err)
		}
		if there, err := os.Stat(s.cfg.Path); err == nil && os.SameFile(mine, there) {
			return nil
		}
		s.file.Close()
		s.file = nil
	}
	locked, err := s.lock.TryLock()
	if err != nil {
		return fmt.Errorf("jsonl: lock %s: %w", s.cfg.Path, err)
	}
	if !locked {
		return fmt.Errorf("jsonl: another process writes to %s: stop it, or name another file", s.cfg.Path)
	}
	return s.open(rand.Text())
}

// open opens the file; if it is new or empty, it gets the name.
func (s *Sink) open(name string) error {
	f, err := os.OpenFile(s.cfg.Path, os.O_RDWR|os.O_CREATE, 0o600) // it names people
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	size, err := lastLineEnd(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil && size > 0 {
		var first header
		if json.NewDecoder(io.NewSectionReader(f, 0, size)).Decode(&first) == nil {
			name = first.File
		}
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err == nil && size == 0 {
		line, _ := json.Marshal(header{name})
		var n int
		n, err = f.Write(append(line, '\n'))
		size = int64(n)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("jsonl: %w", err)
	}
	s.file, s.name, s.size = f, name, size
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

// Position implements sink.Sink. What went to another file than this is not held.
func (s *Sink) Position(ctx context.Context, in sink.Instance) (string, error) {
	name := ""
	if !s.standard() {
		s.mu.Lock()
		err := s.ready()
		name = s.name
		s.mu.Unlock()
		if err != nil {
			return "", err
		}
	}
	note, err := in.Memory.Load(ctx)
	if err != nil || note.Position == "" {
		return "", err
	}
	var of header
	if len(note.Data) > 0 {
		if err := json.Unmarshal(note.Data, &of); err != nil {
			return "", fmt.Errorf("jsonl: what is remembered of the file: %w", err)
		}
	}
	if of.File != name {
		return "", nil
	}
	return note.Position, nil
}

// Apply implements sink.Sink.
func (s *Sink) Apply(ctx context.Context, in sink.Instance, b sink.Batch) error {
	var lines bytes.Buffer
	put := encoder(&lines)
	for i, c := range b.Changes {
		l := line{Instance: in.ID, Change: &c}
		if i == len(b.Changes)-1 {
			l.Position = b.Position
		}
		if err := put(l); err != nil {
			return fmt.Errorf("jsonl: %w", err)
		}
	}
	return s.deliver(ctx, in, &lines, b.Position)
}

// Replace implements sink.Sink: the lines of a snapshot follow those before. They
// are gathered in a temporary file first, so that nobody waits while they are made.
func (s *Sink) Replace(ctx context.Context, in sink.Instance, snapshot sink.Snapshot, _ bool) error {
	spool, err := os.CreateTemp("", "oktasync-*.jsonl")
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	buf := bufio.NewWriterSize(spool, 64<<10)
	put := encoder(buf)
	err = put(line{Instance: in.ID, Snapshot: "begin"})
	for c, failed := range snapshot.Changes {
		if failed != nil {
			return failed
		}
		if err == nil {
			err = put(line{Instance: in.ID, Snapshot: "line", Change: &c})
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = put(line{Instance: in.ID, Snapshot: "end", Position: snapshot.Position()})
	}
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("jsonl: gather a snapshot: %w", err)
	}
	return s.deliver(ctx, in, spool, snapshot.Position())
}

func encoder(w io.Writer) func(line) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return func(l line) error { return enc.Encode(l) }
}

// deliver writes lines and has the position remembered.
func (s *Sink) deliver(ctx context.Context, in sink.Instance, lines io.Reader, position string) error {
	s.mu.Lock()
	name, err := s.write(lines)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	data, err := json.Marshal(header{name})
	if err != nil {
		return err
	}
	return in.Memory.Save(ctx, sink.Note{Position: position, Data: data})
}

// write writes lines, to a file all or none, and returns the name of the file. One
// that has become too large is set aside; if that fails, it is written on.
func (s *Sink) write(lines io.Reader) (name string, err error) {
	if s.standard() {
		_, err := io.Copy(s.cfg.Stdout, lines)
		return "", err
	}
	before := s.name
	if err := s.ready(); err != nil {
		return "", err
	}
	if before != "" && before != s.name {
		return "", fmt.Errorf("jsonl: %s was removed: what is missing in the new file follows as a snapshot", s.cfg.Path)
	}
	n, err := io.Copy(s.file, lines)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		if _, back := s.file.Seek(s.size, io.SeekStart); back == nil {
			err = errors.Join(err, s.file.Truncate(s.size))
		}
		return "", fmt.Errorf("jsonl: %w", err)
	}
	if s.size += n; s.size > s.cfg.MaxBytes {
		if err := s.rotate(); err != nil {
			s.cfg.Log.Error("a full file could not be set aside, and is written on", "sink", s.Name(), "err", err)
		}
	}
	return s.name, nil
}

// aside names the n-th file beside the current one, 1 being the newest.
func (s *Sink) aside(n int) string {
	ext := filepath.Ext(s.cfg.Path)
	return fmt.Sprintf("%s.%d%s", strings.TrimSuffix(s.cfg.Path, ext), n, ext)
}

// rotate sets the file aside and begins a new one of the same name.
func (s *Sink) rotate() error {
	for n := s.cfg.Keep; n > 0; n-- {
		from := s.aside(n - 1)
		if n == 1 {
			from = s.cfg.Path
		}
		if err := os.Rename(from, s.aside(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.file.Close()
	s.file = nil
	return s.open(s.name)
}

// Forget implements sink.Sink: lines that were written stay.
func (s *Sink) Forget(context.Context, string) error { return nil }

// Close implements sink.Sink.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	var err error
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	return errors.Join(err, s.lock.Unlock())
}
