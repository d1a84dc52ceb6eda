// Package jupiterone delivers graphs to JupiterOne, by jobs of its
// synchronization API.
//
// # Promises
//
// A scope, "okta:" and the org's host, holds the graph of one org. A job of the mode
// DIFF makes the scope hold what was uploaded and nothing else, once it is
// finalized; until then it changes nothing. So a job is finalized only after each
// of its batches was accepted, and aborted otherwise. An empty job would empty
// the scope and is never finalized, and one that would drop much of what was
// delivered waits for an operator.
//
// Two jobs in one scope at once would each take the other's new objects for
// missing. So there is at most one of ours: its id is kept in Memory before the
// first upload and again before it is finalized, which also fails once another
// process owns the instance; and whoever finds a job there first aborts it, if it
// still takes uploads, or waits for its end. The position is kept only after
// JupiterOne says FINISHED.
//
// # Full and delta
//
// By default each delivery is the whole graph, since that is the only way that
// JupiterOne documents to delete a relationship. With Config.Partial a delivery
// uploads only what changed, and names every type as one of which the job does not
// tell everything (partialDatasets), so that nothing is deleted; deletes wait for
// the next full job. If JupiterOne ignored the list, the rest of the scope
// would be deleted: Probe finds out.
//
// # People
//
// Our graph has a Person for a user, and a relationship that leads to it.
// JupiterOne makes Persons by itself, from mapped relationships, so these are sent
// in the place of both: a Person that another integration made is joined.
package jupiterone
