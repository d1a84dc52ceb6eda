package j1sim_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const jobs = "/persister/synchronization/jobs"

// setup starts a server, and returns how to ask it something.
func setup(t *testing.T, cfg j1sim.Config) (*j1sim.Server, func(method, path, body string) (int, string)) {
	t.Helper()
	cfg.Account, cfg.Key = "acme", "key"
	s, err := j1sim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		s.Close()
	})
	return s, func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, s.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer key")
		req.Header.Set("JupiterOne-Account", "acme")
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
}

const (
	startDiff = `{"source":"api","scope":"s","syncMode":"DIFF"}`
	a         = `{"_key":"a","_type":"t","_class":"C"}`
	b         = `{"_key":"b","_type":"u","_class":["C"]}`
	ab        = `{"_key":"ab","_type":"r","_class":"HAS","_fromEntityKey":"a","_toEntityKey":"b"}`
)

// run runs a job to its end.
func run(t *testing.T, ask func(method, path, body string) (int, string), id, start, upload, finalize string) string {
	t.Helper()
	for _, request := range [][2]string{{"", start}, {"/" + id + "/upload", upload}, {"/" + id + "/finalize", finalize}} {
		if status, answer := ask("POST", jobs+request[0], request[1]); status != 200 {
			t.Fatal(status, answer)
		}
	}
	for {
		_, answer := ask("GET", jobs+"/"+id, "")
		if strings.Contains(answer, `"done":true`) {
			return answer
		}
	}
}

