// Package deploy has no code: its tests check the files that people deploy with.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// settings are the variables that commands take, as their help names them.
func settings(t *testing.T, commands ...string) []string {
	t.Helper()
	program := filepath.Join(folder, "oktasync")
	if _, err := os.Stat(program); err != nil {
		run(t, "go", "build", "-o", program, "../cmd/oktasync")
	}
	var names []string
	for _, command := range commands {
		help, err := exec.Command(program, command, "--help").Output()
		if err != nil {
			t.Fatalf("%s --help: %v", command, err)
		}
		for _, m := range regexp.MustCompile(`\$([A-Z][A-Z0-9_]+)`).FindAllSubmatch(help, -1) {
			names = append(names, string(m[1]))
		}
	}
	if !slices.Contains(names, "OKTASYNC_LISTEN") {
		t.Fatalf("help names %v", names)
	}
	return names
}

// secrets are the variables that hold one, as the README marks them.
func secrets(t *testing.T) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(read(t, "../README.md")) {
		if cell, rest, ok := strings.Cut(line, " (secret) |"); ok && rest != "" && strings.HasPrefix(cell, "|") {
			for _, m := range regexp.MustCompile("`([A-Z0-9_]+)`").FindAllStringSubmatch(cell, -1) {
				names = append(names, m[1])
			}
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(inOneRowWithASecret, name) })
	if !slices.Contains(names, "OKTASYNC_ADMIN_TOKEN") || !slices.Contains(names, "JUPITERONE_API_KEY") {
		t.Fatalf("the README marks as secret: %v", names)
	}
	return names
}

var inOneRowWithASecret = []string{"OKTA_CLIENT_ORGURL", "JUPITERONE_ACCOUNT"}

// fromGo are variables that the Go runtime takes.
var fromGo = []string{"GOMEMLIMIT", "TMPDIR"}

// checkEnvironment finds settings that oktasync does not know, and secrets that
// are not read from a file.
func checkEnvironment(t *testing.T, where string, known, secrets []string, env map[string]string) {
	t.Helper()
	if len(env) == 0 {
		t.Errorf("%s sets nothing", where)
	}
	for name, value := range env {
		bare, isFile := strings.CutSuffix(name, "_FILE")
		switch {
		case slices.Contains(fromGo, name):
		case isFile && slices.Contains(secrets, bare):
			if !strings.HasPrefix(value, "/run/secrets/") && !strings.HasPrefix(value, "%d/") {
				t.Errorf("%s: %s = %s is no place of secrets", where, name, value)
			}
		case slices.Contains(secrets, name) && value != "jupiterone" && !strings.HasPrefix(value, "sql:"):
			t.Errorf("%s: %s is a secret: read it from a file, as %[2]s_FILE", where, name)
		case !slices.Contains(known, name):
			t.Errorf("%s: oktasync knows no %s", where, name)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
