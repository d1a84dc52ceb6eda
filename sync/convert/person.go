package convert

import (
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
)

// person returns the Person behind a user, made of the user's entity; none
// behind accounts that are nobody's own, nor without a login.
func person(u okta.User, user graph.Entity) (graph.Entity, bool) {
	login := strings.ToLower(strings.TrimSpace(text(u.Profile["login"])))
	if login == "" || nobody(u.Profile["userType"]) || nobody(u.Profile["employeeType"]) {
		return graph.Entity{}, false
	}
	name := fullName(u)
	p := graph.Properties{"email": []string{cut(login)}}
	setText(p, name, "name", "displayName")
	for to, from := range map[string]string{
		"firstName": "firstName", "lastName": "lastName", "employeeType": "employeeType",
		"employeeId": "employeeNumber", "userIds": "username", "title": "title",
		"manager": "manager", "managerId": "managerId", "managerEmail": "managerEmail",
		"department": "department", "division": "division",
		"bitbucketUsername": "bitbucketUsername", "githubUsername": "githubUsername",
	} {
		setScalar(p, to, user.Properties[from])
	}
	return graph.Entity{Key: "employee:" + login, Type: "employee", Class: []string{"Person"}, Properties: p}, true
}

// nobody tells whether a type of user is one that no person is behind.
func nobody(userType any) bool {
	switch strings.ToLower(strings.TrimSpace(text(userType))) {
	case "bot", "generic", "service", "shared", "system":
		return true
	}
	return false
}
