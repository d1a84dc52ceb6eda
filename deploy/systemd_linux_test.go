package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// exposure is what systemd-analyze may give the unit at most, in tenths: 100 is
// a service without any protection.
const exposure = "15"

func TestSystemdTakesTheUnitAndFindsItClosed(t *testing.T) {
	text := read(t, "systemd/oktasync.service")
	const program = "/usr/local/bin/oktasync serve"
	if !strings.Contains(text, "ExecStart="+program+"\n") {
		t.Fatalf("it does not start %s", program)
	}
	// verify asks that the program is there.
	unit := filepath.Join(t.TempDir(), "oktasync.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(text, program, "/bin/true serve", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	verified := run(t, "sh", "-c", `exec systemd-analyze verify --man=no "$1" 2>&1`, "sh", unit)
	if strings.Contains(verified, "oktasync.service") { // a key that it does not know is told, and passes
		t.Errorf("verify: %s", verified)
	}
	run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+exposure, unit)
}

func TestSystemdSetsWhatOktasyncKnowsAndNoSecret(t *testing.T) {
	known, secret := settings(t, "serve"), secrets(t)
	for _, file := range []string{"systemd/oktasync.service", "systemd/oktasync.env"} {
		set := map[string]string{}
		// What is commented out is for use, too.
		for _, m := range regexp.MustCompile(`(?m)^#?(?:Environment=)?([A-Z][A-Z0-9_]+)=(.*)$`).FindAllStringSubmatch(read(t, file), -1) {
			set[m[1]] = m[2]
		}
		checkEnvironment(t, file, known, secret, set)
		if len(set) < 3 {
			t.Errorf("%s sets only %v", file, set)
		}
	}
}
