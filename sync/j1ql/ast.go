package j1ql

import "time"

// Query is a parsed query whose names are resolved: every reference holds the
// Binding it means.
type Query struct {
	Unique  bool
	Start   Node
	Steps   []Step
	Where   *Filter // nil: none; its references have a Binding
	Return  *Return // nil: none
	OrderBy []Order
	Skip    int
	Limit   int // 0: not given
}

// Binding numbers what a path binds: the start node is 0; each That that is not
// negated takes one number for its edge and the next for its node, and each
// Optional one after those of its steps, in order of appearance. None is -1.
type Binding int

// None is no binding: of negated steps.
const None Binding = -1

// Pos is where something stands in the text, both from 1. Column counts characters.
type Pos struct{ Line, Column int }

// Step is one of a chain; exactly one field is set.
type Step struct {
	That     *That
	Optional *Optional
}

// Optional is ( THAT … )? : whoever has no such path stays, and so does whoever
// has one. Its binding is the union, absent nowhere.
type Optional struct {
	Pos     Pos
	Steps   []Step // the first is a That
	Alias   string
	Binding Binding
}

// That is a traversal from the nodes reached last, or, negated, a filter on them.
type That struct {
	Pos       Pos
	Negated   bool
	Verbs     []string // upper case; empty: RELATES TO, every verb
	Direction Direction
	Alias     string // of the edge
	Edge      Binding
	Node      Node
}

// Direction is how an edge runs, seen from the left of the text.
type Direction int

// The directions.
const (
	Either Direction = iota
	Forward
	Backward
)

// Node says which entities are meant: all, those of any of the Names, or those with
// Text in one of their properties; and of those, the ones that the filter lets pass.
type Node struct {
	Pos     Pos
	All     bool     // *
	Names   []string // classes begin with an upper-case letter; other names are types
	Text    string   // when neither All nor Names is set
	Filter  *Filter  // nil: none; its references have Binding None and mean this node
	Alias   string
	Binding Binding
}

// Filter is a condition; exactly one field is set.
type Filter struct {
	And     []Filter // two or more
	Or      []Filter // two or more
	Compare *Comparison
}

// Comparison compares a property with values, or with another property.
type Comparison struct {
	Pos      Pos
	Property Property
	Op       Op
	Values   []Value   // one or more, unless Other is set
	All      bool      // the values are joined by AND, not by OR
	Other    *Property // of WHERE only
}

// Property is a property, or a metadata property, of what is bound.
type Property struct {
	Pos     Pos
	Binding Binding
	Name    string // as displayName, _type, tag.AccountName
}

// Op is an operator without its negation.
type Op struct {
	Not  bool
	Kind OpKind
}

// OpKind is what an operator compares.
type OpKind string

// The kinds of operators.
const (
	Equal        OpKind = "="
	Less         OpKind = "<"
	LessEqual    OpKind = "<="
	Greater      OpKind = ">"
	GreaterEqual OpKind = ">="
	Contains     OpKind = "~="
	StartsWith   OpKind = "^="
	EndsWith     OpKind = "$="
)

// Value is one operand; Kind says which field holds it.
type Value struct {
	Pos     Pos
	Kind    ValueKind
	Text    string  // of Text and Regexp (its pattern), and the name of a Parameter
	Fold    bool    // of Regexp: ignore case
	Number  float64 // of Number
	Boolean bool    // of Boolean
	Time    *Time   // of Date
}

// ValueKind is the kind of a value.
type ValueKind int

// The kinds of values. Bind turns parameters and dates into the other kinds.
const (
	Text ValueKind = iota
	Number
	Boolean
	Undefined
	Regexp
	Parameter
	Date
)

// Time is an absolute time, or one relative to now.
type Time struct {
	At   time.Time // zero: relative
	N    int       // negative: before now
	Unit string    // hour, day, month, year; of N
}

// Return says what the answer holds: the tree, or columns.
type Return struct {
	Tree    bool
	Columns []Column
}

// Column is a column of the answer.
type Column struct {
	Name string // the alias, or the expression as written without spaces
	Expr Expr
}

// Expr is an expression; exactly one of the fields but Pos is set, or none for
// the text that is empty.
type Expr struct {
	Pos      Pos
	Property *Property // u.email
	Object   *Binding  // u: the object as a whole
	All      *Binding  // u.*
	Number   *float64
	Text     *string
	Call     *Call
	Binary   *Binary
}

// Call calls a function, named in upper case. COUNT, MIN, MAX, AVG and SUM aggregate.
type Call struct {
	Func string
	Args []Expr
}

// Binary is arithmetic: one of + - * / ^.
type Binary struct {
	Op          byte
	Left, Right Expr
}

// Order is a sort key: a column of the answer by its index, or a property.
type Order struct {
	Pos      Pos
	Column   int // when Property is nil
	Property *Property
	Desc     bool
}
