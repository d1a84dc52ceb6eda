package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

func TestTriggerSendsAnInstanceEvent(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 5, Groups: 2, Apps: 2})
	address, _ := serveWith(t, "--allow-insecure-orgs", "--trigger-token=token-of-the-scheduler", "--admin-token=token-of-the-operators")
	event := fmt.Sprintf(`{"instance":{"id":"acme","config":{"oktaOrgUrl":%q,"oktaApiKey":%q}}}`, org.URL(), org.Token())
	file := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(file, []byte(event), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(http.RedirectHandler("http://"+address+"/v1/instance-events", http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		url, token, file, stdin string
		status                  int
		want                    string
	}{
		"from a file":          {"http://" + address, "token-of-the-scheduler", file, "", 0, `"trigger":"instance-event"`},
		"from standard input":  {"http://" + address + "/", "token-of-the-scheduler", "-", event, 0, `"instance":"acme"`},
		"wrong token":          {"http://" + address, "token-of-the-operators", file, "", 1, "401"},
		"no token":             {"http://" + address, "", file, "", 2, "OKTASYNC_TRIGGER_TOKEN"},
		"not an event":         {"http://" + address, "token-of-the-scheduler", "-", "{}", 1, "oktaApiKey is required"},
		"not JSON":             {"http://" + address, "token-of-the-scheduler", "-", "{" + org.Token(), 1, "not JSON"},
		"no file":              {"http://" + address, "token-of-the-scheduler", "none.json", "", 1, "none.json"},
		"no URL":               {address, "token-of-the-scheduler", file, "", 2, "http://host:port"},
		"a redirect elsewhere": {elsewhere.URL, "token-of-the-scheduler", file, "", 1, "307"},
	} {
		var out bytes.Buffer
		w, said := testWorld()
		w.stdin, w.stdout = strings.NewReader(c.stdin), &out
		status := run(t.Context(), []string{"trigger", "--url=" + c.url, "--trigger-token=" + c.token, c.file}, w)
		text := out.String() + said.String()
		if status != c.status || !strings.Contains(text, c.want) || strings.Contains(text, org.Token()) {
			t.Errorf("%s: status %d: %s", name, status, text)
		}
	}
}
