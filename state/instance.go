package state

import (
	"context"
	"crypto/rand"
)

var replaceScript = script("replace.lua")

// ReplaceInstance is SetInstance for settings that were read before: it returns
// false, and changes nothing, if they are not those any more.
func (o *Org) ReplaceInstance(ctx context.Context, old, settings []byte) (bool, error) {
	if err := o.s.SetMark(ctx); err != nil {
		return false, err
	}
	if err := o.rdb.HSetNX(ctx, o.key("facts"), "epoch", rand.Text()).Err(); err != nil {
		return false, err
	}
	replaced, err := replaceScript.Run(ctx, o.rdb, []string{o.prefix}, old, settings).Bool()
	if err != nil || !replaced {
		return false, err
	}
	return true, o.List(ctx)
}
