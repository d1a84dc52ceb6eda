package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// takes holds what the provider knows of each resource, by its documentation.
var takes = map[string][]string{
	"okta_event_hook":              {"name", "events", "channel", "auth", "headers", "status"},
	"okta_event_hook_verification": {"event_hook_id"},
}

func TestTerraformSubscribesTheTypesOfTheREADME(t *testing.T) {
	resources := map[string]*hclsyntax.Body{}
	for _, block := range terraform(t) {
		if block.Type == "resource" {
			resources[block.Labels[0]] = block.Body
		}
	}
	for name, body := range resources {
		for attribute := range body.Attributes {
			if !slices.Contains(takes[name], attribute) {
				t.Errorf("%s takes no %s", name, attribute)
			}
		}
	}
	hook := resources["okta_event_hook"]
	if hook == nil || resources["okta_event_hook_verification"] == nil {
		t.Fatalf("resources: %v", resources)
	}
	value, diags := hook.Attributes["events"].Expr.Value(nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var got []string
	for _, v := range value.AsValueSlice() {
		got = append(got, v.AsString())
	}
	_, list, ok := strings.Cut(read(t, "../README.md"), "```text\nusers ")
	list, _, _ = strings.Cut(list, "```")
	want := regexp.MustCompile(`[a-z_]+(\.[a-z_]+)+`).FindAllString(list, -1)
	if !ok || len(want) < 40 {
		t.Fatalf("the README names %d types", len(want))
	}
	slices.Sort(want)
	if !slices.IsSorted(got) || !slices.Equal(got, want) {
		t.Errorf("events of the hook, in order:\n%q\nof the README:\n%q", got, want)
	}
}

func TestTerraformKeepsTheSecretOutOfSight(t *testing.T) {
	for _, block := range terraform(t) {
		if block.Type == "variable" && block.Labels[0] == "hook_secret" {
			sensitive, diags := block.Body.Attributes["sensitive"].Expr.Value(nil)
			if diags.HasErrors() || sensitive.False() || block.Body.Attributes["default"] != nil {
				t.Errorf("hook_secret is shown, or has a default: %v", diags)
			}
			return
		}
	}
	t.Error("there is no hook_secret")
}

// terraform returns the blocks of the example. What they name must be declared.
func terraform(t *testing.T) hclsyntax.Blocks {
	t.Helper()
	file, diags := hclparse.NewParser().ParseHCLFile("terraform/main.tf")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	body := file.Body.(*hclsyntax.Body)
	var declared []string
	for _, block := range body.Blocks {
		switch block.Type {
		case "variable":
			declared = append(declared, "var."+block.Labels[0])
		case "resource":
			declared = append(declared, strings.Join(block.Labels, "."))
		}
	}
	diags = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		if e, ok := node.(*hclsyntax.ScopeTraversalExpr); ok && len(e.Traversal) > 1 {
			name := e.Traversal.RootName() + "." + e.Traversal[1].(hcl.TraverseAttr).Name
			if !slices.Contains(declared, name) {
				t.Errorf("%s is not declared", name)
			}
		}
		return nil
	})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return body.Blocks
}
