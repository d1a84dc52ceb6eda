// Package j1ql is JupiterOne's query language: it parses a query, resolves its
// names, and compiles it to one SQL statement. It opens no database.
//
// # What a query means
//
// A path binds each node of the query to an entity and each edge to a
// relationship. The same entity may come twice in a path. A query is about all
// its paths; without RETURN, or with one selector alone, about the set of the
// entities that some path binds there.
//
//   - A node matches by class (a name that begins with an upper-case letter: one
//     of the entity's classes), by type (any other name), or by text: a string
//     in one of its properties, or in an array there, contains the text, where
//     ASCII letters match in either case; metadata does not count.
//   - An edge connects two entities in either direction, unless >> or << is
//     written, and has one of the verbs as its class. A relationship from an
//     entity to itself is one path, not two. A relationship one of whose ends is
//     not there connects nothing.
//   - A negated step keeps those entities reached last that have no such edge to
//     an entity that the node matches; the next step goes on from those that
//     remain. Direction is not looked at.
//   - An optional step leads to the union of the entities it began with and
//     those it reaches. Each path without it, where its inner bindings are
//     absent, and each with it is a path of the query: so who has what the step
//     asks for comes twice or more in a table.
//
// Metadata of an entity: _key, _id (the same), _type, _class (a list). Of a
// relationship: _key, _id, _type, _class (a text), _fromEntityKey, _toEntityKey.
// Other names that begin with _ are absent.
//
// # Comparing
//
// The elements of a property are: none if it is absent (missing or null), itself
// if it is a text, number or boolean, its elements that are not null if it is an
// array. A positive operator holds if it holds for one element and the
// value; between different types it does not hold. p = undefined holds if
// p is absent; an empty array is not absent. Of values joined by OR one must do,
// of those joined by AND each, perhaps for different elements. A negative operator
// holds when the positive one, with the same list, does not.
//
// < <= > >= compare numbers; ~= ^= $= texts, by bytes. A regular expression has
// Go's syntax (RE2), is not anchored with = and ~=, and is anchored with ^= at the start,
// with $= at the end. Two properties (WHERE) compare as above for any pair of their
// elements; if either is absent, positive operators do not hold.
//
// # Answers
//
// Without ORDER BY rows are ordered by the keys of what their path binds, in
// order of the bindings (an absent one first); rows of an aggregate, or of UNIQUE, by their columns.
// ORDER BY sorts numbers before texts before booleans before lists and objects (by
// their JSON), each ascending or descending, and absent values last in both; ties by the former order.
//
// If a column aggregates, the rows are the groups by all columns that do not; without
// such columns there is one row. COUNT(u) counts the distinct entities or
// relationships bound to u; COUNT(u.p) the distinct values of u.p that are not
// absent (an array is one value). MIN, MAX, SUM and AVG take the numbers over all paths,
// and are absent if there is none.
//
// Arithmetic, and ABS, SQRT, CEIL, FLOOR and ROUND (half away from zero), give an absent value if an operand
// is no number, or the result is none. CONCAT joins texts, numbers and booleans as JSON writes
// them, and takes what is absent, and lists, for the empty text; COALESCE gives its
// first argument that is not absent; MERGE a list of the elements of all its arguments,
// in order.
package j1ql
