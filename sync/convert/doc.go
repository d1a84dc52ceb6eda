// Package convert turns what Okta says into observations of records, and
// records into graph objects. Its functions are pure: no clock, no network, no
// log. The same answer of Okta always gives the same bytes.
//
// Three ways lead through it:
//
//   - what was read: [Org.User], [Org.Group] and so on give the observation of a
//     record and its content; the caller adds version and cause;
//   - what an event tells: [Event] gives observations and what to read again;
//   - what a record gives to the graph: [Project].
//
// Nothing that Okta sends fails a conversion: a value that makes no sense
// leaves its property out. Raw records of Okta are not uploaded.
package convert
