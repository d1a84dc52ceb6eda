package bench

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"
)

// sample is a delivery of one event: a user was added to a group. Its ids, times and
// uuids are all of a fixed length, so that others can be written over them.
//
//go:embed samples/group.user_membership.add.json
var sample []byte

// What the sample holds where others write.
const (
	sampleUUID      = "092330d6-79ff-5188-a41a-c0d6726cd0b6"
	samplePublished = "2026-03-17T09:02:12.020Z"
	sampleUser      = "00u7d9s1xCwLfGh2T697"
	sampleGroup     = "00g2c7w8nBtYhJm4D697"
)

// letter is the body of a delivery that is written over for each that is sent: whoever
// sends it must cost little beside who takes it.
type letter struct {
	body   []byte
	events []places
}

// places are where the values of one event stand in a body.
type places struct {
	uuid, published int
	users, groups   []int
}

// newLetter returns a delivery of that many events, without the sample's white space.
func newLetter(events int) (*letter, error) {
	var body bytes.Buffer
	if err := json.Compact(&body, sample); err != nil {
		return nil, err
	}
	head, rest, ok := bytes.Cut(body.Bytes(), []byte(`"events":[`))
	event, tail, closed := bytes.Cut(rest, []byte(`]},"eventTime"`))
	if !ok || !closed {
		return nil, fmt.Errorf("the sample delivery has another form than known")
	}
	l := &letter{body: append(bytes.Clone(head), `"events":[`...)}
	for i := range events {
		if i > 0 {
			l.body = append(l.body, ',')
		}
		start := len(l.body)
		l.body = append(l.body, event...)
		at := func(text string) (all []int) {
			for from := start; ; {
				n := bytes.Index(l.body[from:], []byte(text))
				if n < 0 {
					return all
				}
				all = append(all, from+n)
				from += n + len(text)
			}
		}
		uuid, published := at(sampleUUID), at(samplePublished)
		p := places{users: at(sampleUser), groups: at(sampleGroup)}
		if len(uuid) != 1 || len(published) != 1 || len(p.users) == 0 || len(p.groups) == 0 {
			return nil, fmt.Errorf("the sample delivery has other values than known")
		}
		p.uuid, p.published = uuid[0], published[0]
		l.events = append(l.events, p)
	}
	l.body = append(append(l.body, `]},"eventTime"`...), tail...)
	return l, nil
}

// write makes the i-th event another one.
func (l *letter) write(i int, uuid string, published time.Time, user, group string) {
	p := l.events[i]
	copy(l.body[p.uuid:], uuid)
	copy(l.body[p.published:], published.UTC().Format("2006-01-02T15:04:05.000Z"))
	for _, at := range p.users {
		copy(l.body[at:], user)
	}
	for _, at := range p.groups {
		copy(l.body[at:], group)
	}
}

// uuidOf returns a uuid that no other of this benchmark is.
func uuidOf(series, n int) string { return fmt.Sprintf("%08x-be7c-5000-8000-%012x", series, n) }
