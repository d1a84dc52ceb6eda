package convert

import (
	"regexp"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
)

// maxRole bounds the text of a role: AWS allows 64 characters of a name and 512
// of its path.
const maxRole = 1024

// aliasRole is a role of another AWS account than the application's own:
// "name -- role" or "[alias] -- role".
var aliasRole = regexp.MustCompile(`\[?([a-zA-Z0-9_-]+)\]? -- ([a-zA-Z0-9_-]+)`)

// roles returns the roles of an assignment's profile: samlRoles, even if empty,
// else the single role. What is not text is no role.
func roles(profile map[string]any) []string {
	v := profile["samlRoles"]
	if v == nil || v == "" {
		v = profile["role"]
		if _, many := v.([]any); many {
			return nil
		}
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var roles []string
	for _, v := range list {
		if role := text(v); role != "" {
			roles = append(roles, role)
		}
	}
	return roles
}

// awsRoles tells roles of the application's own AWS account from those of
// another, as "alias|role". Both sorted, each once.
func awsRoles(roles []string) (own, alias []string) {
	for _, role := range roles {
		if len(role) > maxRole {
			continue
		}
		if m := aliasRole.FindStringSubmatch(role); m != nil {
			alias = append(alias, m[1]+"|"+m[2])
		} else {
			own = append(own, role)
		}
	}
	slices.Sort(own)
	slices.Sort(alias)
	return slices.Compact(own), slices.Compact(alias)
}

// role is the edge from a user or a group to a role of AWS, which another
// integration of JupiterOne collects: so it is mapped, and made only if the
// role is there.
func role(holder, id, account, role string) []graph.Object {
	from := "okta_user"
	if holder == "group" {
		from = "okta_user_group"
	}
	target := graph.Properties{"_class": "AccessRole", "_type": "aws_iam_role"}
	key, filter := "", []string{"_type", "_key"}
	if account == "-" {
		alias, name, _ := strings.Cut(role, "|")
		key, role = alias+"|"+name, name
		filter = []string{"_type", "roleName", "tag.AccountName"}
		target["tag.AccountName"] = alias
	} else {
		key = "arn:aws:iam::" + account + ":role/" + role
		target["_key"] = key
	}
	target["roleName"], target["name"], target["displayName"] = role, role, role
	return []graph.Object{{Relationship: &graph.Relationship{
		Key: id + "|assigned|" + key, Type: from + "_assigned_aws_iam_role", Class: "ASSIGNED",
		Mapping: &graph.Mapping{
			SourceEntityKey:       id,
			RelationshipDirection: "FORWARD",
			TargetFilterKeys:      [][]string{filter},
			TargetEntity:          target,
			SkipTargetCreation:    true,
		},
		Properties: graph.Properties{"displayName": "ASSIGNED"},
	}}}
}
