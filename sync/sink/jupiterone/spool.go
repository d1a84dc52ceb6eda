package jupiterone

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

// upload is what a job uploads, in temporary files.
type upload struct {
	entities, relationships list
	types                   map[string]bool // of all in it
	strays                  int             // relationships to a Person that is not there; left out
}

// newUpload makes an upload whose batches have at most so many bytes.
func newUpload(batch int) *upload {
	return &upload{
		entities:      list{name: "entities", batch: batch},
		relationships: list{name: "relationships", batch: batch},
		types:         map[string]bool{},
	}
}

func (u *upload) close() {
	u.entities.close()
	u.relationships.close()
}

func (u *upload) flush() error { return errors.Join(u.entities.flush(), u.relationships.flush()) }

func (u *upload) typeNames() []string { return slices.Sorted(maps.Keys(u.types)) }

func (u *upload) entity(e graph.Entity) error {
	b, err := entityJSON(e)
	if err != nil {
		return sink.Permanent(err)
	}
	u.types[e.Type] = true
	return u.entities.add(e.Key, b)
}

func (u *upload) relationship(r graph.Relationship) error {
	b, err := relationshipJSON(r)
	if err != nil {
		return sink.Permanent(err)
	}
	u.types[r.Type] = true
	return u.relationships.add(r.Key, b)
}

func (u *upload) person(r graph.Relationship, person graph.Entity) error {
	r, err := mapped(r, person)
	if err != nil {
		return sink.Permanent(err)
	}
	return u.relationship(r)
}

// list is a file of objects, one a line, each followed by a comma; and how they are
// cut into batches.
type list struct {
	scratch
	name  string // of the endpoint, and of the field
	batch int    // bytes of a batch, at most
	cut   []section
}

// section is a run of whole objects in a list.
type section struct {
	from, size int64
	count      int
}

// envelope is what a batch has beside its objects, at most.
const envelope = 32

func (l *list) add(key string, object []byte) error {
	if len(object)+envelope > l.batch {
		return sink.Permanent(fmt.Errorf("%q of the %s has %d bytes, more than a batch of %d may have: raise the size of batches (JupiterOne may refuse more), or make the object smaller in Okta", shown(key), l.name, len(object), l.batch))
	}
	size := int64(len(object) + 2)
	if n := len(l.cut); n == 0 || l.cut[n-1].size+size+envelope > int64(l.batch) {
		l.cut = append(l.cut, section{from: l.size})
	}
	last := &l.cut[len(l.cut)-1]
	last.size += size
	last.count++
	if err := l.write(object); err != nil {
		return err
	}
	return l.write([]byte(",\n"))
}

// count returns how many objects the list has.
func (l *list) count() int {
	n := 0
	for _, s := range l.cut {
		n += s.count
	}
	return n
}

// zips are compressors, each of which takes about a megabyte.
var zips = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// body returns the compressed body of an upload. It may be called by several at once.
func (l *list) body(s section) ([]byte, error) {
	var b bytes.Buffer
	zip := zips.Get().(*gzip.Writer)
	defer zips.Put(zip)
	zip.Reset(&b)
	_, err := fmt.Fprintf(zip, `{%q:[`, l.name)
	if err == nil { // without the last comma
		_, err = io.Copy(zip, io.NewSectionReader(l.reader(), s.from, s.size-2))
	}
	if err == nil {
		_, err = io.WriteString(zip, "]}")
	}
	if err == nil {
		err = zip.Close()
	}
	return b.Bytes(), err
}

// halves cuts a section in two; not ok if it is one object, whose key is returned.
func (l *list) halves(s section) (a, b section, key string, ok bool, err error) {
	text := make([]byte, s.size)
	if _, err := l.reader().ReadAt(text, s.from); err != nil {
		return a, b, "", false, err
	}
	if s.count == 1 {
		var head struct {
			Key string `json:"_key"`
		}
		err := json.Unmarshal(text[:len(text)-2], &head)
		return a, b, head.Key, false, err
	}
	i := bytes.LastIndexByte(text[:len(text)/2], '\n')
	if i < 0 {
		i = bytes.IndexByte(text, '\n')
	}
	a = section{s.from, int64(i + 1), bytes.Count(text[:i+1], []byte("\n"))}
	return a, section{s.from + a.size, s.size - a.size, s.count - a.count}, "", true, nil
}

