// Package engine keeps graphs in step with Okta orgs. Whatever is learned, by a
// hook, a read or a list, takes one path: observations, merged atomically,
// whose changes readers follow.
//
// Each instance has one org at work, with three loops:
//
//   - inbox takes accepted events in, oldest first. An event becomes
//     observations and asks; one that cannot be understood becomes a dead letter.
//   - refresh reads again what was asked for, once a read can show it: a read by
//     id the margin, a list the allowance after the event. An ask goes when the
//     merge strikes it off, not when a read returns.
//   - reconcile works on the running run. What a run has yet to read is kept in
//     Redis, each list with its next link, and is taken off in the same step
//     that merges what was read: a run goes on where a crash left it.
//
// A list that cannot be read to its end proves nothing absent: its scope keeps
// its watermark, and the run names it with the reason.
package engine
