package convert

import (
	"cmp"
	"slices"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// AppUser returns the observation that an application is assigned to a user,
// directly or through a group.
func (o Org) AppUser(app string, u okta.AppUser) record.Observation {
	c := record.Content{Properties: roleProperties(u.Profile)}
	setScalar(c.Properties, "userEmail", u.Profile["email"])
	c.ARNRoles, c.AliasRoles = awsRoles(roles(u.Profile))
	return present(record.AppUser(app, u.ID), c)
}

// AppGroup returns the observation that an application is assigned to a group,
// from all rows of that group, in any order; there must be at least one.
// Applications with roles have a row for each role: the edge shows the role of
// the row of lowest priority, and in allRoles every role.
func (o Org) AppGroup(app string, rows []okta.AppGroup) record.Observation {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b okta.AppGroup) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(jsonText(a.Profile), jsonText(b.Profile)))
	})
	var all []string
	for _, row := range rows {
		for _, role := range roles(row.Profile) {
			if !slices.Contains(all, role) {
				all = append(all, role)
			}
		}
	}
	c := record.Content{Properties: roleProperties(rows[0].Profile)}
	if len(rows) > 1 && len(all) > 0 {
		setText(c.Properties, jsonText(all), "allRoles")
	}
	c.ARNRoles, c.AliasRoles = awsRoles(all)
	return present(record.AppGroup(app, rows[0].ID), c)
}

// roleProperties are the roles of an assignment as its edge shows them: an edge
// holds no lists, so they become JSON text.
func roleProperties(profile map[string]any) graph.Properties {
	p := graph.Properties{}
	if v := profile["samlRoles"]; v != nil && v != "" {
		setText(p, jsonText(v), "roles")
	}
	switch role := profile["role"].(type) {
	case []any, map[string]any:
		setText(p, jsonText(role), "role")
	default:
		setScalar(p, "role", role)
	}
	return p
}

func (o Org) appUser(app, user string, c content) []graph.Object {
	return []graph.Object{edge("okta_user_assigned_application", "ASSIGNED", user+"|assigned|"+app, user, app,
		with(graph.Properties{"applicationId": app, "userId": user}, c.Properties))}
}

func (o Org) appGroup(app, group string, c content) []graph.Object {
	return []graph.Object{edge("okta_group_assigned_application", "ASSIGNED", group+"|assigned|"+app, group, app,
		with(graph.Properties{"applicationId": app, "groupId": group}, c.Properties))}
}
