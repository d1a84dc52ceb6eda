package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// keepLetters is how long dead letters are kept.
const keepLetters = 30 * 24 * time.Hour

// DeadLetters returns up to count dead letters, oldest first, after the one
// with that id; "" for the first.
func (o *Org) DeadLetters(ctx context.Context, after string, count int64) ([]Dead, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	messages, err := o.rdb.XRangeN(ctx, o.key("dead"), from, "+", count).Result()
	if err != nil {
		return nil, refusal(err)
	}
	dead := make([]Dead, len(messages))
	for i, m := range messages {
		dead[i] = letter(m)
	}
	return dead, nil
}

func letter(m redis.XMessage) Dead {
	text := func(field string) string { s, _ := m.Values[field].(string); return s }
	return Dead{ID: m.ID, Source: text("source"), Event: []byte(text("event")), Reason: text("reason")}
}

// NewestDeadLetter returns the id of the newest; "0-0" if there is none.
func (o *Org) NewestDeadLetter(ctx context.Context) (string, error) {
	newest, err := o.rdb.XRevRangeN(ctx, o.key("dead"), "+", "-", 1).Result()
	if err != nil || len(newest) == 0 {
		return "0-0", err
	}
	return newest[0].ID, nil
}

// DeadLetter returns one, or ErrNotFound.
func (o *Org) DeadLetter(ctx context.Context, id string) (Dead, error) {
	messages, err := o.rdb.XRange(ctx, o.key("dead"), id, id).Result()
	if err != nil {
		return Dead{}, refusal(err)
	}
	if len(messages) == 0 {
		return Dead{}, ErrNotFound
	}
	return letter(messages[0]), nil
}

// Replay sends dead letters back to the inbox, as the events they have now, and
// returns how many were still there.
func (o *Org) Replay(ctx context.Context, dead []Dead) (int, error) {
	args := make([]any, 0, 3*len(dead))
	for _, d := range dead {
		args = append(args, d.ID, d.Source, d.Event)
	}
	return replayScript.Run(ctx, o.rdb, []string{o.prefix}, args...).Int()
}

// AgeOut drops dead letters of before a month.
func (o *Org) AgeOut(ctx context.Context, now time.Time) error {
	return o.rdb.XTrimMinIDApprox(ctx, o.key("dead"), strconv.FormatInt(now.Add(-keepLetters).UnixMilli(), 10), 0).Err()
}

// Counts returns how many records of each kind are present.
func (o *Org) Counts(ctx context.Context) (map[string]int64, error) {
	return o.numbers(ctx, "counts")
}

func (o *Org) numbers(ctx context.Context, hash string) (map[string]int64, error) {
	fields, err := o.rdb.HGetAll(ctx, o.key(hash)).Result()
	if err != nil {
		return nil, err
	}
	return parseNumbers(hash, fields)
}

func parseNumbers(hash string, fields map[string]string) (map[string]int64, error) {
	numbers := make(map[string]int64, len(fields))
	for name, text := range fields {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", name, hash, err)
		}
		numbers[name] = n
	}
	return numbers, nil
}

// Cell reads a field of a hash; "" if it is not there.
func (o *Org) Cell(ctx context.Context, hash, field string) (string, error) {
	v, err := o.rdb.HGet(ctx, o.key(hash), field).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return v, err
}

// Cells reads fields of a hash, in their order; "" for what is not there.
func (o *Org) Cells(ctx context.Context, hash string, fields []string) ([]string, error) {
	values, err := o.rdb.HMGet(ctx, o.key(hash), fields...).Result()
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i], _ = v.(string)
	}
	return texts, nil
}

// Order asks the owner to do something with a run.
func (o *Org) Order(ctx context.Context, run, what string) error {
	return o.keep(ctx, o.rdb.HSet(ctx, o.key("orders"), run, what).Err())
}

// Wish keeps what an operator wishes of a sink.
func (o *Org) Wish(ctx context.Context, sink, wish string) error {
	return o.keep(ctx, o.rdb.HSet(ctx, o.key("sinks"), sink+" wish", wish).Err())
}

// Sinks returns what is kept of the sinks.
func (o *Org) Sinks(ctx context.Context) (map[string]string, error) {
	return o.rdb.HGetAll(ctx, o.key("sinks")).Result()
}

// Orders returns what is asked of the owner, by run.
func (o *Org) Orders(ctx context.Context) (map[string]string, error) {
	return o.rdb.HGetAll(ctx, o.key("orders")).Result()
}

// SetPaused keeps whether the instance is paused.
func (o *Org) SetPaused(ctx context.Context, paused bool) error {
	if paused {
		return o.keep(ctx, o.rdb.HSet(ctx, o.key("facts"), "paused", "1").Err())
	}
	return o.keep(ctx, o.rdb.HDel(ctx, o.key("facts"), "paused").Err())
}

