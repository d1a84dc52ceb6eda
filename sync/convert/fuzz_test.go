package convert_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// checkContent holds for whatever Okta sends: the content is the same each
// time, reads back to the same bytes, and gives objects that the graph can hold.
func checkContent(t *testing.T, convertOnce func() record.Observation) {
	t.Helper()
	o := convertOnce()
	if !o.Present {
		return
	}
	if again := convertOnce(); !bytes.Equal(o.Content, again.Content) {
		t.Fatalf("two contents of one object:\n%s\n%s", o.Content, again.Content)
	}
	var back any
	d := json.NewDecoder(bytes.NewReader(o.Content))
	d.UseNumber()
	if err := d.Decode(&back); err != nil {
		t.Fatalf("%s: %v", o.Content, err)
	}
	yes := true
	objects := convert.Project(acme, o.ID, &record.Projection{Content: o.Content, MFA: &yes, Everyone: "e"})
	if len(objects) < 2 {
		t.Fatalf("%s gives %d objects", o.ID, len(objects))
	}
	edges := false
	for _, object := range objects {
		if object.Entity != nil && edges {
			t.Fatal("an entity after a relationship")
		}
		edges = edges || object.Relationship != nil
		checkProperties(t, object)
		first, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		var again graph.Object
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatal(err)
		}
		if len(graph.Diff([]graph.Object{object}, []graph.Object{again})) != 0 {
			t.Fatalf("does not survive JSON: %s", first)
		}
	}
}

func checkProperties(t *testing.T, o graph.Object) {
	t.Helper()
	if o.Relationship != nil {
		for name, v := range o.Relationship.Properties {
			switch v.(type) {
			case string, bool, json.Number:
			default:
				t.Fatalf("edge property %s is a %T", name, v)
			}
		}
		return
	}
	for _, name := range []string{"name", "displayName"} {
		if o.Entity.Properties[name] == nil || o.Entity.Properties[name] == "" {
			t.Fatalf("%s has no %s", o.Entity.Type, name)
		}
	}
	for name, v := range o.Entity.Properties {
		if v == nil || name == "" || name[0] == '_' {
			t.Fatalf("property %q is %v", name, v)
		}
		if s, ok := v.(string); ok && len([]rune(s)) > 4096 {
			t.Fatalf("%s is %d long", name, len(s))
		}
	}
}

func seed(f *testing.F, kind string) {
	f.Helper()
	files, err := filepath.Glob("testdata/golden/" + kind + "-*.in.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzUser(f *testing.F) {
	seed(f, "user")
	f.Fuzz(func(t *testing.T, in []byte) {
		var u okta.User
		if json.Unmarshal(in, &u) == nil {
			u.ID = "00u1" // the reader of lists refuses objects without an id
			checkContent(t, func() record.Observation { return acme.User(u, true) })
		}
	})
}

func FuzzApplication(f *testing.F) {
	seed(f, "app")
	f.Fuzz(func(t *testing.T, in []byte) {
		var a okta.Application
		if json.Unmarshal(in, &a) == nil {
			a.ID = "0oa1"
			checkContent(t, func() record.Observation { return acme.Application(a) })
		}
	})
}
