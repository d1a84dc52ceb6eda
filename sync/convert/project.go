package convert

import (
	"encoding/json"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/record"
)

// Project returns the graph objects of a record, entities before relationships.
// A record that is not in the graph, p being nil, has none; nor has an entity
// whose content is not known yet. A relationship needs no content: it shows what
// its ids tell.
func Project(org Org, id record.ID, p *record.Projection) []graph.Object {
	if p == nil {
		return nil
	}
	var c content
	if p.Content != nil && id.Kind() != record.KindRole {
		if json.Unmarshal(p.Content, &c) != nil {
			c = content{} // not written by this package: as good as no content
		}
	}
	owner, key := id.Split()
	switch id.Kind() {
	case record.KindAccount:
		return org.account(c)
	case record.KindUser:
		return org.user(key, c, p)
	case record.KindPerson:
		if c.Person == nil {
			return nil
		}
		return []graph.Object{{Entity: c.Person}}
	case record.KindGroup:
		return org.group(key, c, p)
	case record.KindApp:
		return org.application(key, c)
	case record.KindMember:
		return []graph.Object{member(owner, key)}
	case record.KindAppUser:
		return org.appUser(owner, key, c)
	case record.KindAppGroup:
		return org.appGroup(owner, key, c)
	case record.KindFactor:
		return org.factor(owner, key, c)
	case record.KindRole:
		if part := strings.SplitN(string(id), "/", 5); len(part) == 5 {
			return role(part[1], part[2], part[3], part[4])
		}
	}
	return nil
}