func TestWrongRequestsAreRefused(t *testing.T) {
	_, ask := setup(t, j1sim.Config{MaxBody: 3000})
	ask("POST", jobs, startDiff)                                         // job-1
	ask("POST", jobs, `{"source":"api","scope":"s","syncMode":"PATCH"}`) // job-2
	ask("POST", jobs, `{"source":"api","scope":"aborted"}`)              // job-3
	ask("POST", jobs+"/job-3/abort", `{}`)
	entity := func(fields string) string {
		return `{"entities":[{"_key":"k","_type":"t","_class":"C",` + fields + `}]}`
	}
	edge := func(fields string) string {
		return `{"relationships":[{"_key":"k","_type":"t","_class":"HAS","_fromEntityKey":"a",` + fields + `}]}`
	}
	mapping := func(fields string) string {
		return `{"relationships":[{"_key":"k","_type":"t","_class":"HAS","_mapping":{` + fields + `}}]}`
	}
	for name, c := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"DIFF without scope":          {"", `{"source":"api","syncMode":"DIFF"}`, 400, "BAD_REQUEST"},
		"unknown source":              {"", `{"source":"x","scope":"s"}`, 400, "BAD_REQUEST"},
		"a mode of the past":          {"", `{"source":"api","scope":"s","syncMode":"CREATE_OR_UPDATE"}`, 400, "BAD_REQUEST"},
		"no integration instance":     {"", `{"source":"integration-external"}`, 400, "SYNC_JOB_INVALID_INTEGRATION_INSTANCE"},
		"unknown job":                 {"/job-9/entities", `{"entities":[]}`, 404, "NOT_FOUND"},
		"finalize of an unknown job":  {"/job-9/finalize", `{}`, 404, "NOT_FOUND"},
		"abort of an unknown job":     {"/job-9/abort", `{}`, 404, "NOT_FOUND"},
		"upload after abort":          {"/job-3/entities", `{"entities":[]}`, 400, "JOB_NOT_AWAITING_UPLOADS"},
		"finalize after abort":        {"/job-3/finalize", `{}`, 400, "JOB_NOT_AWAITING_UPLOADS"},
		"entities are no array":       {"/job-1/entities", `{"entities":{}}`, 400, "ENTITY_IS_NOT_ARRAY"},
		"no entities":                 {"/job-1/entities", `{}`, 400, "BAD_REQUEST"},
		"relationships as entities":   {"/job-1/entities", `{"relationships":[]}`, 400, "BAD_REQUEST"},
		"no JSON":                     {"/job-1/entities", `{"entities":[`, 400, "BAD_REQUEST"},
		"more than JSON":              {"/job-1/entities", `{"entities":[]} x`, 400, "BAD_REQUEST"},
		"entity is no object":         {"/job-1/entities", `{"entities":[1]}`, 400, "BAD_DATA"},
		"no _key":                     {"/job-1/entities", `{"entities":[{"_type":"t","_class":"C"}]}`, 400, "BAD_DATA"},
		"no _type":                    {"/job-1/entities", `{"entities":[{"_key":"t","_class":"C"}]}`, 400, "BAD_DATA"},
		"no _class":                   {"/job-1/entities", `{"entities":[{"_key":"t","_type":"C"}]}`, 400, "BAD_DATA"},
		"empty _class":                {"/job-1/entities", `{"entities":[{"_key":"t","_type":"C","_class":[]}]}`, 400, "BAD_DATA"},
		"nested":                      {"/job-1/entities", entity(`"x":{}`), 400, "BAD_DATA"},
		"nested in an array":          {"/job-1/entities", entity(`"x":[{}]`), 400, "BAD_DATA"},
		"mixed":                       {"/job-1/entities", entity(`"x":["a",1]`), 400, "BAD_DATA"},
		"own _":                       {"/job-1/entities", entity(`"_x":1`), 400, "BAD_DATA"},
		"twice":                       {"/job-1/entities", `{"entities":[` + a + `,` + a + `]}`, 400, "DUPLICATE_KEY"},
		"too large":                   {"/job-1/entities", entity(`"x":"` + strings.Repeat("x", 3000) + `"`), 413, "RequestEntityTooLargeException"},
		"PATCH with relationships":    {"/job-2/relationships", `{"relationships":[]}`, 400, "BAD_REQUEST"},
		"one end":                     {"/job-1/relationships", edge(`"x":1`), 400, "BAD_DATA"},
		"ends and a mapping":          {"/job-1/relationships", edge(`"_toEntityKey":"b","_mapping":{}`), 400, "BAD_DATA"},
		"array in a relationship":     {"/job-1/relationships", edge(`"_toEntityKey":"b","x":["a"]`), 400, "BAD_DATA"},
		"own _ in a relationship":     {"/job-1/relationships", edge(`"_toEntityKey":"b","_x":1`), 400, "BAD_DATA"},
		"mapping without target":      {"/job-1/relationships", mapping(`"sourceEntityKey":"a","relationshipDirection":"FORWARD","targetFilterKeys":[["_type"]]`), 400, "BAD_DATA"},
		"filter without its property": {"/job-1/relationships", mapping(`"sourceEntityKey":"a","relationshipDirection":"FORWARD","targetFilterKeys":[["_key"]],"targetEntity":{"_type":"x"}`), 400, "BAD_DATA"},
		"mapping without direction":   {"/job-1/relationships", mapping(`"sourceEntityKey":"a","targetFilterKeys":[["_type"]],"targetEntity":{"_type":"x"}`), 400, "BAD_DATA"},
		"mapping with a nested value": {"/job-1/relationships", mapping(`"sourceEntityKey":"a","relationshipDirection":"FORWARD","targetFilterKeys":[["_type"]],"targetEntity":{"_type":"x","y":{}}`), 400, "BAD_DATA"},
	} {
		status, answer := ask("POST", jobs+c.path, c.body)
		if status != c.status || !strings.Contains(answer, `"code":"`+c.code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", name, status, answer, c.status, c.code)
		}
	}
	if status, _ := ask("GET", jobs+"/job-9", ""); status != 404 {
		t.Errorf("status of an unknown job: %d", status)
	}
	if status, answer := ask("POST", jobs+"/job-1/upload", `{"entities":[`+a+`],"relationships":[`+ab+`]}`); status != 200 {
		t.Errorf("a good upload: %d %s", status, answer)
	}
	if _, answer := ask("POST", jobs+"/job-1/entities", `{"entities":[`+a+`]}`); !strings.Contains(answer, "DUPLICATE_KEY") {
		t.Errorf("a second time: %s", answer)
	}
}

