package okta

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Ref is an object of which only the id is read.
type Ref struct {
	ID string `json:"id"`
}

// UserApp is an application of a user, with the assignment.
type UserApp struct {
	App  Application
	User AppUser
}

const usersPath = "/api/v1/users"

// Users lists every user, DEPROVISIONED ones too: they come only when a filter
// is set, so the filter is one that all pass. If the org refuses it, the plain
// list is read and then that of the DEPROVISIONED; Next leads from one to
// the other.
func (c *Client) Users(ctx context.Context, link string) (Page[User], error) {
	const what = "the users"
	q := limited(200)
	if link == "" {
		q.Set("filter", `lastUpdated gt "1970-01-01T00:00:00.000Z"`)
	}
	p, err := list[User](ctx, c, what, usersPath, q, link)
	if link == "" && refusedFilter(err) {
		c.log.Warn("okta refused the filter that lists all users, reading two lists instead", "err", err)
		link = c.org.String() + withQuery(usersPath, limited(200))
		p, err = list[User](ctx, c, what, usersPath, limited(200), "")
	}
	if err == nil && p.Next == "" && link != "" && plain(link) {
		q := limited(200)
		q.Set("filter", `status eq "DEPROVISIONED"`)
		p.Next = c.org.String() + withQuery(usersPath, q)
	}
	return p, err
}

// plain tells whether a link belongs to a list of users without a filter, which
// leaves the DEPROVISIONED out.
func plain(link string) bool {
	u, err := url.Parse(link)
	return err == nil && u.Path == usersPath && !u.Query().Has("filter") && !u.Query().Has("search")
}

func refusedFilter(err error) bool {
	e, ok := err.(*Error)
	return ok && e.Status == http.StatusBadRequest && (e.Code == codeInvalidSearch || e.Code == codeInvalidFilter)
}

// UsersChangedSince lists the users whose profile or status moved. Deletions
// are invisible to it, and the index behind it lags.
func (c *Client) UsersChangedSince(ctx context.Context, since time.Time, link string) (Page[User], error) {
	q := limited(200)
	q.Set("search", `lastUpdated gt "`+oktaTime(since)+`"`)
	return list[User](ctx, c, "the users that changed", usersPath, q, link)
}

// Groups lists every group, with the number of members where Okta gives it.
func (c *Client) Groups(ctx context.Context, link string) (Page[Group], error) {
	q := limited(200)
	q.Set("expand", "stats")
	return list[Group](ctx, c, "the groups", "/api/v1/groups", q, link)
}

// BuiltInGroups lists the groups that Okta makes by itself, with the number of
// members: Everyone, which each org has, is among them.
func (c *Client) BuiltInGroups(ctx context.Context) (Page[Group], error) {
	q := limited(200)
	q.Set("expand", "stats")
	q.Set("filter", `type eq "`+GroupTypeBuiltIn+`"`)
	return list[Group](ctx, c, "the built-in groups", "/api/v1/groups", q, "")
}

// GroupsChangedSince lists the groups whose profile or members moved.
// Deletions are invisible to it.
func (c *Client) GroupsChangedSince(ctx context.Context, since time.Time, link string) (Page[Group], error) {
	q := limited(200)
	q.Set("expand", "stats")
	t := oktaTime(since)
	q.Set("filter", `lastUpdated gt "`+t+`" or lastMembershipUpdated gt "`+t+`"`)
	return list[Group](ctx, c, "the groups that changed", "/api/v1/groups", q, link)
}

// GroupMembers lists the users of a group.
func (c *Client) GroupMembers(ctx context.Context, group, link string) (Page[Ref], error) {
	return listOf[Ref](ctx, c, "members of group", "/api/v1/groups/%s/users", group, 1000, link)
}

// Applications lists every application that is not deleted, inactive ones too.
func (c *Client) Applications(ctx context.Context, link string) (Page[Application], error) {
	q := limited(200)
	q.Set("includeNonDeleted", "true")
	return list[Application](ctx, c, "the applications", "/api/v1/apps", q, link)
}

// AppUsers lists the assignments of an application to users.
func (c *Client) AppUsers(ctx context.Context, app, link string) (Page[AppUser], error) {
	return listOf[AppUser](ctx, c, "users of application", "/api/v1/apps/%s/users", app, 500, link)
}

// AppGroups lists the assignments of an application to groups.
func (c *Client) AppGroups(ctx context.Context, app, link string) (Page[AppGroup], error) {
	return listOf[AppGroup](ctx, c, "groups of application", "/api/v1/apps/%s/groups", app, 200, link)
}

// UserGroups lists the groups of a user.
func (c *Client) UserGroups(ctx context.Context, user, link string) (Page[Ref], error) {
	return listOf[Ref](ctx, c, "groups of user", "/api/v1/users/%s/groups", user, 200, link)
}

