package j1ql

import (
	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// The lexer knows where it is: a / begins a regular expression only after an
// operator of comparison, and a - is part of a name only outside of RETURN. It takes
// any text: what fits no rule is Other, a single character.
var tokens = lexer.MustStateful(lexer.Rules{
	"Root": {
		lexer.Include("Blank"),
		{Name: "Return", Pattern: `(?i:return)\b`, Action: lexer.Push("Return")},
		{Name: "Compare", Pattern: `!?[~^$]?=|<=|>=`, Action: lexer.Push("Operand")},
		{Name: "Direction", Pattern: `<<|>>`},
		{Name: "Compare1", Pattern: `[<>]`, Action: lexer.Push("Operand")},
		lexer.Include("Value"),
		lexer.Include("Word"),
	},
	"Operand": {
		lexer.Include("Blank"),
		{Name: "Regexp", Pattern: `/(?:\\.|[^/\\\n])+/i?`, Action: lexer.Pop()},
		{Name: "OpenRegexp", Pattern: `/`},
		{Name: "List", Pattern: `\(`, Action: lexer.Push("Values")},
		lexer.Return(),
	},
	"Values": {
		lexer.Include("Blank"),
		{Name: "Regexp", Pattern: `/(?:\\.|[^/\\\n])+/i?`},
		{Name: "OpenRegexp", Pattern: `/`},
		{Name: "ListEnd", Pattern: `\)`, Action: lexer.Push("Root")}, // back in Operand a ( would begin another list
		lexer.Include("Value"),
		lexer.Include("Word"),
	},
	"Return": {
		lexer.Include("Blank"),
		{Name: "Strange", Pattern: strange},
		{Name: "String", Pattern: quoted},
		{Name: "Number", Pattern: number},
		{Name: "Bracket", Pattern: `\[[^\]\n]*\]`},
		{Name: "Keyword", Pattern: keyword},
		{Name: "Short", Pattern: `[A-Za-z_][A-Za-z0-9_:]*`},
		{Name: "Punct", Pattern: punct},
		lexer.Include("Other"),
	},
	"Blank": {
		{Name: "Space", Pattern: `\s+`},
		{Name: "Comment", Pattern: `/\*(?:[^*]|\*+[^*/])*\*+/`},
		{Name: "OpenComment", Pattern: `/\*`},
	},
	"Value": {
		{Name: "Strange", Pattern: strange},
		{Name: "Parameter", Pattern: `\$\{[^}\n]*\}`},
		{Name: "String", Pattern: quoted},
		{Name: "Now", Pattern: `(?i:date)\s*\.\s*(?i:now)\b(?:\s*[+-]\s*[0-9]+\s*[A-Za-z]*)?`},
		{Name: "Date", Pattern: `(?i:date)\s*\([^()'"\n]*\)`},
		{Name: "Number", Pattern: number},
	},
	"Word": {
		{Name: "Bracket", Pattern: `\[[^\]\n]*\]`},
		{Name: "Keyword", Pattern: keyword},
		{Name: "Name", Pattern: `[A-Za-z_][A-Za-z0-9_:]*(?:-[A-Za-z_][A-Za-z0-9_:]*)*`},
		{Name: "Punct", Pattern: punct},
		lexer.Include("Other"),
	},
	"Other": {
		{Name: "OpenText", Pattern: `['"]`},
		{Name: "OpenBracket", Pattern: `\[`},
		{Name: "Other", Pattern: `.`},
	},
})

// In a text in quotes a backslash stands before the same quote, or before a
// backslash, that are part of the text; before anything else it is one itself. A
// name is of ASCII letters, digits, _ and :, and - within it; others stand in [ ].
const (
	strange = `#[A-Za-z_]+|\{\{`
	quoted  = `'(?:\\(?:.|\n)|[^'\\])*'|"(?:\\(?:.|\n)|[^"\\])*"`
	number  = `[0-9]+(?:\.[0-9]+)?`
	keyword = `(?i:find|unique|with|as|that|where|order|by|skip|limit|and|or|true|false|null|undefined)\b`
	punct   = `[-+*/^().,|!?]`
)

var parser = participle.MustBuild[gQuery](
	participle.Lexer(tokens),
	participle.CaseInsensitive("Keyword", "Name", "Short"),
	participle.UseLookahead(0),
)

// The grammar, in the order of the text. One token decides everywhere how to go on:
// so the first that cannot be taken is the one to complain of, and the time is
// in proportion to the text.
type gQuery struct {
	Find   bool      `parser:"@'FIND'?"`
	Unique *gUnique  `parser:"@@?"`
	Node   gNode     `parser:"@@"`
	Steps  []gStep   `parser:"@@*"`
	Where  *gFilter  `parser:"('WHERE' @@)?"`
	Return []gColumn `parser:"(Return @@ (',' @@)*)?"`
	Order  []gOrder  `parser:"('ORDER' 'BY' @@ (',' @@)*)?"`
	Skip   *gCount   `parser:"('SKIP' @@)?"`
	Limit  *gCount   `parser:"('LIMIT' @@)?"`
}

type gUnique struct {
	Pos    lexer.Position
	Unique bool `parser:"@'UNIQUE'"`
}

type gCount struct {
	Pos   lexer.Position
	Count string `parser:"@Number"`
}

type gStep struct {
	That     *gThat     `parser:"@@"`
	Optional *gOptional `parser:"| @@"`
}

type gOptional struct {
	Pos   lexer.Position
	First gThat   `parser:"'(' @@"`
	Rest  []gStep `parser:"@@* ')' '?'"`
	Alias *gName  `parser:"('AS' @@)?"`
}

type gThat struct {
	Pos    lexer.Position
	Not    bool    `parser:"'THAT' @'!'?"`
	Verbs  []gName `parser:"('(' @@ ('|' @@)* ')' | @@)"`
	To     bool    `parser:"@'TO'?"`
	Before string  `parser:"@Direction?"`
	Alias  *gName  `parser:"('AS' @@)?"`
	After  string  `parser:"@Direction?"`
	Node   gNode   `parser:"@@"`
}

type gName struct {
	Pos  lexer.Position
	Name string `parser:"@Name"`
}

type gNode struct {
	Pos    lexer.Position
	All    bool     `parser:"( @'*'"`
	Text   *string  `parser:"| @String"`
	Names  []gName  `parser:"| '(' @@ ('|' @@)* ')' | @@ )"`
	Before *gName   `parser:"( 'AS' @@"`
	Then   *gFilter `parser:"  ('WITH' @@)?"`
	With   *gFilter `parser:"| 'WITH' @@"`
	After  *gName   `parser:"  ('AS' @@)? )?"`
}

type gFilter struct {
	Or []gConjunction `parser:"@@ ('OR' @@)*"`
}

type gConjunction struct {
	And []gCondition `parser:"@@ ('AND' @@)*"`
}

type gCondition struct {
	Pos     lexer.Position
	Inner   *gFilter `parser:"'(' @@ ')'"`
	Ref     *gRef    `parser:"| @@"`
	Op      string   `parser:"  @(Compare | Compare1)"`
	Operand gOperand `parser:"  @@"`
}

type gRef struct {
	Pos   lexer.Position
	Parts []string `parser:"@(Bracket | Name) ('.' @(Bracket | Name | Keyword))*"`
}

type gOperand struct {
	List  []gValue `parser:"List @@"`
	Join  string   `parser:"  ( ( @'OR'"`
	More  []gValue `parser:"      @@ ('OR' @@)* ) | ("`
	JoinA string   `parser:"      @'AND'"`
	MoreA []gValue `parser:"      @@ ('AND' @@)* ) )? ListEnd"`
	Value *gValue  `parser:"| @@"`
}

type gValue struct {
	Pos       lexer.Position
	String    *string `parser:"  @String"`
	Regexp    *string `parser:"| @Regexp"`
	Now       *string `parser:"| @Now"`
	Date      *string `parser:"| @Date"`
	Parameter *string `parser:"| @Parameter"`
	Minus     bool    `parser:"| (@'-'?"`
	Number    *string `parser:"    @Number)"`
	Word      *string `parser:"| @('TRUE' | 'FALSE' | 'NULL' | 'UNDEFINED')"`
	Ref       *gRef   `parser:"| @@"`
}

type gColumn struct {
	Pos   lexer.Position
	Expr  gExpr        `parser:"@@"`
	Alias *lexer.Token `parser:"('AS' @(Short | String))?"`
}

type gExpr struct {
	Pos    lexer.Position
	Tokens []lexer.Token
	First  gTerm       `parser:"@@"`
	Rest   []gExprRest `parser:"@@*"`
}

type gExprRest struct {
	Pos  lexer.Position
	Op   string `parser:"@('+' | '-')"`
	Term gTerm  `parser:"@@"`
}

type gTerm struct {
	Pos   lexer.Position
	First gFactor     `parser:"@@"`
	Rest  []gTermRest `parser:"@@*"`
}

type gTermRest struct {
	Pos    lexer.Position
	Op     string  `parser:"@('*' | '/' | '^')"`
	Factor gFactor `parser:"@@"`
}

type gFactor struct {
	Pos    lexer.Position
	Minus  bool     `parser:"  (@'-'?"`
	Number *string  `parser:"    @Number)"`
	String *string  `parser:"| @String"`
	Inner  *gExpr   `parser:"| '(' @@ ')'"`
	Name   string   `parser:"| @(Short | Name)"`
	Args   []gExpr  `parser:"  ( '(' @@ (',' @@)* ')'"`
	Parts  []string `parser:" | ('.' @(Bracket | Short | Name | Keyword | '*'))+ )?"`
}

type gPath struct {
	Parts []string `parser:"@(Short | Name) ('.' @(Bracket | Short | Name | Keyword | '*'))*"`
}

type gOrder struct {
	Pos   lexer.Position
	Text  *string `parser:"( @String"`
	Ref   *gPath  `parser:"| @@ )"`
	Order string  `parser:"@('ASC' | 'DESC')?"`
}
