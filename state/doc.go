// Package state keeps everything that must survive a crash: records, streams
// and cursors, in Redis. It knows keys and bytes, nothing of Okta: the scripts
// hold the merge rule that sync/record states in Go.
//
// Keys of an instance, all under one hash tag, oktasync:{<instance>}:
//
//	inbox                stream: events accepted and not yet applied (source, event, trace)
//	seen:<uuid>          an event accepted lately: hook, log, or both in this order
//	coverage             hash: "<type> hook|log", "… sum", "… max", "<type> late" → counts and ms
//	dead                 stream: events that could not be understood (source, event, reason)
//	rec:<scope>          hash: member → version and presence; of edges, their content too
//	content:<scope>      hash: member → content of present users, groups, apps, the account
//	hang:user/<user>     hash: m<group>, a<app> → nothing: the edges of the user found in other scopes
//	hang:group/<group>   hash: the applications assigned to the group → nothing
//	shared:<object>      sorted set: the records that give a graph object of several
//	moved                hash: group → the newest event of its members, ms
//	marks                hash: scope → watermark, ms
//	counts               hash: kind → records present
//	brake                hash: kind → day, records that vanished unannounced on it
//	refresh              hash: what to read again → version to exceed, source, cause
//	                     and what is done in steps: everyone, walk/<record or scope> → as of which version
//	due                  sorted set: the same by the time of the next try, ms
//	unanswered           sorted set: the same by the oldest event that asked for it, ms
//	changes              stream: transitions of records (id, b before, a after, t as of, s source, c cause)
//	cursors              hash: inbox → last entry taken in; log → place in the System Log
//	facts                hash: everyone, the group's id; run, the one that is running; full, whole;
//	                     fence, epoch, server, repair, format (lease.lua); paused; problem; dead, a count;
//	                     settling, scheduled, drift; hook, how the event hook does; limits, the rate limits as the owner last saw them
//	runs, runlist        hash: id → description, JSON; list of ids, newest first
//	pending:<family>     hash: scope that the running run has yet to read → its cursor
//	held:<run>           hash: record or scope → observation that awaits approval, JSON
//	holding              set: the runs that hold something
//	heldcounts           hash: "<run> <kind> deletes|changes" → how many records held:<run> stands for
//	orders               hash: run → what its owner is to do with it: cancel, approve
//	sinks                hash: "<sink> status|note|wish" → how it does, what it remembers, what an operator wishes; JSON
//	lease                the owner's token, with a time to live
//	instance             the instance's settings, its secrets sealed
//	kept                 nothing, for a second: written to wait for a replica of this server
//
// oktasync:instances is the set of instances. In its slot are oktasync:mark:{oktasync:instances},
// there from the first registration on, so that a wiped Redis is known from a new one;
// oktasync:replicas:{oktasync:instances}, a sorted set of the processes that work, by when
// each told so last; and oktasync:kept:{oktasync:instances}. oktasync:ended:<session> is a
// session of the console that was signed out of.
//
// # Channels
//
// inbox and changes name Pub/Sub channels too, on which scripts publish what
// grew. On oktasync:instances comes the id of an instance that was registered,
// changed or released, that has a run to start or another order: all processes
// look at it then. Messages may be lost; whoever waits looks by itself as well,
// each second where it matters.
//
// # Ownership
//
// Many processes accept events; one works for an instance. It has the lease,
// whose token it renews, and the token is the fence too: a script that writes
// what only the owner may write compares it with the token that took the lease
// last, in the same atomic step, and answers FENCED. So a process that slept
// through its lease cannot write once another took over; if nobody did, it goes
// on.
//
// # Servers
//
// The URL leads to one server, to the Sentinels that know where it is, or to a
// Redis Cluster, which spreads the instances over its masters. Whoever owns nothing
// follows the instance wherever it is. An owner works with the one running server that it
// took its lease from: its connections refuse any other, be it the same that was
// started again, a replica that was made master, or the node that the instance's
// slot was moved to. Then the owner ends with ErrFenced, and takes the lease anew.
//
// While Redis Cluster moves a slot, its instances stand still, with ErrMoving: a
// script must find all keys of its instance or not run. So every script names the prefix
// as its key, which never exists: the node that the slot moves from sends it away, and
// it is not followed to the other (nodeHook).
//
// Replicas lag behind. What Okta said comes back from the System Log; what nothing
// brings back (a registration, an operator's order) waits for a replica, a second at most.
//
// # Epoch
//
// Taking or keeping the lease compares the id of the server with the one that
// held the state: a restart or a failover may have lost the last moments, so a
// new epoch begins and facts has repair until the owner has seen to it. What
// is left is a state that was, with its own cursors: the log goes on from there.
// ForgetHistory begins a new epoch without a restart.
package state
