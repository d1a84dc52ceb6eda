package okta

import (
	"context"
	"strings"
)

// MaxIDs is how many objects one filter names at most, for the address to stay
// below 3,000 characters.
const MaxIDs = 60

// UsersByID lists the users that have one of the ids, at most MaxIDs. It is a
// list: it may lag behind, and that it lacks a user proves nothing.
func (c *Client) UsersByID(ctx context.Context, ids []string) (Page[User], error) {
	return byID[User](ctx, c, "users by id", usersPath, ids)
}

// GroupsByID lists the groups that have one of the ids, as UsersByID.
func (c *Client) GroupsByID(ctx context.Context, ids []string) (Page[Group], error) {
	return byID[Group](ctx, c, "groups by id", "/api/v1/groups", ids)
}

func byID[T item](ctx context.Context, c *Client, what, path string, ids []string) (Page[T], error) {
	terms := make([]string, len(ids))
	for i, id := range ids {
		if !saneID(id) || i >= MaxIDs {
			return Page[T]{}, &Error{What: what, Summary: "not an id, or too many of them"}
		}
		terms[i] = `id eq "` + id + `"`
	}
	q := limited(200)
	q.Set("filter", strings.Join(terms, " or "))
	return list[T](ctx, c, what, path, q, "")
}
