package convert

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What operators are told to subscribe by hand is what the code needs: the
// README's list is a block of text, with names for the groups of types.
func TestReadmeListsTheTypesOfTheHook(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := ""
	for i, text := range strings.Split(string(readme), "```") {
		if i%2 == 1 && strings.Contains(text, "user.lifecycle.create") && strings.Contains(text, "group.lifecycle.create") {
			block = strings.TrimPrefix(text, "text")
			break
		}
	}
	got := regexp.MustCompile(`[a-z0-9_]+(\.[a-z0-9_]+)+`).FindAllString(block, -1)
	slices.Sort(got)
	if diff := cmp.Diff(HookTypes(), got); diff != "" {
		t.Errorf("-needed +README:\n%s", diff)
	}
	for _, name := range HookTypes() {
		if known, hook := KnownType(name); !known || !hook {
			t.Errorf("%s: known %v, for hooks %v", name, known, hook)
		}
	}
}
