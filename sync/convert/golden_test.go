package convert_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

var acme = convert.NewOrg("https://acme.okta.com/", "Acme")

// Each file is what Okta says of one object; beside it stands what we keep, and
// what that gives to the graph.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.in.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	yes := true
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".in.json")
		t.Run(name, func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o := observe(t, name, in)
			p := &record.Projection{Content: o.Content}
			if o.ID.Kind() == record.KindUser {
				p.MFA, p.Everyone = &yes, "00gEveryone"
			}
			objects := convert.Project(acme, o.ID, p)
			var c record.Content
			if err := json.Unmarshal(o.Content, &c); err != nil {
				t.Fatal(err)
			}
			if c.PersonKey != "" {
				objects = append(objects, convert.Project(acme, record.ID("person/"+c.PersonKey), p)...)
			}
			c.Entity, c.Person, c.Properties = nil, nil, nil // shown as objects
			got, err := json.MarshalIndent(map[string]any{
				"id": o.ID, "present": o.Present, "empty": o.Empty, "content": c, "objects": objects,
			}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".in.json") + ".out.json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(bytes.TrimSpace(want)), string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// observe converts a file by the first part of its name.
func observe(t *testing.T, name string, in []byte) record.Observation {
	kind, _, _ := strings.Cut(name, "-")
	switch kind {
	case "account":
		s := decode[okta.Support](t, in)
		return acme.Account(&s)
	case "user":
		return acme.User(decode[okta.User](t, in), true)
	case "group":
		return acme.Group(decode[okta.Group](t, in))
	case "app":
		return acme.Application(decode[okta.Application](t, in))
	case "appuser":
		return acme.AppUser("0oa1", decode[okta.AppUser](t, in))
	case "appgroup":
		return acme.AppGroup("0oa1", decode[[]okta.AppGroup](t, in))
	case "factor":
		return acme.Factor("00u1", decode[okta.Factor](t, in))
	}
	t.Fatalf("file of an unknown kind: %s", name)
	return record.Observation{}
}

func decode[T any](t *testing.T, in []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(in, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func objectsJSON(t *testing.T, objects []graph.Object) string {
	t.Helper()
	b, err := json.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRecordsWithoutContent(t *testing.T) {
	for id, want := range map[record.ID]string{
		record.Member("g", "u"):               `[{"relationship":{"_class":"HAS","_fromEntityKey":"g","_key":"g|has_user|u","_toEntityKey":"u","_type":"okta_group_has_user","displayName":"HAS","groupId":"g","userId":"u"}}]`,
		record.AppUser("a", "u"):              `[{"relationship":{"_class":"ASSIGNED","_fromEntityKey":"u","_key":"u|assigned|a","_toEntityKey":"a","_type":"okta_user_assigned_application","applicationId":"a","displayName":"ASSIGNED","userId":"u"}}]`,
		record.AppGroup("a", "g"):             `[{"relationship":{"_class":"ASSIGNED","_fromEntityKey":"g","_key":"g|assigned|a","_toEntityKey":"a","_type":"okta_group_assigned_application","applicationId":"a","displayName":"ASSIGNED","groupId":"g"}}]`,
		record.User("u"):                      `null`,
		record.Group("g"):                     `null`,
		record.App("a"):                       `null`,
		record.Account:                        `null`,
		record.Factor("u", "f"):               `null`,
		"person/employee:a@b":                 `null`,
		"unknown/x":                           `null`,
		"role/user/u/123456789012/team/Admin": `[{"relationship":{"_class":"ASSIGNED","_key":"u|assigned|arn:aws:iam::123456789012:role/team/Admin","_mapping":{"sourceEntityKey":"u","relationshipDirection":"FORWARD","targetFilterKeys":[["_type","_key"]],"targetEntity":{"_class":"AccessRole","_key":"arn:aws:iam::123456789012:role/team/Admin","_type":"aws_iam_role","displayName":"team/Admin","name":"team/Admin","roleName":"team/Admin"},"skipTargetCreation":true},"_type":"okta_user_assigned_aws_iam_role","displayName":"ASSIGNED"}}]`,
		"role/group/g/-/prod|Read":            `[{"relationship":{"_class":"ASSIGNED","_key":"g|assigned|prod|Read","_mapping":{"sourceEntityKey":"g","relationshipDirection":"FORWARD","targetFilterKeys":[["_type","roleName","tag.AccountName"]],"targetEntity":{"_class":"AccessRole","_type":"aws_iam_role","displayName":"Read","name":"Read","roleName":"Read","tag.AccountName":"prod"},"skipTargetCreation":true},"_type":"okta_user_group_assigned_aws_iam_role","displayName":"ASSIGNED"}}]`,
	} {
		if diff := cmp.Diff(want, objectsJSON(t, convert.Project(acme, id, &record.Projection{}))); diff != "" {
			t.Errorf("%s: -want +got:\n%s", id, diff)
		}
		if got := convert.Project(acme, id, nil); got != nil {
			t.Errorf("%s is not in the graph, yet gives %v", id, got)
		}
	}
}

func TestOrg(t *testing.T) {
	for _, c := range []struct {
		url, name string
		want      convert.Org
	}{
		{"https://acme.okta.com/", "x", convert.Org{URL: "https://acme.okta.com", AccountID: "acme.okta.com", Name: "acme", AdminURL: "https://acme-admin.okta.com"}},
		{" ACME.Okta.com/home?x ", "x", convert.Org{URL: "https://acme.okta.com", AccountID: "acme.okta.com", Name: "acme", AdminURL: "https://acme-admin.okta.com"}},
		{"https://acme-admin.okta.com:443", "x", convert.Org{URL: "https://acme.okta.com", AccountID: "acme.okta.com", Name: "acme", AdminURL: "https://acme-admin.okta.com"}},
		{"https://acme.oktapreview.com", "x", convert.Org{URL: "https://acme.oktapreview.com", AccountID: "acme.oktapreview.com", Name: "acme", Preview: true, AdminURL: "https://acme-admin.oktapreview.com"}},
		{"https://acme.okta-emea.com", "Acme EU", convert.Org{URL: "https://acme.okta-emea.com", AccountID: "acme.okta-emea.com", Name: "Acme EU", AdminURL: "https://acme-admin.okta-emea.com"}},
		{"https://acme.okta-gov.com", "", convert.Org{URL: "https://acme.okta-gov.com", AccountID: "acme.okta-gov.com", Name: "acme", AdminURL: "https://acme-admin.okta-gov.com"}},
		{"https://login.acme.example/", "Acme", convert.Org{URL: "https://login.acme.example", AccountID: "login.acme.example", Name: "Acme", AdminURL: "https://login.acme.example"}},
		{"http://127.0.0.1:8081/", "", convert.Org{URL: "http://127.0.0.1:8081", AccountID: "127.0.0.1:8081", Name: "127.0.0.1:8081", AdminURL: "http://127.0.0.1:8081"}},
		{"http://[::1]/", "sim", convert.Org{URL: "http://[::1]", AccountID: "[::1]", Name: "sim", AdminURL: "http://[::1]"}},
		{"https://notokta.com", "n", convert.Org{URL: "https://notokta.com", AccountID: "notokta.com", Name: "n", AdminURL: "https://notokta.com"}},
	} {
		if diff := cmp.Diff(c.want, convert.NewOrg(c.url, c.name)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.url, diff)
		}
	}
}
