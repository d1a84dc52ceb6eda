package main

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
)

// stampedVersion and stampedRevision are set by the linker (-X) in a build that
// sees no repository, as that of the Dockerfile.
var stampedVersion, stampedRevision string

// build tells what this program was made of.
type build struct {
	Version  string `json:"version"`            // of the module; "(devel)" if nothing told it
	Revision string `json:"revision,omitempty"` // of the repository
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified"`           // the tree differed from the revision
	Go       string `json:"go"`
}

// thisBuild returns what the Go toolchain, or the linker, put into this program.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildFrom(info, stampedVersion, stampedRevision)
}

// buildFrom takes what the toolchain knows; what it does not, the stamps say.
func buildFrom(info *debug.BuildInfo, version, revision string) build {
	b := build{Version: info.Main.Version, Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if (b.Version == "" || b.Version == "(devel)") && version != "" {
		b.Version = version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	if b.Revision == "" {
		b.Revision = revision
	}
	return b
}

func (b build) String() string {
	text := b.Version
	if b.Revision != "" {
		text += " " + b.Revision
	}
	if b.Time != "" {
		text += " of " + b.Time
	}
	if b.Modified {
		text += ", modified"
	}
	return text + ", " + b.Go
}

type versionCmd struct {
	JSON bool `name:"json" help:"As JSON."`
}

// Run prints the version.
func (cmd versionCmd) Run(w world) error {
	if cmd.JSON {
		return json.NewEncoder(w.stdout).Encode(thisBuild())
	}
	_, err := fmt.Fprintln(w.stdout, "oktasync", thisBuild())
	return err
}