// scratch is what is written once and then read: in memory if it is small, else in a
// temporary file. The file has no name as far as the system allows that, so that a
// kill leaves nothing of people behind.
type scratch struct {
	small []byte
	file  *os.File // nil: all is in small
	w     *bufio.Writer
	size  int64
}

// maxSmall is how many bytes a scratch has in memory, at most.
const maxSmall = 64 << 10

func (s *scratch) write(b []byte) error {
	s.size += int64(len(b))
	if s.file == nil {
		if s.size <= maxSmall {
			s.small = append(s.small, b...)
			return nil
		}
		f, err := os.CreateTemp("", "oktasync-jupiterone-*")
		if err != nil {
			return spoolError(err)
		}
		_ = os.Remove(f.Name()) // Windows cannot, while it is open
		s.file, s.w = f, bufio.NewWriterSize(f, 16<<10)
		if _, err := s.w.Write(s.small); err != nil {
			return spoolError(err)
		}
		s.small = nil
	}
	_, err := s.w.Write(b)
	return spoolError(err)
}

func (s *scratch) flush() error {
	if s.file == nil {
		return nil
	}
	return spoolError(s.w.Flush())
}

// reader reads what was written, after flush. It may be used by several at once.
func (s *scratch) reader() io.ReaderAt {
	if s.file == nil {
		return bytes.NewReader(s.small)
	}
	return s.file
}

func (s *scratch) close() {
	if s.file != nil {
		s.file.Close()
		_ = os.Remove(s.file.Name())
	}
}

func spoolError(err error) error {
	if err != nil {
		return fmt.Errorf("spool: %w: make room for temporary files, or name another place by TMPDIR", err)
	}
	return nil
}

// partitions is into how many files a snapshot is parted. Of one at a time the keys
// are in memory.
const partitions = 32

// What a record is of.
const (
	anEntity      = 'e'
	aRelationship = 'r'
	aPerson       = 'p' // an entity
	aPersonEdge   = 'q' // a relationship
	goneEntity    = 'E'
	goneRelation  = 'R'
)

// maxRecordField is how many bytes a key, word or body may have.
const maxRecordField = 64 << 20

// record is an object as it was at one moment of a snapshot.
type record struct {
	kind byte
	key  string
	word string // of aPersonEdge the Person's key; of anEntity and aRelationship the type
	body []byte // of these two as it is uploaded, of people as it was
}

// identity is what tells the object from others.
func (r record) identity() string {
	switch r.kind {
	case anEntity, aPerson, goneEntity:
		return "e" + r.key
	}
	return "r" + r.key
}

func recordOf(c graph.Change) (r record, err error) {
	r.key = c.Key()
	switch {
	case c.Op == graph.Delete && c.Entity != nil:
		r.kind = goneEntity
	case c.Op == graph.Delete:
		r.kind = goneRelation
	case c.Entity != nil && isPerson(c.Entity):
		r.kind = aPerson
		r.body, err = json.Marshal(c.Entity)
	case c.Entity != nil:
		r.kind, r.word = anEntity, c.Entity.Type
		r.body, err = entityJSON(*c.Entity)
	case leadsToPerson(c.Relationship):
		r.kind, r.word = aPersonEdge, c.Relationship.To
		r.body, err = json.Marshal(c.Relationship)
	default:
		r.kind, r.word = aRelationship, c.Relationship.Type
		r.body, err = relationshipJSON(*c.Relationship)
	}
	return r, err
}

func (s *scratch) put(r record) error {
	head := []byte{r.kind}
	for _, n := range []int{len(r.key), len(r.word), len(r.body)} {
		head = binary.AppendUvarint(head, uint64(n))
	}
	return errors.Join(s.write(head), s.write([]byte(r.key)), s.write([]byte(r.word)), s.write(r.body))
}

// records calls do with each record and where it begins.
func (s *scratch) records(do func(r record, at int64) error) error {
	in := &counted{r: bufio.NewReaderSize(io.NewSectionReader(s.reader(), 0, s.size), int(min(s.size, 64<<10)))}
	for {
		at := in.n
		r, err := readRecord(in)
		if err == io.EOF && in.n == at {
			return nil
		}
		if err != nil {
			return fmt.Errorf("spool: read back: %w", err)
		}
		if err := do(r, at); err != nil {
			return err
		}
	}
}

// record reads the one that begins there.
func (s *scratch) record(at int64) (record, error) {
	r, err := readRecord(&counted{r: bufio.NewReaderSize(io.NewSectionReader(s.reader(), at, s.size-at), 1<<10)})
	if err != nil {
		err = fmt.Errorf("spool: read back: %w", err)
	}
	return r, err
}

