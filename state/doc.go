// Package state keeps everything that must survive a crash: records, streams
// and cursors, in Redis. It knows keys and bytes, nothing of Okta: the scripts
// hold the merge rule that sync/record states in Go.
//
// Keys of an instance, all under one hash tag, oktasync:{<instance>}:
//
//	inbox                stream: events accepted and not yet applied (source, event)
//	seen:<uuid>          an event accepted lately
//	dead                 stream: events that could not be understood (event, reason)
//	rec:<scope>          hash: member → version and presence; of edges, their content too
//	content:<scope>      hash: member → content of present users, groups, apps, the account
//	hang:user/<user>     set: m<group>, a<app>: the edges of the user found in other scopes
//	hang:group/<group>   set: the applications assigned to the group
//	shared:<object>      sorted set: the records that give a graph object of several
//	moved                hash: group → the newest event of its members, ms
//	marks                hash: scope → watermark, ms
//	refresh              hash: what to read again → version to exceed, source, cause
//	due                  sorted set: the same by the time of the next try, ms
//	changes              stream: transitions of records (id, b before, a after, t as of, s source, c cause)
//	cursors              hash: inbox → last entry taken in
//	facts                hash: everyone, the group's id; run, the one that is running; full, whole
//	runs, runlist        hash: id → description, JSON; list of ids, newest first
//	pending:<family>     hash: scope that the running run has yet to read → its cursor
//	instance             the instance's settings, its secrets sealed
//
// oktasync:instances is the set of instances.
package state
