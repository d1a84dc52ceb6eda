package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/oktasync/oktasync/"

// mayImport holds the directions of the tree: cmd → handlers → sync → state, and
// within sync, engine → sink, convert → okta, record, graph. A package may import
// those of ours that its line names; a name with /... stands for all below it.
// A package that no line names may not exist.
var mayImport = []struct {
	pkg     string
	imports []string
}{
	{"cmd/oktasync", []string{"cmd/oktasync/bench", "handlers", "sync/...", "state"}},
	{"cmd/oktasync/bench", []string{"handlers", "sync/okta"}},
	{"handlers", []string{"sync/engine", "sync/sink", "sync/j1ql", "sync/okta", "sync/record", "sync/graph"}},
	{"sync/engine", []string{"sync/sink", "sync/convert", "sync/okta", "sync/record", "sync/graph", "state"}},
	{"sync/sink", []string{"sync/graph"}},
	{"sync/sink/sqldb", []string{"sync/sink", "sync/j1ql", "sync/graph"}},
	{"sync/sink/...", []string{"sync/sink", "sync/graph"}},
	{"sync/j1ql", nil},
	{"sync/j1ql/j1qltest", []string{"sync/j1ql"}},
	{"sync/j1ql/j1qltest/judge", []string{"sync/j1ql", "sync/graph"}},
	{"sync/convert", []string{"sync/okta", "sync/record", "sync/graph"}},
	{"sync/okta", nil},
	{"sync/okta/oktasim", []string{"sync/okta", "sync/record", "sync/graph"}},
	{"sync/record", []string{"sync/graph"}},
	{"sync/graph", nil},
	{"state", nil},
	{"state/statetest", []string{"state"}},
	{"state/statetest/chaos", nil},
	{"deploy", nil}, // tests of the files there
	{"cmd/killtest", []string{"sync/okta/oktasim", "sync/graph"}},
}

// onlyFrom names packages that tests and the demo need, and no one else.
var onlyFrom = map[string][]string{
	"sync/okta/oktasim":          {"cmd/oktasync", "cmd/killtest"},
	"sync/j1ql/j1qltest":         nil,
	"sync/j1ql/j1qltest/judge":   nil,
	"sync/sink/sqldb/sqldbtest":  nil,
	"sync/sink/jupiterone/j1sim": nil,
	"state/statetest":            nil,
	"state/statetest/chaos":      nil,
}

func violations(imports map[string][]string) []string {
	var wrong []string
	for pkg, list := range imports {
		i := slices.IndexFunc(mayImport, func(rule struct {
			pkg     string
			imports []string
		}) bool {
			return covers(rule.pkg, pkg)
		})
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("%s has no place in the tree", pkg))
			continue
		}
		for _, imported := range list {
			ours, ok := strings.CutPrefix(imported, module)
			if !ok {
				if pkg == "sync/graph" && strings.Contains(strings.Split(imported, "/")[0], ".") {
					wrong = append(wrong, fmt.Sprintf("%s imports %s: standard library only", pkg, imported))
				}
				continue
			}
			if !slices.ContainsFunc(mayImport[i].imports, func(allowed string) bool { return covers(allowed, ours) }) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s", pkg, ours))
			}
			if from, ok := onlyFrom[ours]; ok && !slices.Contains(from, pkg) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which is for tests", pkg, ours))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// covers tells whether name is pattern, or below it if it ends in /...
func covers(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func TestImportsPointOneWay(t *testing.T) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	imports := map[string][]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		imports[strings.TrimPrefix(p.ImportPath, module)] = p.Imports
	}
	if _, ok := imports["sync/engine"]; !ok {
		t.Fatalf("go list found only %d packages", len(imports))
	}
	for _, v := range violations(imports) {
		t.Error(v)
	}
}

func TestImportsInTheWrongDirectionAreFound(t *testing.T) {
	for _, c := range []struct{ pkg, imported, want string }{
		{"state", module + "sync/record", "state imports sync/record"},
		{"sync/graph", module + "sync/record", "sync/graph imports sync/record"},
		{"sync/graph", "github.com/google/go-cmp/cmp", "sync/graph imports github.com/google/go-cmp/cmp: standard library only"},
		{"sync/convert", module + "sync/engine", "sync/convert imports sync/engine"},
		{"sync/sink/jsonl", module + "sync/engine", "sync/sink/jsonl imports sync/engine"},
		{"sync/engine", module + "handlers", "sync/engine imports handlers"},
		{"handlers", module + "state", "handlers imports state"},
		{"handlers", module + "cmd/oktasync", "handlers imports cmd/oktasync"},
		{"sync/utils", "fmt", "sync/utils has no place in the tree"},
	} {
		got := violations(map[string][]string{c.pkg: {"fmt", c.imported}})
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%s importing %s: got %q, want %q", c.pkg, c.imported, got, c.want)
		}
	}
	got := violations(map[string][]string{"sync/engine": {module + "sync/okta/oktasim"}})
	if len(got) != 2 {
		t.Errorf("engine importing the simulator: got %q", got)
	}
	if got := violations(map[string][]string{"sync/graph": {"encoding/json", "maps"}}); len(got) != 0 {
		t.Errorf("graph importing the standard library: got %q", got)
	}
}