// counted counts what is read.
type counted struct {
	r *bufio.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func readRecord(in *counted) (r record, err error) {
	if r.kind, err = in.ReadByte(); err != nil {
		return r, err
	}
	var sizes [3]uint64
	total := uint64(0)
	for i := range sizes {
		if sizes[i], err = binary.ReadUvarint(in); err != nil {
			return r, err
		}
		if sizes[i] > maxRecordField {
			return r, errors.New("a record that was not written so")
		}
		total += sizes[i]
	}
	text := make([]byte, total)
	if _, err := io.ReadFull(in, text); err != nil {
		return r, err
	}
	key, word := sizes[0], sizes[0]+sizes[1]
	r.key, r.word, r.body = string(text[:key]), string(text[key:word]), text[word:]
	return r, nil
}

// parted is records parted by a key, so that those with one key are together.
type parted struct {
	seed  maphash.Seed
	parts [partitions]scratch
}

func newParted() *parted { return &parted{seed: maphash.MakeSeed()} }

func (p *parted) put(key string, r record) error {
	return p.parts[maphash.String(p.seed, key)%partitions].put(r)
}

func (p *parted) flush() error {
	var errs []error
	for i := range p.parts {
		errs = append(errs, p.parts[i].flush())
	}
	return errors.Join(errs...)
}

func (p *parted) close() {
	for i := range p.parts {
		p.parts[i].close()
	}
}

// spool reads a snapshot to its end and returns what leads to the same: each object
// once, as it was at the end, people as mappings. Its memory is that of
// the keys of a thirty-second of the graph.
func spool(ctx context.Context, s sink.Snapshot, batch int) (_ *upload, err error) {
	changes := newParted()
	defer changes.close()
	for c, err := range s.Changes {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("read the snapshot: %w", err)
		}
		r, err := recordOf(c)
		if err != nil {
			return nil, sink.Permanent(fmt.Errorf("object %q of the snapshot: %w", shown(c.Key()), err))
		}
		if len(r.body) > maxRecordField || len(r.key) > maxRecordField {
			return nil, sink.Permanent(fmt.Errorf("object %.100q of the snapshot is too large: %d bytes", r.key, len(r.body)))
		}
		if err := changes.put(r.identity(), r); err != nil {
			return nil, err
		}
	}
	if err := changes.flush(); err != nil {
		return nil, err
	}
	people := newParted()
	defer people.close()
	up := newUpload(batch)
	defer func() {
		if err != nil {
			up.close()
		}
	}()
	for i := range changes.parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := up.settle(&changes.parts[i], people); err != nil {
			return nil, err
		}
	}
	if err := people.flush(); err != nil {
		return nil, err
	}
	for i := range people.parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := up.join(&people.parts[i]); err != nil {
			return nil, err
		}
	}
	return up, up.flush()
}

// settle adds the objects of a part as they are last, and puts people aside, those
// of one Person together.
func (u *upload) settle(part *scratch, people *parted) error {
	last := map[string]int64{}
	err := part.records(func(r record, at int64) error {
		last[r.identity()] = at
		return nil
	})
	if err != nil {
		return err
	}
	return part.records(func(r record, at int64) error {
		if last[r.identity()] != at {
			return nil
		}
		switch r.kind {
		case anEntity:
			u.types[r.word] = true
			return u.entities.add(r.key, r.body)
		case aRelationship:
			u.types[r.word] = true
			return u.relationships.add(r.key, r.body)
		case aPerson:
			return people.put(r.key, r)
		case aPersonEdge:
			return people.put(r.word, r)
		}
		return nil
	})
}

// join adds the relationships to the people of a part.
func (u *upload) join(part *scratch) error {
	persons := map[string]int64{}
	err := part.records(func(r record, at int64) error {
		if r.kind == aPerson {
			persons[r.key] = at
		}
		return nil
	})
	if err != nil {
		return err
	}
	return part.records(func(r record, _ int64) error {
		if r.kind != aPersonEdge {
			return nil
		}
		at, ok := persons[r.word]
		if !ok {
			u.strays++
			return nil
		}
		p, err := part.record(at)
		if err != nil {
			return err
		}
		var person graph.Entity
		var rel graph.Relationship
		if err := errors.Join(json.Unmarshal(p.body, &person), json.Unmarshal(r.body, &rel)); err != nil {
			return err
		}
		return u.person(rel, person)
	})
}
