// Package record holds the one idea of the service: records, observations of
// them, and the rule by which observations merge. The rule stands here in Go as
// the model; state/scripts/merge.lua must equal it, and a property test says so.
package record

import "strings"

// Kind is what a record is about.
type Kind string

// The kinds of records.
const (
	KindAccount  Kind = "account"
	KindUser     Kind = "user"
	KindGroup    Kind = "group"
	KindApp      Kind = "app"
	KindMember   Kind = "member"   // a group and a user
	KindAppUser  Kind = "appuser"  // an application and a user
	KindAppGroup Kind = "appgroup" // an application and a group
	KindFactor   Kind = "factor"   // a user and a factor

	// Not records of their own: graph objects that several records project.
	KindPerson Kind = "person" // a login, lower case
	KindRole   Kind = "role"   // a user or group and a role of AWS
)

// ID names a record: its kind and Okta's ids, joined by slashes.
type ID string

// Account is the record of the org itself.
const Account ID = "account"

func User(user string) ID           { return ID("user/" + user) }
func Group(group string) ID         { return ID("group/" + group) }
func App(app string) ID             { return ID("app/" + app) }
func Member(group, user string) ID  { return ID("member/" + group + "/" + user) }
func AppUser(app, user string) ID   { return ID("appuser/" + app + "/" + user) }
func AppGroup(app, group string) ID { return ID("appgroup/" + app + "/" + group) }
func Factor(user, factor string) ID { return ID("factor/" + user + "/" + factor) }

// Kind returns the part before the first slash.
func (id ID) Kind() Kind {
	kind, _, _ := strings.Cut(string(id), "/")
	return Kind(kind)
}

// Split returns the owner and the member: ("", user) of user/…, (group, user)
// of member/….
func (id ID) Split() (owner, member string) {
	_, rest, _ := strings.Cut(string(id), "/")
	if owner, member, ok := strings.Cut(rest, "/"); ok {
		return owner, member
	}
	return "", rest
}

// Scope is a set of records that Okta can list to its end.
type Scope string

// The scopes of the org, and AccountScope, which holds the account alone.
const (
	AccountScope Scope = "account"
	Users        Scope = "users"
	Groups       Scope = "groups"
	Apps         Scope = "apps"
)

func Members(group string) Scope { return Scope("members/" + group) }
func AppUsers(app string) Scope  { return Scope("appusers/" + app) }
func AppGroups(app string) Scope { return Scope("appgroups/" + app) }
func Factors(user string) Scope  { return Scope("factors/" + user) }

// These are asked for and read like scopes, but their lists are no proof of
// absence: they are never swept.
const (
	ChangedUsers  Scope = "changed/users"  // users by lastUpdated
	ChangedGroups Scope = "changed/groups" // groups by lastUpdated and lastMembershipUpdated
)

// UserApps are the assignments of one user over all applications.
func UserApps(user string) Scope { return Scope("userapps/" + user) }

// Scope returns the scope that the record belongs to.
func (id ID) Scope() Scope {
	owner, _ := id.Split()
	switch id.Kind() {
	case KindUser:
		return Users
	case KindGroup:
		return Groups
	case KindApp:
		return Apps
	case KindMember:
		return Members(owner)
	case KindAppUser:
		return AppUsers(owner)
	case KindAppGroup:
		return AppGroups(owner)
	case KindFactor:
		return Factors(owner)
	default:
		return AccountScope
	}
}

// Version is a time on Okta's clock, in milliseconds, and a rank: at equal
// times an event wins against a read.
type Version int64

// AsRead is the version of something read as of ms; AsEvent of an event
// published at ms.
func AsRead(ms int64) Version  { return Version(2 * ms) }
func AsEvent(ms int64) Version { return Version(2*ms + 1) }

// Millis returns the time.
func (v Version) Millis() int64 { return int64(v) / 2 }

// Source says how we learned of something.
type Source string

// The sources of observations.
const (
	FromHook      Source = "hook"
	FromLog       Source = "log"
	FromRead      Source = "read"      // read again because of an event
	FromReconcile Source = "reconcile" // read by a run
)

// Cause is why we know: the uuid of an event, or the id of a run.
type Cause struct {
	Source Source
	ID     string
}

// Observation says of one record that it is present or absent, as of a time on
// Okta's clock that is a lower bound: whatever was published up to it is in it.
type Observation struct {
	ID      ID
	Version Version
	Present bool
	Content []byte  // JSON of Content; nil when the source has none, which keeps what is there
	Empty   []Scope // scopes that this observation shows to be empty, as a complete list would
	Cause   Cause
}

// Ask wants an object, or a scope, read again: until its version exceeds Exceed.
type Ask struct {
	Target string // an ID or a Scope
	Exceed Version
	Cause  Cause
}

// Content is what a record keeps of Okta's answer: what its projection needs.
type Content struct {
	Entity     any            `json:"entity,omitempty"`     // the graph entity, but for what other records give it
	Properties map[string]any `json:"properties,omitempty"` // of an edge, beyond what its ids give
	Person     any            `json:"person,omitempty"`     // of a user: the Person entity
	PersonKey  string         `json:"personKey,omitempty"`  // and its _key
	Everyone   bool           `json:"everyone,omitempty"`   // the group that holds every user
	AWSAccount string         `json:"awsAccount,omitempty"` // of an application: its awsAccountId
	ARNRoles   []string       `json:"arnRoles,omitempty"`   // of an assignment: roles named within the application's AWS account
	AliasRoles []string       `json:"aliasRoles,omitempty"` // … and roles of another account, as "alias|role"
	Active     bool           `json:"active,omitempty"`     // of a factor
}

// Projection is what a record gives to the graph at one moment: its content,
// and what it takes from other records.
type Projection struct {
	Content  []byte // JSON of Content, or nil
	MFA      *bool  // of a user: mfaEnabled; nil while its factors were not read
	Moved    int64  // of a group: when an event last changed its members, ms; 0 without one
	Everyone string // of a user: the id of the group Everyone, once known
}

// Transition is the change of one record's part of the graph. Before or After
// is nil where the record was, or is, not in the graph.
type Transition struct {
	ID            ID // a record, or person/<key>, or role/<user|group>/<id>/<account or ->/<role>
	Before, After *Projection
	AsOf          int64 // ms on Okta's clock
	Cause         Cause
}
