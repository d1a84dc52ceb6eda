package sqldb_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

func role(properties graph.Properties) graph.Properties {
	p := graph.Properties{"_type": "aws_iam_role", "_class": "AccessRole", "name": "admin"}
	for name, v := range properties {
		p[name] = v
	}
	return p
}

func TestMappedTargetIsThereWhileARelationshipLeadsToIt(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, beside := open(t, target), raw(t, target)
		user := entity("u", nil)
		one := mapped("1", "u", "FORWARD", role(graph.Properties{"_key": "arn"}), "_type", "_key")
		two := mapped("2", "u", "REVERSE", role(graph.Properties{"_key": "arn", "name": "second"}), "_type", "_key")
		own := graph.Object{Entity: &graph.Entity{Key: "arn", Type: "own", Class: []string{"AccessRole"}}}
		first := `{"_class":["AccessRole"],"_key":"arn","_type":"aws_iam_role","name":"admin"}`
		second := `{"_class":["AccessRole"],"_key":"arn","_type":"aws_iam_role","name":"second"}`
		for _, step := range []struct {
			what    string
			changes []graph.Change
			want    lines
		}{
			{"two lead to it: the first tells", create(user, two, one), lines{first}},
			{"the first is gone", gone(one), lines{second}},
			{"an own entity wins", create(own), nil},
			{"also over a new relationship", create(one), nil},
			{"without it, the mapper's is back", gone(own), lines{first}},
			{"the own one comes and goes at once", append(create(own), gone(own)...), lines{first}},
			{"the relationship leads elsewhere", create(mapped("1", "u", "FORWARD", role(graph.Properties{"_key": "brn"}), "_type", "_key")),
				lines{second, `{"_class":["AccessRole"],"_key":"brn","_type":"aws_iam_role","name":"admin"}`}},
			{"it is mapped no more", create(edge("1", "u", "arn")), lines{second}},
			{"a delete of what the mapper made does nothing", gone(own), lines{second}},
			{"the last is gone", gone(two), nil},
		} {
			apply(t, db, acme, step.what, step.changes...)
			if diff := cmp.Diff(step.want, madeByMapper(t, beside, acme.ID)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", step.what, diff)
			}
		}
	})
}

func TestMappedRelationshipConnectsItsSourceAndItsTarget(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, beside := open(t, target), raw(t, target)
		byName := role(graph.Properties{"roleName": "admin", "tag.AccountName": "prod"})
		apply(t, db, acme, "1", create(
			mapped("forward", "u", "FORWARD", role(graph.Properties{"_key": "arn"}), "_type", "_key"),
			mapped("named", "u", "FORWARD", byName, "_type", "roleName", "tag.AccountName"),
			mapped("reverse", "u", "REVERSE", byName, "_type", "roleName", "tag.AccountName"),
		)...)
		rows, err := beside.Query("SELECT key, from_key, to_key FROM relationships ORDER BY key")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var got []string
		for rows.Next() {
			var key, from, to string
			if err := rows.Scan(&key, &from, &to); err != nil {
				t.Fatal(err)
			}
			got = append(got, key+": "+from+" > "+to)
		}
		want := []string{"forward: u > arn", "named: u > aws_iam_role:admin|prod", "reverse: aws_iam_role:admin|prod > u"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}
