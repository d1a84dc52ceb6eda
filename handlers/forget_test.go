package handlers

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A person is deleted: in Okta, and with them from the graph. What is kept of the
// past still knows them, until it is forgotten, too.
func TestNothingOfADeletedPersonIsLeftOnceTheHistoryIsForgotten(t *testing.T) {
	server, rdb := redisServer(t)
	s := setup(t, server.URL)
	s.read()
	var user struct {
		ID      string `json:"id"`
		Profile struct {
			Login string `json:"login"`
		} `json:"profile"`
	}
	if err := json.Unmarshal(s.org.Snapshot().Users[3], &user); err != nil {
		t.Fatal(err)
	}
	reader := s.stream("/v1/instances/acme/changes", "")
	if user.Profile.Login == "" || !stored(t, rdb, user.Profile.Login) {
		t.Fatalf("the login %q is not stored", user.Profile.Login)
	}
	if _, err := s.org.Deactivate(user.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.org.DeleteUser(user.ID); err != nil {
		t.Fatal(err)
	}
	if got := s.post("/admin/instances/acme/resync", `{"object":"user/`+user.ID+`"}`, adminToken); got.status != http.StatusAccepted {
		t.Fatalf("resync: %d %s", got.status, got.body)
	}
	position := reader.event().id
	s.until("the user to be gone from the graph", func() bool {
		return !strings.Contains(s.get("/v1/instances/acme/graph?type=okta_user,employee").body, user.Profile.Login)
	})
	if !stored(t, rdb, user.Profile.Login) {
		t.Fatal("the changes do not know the user: there is nothing to forget")
	}

	if got := s.post("/admin/instances/acme/forget-history", "", adminToken); got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	s.until("the login to be stored nowhere", func() bool { return !stored(t, rdb, user.Profile.Login) })
	wantProblem(t, s.call("GET", "/v1/instances/acme/changes", nil, "Authorization", "Bearer "+adminToken, "Last-Event-ID", position), http.StatusGone)
	s.until("the database to hold the graph anew, and the work to go on", func() bool {
		status := s.status()
		return status.Whole && status.Owner != "" && status.Sinks[s.db.Name()].Snapshots > 1
	})
	if got := s.post("/v1/instances/acme/query", `{"query":"FIND okta_user AS u RETURN u.login AS login"}`, adminToken); got.status != http.StatusOK || strings.Contains(got.body, user.Profile.Login) {
		t.Errorf("query: %d %.500s", got.status, got.body)
	}
	wantProblem(t, s.post("/admin/instances/nobody/forget-history", "", adminToken), http.StatusNotFound)
}

// stored tells whether a text is anywhere in Redis.
func stored(t *testing.T, rdb *redis.Client, text string) bool {
	t.Helper()
	ctx := t.Context()
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		var all any
		switch rdb.Type(ctx, key).Val() {
		case "string":
			all, err = rdb.Get(ctx, key).Result()
		case "hash":
			all, err = rdb.HGetAll(ctx, key).Result()
		case "set":
			all, err = rdb.SMembers(ctx, key).Result()
		case "zset":
			all, err = rdb.ZRange(ctx, key, 0, -1).Result()
		case "list":
			all, err = rdb.LRange(ctx, key, 0, -1).Result()
		case "stream":
			all, err = rdb.XRange(ctx, key, "-", "+").Result()
		case "none": // ended meanwhile
			continue
		}
		if err != nil && err != redis.Nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(key, text) || strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}