func TestTheHeadersAreChecked(t *testing.T) {
	s, _ := setup(t, j1sim.Config{})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, h := range []http.Header{
		{}, {"Authorization": {"Bearer key"}}, {"Jupiterone-Account": {"acme"}},
		{"Authorization": {"Bearer wrong"}, "Jupiterone-Account": {"acme"}}, {"Authorization": {"Bearer key"}, "Jupiterone-Account": {"globex"}},
	} {
		req, err := http.NewRequest("GET", s.URL()+jobs+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 401 {
			t.Errorf("%v: %d", h, res.StatusCode)
		}
	}
	if n := s.Requests(j1sim.JobStatus); n != 5 || s.Requests() != 5 {
		t.Errorf("%d requests", n)
	}
}

func TestGzipIsTakenInUploads(t *testing.T) {
	s, ask := setup(t, j1sim.Config{})
	ask("POST", jobs, startDiff)
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	if _, err := io.WriteString(zip, `{"entities":[`+a+`]}`); err != nil || zip.Close() != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", s.URL()+jobs+"/job-1/entities", &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer key"}, "Jupiterone-Account": {"acme"}, "Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || s.Jobs()[0].Entities != 1 {
		t.Fatalf("%d, jobs %+v", res.StatusCode, s.Jobs())
	}
}

func TestADIFFReplacesItsScopeButForPartialTypes(t *testing.T) {
	for _, ignored := range []bool{false, true} {
		s, ask := setup(t, j1sim.Config{IgnorePartial: ignored})
		both := `{"entities":[` + a + `,` + b + `],"relationships":[` + ab + `]}`
		run(t, ask, "job-1", startDiff, both, `{}`)
		run(t, ask, "job-2", `{"source":"api","scope":"another"}`, both, `{}`)
		if g := s.Graph("s"); len(g.Entities) != 2 || len(g.Relationships) != 1 {
			t.Fatalf("%v", g)
		}
		answer := run(t, ask, "job-3", startDiff, `{"entities":[`+a+`]}`, `{"partialDatasets":{"types":["u","r"]}}`)
		g, kept := s.Graph("s"), 1
		if ignored {
			kept = 0
		}
		if len(g.Entities) != 1+kept || len(g.Relationships) != kept || strings.Contains(answer, `"numEntitiesDeleted":1`) != ignored {
			t.Fatalf("ignored %v: %v %s", ignored, g, answer)
		}
		answer = run(t, ask, "job-4", startDiff, `{"entities":[`+a+`],"relationships":[`+ab+`]}`, `{}`)
		if g := s.Graph("s"); len(g.Entities) != 1 || len(g.Relationships) != 0 || !strings.Contains(answer, `Errors":1`) {
			t.Fatalf("%v %s", g, answer)
		}
		if g := s.Graph("another"); len(g.Entities) != 2 || len(g.Relationships) != 1 {
			t.Fatalf("another scope: %v", g)
		}
		if v := s.Violations(); v != nil {
			t.Fatal(v)
		}
	}
}

