// Package sqldb keeps graphs in an SQL database, SQLite or PostgreSQL, whose
// tables and views are the same in both: see the files in sqlite and postgres.
//
// The position of a graph is in the database and moves in the transaction that
// moves the graph: at any moment, also after a crash, the tables hold the graph as
// it was at the position. A snapshot is first staged in temporary tables of one
// connection and then merged in one transaction; until it is committed, readers
// see the graph from before. Two processes that deliver at once do no harm: the
// second finds that the position is not where it thought, and fails.
//
// The package is JupiterOne's mapper as well. A mapped relationship leads to the
// entity with the key that its mapping tells; if no entity of our own has that
// key, the mapper makes one (the column mapped), which is there as long as a
// relationship leads to it.
//
// What PostgreSQL cannot hold is changed for both: the character NUL is replaced by
// U+FFFD, and a number too large for a float64 by its text.
package sqldb
