package convert

import (
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// Factor returns the observation of an enrolled factor. Phone numbers and
// addresses in its profile are left where they are.
func (o Org) Factor(user string, f okta.Factor) record.Observation {
	active := f.Status == okta.StatusActive
	p := graph.Properties{"id": f.ID, "active": active}
	setText(p, first(strings.TrimSpace(f.Provider+" "+f.FactorType), f.ID), "name", "displayName")
	setText(p, f.FactorType, "factorType")
	setText(p, f.Provider, "provider")
	setText(p, f.VendorName, "vendorName")
	setText(p, f.Device, "device")
	setText(p, strings.ToLower(f.Status), "status")
	setTime(p, f.Created, "created", "createdOn")
	setTime(p, f.LastUpdated, "lastUpdated", "lastUpdatedOn")
	setTime(p, f.LastVerified, "lastVerifiedOn")
	for _, name := range []string{"authenticatorName", "platform", "deviceType", "credentialId"} {
		setText(p, text(f.Profile[name]), name)
	}
	setText(p, text(f.Profile["name"]), "profileName")
	return present(record.Factor(user, f.ID), record.Content{
		Entity: graph.Entity{Key: f.ID, Type: "mfa_device", Class: []string{"Key", "AccessKey"}, Properties: p},
		Active: active,
	})
}

func (o Org) factor(user, id string, c content) []graph.Object {
	if c.Entity == nil {
		return nil
	}
	return []graph.Object{
		{Entity: c.Entity},
		edge("okta_user_assigned_factor", "ASSIGNED", user+"|assigned|"+id, user, id,
			graph.Properties{"userId": user, "factorId": id}),
	}
}
