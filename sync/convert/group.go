package convert

import (
	"encoding/json"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// Group returns the observation of a group. A group whose statistics count no
// users shows that it has no members. Everyone's members are never listed: they
// are all users.
func (o Org) Group(g okta.Group) record.Observation {
	name := first(text(g.Profile["name"]), g.ID)
	typ := "okta_user_group"
	if g.Type == okta.GroupTypeApp {
		typ = "okta_app_user_group"
	}
	p := graph.Properties{"id": g.ID, "webLink": o.adminLink("group", g.ID)}
	setText(p, name, "name", "displayName")
	setText(p, text(g.Profile["description"]), "description")
	setText(p, g.Type, "type")
	if g.ObjectClass != nil {
		p["objectClass"] = cutAll(g.ObjectClass)
	}
	setTime(p, g.Created, "created", "createdOn")
	setTime(p, g.LastUpdated, "lastUpdated", "lastUpdatedOn")
	if !g.Everyone() { // whose members change with every user, and no event says so
		setTime(p, g.LastMembershipUpdated, "lastMembershipUpdated", "lastMembershipUpdatedOn")
	}

	observation := present(record.Group(g.ID), record.Content{
		Entity:   graph.Entity{Key: g.ID, Type: typ, Class: []string{"UserGroup"}, Properties: p},
		Everyone: g.Everyone(),
	})
	if stats := g.Embedded.Stats; stats != nil && stats.UsersCount != nil && *stats.UsersCount == 0 && !g.Everyone() {
		observation.Empty = []record.Scope{record.Members(g.ID)}
	}
	return observation
}

func cutAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = cut(s)
	}
	return out
}

func (o Org) group(id string, c content, p *record.Projection) []graph.Object {
	if c.Entity == nil {
		return nil
	}
	if p.Moved > storedMillis(c.Entity.Properties["lastMembershipUpdated"]) && !c.Everyone {
		c.Entity.Properties["lastMembershipUpdated"] = p.Moved
		c.Entity.Properties["lastMembershipUpdatedOn"] = p.Moved
	}
	return []graph.Object{
		{Entity: c.Entity},
		o.has("group", id, graph.Properties{"accountUrl": o.URL, "groupId": id}),
	}
}

// storedMillis reads back a time that a property holds.
func storedMillis(v any) int64 {
	n, _ := v.(json.Number)
	ms, _ := n.Int64()
	return ms
}

// Member returns the observation that a user is in a group. It has no content:
// the two ids say everything.
func (o Org) Member(group, user string) record.Observation {
	return record.Observation{ID: record.Member(group, user), Present: true}
}

// member is the edge of a membership, the same for groups of either type.
func member(group, user string) graph.Object {
	return edge("okta_group_has_user", "HAS", group+"|has_user|"+user, group, user,
		graph.Properties{"groupId": group, "userId": user})
}