// ForgetHistory drops the changes and the dead letters, and begins a new epoch:
// whoever follows the changes is to start anew.
func (o *Org) ForgetHistory(ctx context.Context) error {
	pipe := o.rdb.TxPipeline()
	pipe.HSet(ctx, o.key("facts"), "epoch", rand.Text())
	pipe.Del(ctx, o.key("changes"), o.key("dead"))
	_, err := pipe.Exec(ctx)
	return err
}

// NotWhole takes back that the graph is whole, and forgets the place in the log:
// it was another org's.
func (o *Org) NotWhole(ctx context.Context) error {
	pipe := o.rdb.TxPipeline()
	pipe.HDel(ctx, o.key("facts"), "full", "whole")
	pipe.HDel(ctx, o.key("cursors"), "log")
	_, err := pipe.Exec(ctx)
	return err
}

// Want keeps the run that is to follow the one that is running.
func (o *Org) Want(ctx context.Context, what string) error {
	return o.keep(ctx, o.rdb.HSet(ctx, o.key("facts"), "wanted", what).Err())
}

// Holding returns the runs that hold something.
func (o *Org) Holding(ctx context.Context) ([]string, error) {
	return o.rdb.SMembers(ctx, o.key("holding")).Result()
}

// Held returns a chunk of what a run holds, by target, and where to go on (0: at the end).
func (o *Org) Held(ctx context.Context, run string, at uint64, count int64) (map[string]string, uint64, error) {
	fields, next, err := o.rdb.HScan(ctx, o.key("held:"+run), at, "", count).Result()
	if err != nil {
		return nil, 0, err
	}
	held := make(map[string]string, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		held[fields[i]] = fields[i+1]
	}
	return held, next, nil
}

// HeldCount returns how many observations a run holds.
func (o *Org) HeldCount(ctx context.Context, run string) (int64, error) {
	return o.rdb.HLen(ctx, o.key("held:"+run)).Result()
}

// HeldByKind returns how many records the runs hold, by "<run> <kind> deletes" or
// "… changes": merge.lua counts in the step that holds or releases.
func (o *Org) HeldByKind(ctx context.Context) (map[string]int64, error) {
	return o.numbers(ctx, "heldcounts")
}

// Overdue counts the present records of a scope that are older than a list as
// of ms, and names a few. A verify names its run, and counts only what is in the
// graph and not held.
func (o *Org) Overdue(ctx context.Context, scope string, ms int64, verify string) (n, present int64, samples []string, err error) {
	for cursor := "0"; ; {
		reply, err := overdueScript.Run(ctx, o.rdb, []string{o.prefix}, scope, ms, cursor, verify).Slice()
		if err != nil {
			return 0, 0, nil, refusal(err)
		}
		more, _ := reply[1].(int64)
		seen, _ := reply[2].(int64)
		n, present = n+more, present+seen
		for _, sample := range reply[3:] {
			if id, ok := sample.(string); ok && len(samples) < 5 {
				samples = append(samples, id)
			}
		}
		if cursor, _ = reply[0].(string); cursor == "0" {
			return n, present, samples, nil
		}
	}
}

// Look returns what records give to the graph now.
func (o *Org) Look(ctx context.Context, ids []string) ([]Part, error) {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	reply, err := lookScript.Run(ctx, o.rdb, []string{o.prefix}, args...).StringSlice()
	if err != nil {
		return nil, refusal(err)
	}
	parts := make([]Part, len(reply))
	for i, text := range reply {
		parts[i] = parsePart(text)
	}
	return parts, nil
}

// Purge forgets the instance. Its owner is fenced in the same step, so that nothing
// comes back.
func (o *Org) Purge(ctx context.Context) error {
	pipe := o.rdb.TxPipeline()
	pipe.Del(ctx, o.key("instance")) // nobody can take the lease from then on
	pipe.HSet(ctx, o.key("facts"), "fence", deleted+rand.Text())
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	if err := o.rdb.SRem(ctx, instancesKey, o.id).Err(); err != nil {
		return err
	}
	o.kept(ctx, o.key("kept"), keptKey)
	node, err := o.node(ctx)
	if err != nil {
		return err
	}
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, escapeGlob(o.prefix)+"*", 1000).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := o.rdb.Unlink(ctx, keys...).Err(); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// deleted begins the fence of an instance that is being deleted.
const deleted = "deleted "

func escapeGlob(s string) string {
	var out []rune
	for _, r := range s {
		switch r {
		case '*', '?', '[', ']', '\\':
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}
