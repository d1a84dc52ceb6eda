package state

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Streams that Notify tells of. Each has a channel in Redis of its key's name: the
// scripts publish there when it grew.
const (
	InboxStream   = "inbox" // when it was empty
	ChangesStream = "changes"
)

// Notify has c sent to when the stream may hold something new, and once at the
// beginning: whoever reads after a signal misses nothing. Without a
// connection no signal comes, so read after Look too. c holds one signal; nobody
// waits for it to be taken.
func (o *Org) Notify(c chan<- struct{}, stream string) (stop func()) {
	return o.s.listen(o.key(stream), func(string) {
		select {
		case c <- struct{}{}:
		default:
		}
	})
}

// listener is told of the messages of a channel. It must not block.
type listener struct{ told func(message string) }

// listeners are those of this process: they share a connection and a goroutine.
type listeners struct {
	pubsub *redis.PubSub
	done   chan struct{}

	ordering sync.Mutex // of what is subscribed to, against the first listener and the last
	mu       sync.Mutex
	of       map[string]map[*listener]bool // by channel
}

// listen has told called with the messages of a channel, and with "" whenever
// some may have been lost: at the beginning and after each new connection.
func (s *Store) listen(channel string, told func(message string)) (stop func()) {
	l := s.listeners()
	one := &listener{told}
	l.ordering.Lock()
	defer l.ordering.Unlock()
	l.mu.Lock()
	if l.of[channel] == nil {
		l.of[channel] = map[*listener]bool{}
	}
	l.of[channel][one] = true
	l.mu.Unlock()
	// Again for a second listener: the answer is its beginning. An error means
	// that there is no connection: the next one begins with all subscriptions.
	_ = l.pubsub.Subscribe(context.Background(), channel)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if delete(l.of[channel], one); len(l.of[channel]) == 0 {
			delete(l.of, channel) // the next message ends the subscription: Redis may not answer now
		}
	}
}

func (s *Store) listeners() *listeners {
	s.listening.Do(func() {
		l := &listeners{pubsub: s.rdb.Subscribe(context.Background()), done: make(chan struct{}), of: map[string]map[*listener]bool{}}
		go l.run()
		s.heard.Store(l)
	})
	return s.heard.Load()
}

// run tells the listeners until the connection is closed for good.
func (l *listeners) run() {
	defer close(l.done)
	for m := range l.pubsub.ChannelWithSubscriptions() {
		switch m := m.(type) {
		case *redis.Message:
			l.tell(m.Channel, m.Payload)
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				l.tell(m.Channel, "")
			}
		}
	}
}

func (l *listeners) tell(channel, message string) {
	l.mu.Lock()
	for one := range l.of[channel] {
		one.told(message)
	}
	nobody := l.of[channel] == nil
	l.mu.Unlock()
	if !nobody {
		return
	}
	l.ordering.Lock()
	defer l.ordering.Unlock()
	l.mu.Lock()
	nobody = l.of[channel] == nil // still
	l.mu.Unlock()
	if nobody {
		_ = l.pubsub.Unsubscribe(context.Background(), channel) // tried again at the next message
	}
}

// close ends the connection.
func (l *listeners) close() error {
	err := l.pubsub.Close()
	<-l.done
	return err
}
