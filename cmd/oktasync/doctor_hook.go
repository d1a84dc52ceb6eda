package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
)

const (
	// hookPermission lets a token see event hooks, which a read-only administrator may not.
	hookPermission = "run doctor with a token of a super administrator, or of a custom role with okta.eventhooks.read; or look at Workflow › Event Hooks in the Admin Console"
	onlyByLog      = "what it does not bring arrives only with the System Log, at its next poll"
)

// eventHook looks at the org's event hook, and judges it as the service does.
func (o *orgCheck) eventHook(ctx context.Context) {
	hooks, err := ask(ctx, o.client.EventHooks)
	if okta.IsForbidden(err) {
		o.r.skip("rights.event-hooks", "The token may not read event hooks.", "a read-only administrator may not; nothing else suffers, but the hook's state is not known here", hookPermission)
		return
	}
	if !o.judge(endpoint{"event-hooks", "the event hooks", "the hook's state is not known", "run doctor again"}, err) {
		return
	}
	o.r.ok("rights.event-hooks", "The event hooks can be read.")
	h := engine.JudgeHooks(hooks, o.Instance)
	o.hookSeen = true
	if h.Problem != "" {
		f := finding{"hook.state", levelError, sentence(shown(h.Problem)), onlyByLog, "do what it says, or the same in the Admin Console; " +
			"if the instance has another id than " + o.Instance + ", name it with --instance"}
		if h.ID == "" && o.URL == "" { // the hook comes after the service, and doctor before both
			f.Level, f.Todo = levelWarning, "once the service runs, "+f.Todo
		}
		if len(h.Missing) > 0 {
			f.What += " Missing: " + some(h.Missing) + "."
			f.Why += "; a type that your org does not offer cannot be had"
			if i := slices.IndexFunc(hooks, func(hook okta.EventHook) bool { return hook.ID == h.ID }); hooks[i].Delivers() && strings.EqualFold(hooks[i].Header, "Authorization") {
				f.Level = levelWarning // nothing else is wrong with it
			}
		}
		o.r.add(f)
	}
	if h.Filtered {
		o.r.add(finding{"hook.filter", levelWarning, "A filter of the hook lets only some of the events through.", onlyByLog, "take the filter away, unless it is meant"})
	}
	if want := o.URL + "/hooks/okta/" + o.Instance; o.URL != "" && h.URI != "" && h.URI != want {
		o.r.add(finding{"hook.uri", levelWarning, "The hook leads to another address than --url: to " + shown(h.URI) + ".",
			"what is said here of the address is not said of the one that Okta calls", "set --url to what the hook has, or the hook to " + want})
	}
	if h.Problem == "" && !h.Filtered {
		o.r.ok("hook.state", "The hook is active and verified, and has all types of events that are used.")
	}
}

// some names the first of a list.
func some(names []string) string {
	const most = 5
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", shown(strings.Join(names[:most], ", ")), n-most)
	}
	return shown(strings.Join(names, ", "))
}
