package okta

// The narrow forms of Okta's objects: what oktasync reads of them. Times stay
// text, statuses stay text: an odd value must not fail the page that holds it.

// Statuses of users and factors that the code tells apart.
const (
	StatusActive        = "ACTIVE"
	StatusStaged        = "STAGED"
	StatusDeprovisioned = "DEPROVISIONED"
)

// Types of groups.
const (
	GroupTypeOkta    = "OKTA_GROUP"
	GroupTypeApp     = "APP_GROUP"
	GroupTypeBuiltIn = "BUILT_IN"
)

// User is a user, of a list or by id.
type User struct {
	ID              string         `json:"id"`
	Status          string         `json:"status"`
	Created         string         `json:"created"`
	Activated       string         `json:"activated"`
	StatusChanged   string         `json:"statusChanged"`
	LastLogin       string         `json:"lastLogin"`
	LastUpdated     string         `json:"lastUpdated"`
	PasswordChanged string         `json:"passwordChanged"`
	Profile         map[string]any `json:"profile"`
	Credentials     Credentials    `json:"credentials"`
}

// MayHaveFactors tells whether a user of this status can have any.
func (u User) MayHaveFactors() bool {
	return u.Status != StatusStaged && u.Status != StatusDeprovisioned
}

// Credentials keeps the e-mail addresses only: nothing secret is decoded.
type Credentials struct {
	Emails []CredentialEmail `json:"emails"`
}

// CredentialEmail is an address of a user and whether it was verified.
type CredentialEmail struct {
	Value  string `json:"value"`
	Status string `json:"status"`
}

// Group is a group, of a list or by id.
type Group struct {
	ID                    string         `json:"id"`
	Type                  string         `json:"type"`
	ObjectClass           []string       `json:"objectClass"`
	Created               string         `json:"created"`
	LastUpdated           string         `json:"lastUpdated"`
	LastMembershipUpdated string         `json:"lastMembershipUpdated"`
	Profile               map[string]any `json:"profile"`
	Embedded              struct {
		Stats *GroupStats `json:"stats"`
	} `json:"_embedded"`
}

// GroupStats are there when a list was asked to expand them.
type GroupStats struct {
	UsersCount *int `json:"usersCount"`
}

// Everyone tells whether g is the built-in group that holds every user.
func (g Group) Everyone() bool {
	return g.Type == GroupTypeBuiltIn && g.Profile["name"] == "Everyone"
}

// Application is an application instance, of a list or by id.
type Application struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Label       string   `json:"label"`
	Status      string   `json:"status"`
	SignOnMode  string   `json:"signOnMode"`
	Features    []string `json:"features"`
	Created     string   `json:"created"`
	LastUpdated string   `json:"lastUpdated"`
	Settings    struct {
		App map[string]any `json:"app"`
	} `json:"settings"`
	Links struct {
		Logo     any `json:"logo"`     // an object or an array
		AppLinks any `json:"appLinks"` // likewise
	} `json:"_links"`
}

// AppUser is the assignment of an application to a user.
type AppUser struct {
	ID      string         `json:"id"` // the user's id, not the 0ua… id of events
	Scope   string         `json:"scope"`
	Status  string         `json:"status"`
	Profile map[string]any `json:"profile"`
}

// AppGroup is a row of the assignment of an application to a group. One group
// can have several rows, one for each role.
type AppGroup struct {
	ID       string         `json:"id"` // the group's id
	Priority int            `json:"priority"`
	Profile  map[string]any `json:"profile"`
}

// Factor is an enrolled factor of a user.
type Factor struct {
	ID           string         `json:"id"`
	FactorType   string         `json:"factorType"`
	Provider     string         `json:"provider"`
	VendorName   string         `json:"vendorName"`
	Device       string         `json:"device"`
	DeviceType   string         `json:"deviceType"`
	Status       string         `json:"status"`
	Created      string         `json:"created"`
	LastUpdated  string         `json:"lastUpdated"`
	LastVerified string         `json:"lastVerified"`
	Profile      map[string]any `json:"profile"`
}

// Support is the state of Okta's support access to the org.
type Support struct {
	Support    string `json:"support"`
	Expiration string `json:"expiration"`
}
