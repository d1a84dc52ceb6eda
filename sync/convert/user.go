package convert

import (
	"maps"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// User returns the observation of a user. A deactivated user stays, inactive:
// its history needs a node to hang on. With factors, a user whose status allows
// none shows that it has none.
func (o Org) User(u okta.User, factors bool) record.Observation {
	entity := o.userEntity(u)
	c := record.Content{Entity: entity}
	if person, ok := person(u, entity); ok {
		c.Person, c.PersonKey = person, person.Key
	}
	observation := present(record.User(u.ID), c)
	if factors && !u.MayHaveFactors() {
		observation.Empty = []record.Scope{record.Factors(u.ID)}
	}
	return observation
}

// own are the properties that are ours to set. A profile attribute of such a
// name is lost, even where we have no value for it.
var own = []string{
	"id", "webLink", "displayName", "name", "username", "email", "status", "active",
	"created", "createdOn", "activated", "activatedOn", "statusChanged", "statusChangedOn",
	"lastLogin", "lastLoginOn", "lastUpdated", "lastUpdatedOn", "passwordChanged", "passwordChangedOn",
	"hiredOn", "terminatedOn", "countryCode", "verifiedEmails", "unverifiedEmails", "mfaEnabled",
}

func (o Org) userEntity(u okta.User) graph.Entity {
	p := flatten(u.Profile)
	for _, name := range own {
		delete(p, name)
	}
	login := text(u.Profile["login"])
	p["id"] = u.ID
	p["active"] = u.Status == okta.StatusActive
	p["webLink"] = o.adminLink("user", "profile", "view", u.ID)
	setText(p, strings.ToLower(u.Status), "status")
	setText(p, fullName(u), "name")
	setText(p, first(login, fullName(u)), "displayName")
	username, _, _ := strings.Cut(login, "@")
	setText(p, username, "username")
	setText(p, strings.ToLower(text(u.Profile["email"])), "email")
	setText(p, text(u.Profile["countryCode"]), "countryCode")
	setTime(p, u.Created, "created", "createdOn")
	setTime(p, u.Activated, "activated", "activatedOn")
	setTime(p, u.StatusChanged, "statusChanged", "statusChangedOn")
	setTime(p, u.LastLogin, "lastLogin", "lastLoginOn")
	setTime(p, u.LastUpdated, "lastUpdated", "lastUpdatedOn")
	setTime(p, u.PasswordChanged, "passwordChanged", "passwordChangedOn")
	setTime(p, text(u.Profile["hireDate"]), "hiredOn")
	setTime(p, text(u.Profile["terminationDate"]), "terminatedOn")
	if u.Credentials.Emails != nil {
		verified, unverified := []string{}, []string{}
		for _, email := range u.Credentials.Emails {
			if email.Status == "VERIFIED" {
				verified = append(verified, cut(email.Value))
			} else {
				unverified = append(unverified, cut(email.Value))
			}
		}
		p["verifiedEmails"], p["unverifiedEmails"] = verified, unverified
	}
	return graph.Entity{Key: u.ID, Type: "okta_user", Class: []string{"User"}, Properties: p}
}

// fullName is first and last name, or the one there is, else the login, else
// the id: an entity without a name is refused.
func fullName(u okta.User) string {
	name := strings.TrimSpace(text(u.Profile["firstName"]) + " " + text(u.Profile["lastName"]))
	return first(name, text(u.Profile["login"]), u.ID)
}

// flatten gives the attributes of a profile under their camelCase names, but
// for those that look like secrets. Of two attributes with one name the later
// in the order of the source names wins.
func flatten(profile map[string]any) graph.Properties {
	p := graph.Properties{}
	for _, source := range slices.Sorted(maps.Keys(profile)) {
		name := camelCase(source)
		if name == "" || secret(name) {
			continue
		}
		if v, ok := flat(profile[source]); ok {
			p[name] = v
		}
	}
	return p
}

// flat returns the value of a property: a scalar, or a list that begins with
// one. What else is in the list becomes null. Objects and nothing are no values.
func flat(v any) (any, bool) {
	list, ok := v.([]any)
	if !ok {
		return scalar(v)
	}
	if len(list) == 0 {
		return nil, false
	}
	if _, ok := scalar(list[0]); !ok {
		return nil, false
	}
	flat := make([]any, len(list))
	for i, element := range list {
		if v, ok := scalar(element); ok {
			flat[i] = v
		}
	}
	return flat, true
}

// secret tells whether an attribute's name, in camelCase, says that it holds
// what nobody should read in a graph. A secretary is no secret.
func secret(name string) bool {
	for _, word := range words(name) {
		switch strings.ToLower(word) {
		case "pwd", "pin", "otp":
			return true
		}
	}
	name = strings.ReplaceAll(strings.ToLower(name), "secretar", "")
	for _, part := range []string{
		"password", "passwd", "passphrase", "passcode", "secret", "token", "credential",
		"apikey", "privatekey", "accesskey", "recoveryquestion", "recoveryanswer",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func (o Org) user(id string, c content, p *record.Projection) []graph.Object {
	if c.Entity == nil {
		return nil
	}
	user := *c.Entity
	if p.MFA != nil {
		user.Properties = with(graph.Properties{"mfaEnabled": *p.MFA}, user.Properties)
	}
	objects := []graph.Object{{Entity: &user}, o.has("user", id, nil)}
	if c.PersonKey != "" {
		objects = append(objects, edge("okta_user_is_employee", "IS", id+"|is|"+c.PersonKey, id, c.PersonKey, nil))
	}
	if p.Everyone != "" {
		objects = append(objects, member(p.Everyone, id))
	}
	return objects
}
