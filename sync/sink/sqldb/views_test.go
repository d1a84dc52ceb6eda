package sqldb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

func TestViewsAnswerInPlainSQL(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, beside := open(t, target), raw(t, target)
		of := func(key, typ string, p graph.Properties) graph.Object {
			return graph.Object{Entity: &graph.Entity{Key: key, Type: typ, Class: []string{"X"}, Properties: p}}
		}
		rel := func(key, typ, verb, from, to string, p graph.Properties) graph.Object {
			return graph.Object{Relationship: &graph.Relationship{Key: key, Type: typ, Class: verb, From: from, To: to, Properties: p}}
		}
		objects := []graph.Object{
			of("u1", "okta_user", graph.Properties{"login": "lea@x", "email": "lea@x", "name": "Lea", "status": "active", "active": true, "mfaEnabled": false,
				"createdOn": 1704164645678, "lastLoginOn": "never", "department": "R&D"}),
			of("u2", "okta_user", graph.Properties{"login": "bob@x", "active": "odd"}),
			of("g1", "okta_user_group", graph.Properties{"name": "Builders", "type": "OKTA_GROUP", "createdOn": 7}),
			of("g2", "okta_app_user_group", graph.Properties{"name": "AD"}),
			of("a1", "okta_application", graph.Properties{"displayName": "AWS", "active": true}),
			of("f1", "mfa_device", graph.Properties{"factorType": "push", "provider": "OKTA", "status": "active", "active": true, "lastVerifiedOn": 9}),
			of("p1", "employee", graph.Properties{"name": "Lea N.", "email": []string{"lea@x"}, "title": "Engineer"}),
			of("p2", "employee", graph.Properties{"name": "Nobody"}),
			rel("m1", "okta_group_has_user", "HAS", "g1", "u1", nil),
			rel("m2", "okta_group_has_user", "HAS", "g2", "gone", nil),
			rel("s1", "okta_user_assigned_application", "ASSIGNED", "u1", "a1", graph.Properties{"role": "admin"}),
			rel("s2", "okta_group_assigned_application", "ASSIGNED", "g1", "a1", nil),
			rel("d1", "okta_user_assigned_factor", "ASSIGNED", "u1", "f1", nil),
			rel("i1", "okta_user_is_employee", "IS", "u1", "p1", nil),
		}
		apply(t, db, acme, "1", create(objects...)...)
		var got []string
		for _, view := range []string{"users", "groups", "memberships", "assignments", "factors", "persons"} {
			rows, err := beside.Query("SELECT * FROM " + view + " ORDER BY key, instance")
			if err != nil {
				t.Fatal(err)
			}
			columns, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				values, into := make([]any, len(columns)), make([]any, len(columns))
				for i := range values {
					into[i] = &values[i]
				}
				if err := rows.Scan(into...); err != nil {
					t.Fatal(err)
				}
				var cells []string
				for i, c := range columns {
					switch values[i] {
					case nil, "acme":
						continue
					case true:
						values[i] = 1
					case false:
						values[i] = 0
					}
					cells = append(cells, fmt.Sprint(c, "=", values[i]))
				}
				got = append(got, view+": "+strings.Join(cells, " "))
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			rows.Close()
		}
		want := []string{
			"users: key=u1 login=lea@x email=lea@x name=Lea status=active active=1 mfa_enabled=0 department=R&D created_on=1704164645678",
			"users: key=u2 login=bob@x",
			"groups: key=g1 name=Builders type=OKTA_GROUP created_on=7",
			"groups: key=g2 name=AD",
			"memberships: key=m1 group_key=g1 group_name=Builders user_key=u1 user_login=lea@x",
			"assignments: key=s1 assignee_key=u1 assignee_type=user assignee_name=lea@x application_key=a1 application_name=AWS application_active=1 role=admin",
			"assignments: key=s2 assignee_key=g1 assignee_type=group assignee_name=Builders application_key=a1 application_name=AWS application_active=1",
			"factors: key=f1 user_key=u1 user_login=lea@x factor_type=push provider=OKTA status=active active=1 last_verified_on=9",
			"persons: key=p1 name=Lea N. email=lea@x title=Engineer user_key=u1 user_login=lea@x",
			"persons: key=p2 name=Nobody",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}
