package main

import (
	"bytes"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionTellsWhatTheProgramWasMadeOf(t *testing.T) {
	repository := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	}
	for name, c := range map[string]struct {
		version           string
		settings          []debug.BuildSetting
		stamped, revision string
		want, text        string
	}{
		"go install module@version": {"v1.2.3", nil, "", "", `{"version":"v1.2.3","modified":false,"go":"go1"}`, "v1.2.3, go1"},
		"go build in a repository": {"v0.0.0-20260102030405-abc+dirty", repository, "", "",
			`{"version":"v0.0.0-20260102030405-abc+dirty","revision":"abc","time":"2026-01-02T03:04:05Z","modified":true,"go":"go1"}`,
			"v0.0.0-20260102030405-abc+dirty abc of 2026-01-02T03:04:05Z, modified, go1"},
		"the Dockerfile": {"(devel)", nil, "v1.2.3", "abc", `{"version":"v1.2.3","revision":"abc","modified":false,"go":"go1"}`, "v1.2.3 abc, go1"},
		"the toolchain knows better than a stamp": {"v1.2.3", repository[:1], "v9", "old",
			`{"version":"v1.2.3","revision":"abc","modified":false,"go":"go1"}`, "v1.2.3 abc, go1"},
		"nothing is known": {"", nil, "", "", `{"version":"(devel)","modified":false,"go":"go1"}`, "(devel), go1"},
	} {
		b := buildFrom(&debug.BuildInfo{GoVersion: "go1", Main: debug.Module{Version: c.version}, Settings: c.settings}, c.stamped, c.revision)
		got, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want || b.String() != c.text {
			t.Errorf("%s: %s %q", name, got, b)
		}
	}
}

func TestVersionCommand(t *testing.T) {
	var out bytes.Buffer
	w, _ := testWorld()
	w.stdout = &out
	if status := run(t.Context(), []string{"version"}, w); status != 0 || !strings.HasPrefix(out.String(), "oktasync ") || !strings.Contains(out.String(), runtime.Version()) {
		t.Errorf("status %d: %s", status, out.String())
	}
	out.Reset()
	var b build
	if status := run(t.Context(), []string{"version", "--json"}, w); status != 0 || json.Unmarshal(out.Bytes(), &b) != nil || b != thisBuild() {
		t.Errorf("status %d: %s", status, out.String())
	}
}
