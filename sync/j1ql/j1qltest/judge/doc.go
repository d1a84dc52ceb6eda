// Package judge judges the J1QL engine in tests: it answers queries from their
// meaning alone, as the doc comment of j1ql tells it, by trying all paths, and it
// makes random graphs and queries. It is slow on purpose and shares no code with
// the compiler.
//
// Where the meaning leaves something open, the judge holds that
//
//   - a property that is an object has no elements, and is not absent; the list of a
//     list's elements goes one level deep;
//   - MIN, MAX, SUM and AVG pass over texts, booleans and lists, also over numbers in lists;
//   - ORDER BY keeps numbers before texts before booleans before lists before objects
//     when it descends, too, and false is less than true;
//   - an entity or relationship as a whole, u or u.*, sorts by its key;
//   - of several keys of ORDER BY on other bindings, a list of one selector takes
//     the best value of each key by itself;
//   - SKIP and LIMIT do not cut a tree;
//   - SQRT of a negative number, a division by zero and what overflows is no number; -0 is 0;
//   - a list of constants only beside an aggregate groups too: without paths there is no row.
package judge
