package oktasim

import (
	"math"
	"sort"
)

// keepHistory is how long past states stay readable, in nanoseconds: no list
// may lag by more.
const keepHistory = int64(3600e9)

// latest, as a time to look at, is the state after every change so far.
const latest = int64(math.MaxInt64)

// hist is one thing over time. Values are never changed in place: each change
// sets a new one, so that an answer may read them without a lock.
type hist[T any] struct {
	cur version[T]
	old []version[T] // ascending
}

type version[T any] struct {
	at  int64 // ns on the org's clock; 0: since ever
	val *T    // nil: it does not exist
}

// asOf returns the value at t, nil if there was none. A change at t is in it.
func (h *hist[T]) asOf(t int64) *T {
	if h.cur.at <= t {
		return h.cur.val
	}
	for i := len(h.old) - 1; i >= 0; i-- {
		if h.old[i].at <= t {
			return h.old[i].val
		}
	}
	return nil
}

// now returns the present value, nil if there is none.
func (h *hist[T]) now() *T { return h.cur.val }

func (h *hist[T]) set(at int64, v *T) {
	if h.cur.val != nil || len(h.old) > 0 {
		h.old = append(h.old, h.cur)
	}
	h.cur = version[T]{at, v}
}

// trim forgets what no look at cut or later can see.
func (h *hist[T]) trim(cut int64) {
	n := 0
	for n < len(h.old) {
		next := h.cur.at
		if n+1 < len(h.old) {
			next = h.old[n+1].at
		}
		if next > cut {
			break
		}
		n++
	}
	if n == len(h.old) {
		h.old = nil
	} else if n > 0 {
		h.old = append([]version[T](nil), h.old[n:]...)
	}
}

// gone tells whether nothing at cut or later can see a value.
func (h *hist[T]) gone(cut int64) bool {
	return h.cur.val == nil && h.cur.at <= cut && len(h.old) == 0
}

// node is a thing under its key.
type node[T any] struct {
	key string
	hist[T]
}

func (n *node[T]) id() string { return n.key }

// table holds nodes in the order of their keys, the deleted ones too while
// their past can be seen.
type table[N interface{ id() string }] struct{ nodes []N }

// seek returns the place of the first node whose key is not below key.
func (t *table[N]) seek(key string) int {
	return sort.Search(len(t.nodes), func(i int) bool { return t.nodes[i].id() >= key })
}

// after returns the place of the first node whose key is above key.
func (t *table[N]) after(key string) int {
	return sort.Search(len(t.nodes), func(i int) bool { return t.nodes[i].id() > key })
}

func (t *table[N]) get(key string) (n N, ok bool) {
	if i := t.seek(key); i < len(t.nodes) && t.nodes[i].id() == key {
		return t.nodes[i], true
	}
	return n, false
}

func (t *table[N]) insert(n N) {
	i := t.seek(n.id())
	var zero N
	t.nodes = append(t.nodes, zero)
	copy(t.nodes[i+1:], t.nodes[i:])
	t.nodes[i] = n
}

// sort puts nodes that were appended in any order into theirs.
func (t *table[N]) sort() {
	sort.Slice(t.nodes, func(i, j int) bool { return t.nodes[i].id() < t.nodes[j].id() })
}

func (t *table[N]) remove(key string) {
	if i := t.seek(key); i < len(t.nodes) && t.nodes[i].id() == key {
		t.nodes = append(t.nodes[:i], t.nodes[i+1:]...)
	}
}

// keys is a sorted set of keys.
type keys []string

func (k *keys) add(key string) {
	i := sort.SearchStrings(*k, key)
	if i < len(*k) && (*k)[i] == key {
		return
	}
	*k = append(*k, "")
	copy((*k)[i+1:], (*k)[i:])
	(*k)[i] = key
}

func (k *keys) drop(key string) {
	i := sort.SearchStrings(*k, key)
	if i < len(*k) && (*k)[i] == key {
		*k = append((*k)[:i], (*k)[i+1:]...)
	}
}

func (k keys) after(key string) int {
	return sort.Search(len(k), func(i int) bool { return k[i] > key })
}