// UserApps lists the applications of a user, inactive ones too, with the
// assignments.
func (c *Client) UserApps(ctx context.Context, user, link string) (Page[UserApp], error) {
	what := "applications of user " + bounded(user)
	expand, err := idPath(what, "user/%s", user)
	if err != nil {
		return Page[UserApp]{}, err
	}
	q := limited(200)
	q.Set("filter", `user.id eq "`+user+`"`)
	q.Set("expand", expand)
	q.Set("includeNonDeleted", "true")
	p, err := list[userApp](ctx, c, what, "/api/v1/apps", q, link)
	if err != nil {
		return Page[UserApp]{}, err
	}
	apps := make([]UserApp, len(p.Items))
	for i, a := range p.Items {
		if a.Embedded.User.ID != user {
			return Page[UserApp]{}, &Error{What: what, Summary: "an application came without the assignment of this user"}
		}
		apps[i] = UserApp{App: a.Application, User: a.Embedded.User}
	}
	return Page[UserApp]{Items: apps, Next: p.Next, Start: p.Start}, nil
}

type userApp struct {
	Application
	Embedded struct {
		User AppUser `json:"user"`
	} `json:"_embedded"`
}

// Factors lists the factors of a user: always one page.
func (c *Client) Factors(ctx context.Context, user string) (Page[Factor], error) {
	what := "factors of user " + bounded(user)
	path, err := idPath(what, "/api/v1/users/%s/factors", user)
	if err != nil {
		return Page[Factor]{}, err
	}
	p, err := page[Factor](ctx, c, &call{what: what, first: '[', retry500: true}, path, "")
	if err == nil && p.Next != "" {
		return Page[Factor]{}, &Error{What: what, Summary: "the list has pages, which Okta's never has"}
	}
	return p, err
}

// listOf lists what belongs to one owner.
func listOf[T item](ctx context.Context, c *Client, what, format, owner string, limit int, link string) (Page[T], error) {
	what += " " + bounded(owner)
	path, err := idPath(what, format, owner)
	if err != nil {
		return Page[T]{}, err
	}
	return list[T](ctx, c, what, path, limited(limit), link)
}

// User reads a user by id or login: of some events, a login is all that there is.
func (c *Client) User(ctx context.Context, id string) (Read[User], error) {
	what := "user " + bounded(id)
	if !saneID(id) {
		what = "a user by login" // a person's data
	}
	if id == "" || len(id) > 256 || strings.Trim(id, ".") == "" || id == "me" {
		return Read[User]{}, &Error{What: what, Summary: "neither an id nor a login"}
	}
	return read[User](ctx, c, what, "/api/v1/users/"+url.PathEscape(id))
}

// Group reads a group by id; without the number of members.
func (c *Client) Group(ctx context.Context, id string) (Read[Group], error) {
	return readOf[Group](ctx, c, "group "+bounded(id), "/api/v1/groups/%s", id)
}

// Application reads an application by id.
func (c *Client) Application(ctx context.Context, id string) (Read[Application], error) {
	return readOf[Application](ctx, c, "application "+bounded(id), "/api/v1/apps/%s", id)
}

// AppUser reads the assignment of an application to a user.
func (c *Client) AppUser(ctx context.Context, app, user string) (Read[AppUser], error) {
	what := "user " + bounded(user) + " of application " + bounded(app)
	r, err := readOf[AppUser](ctx, c, what, "/api/v1/apps/%s/users/%s", app, user)
	if err == nil && r.Found && r.Value.ID != user {
		return Read[AppUser]{}, &Error{What: what, Summary: "Okta sent another user's assignment"}
	}
	return r, err
}

// AppGroup reads the assignment of an application to a group.
func (c *Client) AppGroup(ctx context.Context, app, group string) (Read[AppGroup], error) {
	what := "group " + bounded(group) + " of application " + bounded(app)
	r, err := readOf[AppGroup](ctx, c, what, "/api/v1/apps/%s/groups/%s", app, group)
	if err == nil && r.Found && r.Value.ID != group {
		return Read[AppGroup]{}, &Error{What: what, Summary: "Okta sent another group's assignment"}
	}
	return r, err
}

// Support reads the state of Okta's support access, which only a super
// administrator may.
func (c *Client) Support(ctx context.Context) (Read[Support], error) {
	const what = "Okta's support access"
	k := &call{what: what, first: '{', retry500: true}
	var r Read[Support]
	if err := c.get(ctx, k, "/api/v1/org/privacy/oktaSupport", &r.Value); err != nil {
		return Read[Support]{}, err
	}
	if r.Value.Support == "" {
		return Read[Support]{}, &Error{What: what, Summary: "the answer does not tell it"}
	}
	r.Start, r.Found = k.start, true
	return r, nil
}

func readOf[T item](ctx context.Context, c *Client, what, format string, ids ...string) (Read[T], error) {
	path, err := idPath(what, format, ids...)
	if err != nil {
		return Read[T]{}, err
	}
	return read[T](ctx, c, what, path)
}

func oktaTime(t time.Time) string { return t.UTC().Format(dateFormat) }
