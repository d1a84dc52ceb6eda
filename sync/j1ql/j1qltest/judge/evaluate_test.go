package judge_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/j1ql/j1qltest/judge"
)

// org is the graph of the cases below.
//
//	acme HAS ann, bob, cat; ann IS p1, bob IS p2; g1 HAS ann, bob, g1; g2 HAS bob
//	ann ASSIGNED app, k1, the role; ann USES app; arn CONNECTS app
var org = judge.Graph{
	Entities: []graph.Entity{
		entity("cat", "okta_user", graph.Properties{"name": "cät", "email": []any{}, "age": 40.5, "active": "true", "nick": nil}, "User"),
		entity("bob", "okta_user", graph.Properties{"name": "Bob", "email": "bob@x.com", "age": "30", "active": false}, "User"),
		entity("ann", "okta_user", graph.Properties{
			"name": "Ann", "email": []string{"ann@x.com", "ann@y.com"}, "age": 30, "active": true, "tag.AccountName": "acme",
		}, "User"),
		entity("acme", "okta_account", graph.Properties{"name": "acme"}, "Account"),
		entity("p1", "employee", graph.Properties{"name": "Ann", "email": "ann@x.com", "level": 1}, "Person"),
		entity("p2", "employee", graph.Properties{"name": "Bob", "level": 2}, "Person"),
		entity("g1", "okta_user_group", graph.Properties{"name": "Admins", "tags": []any{"a", 1, true, nil}}, "UserGroup"),
		entity("g2", "okta_app_user_group", graph.Properties{"name": `100%_\`}, "UserGroup"),
		entity("app", "okta_application", graph.Properties{"name": "AWS"}, "Application"),
		entity("k1", "mfa_device", graph.Properties{"name": "push"}, "Key", "AccessKey"),
		entity("arn", "aws_iam_role", nil, "AccessRole"),
		entity("aws_iam_role:Admin|prod", "aws_iam_role", nil, "AccessRole"),
	},
	Relationships: []graph.Relationship{
		edge("hCat", "acme", "HAS", "cat", nil), edge("hBob", "acme", "HAS", "bob", nil), edge("hAnn", "acme", "HAS", "ann", nil),
		edge("isAnn", "ann", "IS", "p1", nil), edge("isBob", "bob", "IS", "p2", nil),
		edge("g1Ann", "g1", "HAS", "ann", graph.Properties{"since": 1}),
		edge("g1Bob", "g1", "HAS", "bob", graph.Properties{"since": 2}),
		edge("g2Bob", "g2", "HAS", "bob", nil),
		edge("loop", "g1", "HAS", "g1", nil),
		edge("asApp", "ann", "ASSIGNED", "app", nil), edge("usApp", "ann", "USES", "app", nil),
		edge("asKey", "ann", "ASSIGNED", "k1", nil),
		edge("away", "bob", "ASSIGNED", "gone", nil), edge("from", "gone", "HAS", "cat", nil),
		mapped("m1", "ann", "ASSIGNED", "FORWARD", []string{"_type", "roleName", "tag.AccountName"},
			graph.Properties{"_type": "aws_iam_role", "roleName": "Admin", "tag.AccountName": "prod"}),
		mapped("m2", "app", "CONNECTS", "REVERSE", []string{"_type", "_key"}, graph.Properties{"_type": "aws_iam_role", "_key": "arn"}),
		mapped("m3", "bob", "ASSIGNED", "FORWARD", []string{"_type", "_key"}, graph.Properties{"_type": "aws_iam_role", "_key": "other"}),
	},
}

func entity(key, kind string, p graph.Properties, class ...string) graph.Entity {
	return graph.Entity{Key: key, Type: kind, Class: class, Properties: p}
}

func edge(key, from, verb, to string, p graph.Properties) graph.Relationship {
	return graph.Relationship{Key: key, Type: "a_" + strings.ToLower(verb) + "_b", Class: verb, From: from, To: to, Properties: p}
}

func mapped(key, source, verb, direction string, filter []string, target graph.Properties) graph.Relationship {
	return graph.Relationship{Key: key, Type: "a_" + strings.ToLower(verb) + "_b", Class: verb, Mapping: &graph.Mapping{
		SourceEntityKey: source, RelationshipDirection: direction, TargetFilterKeys: [][]string{filter}, TargetEntity: target,
	}}
}

func parse(t *testing.T, text string) *j1ql.Query {
	t.Helper()
	q, err := j1ql.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	bound, err := j1ql.Bind(q, nil, time.UnixMilli(1_700_000_000_000))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return bound
}

// line shows a row: objects by their key, values as JSON, - for what is absent.
func line(cells []any) string {
	var all []string
	for _, cell := range cells {
		o, ok := cell.(*judge.Object)
		switch {
		case cell == nil || ok && o == nil:
			all = append(all, "-")
		case ok:
			all = append(all, o.Key)
		default:
			b, err := json.Marshal(cell)
			if err != nil {
				panic(err)
			}
			all = append(all, string(b))
		}
	}
	return strings.Join(all, ", ")
}

// each case is a query and the rows of its answer.
var cases = []struct {
	query string
	want  []string
}{
	// A node matches by class, by type, or by text.
	{`User`, rows("ann", "bob", "cat")},
	{`FIND user`, nil},
	{`FIND okta_user_group`, rows("g1")},
	{`FIND Key`, rows("k1")},
	{`FIND AccessKey`, rows("k1")},
	{`FIND (UserGroup|okta_account)`, rows("acme", "g1", "g2")},
	{`FIND *`, rows("acme", "ann", "app", "arn", "aws_iam_role:Admin|prod", "bob", "cat", "g1", "g2", "k1", "p1", "p2")},
	{`FIND 'ANN'`, rows("ann", "p1")},
	{`FIND 'y.com'`, rows("ann")},
	{`FIND 'CäT'`, rows("cat")},
	{`FIND 'CÄT'`, nil},
	{`FIND 'okta_user'`, nil},
	{`FIND '30'`, rows("bob")},
	{`FIND 'true'`, rows("cat")},
	{`FIND '%_'`, rows("g2")},
	{`FIND 'Ann' WITH level = 1`, rows("p1")},

	// Types are told apart.
	{`FIND User WITH age = 30`, rows("ann")},
	{`FIND User WITH age = '30'`, rows("bob")},
	{`FIND User WITH age != 30`, rows("bob", "cat")},
	{`FIND User WITH active = true`, rows("ann")},
	{`FIND User WITH active = 'true'`, rows("cat")},
	{`FIND User WITH active != true`, rows("bob", "cat")},

	// Elements of arrays; what is absent.
	{`FIND User WITH email = 'ann@y.com'`, rows("ann")},
	{`FIND User WITH email != 'ann@y.com'`, rows("bob", "cat")},
	{`FIND User WITH nick = undefined`, rows("ann", "bob", "cat")},
	{`FIND User WITH email = undefined`, nil},
	{`FIND User WITH email != undefined`, rows("ann", "bob", "cat")},
	{`FIND Person WITH email = undefined`, rows("p2")},
	{`FIND Person WITH email != 'x'`, rows("p1", "p2")},
	{`FIND UserGroup WITH tags = 1`, rows("g1")},
	{`FIND UserGroup WITH tags = '1'`, nil},
	{`FIND UserGroup WITH tags = true`, rows("g1")},
	{`FIND UserGroup WITH tags = undefined`, rows("g2")},
	{`FIND UserGroup WITH tags > 0`, rows("g1")},

	// Lists.
	{`FIND User WITH email = ('ann@x.com' OR 'bob@x.com')`, rows("ann", "bob")},
	{`FIND User WITH email = ('ann@x.com' AND 'ann@y.com')`, rows("ann")},
	{`FIND User WITH email = ('ann@x.com' AND 'bob@x.com')`, nil},
	{`FIND User WITH email != ('ann@x.com' OR 'bob@x.com')`, rows("cat")},
	{`FIND User WITH email != ('ann@x.com' AND 'bob@x.com')`, rows("ann", "bob", "cat")},
	{`FIND User WITH email != ('ann@x.com' AND 'ann@y.com')`, rows("bob", "cat")},
	{`FIND UserGroup WITH tags = ('a' OR undefined)`, rows("g1", "g2")},
	{`FIND UserGroup WITH tags = ('a' AND 1 AND true)`, rows("g1")},
	{`FIND User WITH name ~= ('A' AND 'nn')`, rows("ann")},

	// Numbers by size, also of dates; texts by bytes.
	{`FIND User WITH age > 30`, rows("cat")},
	{`FIND User WITH age >= 30`, rows("ann", "cat")},
	{`FIND User WITH age < 40.5`, rows("ann")},
	{`FIND User WITH age <= 40.5`, rows("ann", "cat")},
	{`FIND User WITH age < date(2001)`, rows("ann", "cat")},
	{`FIND User WITH name ~= 'n'`, rows("ann")},
	{`FIND User WITH name ~= 'N'`, nil},
	{`FIND User WITH name !~= 'n'`, rows("bob", "cat")},
	{`FIND User WITH nick !~= 'n'`, rows("ann", "bob", "cat")},
	{`FIND User WITH name ~= ''`, rows("ann", "bob", "cat")},
	{`FIND User WITH email ~= ''`, rows("ann", "bob")},
	{`FIND User WITH name ^= 'A'`, rows("ann")},
	{`FIND User WITH name !^= 'A'`, rows("bob", "cat")},
	{`FIND User WITH email $= 'x.com'`, rows("ann", "bob")},
	{`FIND User WITH email !$= 'x.com'`, rows("cat")},
	{`FIND UserGroup WITH name ~= '%_'`, rows("g2")},
	{`FIND UserGroup WITH name $= '\\'`, rows("g2")},

	// Regular expressions.
	{`FIND User WITH name = /n/`, rows("ann")},
	{`FIND User WITH name ~= /^A/`, rows("ann")},
	{`FIND User WITH name = /^a/`, nil},
	{`FIND User WITH name = /^a/i`, rows("ann")},
	{`FIND User WITH name != /n/`, rows("bob", "cat")},
	{`FIND User WITH name ^= /n/`, nil},
	{`FIND User WITH name ^= /x|A/`, rows("ann")},
	{`FIND User WITH name ^= /x|n/`, nil},
	{`FIND User WITH name $= /n|o/`, rows("ann")},
	{`FIND User WITH name $= /N|X/i`, rows("ann")},
	{`FIND User WITH email = /y\.com$/`, rows("ann")},
	{`FIND User WITH age = /\d/`, rows("bob")},

	// AND before OR; parentheses.
	{`FIND User WITH name = 'Bob' OR name = 'Ann' AND age = 30`, rows("ann", "bob")},
	{`FIND User WITH (name = 'Bob' OR name = 'Ann') AND age = 30`, rows("ann")},

	// Metadata.
	{`FIND * WITH _type = 'okta_user'`, rows("ann", "bob", "cat")},
	{`FIND * WITH _class = 'AccessKey'`, rows("k1")},
	{`FIND * WITH _key = 'ann' AND _id = 'ann' AND _createdOn = undefined`, rows("ann")},
	{`FIND Account THAT HAS AS e User WHERE e._class = 'HAS' AND e._type = 'a_has_b' AND e._key $= 'b' AND e._id = 'hBob' RETURN e`, rows("hBob")},
	{`FIND Account THAT HAS AS e User WHERE e._fromEntityKey = 'acme' AND e._toEntityKey = 'cat' RETURN e`, rows("hCat")},

	// Edges: either direction unless one is written, verbs, parallel ones, loops, ends that are not there.
	{`FIND UserGroup THAT HAS User`, rows("g1", "g2")},
	{`FIND User THAT HAS UserGroup`, rows("ann", "bob")},
	{`FIND User THAT HAS << UserGroup`, rows("ann", "bob")},
	{`FIND User THAT HAS >> UserGroup`, nil},
	{`FIND UserGroup THAT HAS >> User`, rows("g1", "g2")},
	{`FIND UserGroup THAT HAS << User`, nil},
	{`FIND User THAT RELATES TO Application`, rows("ann")},
	{`FIND User AS u THAT (ASSIGNED|USES) AS e Application AS a RETURN u, e, a`, rows("ann, asApp, app", "ann, usApp, app")},
	{`FIND User AS u THAT RELATES TO Application AS a RETURN u, a`, rows("ann, app", "ann, app")},
	{`FIND UserGroup AS a THAT HAS AS e UserGroup AS b RETURN a, e, b`, rows("g1, loop, g1")},
	{`FIND UserGroup AS a THAT HAS >> AS e UserGroup AS b RETURN a, e, b`, rows("g1, loop, g1")},
	{`FIND UserGroup AS a THAT HAS << AS e UserGroup AS b RETURN a, e, b`, rows("g1, loop, g1")},
	{`FIND User WITH name = 'Bob' THAT RELATES TO AS e * RETURN e`, rows("g1Bob", "g2Bob", "hBob", "isBob")},
	{`FIND User WITH name = 'cät' THAT HAS AS e * RETURN e`, rows("hCat")},
	{`FIND User AS u THAT ASSIGNED >> AccessRole AS r RETURN u, r`, rows("ann, aws_iam_role:Admin|prod")},
	{`FIND User AS u THAT ASSIGNED << AccessRole AS r RETURN u, r`, nil},
	{`FIND Application THAT CONNECTS << AccessRole AS r RETURN r`, rows("arn")},
	{`FIND Application THAT CONNECTS AS e AccessRole RETURN e._fromEntityKey, e._toEntityKey`, rows(`"arn", "app"`)},

	// The same entity may come twice in a path; rows come in the order of keys.
	{`FIND User AS a THAT HAS UserGroup THAT HAS User AS b RETURN a, b`,
		rows("ann, ann", "ann, bob", "bob, ann", "bob, bob", "bob, bob")},
	{`FIND User THAT HAS UserGroup THAT HAS User AS b RETURN b`, rows("ann", "bob")},

	// Negation.
	{`FIND User THAT !IS Person`, rows("cat")},
	{`FIND User THAT !(ASSIGNED|USES) *`, rows("bob", "cat")},
	{`FIND User THAT !RELATES TO UserGroup`, rows("cat")},
	{`FIND User THAT !IS Person WITH level = 1`, rows("bob", "cat")},
	{`FIND User THAT !HAS >> UserGroup`, rows("cat")},
	{`FIND UserGroup THAT !HAS UserGroup`, rows("g2")},
	{`FIND UserGroup THAT HAS User THAT !USES Application THAT IS Person AS p RETURN p`, rows("p2")},
	{`FIND UserGroup THAT HAS User THAT !USES Application`, rows("g1", "g2")},
	{`FIND UserGroup THAT HAS User AS u THAT !USES Application RETURN u`, rows("bob")},

	// Optional steps.
	{`FIND User AS u (THAT IS Person AS p)? RETURN u, p`, rows("ann, -", "ann, p1", "bob, -", "bob, p2", "cat, -")},
	{`FIND User AS u (THAT IS Person AS p)? RETURN p`, rows("p1", "p2")},
	{`FIND User (THAT HAS UserGroup)? AS x RETURN x`, rows("ann", "bob", "cat", "g1", "g2")},
	{`FIND User AS u (THAT HAS UserGroup)? AS x THAT HAS User AS y RETURN u, x, y`,
		rows("ann, g1, ann", "ann, g1, bob", "bob, g1, ann", "bob, g1, bob", "bob, g2, bob")},
	{`FIND User AS u (THAT HAS UserGroup AS g THAT HAS Account AS a)? RETURN u, g, a`, rows("ann, -, -", "bob, -, -", "cat, -, -")},
	{`FIND User WITH name = 'Ann' AS u (THAT IS AS e Person AS p)? WHERE p.level = undefined RETURN u, e, p`, rows("ann, -, -")},
	{`FIND User AS u (THAT IS Person AS p)? WHERE p.level != 1 RETURN u, p`, rows("ann, -", "bob, -", "bob, p2", "cat, -")},
	{`FIND User AS u (THAT IS Person AS p)? WHERE p._class = undefined RETURN u`, rows("ann", "bob", "cat")},
	{`FIND User AS u (THAT IS Person AS p)? (THAT ASSIGNED Key AS k)? RETURN u, p, k`,
		rows("ann, -, -", "ann, -, k1", "ann, p1, -", "bob, -, -", "bob, p2, -", "cat, -, -")},
	{`FIND Account AS a (THAT HAS User WITH name = 'Ann' AS u (THAT IS Person AS p)? AS y)? AS x RETURN a, u, p, y, x`,
		rows("acme, -, -, -, acme", "acme, ann, -, ann, ann", "acme, ann, p1, p1, p1")},
	{`FIND User AS u (THAT HAS UserGroup AS g THAT !HAS User WITH name = 'Ann')? RETURN u, g`, rows("ann, -", "bob, -", "bob, g2", "cat, -")},
	{`FIND User AS u (THAT IS Person)? RETURN u.name`, rows(`"Ann"`, `"Ann"`, `"Bob"`, `"Bob"`, `"cät"`)},

	// WHERE: edges, two properties.
	{`FIND UserGroup THAT HAS AS e User AS u WHERE e.since = 1 RETURN u`, rows("ann")},
	{`FIND UserGroup AS g THAT HAS AS e User AS u WHERE e.since != 1 RETURN g, u`, rows("g1, bob", "g2, bob")},
	{`FIND UserGroup AS g THAT HAS AS e User AS u WHERE e.since > 1 OR u.name ~= 'A' RETURN g, u`, rows("g1, ann", "g1, bob")},
	{`FIND User AS u THAT IS Person AS p WHERE u.name = p.name`, rows("ann", "bob")},
	{`FIND User AS u THAT IS Person AS p WHERE u.email = p.email`, rows("ann")},
	{`FIND User AS u THAT IS Person AS p WHERE u.email != p.email`, rows("bob")},
	{`FIND User AS u THAT IS Person AS p WHERE u.nope = p.nope`, nil},
	{`FIND User AS u THAT IS Person AS p WHERE u.nope != p.nope`, rows("ann", "bob")},
	{`FIND User AS u THAT IS Person AS p WHERE u.age > p.level`, rows("ann")},
	{`FIND User AS u THAT IS Person AS p WHERE u.email ^= p.email`, rows("ann")},
	{`FIND User AS u THAT IS Person AS p WHERE u.email $= p.name`, nil},
	{`FIND User AS u WHERE u.active = u.active`, rows("ann", "bob", "cat")},
	{`FIND User AS u WHERE u.email = u.email`, rows("ann", "bob")},

	// RETURN.
	{`FIND User AS u RETURN u.name, u.age, u.active, u.nick`, rows(`"Ann", 30, true, -`, `"Bob", "30", false, -`, `"cät", 40.5, "true", -`)},
	{`FIND User AS u RETURN u, u.email`, rows(`ann, ["ann@x.com","ann@y.com"]`, `bob, "bob@x.com"`, `cat, []`)},
	{`FIND UserGroup AS g RETURN g.tags, g._class`, rows(`["a",1,true,null], ["UserGroup"]`, `-, ["UserGroup"]`)},
	{`FIND Account AS a RETURN a.*`, rows(`{"_class":["Account"],"_id":"acme","_key":"acme","_type":"okta_account","name":"acme"}`)},
	{`FIND User WITH name = 'cät' AS u RETURN u.*`,
		rows(`{"_class":["User"],"_id":"cat","_key":"cat","_type":"okta_user","active":"true","age":40.5,"email":[],"name":"cät"}`)},
	{`FIND UserGroup THAT HAS AS e User WHERE e.since = 2 RETURN e.*`,
		rows(`{"_class":"HAS","_fromEntityKey":"g1","_id":"g1Bob","_key":"g1Bob","_toEntityKey":"bob","_type":"a_has_b","since":2}`)},
	{`FIND Account (THAT IS Person AS p)? RETURN p.*, p`, rows("-, -")},
	{`FIND Account THAT HAS AS e User RETURN e`, rows("hAnn", "hBob", "hCat")},
	{`FIND User WITH name = 'Ann' THAT IS Person RETURN TREE`, rows("ann", "p1", "isAnn")},
	{`FIND User AS u THAT IS Person AS p WHERE p.level = 2 RETURN TREE`, rows("bob", "p2", "isBob")},
	{`FIND User WITH name = 'cät' THAT !IS Person RETURN TREE`, rows("cat")},
	{`FIND User WITH name ~= 'n' (THAT ASSIGNED Key)? RETURN TREE`, rows("ann", "k1", "asKey")},

	// Aggregates.
	{`FIND User AS u RETURN COUNT(u)`, rows("3")},
	{`FIND User AS u THAT (ASSIGNED|USES) AS e Application AS a RETURN COUNT(u), COUNT(e), COUNT(a)`, rows("1, 2, 1")},
	{`FIND User AS u (THAT IS Person AS p)? RETURN COUNT(u), COUNT(p)`, rows("3, 2")},
	{`FIND UserGroup AS g THAT HAS User AS u RETURN g.name, COUNT(u)`, rows(`"100%_\\", 1`, `"Admins", 2`)},
	{`FIND UserGroup AS g THAT HAS User AS u RETURN COUNT(u) AS n, g ORDER BY n DESC`, rows("2, g1", "1, g2")},
	{`FIND UserGroup AS g THAT HAS User AS u RETURN COUNT(u), g.nope`, rows("2, -")},
	{`FIND UserGroup AS g THAT HAS User AS u RETURN u._type, u.name, COUNT(g)`, rows(`"okta_user", "Ann", 1`, `"okta_user", "Bob", 2`)},
	{`FIND nothing AS n RETURN COUNT(n), SUM(n.x), MIN(n.x), MAX(n.x), AVG(n.x)`, rows("0, -, -, -, -")},
	{`FIND nothing AS n RETURN n.name, COUNT(n)`, nil},
	{`FIND User AS u RETURN COUNT(u.age), COUNT(u.email), COUNT(u.nick), COUNT(u._type), COUNT(u._class)`, rows("3, 3, 0, 1, 1")},
	{`FIND User AS u RETURN MIN(u.age), MAX(u.age), SUM(u.age), AVG(u.age)`, rows("30, 40.5, 70.5, 35.25")},
	{`FIND UserGroup THAT HAS User THAT IS Person AS p RETURN SUM(p.level), COUNT(p.level)`, rows("5, 2")},
	{`FIND UserGroup AS g RETURN MAX(g.tags), SUM(g.name)`, rows("-, -")},
	{`FIND User AS u RETURN COUNT(u) * 2 + 1, ROUND(AVG(u.age)), CONCAT(COUNT(u), ' users'), COALESCE(MAX(u.nick), 0)`, rows(`7, 35, "3 users", 0`)},
	{`FIND User AS u RETURN MERGE(COUNT(u), MIN(u.nick), u.x)`, rows("error")},

	// Functions.
	{`FIND Person AS p RETURN p.level + 1, p.level - 3, p.level * 3, p.level / 2, p.level ^ 2, p.name + 1`,
		rows("2, -2, 3, 0.5, 1, -", "3, -1, 6, 1, 4, -")},
	{`FIND Account RETURN 1 / 0, ABS(-2), SQRT(9), CEIL(1.2), FLOOR(-1.2), SQRT(-1), 0 ^ -1, ABS('2')`, rows("-, 2, 3, 2, -2, -, -, -")},
	{`FIND Account RETURN ROUND(2.5), ROUND(-2.5), ROUND(2.4), 0 * -1, 2 - (3 - 4)`, rows("3, -3, 2, 0, 3")},
	{`FIND User AS u RETURN CONCAT(u.name, ' ', u.age, u.active, u.nick, u.email)`, rows(`"Ann 30true"`, `"Bob 30falsebob@x.com"`, `"cät 40.5true"`)},
	{`FIND Person AS p RETURN CONCAT(p.level + 1, p.level / 4, 1700000000000)`, rows(`"20.251700000000000"`, `"30.51700000000000"`)},
	{`FIND User AS u RETURN COALESCE(u.nick, u.tag.AccountName, 'none'), COALESCE(u.nick)`, rows(`"acme", -`, `"none", -`, `"none", -`)},
	{`FIND User AS u RETURN COALESCE(u.email, 'none')`, rows(`["ann@x.com","ann@y.com"]`, `"bob@x.com"`, `[]`)},
	{`FIND User AS u RETURN MERGE(u.email, u.age, u.nick)`, rows(`["ann@x.com","ann@y.com",30]`, `["bob@x.com","30"]`, `[40.5]`)},
	{`FIND UserGroup AS g RETURN MERGE(g.tags, g.nope)`, rows(`["a",1,true]`, `[]`)},
	{`FIND Account RETURN '', 'x', 1.5`, rows(`"", "x", 1.5`)},

	// UNIQUE.
	{`FIND UserGroup THAT HAS User AS u RETURN u.name`, rows(`"Ann"`, `"Bob"`, `"Bob"`)},
	{`FIND UNIQUE UserGroup THAT HAS User AS u RETURN u.name`, rows(`"Ann"`, `"Bob"`)},
	{`FIND UNIQUE UserGroup THAT HAS User AS u THAT IS Person AS p RETURN p, u`, rows("p1, ann", "p2, bob")},
	{`FIND UNIQUE User AS u RETURN u.age`, rows("30", "40.5", `"30"`)},
	{`FIND UNIQUE User AS u RETURN u.tag.AccountName`, rows(`"acme"`, "-")},
	{`FIND UNIQUE UserGroup AS g THAT HAS User AS u RETURN g._class, COUNT(u)`, rows(`["UserGroup"], 2`)},

	// ORDER BY: numbers, texts, booleans, lists; absent values last.
	{`FIND User AS u ORDER BY u.age`, rows("ann", "cat", "bob")},
	{`FIND User AS u ORDER BY u.age DESC`, rows("cat", "ann", "bob")},
	{`FIND User AS u ORDER BY u.active`, rows("cat", "bob", "ann")},
	{`FIND User AS u ORDER BY u.active DESC`, rows("cat", "ann", "bob")},
	{`FIND User AS u ORDER BY u.email`, rows("bob", "ann", "cat")},
	{`FIND User AS u ORDER BY u.email DESC`, rows("bob", "cat", "ann")},
	{`FIND User AS u ORDER BY u.tag.AccountName`, rows("ann", "bob", "cat")},
	{`FIND User AS u ORDER BY u.tag.AccountName DESC`, rows("ann", "bob", "cat")},
	{`FIND User AS u ORDER BY u DESC`, rows("cat", "bob", "ann")},
	{`FIND User AS u RETURN u.name AS n, u.age ORDER BY n DESC`, rows(`"cät", 40.5`, `"Bob", "30"`, `"Ann", 30`)},
	{`FIND User AS u RETURN u, u.name ORDER BY u DESC`, rows(`cat, "cät"`, `bob, "Bob"`, `ann, "Ann"`)},
	{`FIND UserGroup AS g THAT HAS User AS u RETURN g, u ORDER BY u.name DESC, g.name`, rows("g2, bob", "g1, bob", "g1, ann")},
	{`FIND UserGroup AS g THAT HAS User AS u RETURN g._key ORDER BY u.name DESC, g.name DESC`, rows(`"g1"`, `"g2"`, `"g1"`)},
	{`FIND UserGroup AS g THAT HAS User AS u ORDER BY u.name DESC`, rows("g1", "g2")},
	{`FIND UserGroup AS g THAT HAS User AS u WHERE u.name = 'Bob' ORDER BY g.name`, rows("g2", "g1")},
	{`FIND User AS u THAT HAS AS e UserGroup ORDER BY e.since DESC`, rows("bob", "ann")},

	// SKIP and LIMIT.
	{`FIND User LIMIT 2`, rows("ann", "bob")},
	{`FIND User SKIP 1 LIMIT 1`, rows("bob")},
	{`FIND User SKIP 5`, nil},
	{`FIND User AS u RETURN u.name ORDER BY u.age SKIP 1 LIMIT 2`, rows(`"cät"`, `"Bob"`)},
	{`FIND UserGroup AS g THAT HAS User AS u RETURN g, COUNT(u) SKIP 1`, rows("g2, 1")},
}

func rows(lines ...string) []string { return lines }

func TestQueriesMeanWhatTheyAreDocumentedToMean(t *testing.T) {
	for _, c := range cases {
		got, err := judge.Evaluate(org, parse(t, c.query))
		if err != nil {
			if !slices.Equal(c.want, []string{"error"}) {
				t.Errorf("%s: %v", c.query, err)
			}
			continue
		}
		var lines []string
		for _, row := range got.Rows {
			lines = append(lines, line(row))
		}
		if !slices.Equal(lines, c.want) {
			t.Errorf("%s\n got %q\nwant %q", c.query, lines, c.want)
		}
	}
}

func TestAnswersHaveTypesAndColumns(t *testing.T) {
	for query, want := range map[string]string{
		`FIND User`:               "list []",
		`FIND User AS u RETURN u`: `list ["u"]`,
		`FIND User AS u THAT IS Person AS p RETURN u, p AS who`: `list ["u" "who"]`,
		`FIND User AS u RETURN u, u.name`:                       `table ["u" "u.name"]`,
		`FIND User AS u RETURN u.*`:                             `table ["u.*"]`,
		`FIND User AS u RETURN COUNT(u)`:                        `table ["COUNT(u)"]`,
		`FIND User AS u RETURN TREE`:                            "tree []",
	} {
		a, err := judge.Evaluate(org, parse(t, query))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %q", a.Type, a.Columns); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

func TestWithoutLimitAnAnswerHas250Rows(t *testing.T) {
	var g judge.Graph
	for i := range 300 {
		g.Entities = append(g.Entities, entity(fmt.Sprintf("%03d", i), "okta_user", nil, "User"))
	}
	for _, query := range []string{"FIND User", "FIND User AS u RETURN u._key", "FIND User AS u RETURN u._key, COUNT(u)"} {
		a, err := judge.Evaluate(g, parse(t, query))
		if err != nil || len(a.Rows) != 250 {
			t.Errorf("%s: %d rows, %v", query, len(a.Rows), err)
		}
	}
	if a, err := judge.Evaluate(g, parse(t, "FIND User RETURN TREE")); err != nil || len(a.Rows) != 300 {
		t.Errorf("a tree of %d, %v", len(a.Rows), err)
	}
}

func TestWhatCannotBeJudgedIsAnError(t *testing.T) {
	var crowd judge.Graph
	for i := range 1500 {
		crowd.Entities = append(crowd.Entities, entity(fmt.Sprint(i), "okta_user", nil, "User"))
		crowd.Relationships = append(crowd.Relationships, edge(fmt.Sprint(i), "0", "IS", fmt.Sprint(i), nil))
	}
	unbound, err := j1ql.Parse("FIND User WITH name = ${name}")
	if err != nil {
		t.Fatal(err)
	}
	misnumbered := parse(t, "FIND User THAT IS Person")
	misnumbered.Steps[0].That.Edge = 2
	grouped := parse(t, "FIND User AS u RETURN COUNT(u)")
	grouped.OrderBy = []j1ql.Order{{Property: &j1ql.Property{Name: "name"}}}
	for name, c := range map[string]struct {
		g judge.Graph
		q *j1ql.Query
	}{
		"paths":     {crowd, parse(t, "FIND User THAT IS User THAT IS User")},
		"parameter": {org, unbound},
		"bindings":  {org, misnumbered},
		"order":     {org, grouped},
		"keys":      {judge.Graph{Entities: []graph.Entity{entity("a", "t", nil), entity("a", "t", nil)}}, parse(t, "FIND *")},
	} {
		if _, err := judge.Evaluate(c.g, c.q); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The answer is of the graph, in whatever order that lists its parts.
func TestAnswersDoNotDependOnTheOrderOfTheGraph(t *testing.T) {
	turned := judge.Graph{Entities: slices.Clone(org.Entities), Relationships: slices.Clone(org.Relationships)}
	slices.Reverse(turned.Entities)
	slices.Reverse(turned.Relationships)
	for _, c := range cases {
		if slices.Equal(c.want, []string{"error"}) {
			continue
		}
		q := parse(t, c.query)
		a, errA := judge.Evaluate(org, q)
		b, errB := judge.Evaluate(turned, q)
		if errA != nil || errB != nil {
			t.Fatalf("%s: %v, %v", c.query, errA, errB)
		}
		if diff := judge.Diff(a, b); diff != "" {
			t.Errorf("%s: %s", c.query, diff)
		}
	}
}