func TestTheMapperFindsItsTargetsOrMakesThem(t *testing.T) {
	s, ask := setup(t, j1sim.Config{})
	s.Put("hr", map[string]any{"_key": "p", "_type": "person", "_class": []any{"Person"}, "email": []any{"x", "found"}})
	edge := func(key, email string, skip bool) string {
		b, err := json.Marshal(map[string]any{"_key": key, "_type": "is", "_class": "IS", "_mapping": map[string]any{
			"sourceEntityKey": "a", "relationshipDirection": "FORWARD", "targetFilterKeys": [][]string{{"_key"}, {"_class", "email"}},
			"targetEntity": map[string]any{"_key": key, "_class": "Person", "_type": "employee", "email": email}, "skipTargetCreation": skip,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	upload := func(edges ...string) string {
		return `{"entities":[` + a + `],"relationships":[` + strings.Join(edges, ",") + `]}`
	}
	answer := run(t, ask, "job-1", startDiff, upload(edge("1", "found", true), edge("2", "made", false), edge("3", "skipped", true)), `{}`)
	if g := s.Graph("s"); len(g.Relationships) != 2 || !strings.Contains(answer, `"numMappedRelationshipCreateErrors":1`) {
		t.Fatalf("%v %s", g, answer)
	}
	if m := s.Mapped(); len(m) != 1 || !strings.Contains(m[0], "made") {
		t.Fatalf("made: %s", m)
	}
	// What the mapper made goes with the last that leads to it.
	run(t, ask, "job-3", startDiff, upload(edge("1", "found", true)), `{}`)
	if m := s.Mapped(); len(m) != 0 {
		t.Fatalf("made: %s", m)
	}
}

func TestPATCHKeepsWhatIsNotSent(t *testing.T) {
	s, ask := setup(t, j1sim.Config{})
	run(t, ask, "job-1", startDiff, `{"entities":[{"_key":"a","_type":"t","_class":"C","x":1,"y":2},`+b+`]}`, `{}`)
	run(t, ask, "job-2", `{"source":"api","scope":"s","syncMode":"PATCH"}`, `{"entities":[{"_key":"a","_type":"t","_class":"C","x":3}]}`, `{}`)
	if g := s.Graph("s"); len(g.Entities) != 2 || g.Entities["a"] != `{"_class":"C","_key":"a","_type":"t","x":3,"y":2}` {
		t.Fatalf("%v", g)
	}
}

func TestViolationsAreRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		requests [][2]string
		fault    func(j1sim.Request) j1sim.Fault
		want     string
	}{
		"two jobs in one scope": {[][2]string{{"", startDiff}, {"", startDiff}, {"/job-1/upload", `{"entities":[` + a + `]}`}, {"/job-2/upload", `{"entities":[` + a + `]}`}}, nil, "same scope"},
		"an orphan is none":     {[][2]string{{"", startDiff}, {"", startDiff}, {"/job-2/upload", `{"entities":[` + a + `]}`}, {"/job-2/finalize", `{}`}}, nil, ""},
		"one after another":     {[][2]string{{"", startDiff}, {"/job-1/upload", `{"entities":[` + a + `]}`}, {"/job-1/abort", `{}`}, {"", startDiff}, {"/job-2/upload", `{"entities":[` + a + `]}`}}, nil, ""},
		"an empty finalize":     {[][2]string{{"", startDiff}, {"/job-1/finalize", `{}`}}, nil, "without uploads"},
		"not of a probe":        {[][2]string{{"", `{"source":"api","scope":"oktasync-probe:x"}`}, {"/job-1/finalize", `{}`}}, nil, ""},
		"a failed upload": {[][2]string{{"", startDiff}, {"/job-1/upload", `{"entities":[` + a + `]}`}, {"/job-1/upload", `{"entities":[` + b + `]}`}, {"/job-1/finalize", `{}`}},
			func(q j1sim.Request) j1sim.Fault {
				if q.OfKind == 1 && q.Kind == j1sim.Upload {
					return j1sim.Unavailable
				}
				return j1sim.None
			}, "not taken"},
		"one that was repeated": {[][2]string{{"", startDiff}, {"/job-1/upload", `{"entities":[` + a + `]}`}, {"/job-1/upload", `{"entities":[` + a + `]}`}, {"/job-1/finalize", `{}`}},
			func(q j1sim.Request) j1sim.Fault {
				if q.OfKind == 1 && q.Kind == j1sim.Upload {
					return j1sim.TooMany
				}
				return j1sim.None
			}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, ask := setup(t, j1sim.Config{})
			s.Inject(c.fault)
			for _, request := range c.requests {
				ask("POST", jobs+request[0], request[1])
			}
			got := strings.Join(s.Violations(), "; ")
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Fatalf("violations: %q, want %q", got, c.want)
			}
		})
	}
}
