package convert

import (
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// Application returns the observation of an application. One that Okta shows as
// deleted is gone.
func (o Org) Application(a okta.Application) record.Observation {
	if a.Status == "DELETED" {
		return Gone(record.App(a.ID))
	}
	name := first(a.Name, a.Label, a.ID)
	p := graph.Properties{
		"id":        a.ID,
		"active":    a.Status == okta.StatusActive,
		"isSAMLApp": strings.HasPrefix(a.SignOnMode, "SAML"),
		"webLink":   o.adminLink("app", name, "instance", a.ID),
	}
	setText(p, name, "name")
	setText(p, first(a.Label, a.Name, a.ID), "displayName")
	setText(p, a.Label, "label")
	setText(p, strings.ToLower(a.Status), "status")
	setText(p, a.SignOnMode, "signOnMode")
	setTime(p, a.Created, "created", "createdOn")
	setTime(p, a.LastUpdated, "lastUpdated", "lastUpdatedOn")
	if a.Features != nil {
		p["features"] = cutAll(a.Features)
	}
	if short := shortName(a.Name); short != "" {
		p["shortName"] = cut(short)
		p["appVendorName"] = cut(vendorName(short))
		p["appAccountType"] = accountType(short)
		p["isMultiInstanceApp"] = multiInstance(short)
	}
	setText(p, href(a.Links.Logo, ""), "imageUrl")
	setText(p, href(a.Links.AppLinks, "login"), "loginUrl")
	aws := appSettings(p, a.Settings.App)
	return present(record.App(a.ID), record.Content{
		Entity:     graph.Entity{Key: a.ID, Type: "okta_application", Class: []string{"Application"}, Properties: p},
		AWSAccount: aws,
	})
}

// appSettings adds which account an application leads to, and returns the AWS
// account's id if it is one of AWS.
func appSettings(p graph.Properties, settings map[string]any) (aws string) {
	switch {
	case settings["awsEnvironmentType"] == "aws.amazon":
		arn := text(settings["identityProviderArn"])
		if m := awsIDPArn.FindStringSubmatch(arn); m != nil && len(m[1]) <= 32 {
			aws = m[1]
		}
		setText(p, aws, "awsAccountId", "appAccountId")
		for to, from := range map[string]string{
			"awsIdentityProviderArn": "identityProviderArn",
			"awsEnvironmentType":     "awsEnvironmentType",
			"awsGroupFilter":         "groupFilter",
			"awsRoleValuePattern":    "roleValuePattern",
			"awsJoinAllRoles":        "joinAllRoles",
			"awsSessionDuration":     "sessionDuration",
		} {
			setScalar(p, to, settings[from])
		}
	case text(settings["githubOrg"]) != "":
		setText(p, text(settings["githubOrg"]), "githubOrg", "appAccountId")
	case text(settings["domain"]) != "":
		setText(p, text(settings["domain"]), "appDomain", "appAccountId")
	}
	return aws
}

// href returns the address of the link with the name, else of the first one.
// Okta gives one link as an object, several as an array.
func href(links any, name string) string {
	list, ok := links.([]any)
	if !ok {
		list = []any{links}
	}
	var found string
	for i, l := range list {
		link, _ := l.(map[string]any)
		if i == 0 || name != "" && text(link["name"]) == name {
			found = text(link["href"])
		}
		if name != "" && text(link["name"]) == name {
			break
		}
	}
	return found
}

func (o Org) application(id string, c content) []graph.Object {
	if c.Entity == nil {
		return nil
	}
	p := graph.Properties{"accountUrl": o.URL, "applicationId": id}
	setText(p, text(c.Entity.Properties["name"]), "applicationName")
	return []graph.Object{{Entity: c.Entity}, o.has("application", id, p)}
}
