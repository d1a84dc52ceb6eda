// Package oktasim is a simulated Okta org: a real HTTP server on a loopback
// address that lists, pages, filters, limits, fails and logs as Okta does, with
// changes that can be asked for and the events that follow from them. Tests
// and the demo read it as they would read an org. It knows nothing of
// oktasync: what it says of Okta comes from Okta's documents alone.
//
//	org := oktasim.New(t, oktasim.Config{Seed: 1})
//	// … read org.URL() with org.Token() …
//	events := org.Mutate(40)                  // random changes, all valid
//	more, err := org.Deactivate(userID)       // or one of one's own
//	sender := org.NewSender(oktasim.Hook{URL: hookURL, Secret: secret}, oktasim.Faults{Swap: true, Batch: 5})
//	err = sender.Deliver(ctx, append(events, more...))
//	want := org.Snapshot()                    // what a reader must have in the end
//
// # Time
//
// All times are on the org's clock, [Config].Clock, which is the Date header of
// its answers too. With a [ManualClock] nothing moves by itself: Config.Step
// and [Org.SetStep] say how far the clock goes before each change, so that two
// opposite changes can share one instant. A change, its events' published and
// the lastUpdated it leaves are one instant, shown in milliseconds; reads by
// id show it from then on. What follows from a change (the applications of a
// group for its new member) happens at the same instant, with events of its
// own.
//
// # Lists
//
// Pages are cut by key, not by place: what is created or deleted between two
// pages may be seen or missed, whatever stays is seen once. With
// Config.ListLag every page shows the org as it was at a moment of its own, up
// to that long ago; a single object, an app user, an app group, and the
// factors of a user are never late. GET /users/{id}/groups and GET
// /apps?filter=user.id… are lists and may be late.
//
// GET /apps leaves INACTIVE applications out unless includeNonDeleted or a
// filter by status is there; GET /users leaves DEPROVISIONED users out unless
// filter or search is there. An application assigned to a group with several
// rows answers GET /apps/{id}/groups/{id} with the row of lowest priority.
//
// # Events
//
// What Okta tells of in silence only the System Log has, or nobody:
//
//   - a deleted group has no events for its members or its assignments, only for
//     the app users that came through it; a deleted application has none at all;
//     a deleted user has none for its memberships;
//   - a deactivated user loses its factors silently, its applications with
//     events, and keeps its groups;
//   - [Org.Reactivate] gives all applications back by
//     application.user_membership.restore, [Org.DeleteUser] ends in
//     user.lifecycle.delete.completed, [Org.ExpirePassword] and
//     [Org.RenameAppUser] have their events: not for hooks;
//   - imports change profiles and memberships without events.
//
// [Org.Mutate] does by default only what a hook can follow (for reactivations by
// reading the user's applications again). [Org.MutateKinds] changes that: with
// [LogKinds] it does all that the System Log can follow, imports by their end.
//
// Okta itself tells in the log of deliveries that failed, and in a window of a
// bucket once of 60 % used up and once of a call refused. Such events come with
// no change: they take no Step, and what changes later does not depend on them.
//
// # System Log
//
// A polling request gets events in the order in which they were stored, which
// may be up to Config.LogLag after they happened, and always a next link; that of
// an empty page is, as a rule, the link of the page itself. Events and places
// in the log are good for 90 days, [Org.ExpireLogLinks] ends all links at once,
// and a since of more than 180 days ago is refused. The filter knows eventType,
// target.id, actor.id, transaction.id and outcome.result.
//
// # Event hooks
//
// A [Sender] delivers to any address. Hooks of the org itself are made by the
// API under /api/v1/eventHooks, or by [Org.AddEventHook] as in the Admin
// Console; [Org.NewHookSender] delivers to one by its types, its address and its
// secret, while it is ACTIVE and VERIFIED. A PUT replaces the hook as a whole;
// a secret is never read back; filters are kept, and not evaluated. What the
// docs do not say: a hook stays VERIFIED when a PUT repeats its channel and its
// secret; the deletion of an active one is a 400.
//
// # Faults
//
// [Org.Fail] and [Org.FailNext] make calls fail; [Org.OnRequest] changes the org
// before an answer is computed; Config has rate limits, a limit of calls at
// once, and latency. [Faults] are those of a [Sender].
package oktasim
