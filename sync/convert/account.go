package convert

import (
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// Account returns the observation of the org. Of support, nil says that the
// token may not read it, which JupiterOne's integration shows as not enabled.
func (o Org) Account(support *okta.Support) record.Observation {
	p := graph.Properties{
		"name":           o.Name,
		"displayName":    o.Name,
		"accountId":      o.AccountID,
		"webLink":        o.URL,
		"vendor":         "Okta",
		"supportEnabled": support != nil && support.Support == "ENABLED",
	}
	if o.Preview {
		p["displayName"] = o.Name + " (preview)"
	}
	if support != nil {
		setTime(p, support.Expiration, "supportExpiresOn")
	}
	return present(record.Account, record.Content{Entity: graph.Entity{
		Key: o.AccountKey(), Type: "okta_account", Class: []string{"Account"}, Properties: p,
	}})
}

func (o Org) account(c content) []graph.Object {
	if c.Entity == nil {
		return nil
	}
	sso, mfa := o.service("sso", "SSO"), o.service("mfa", "MFA")
	return []graph.Object{
		{Entity: c.Entity}, {Entity: &sso}, {Entity: &mfa},
		o.has("service", sso.Key, nil),
		o.has("service", mfa.Key, nil),
	}
}

// service is what every Okta account offers.
func (o Org) service(id, name string) graph.Entity {
	return graph.Entity{
		Key: "okta:" + id + ":" + o.Name, Type: "okta_service", Class: []string{"Service", "Control"},
		Properties: graph.Properties{
			"name":          name,
			"displayName":   "Okta " + name,
			"category":      []string{"security"},
			"function":      []string{name},
			"controlDomain": "identity-access",
		},
	}
}
