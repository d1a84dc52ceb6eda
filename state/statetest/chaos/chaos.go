// Package chaos has the flag of the chaos test. Every package with tests imports
// it, since `go test ./... -run Chaos -chaos.histories=N` gives the flag to all
// of them.
package chaos

import "flag"

// Histories is how many random histories the chaos test tries.
var Histories = flag.Int("chaos.histories", 200, "random histories of the chaos test")
