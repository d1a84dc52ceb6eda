package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta"
)

// hookPermission lets a token see event hooks, which a read-only administrator may not.
const hookPermission = "use for doctor a token of a super administrator, or of a custom role with okta.eventhooks.read; or look at Workflow › Event Hooks in the Admin Console"

// eventHook compares the org's event hook with what the service needs.
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
	hooks = slices.DeleteFunc(hooks, func(h okta.EventHook) bool { return !h.IsOf(o.Instance) })
	if len(hooks) == 0 {
		o.r.add(finding{"hook.state", levelError, "The org has no event hook for the instance " + o.Instance + ".",
			"changes arrive only with the System Log, once a minute", "make it: oktasync hook register; or name another instance with --instance"})
		return
	}
	if len(hooks) > 1 {
		o.r.add(finding{"hook.state", levelWarning, fmt.Sprintf("The org has %d event hooks for the instance %s.", len(hooks), o.Instance),
			"each event comes as often, which uses up Okta's daily limit and changes nothing here", "delete all but one"})
	}
	for _, h := range hooks {
		o.judgeHook(h)
	}
}

func (o *orgCheck) judgeHook(h okta.EventHook) {
	before := len(o.r.Findings)
	add := func(l level, what, why, todo string) { o.r.add(finding{"hook.state", l, what, why, todo}) }
	if !h.Delivers() {
		add(levelError, fmt.Sprintf("Okta sends nothing to the hook %s: it is %s and %s.", shown(h.ID), shown(h.Status), shown(h.VerificationStatus)),
			"changes arrive only with the System Log, once a minute", "activate and verify it: oktasync hook register, or in the Admin Console")
	}
	if want := o.URL + "/hooks/okta/" + o.Instance; o.URL != "" && h.URI != want {
		add(levelWarning, fmt.Sprintf("The hook %s leads to another address than --url.", shown(h.ID)), "what is said below of the address is not said of the one that Okta calls", "set --url to what the hook has, or the hook to "+want)
	}
	if h.Header != "" && !strings.EqualFold(h.Header, "Authorization") {
		add(levelError, fmt.Sprintf("The hook %s sends its secret in another header than Authorization.", shown(h.ID)), "deliveries get 401, and Okta does not repeat them", "set the authentication field of the hook to Authorization")
	}
	needed := convert.HookTypes()
	missing := slices.DeleteFunc(slices.Clone(needed), func(t string) bool { return slices.Contains(h.Types, t) })
	if len(missing) > 0 {
		add(levelWarning, fmt.Sprintf("The hook %s lacks %s: %s.", shown(h.ID), count(len(missing), "type of event", "types of events"), some(missing)),
			"what they tell arrives only with the System Log, once a minute; a type that your org does not offer cannot be had", "add them: oktasync hook register, or in the Admin Console")
	}
	held := slices.DeleteFunc(slices.Clone(h.Filtered), func(t string) bool { return !slices.Contains(needed, t) })
	if len(held) > 0 {
		add(levelWarning, fmt.Sprintf("A filter of the hook %s lets only some events through, of %s.", shown(h.ID), some(held)),
			"what it holds back arrives only with the System Log, once a minute", "take the filter away, unless it is meant")
	}
	if len(o.r.Findings) == before {
		o.r.ok("hook.state", "The hook is active, verified, and has all %d types of events that are needed.", len(needed))
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
