package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	browserlog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// An operator at work in a real browser, with serve as it is run and a simulated
// org: each view is looked at on a wide screen and on a phone, in light and in
// dark. deploy/browser-setup.sh gets what this needs.
func TestConsoleInABrowser(t *testing.T) {
	t.Chdir(t.TempDir()) // oktasync.db is written there
	org := oktasim.New(t, oktasim.Config{Seed: 7, Users: 90, Groups: 6, Apps: 4, GroupSize: 8, AppUsers: 12})
	app := org.AppIDs("")[0]
	users := org.UserIDs("ACTIVE")
	// An import takes members out of this group, of which no event tells.
	contractors, _, err := org.ImportGroup(app, "Contractors", users[:50]...)
	if err != nil {
		t.Fatal(err)
	}
	readers, _, err := org.CreateGroup("Readers of invoices", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range users[50:55] {
		if _, err := org.AddMember(readers, user); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := org.AssignGroup(app, readers); err != nil {
		t.Fatal(err)
	}
	const token = "admin-token-of-the-browser-test"
	// A name is a text, whatever it looks like.
	const markup = `Auditors <img src="x" onerror="alert(1)">`
	auditors, _, err := org.CreateGroup(markup, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := org.AssignGroup(app, auditors); err != nil {
		t.Fatal(err)
	}
	base := startServe(t, org, token)
	sender := org.NewSender(oktasim.Hook{URL: base + "/hooks/okta/default", Secret: browserHookSecret}, oktasim.Faults{})
	t.Cleanup(sender.Stop)
	b := startBrowser(t, base, "401 /admin/session", "400 /v1/instances/default/query")

	// Sign in, with a wrong token first.
	b.do(chromedp.Navigate(base + "/admin"))
	b.until("the form", `document.activeElement.id === 'token'`)
	b.look("sign-in")
	b.fill("#token", "wrong")
	b.press("Sign in")
	b.until("the refusal", `document.querySelector('[role=alert]')?.textContent.includes('not the admin token')`)
	if left := evaluate[string](b, `document.querySelector('#token').value`); left != "" {
		t.Error("the token stays in the page")
	}
	b.look("sign-in-refused")
	b.fill("#token", token)
	b.press("Sign in")
	b.until("the instance to be whole", `document.querySelector('article.card .pill.ok')?.textContent === 'whole'`)
	b.until("the sink to follow", `document.querySelector('article.card').textContent.includes('following')`)
	b.look("instances")
	if stored := evaluate[int](b, `localStorage.length + sessionStorage.length + document.cookie.length`); stored != 0 {
		t.Error("the page keeps something, or a script can read the cookie")
	}

	// Force a resync and watch it: Okta holds the groups back until it was seen at work.
	seen := make(chan struct{})
	org.OnRequest(func(r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/groups") {
			select {
			case <-seen:
			case <-t.Context().Done():
			}
		}
	})
	b.link("default")
	b.until("the state", `document.body.textContent.includes('Records present')`)
	b.look("instance")
	// What is drawn again every few seconds keeps the focus and the place.
	evaluate[bool](b, `(() => {
		[...document.querySelectorAll('button')].find((e) => e.textContent === 'Snapshot …').focus({ preventScroll: true });
		window.scrollTo(0, 300);
		window.before = document.querySelector('main').textContent;
		return true;
	})()`)
	b.until("fresh numbers", `document.querySelector('main').textContent !== window.before`)
	if !evaluate[bool](b, `document.activeElement.textContent === 'Snapshot …' && window.scrollY === 300`) {
		t.Error("a refresh takes the focus or the place away")
	}
	b.press("Resync …")
	b.until("the dialog", `document.querySelector('dialog[open] select')`)
	b.look("resync")
	b.press("Start")
	b.until("the run at work", `document.querySelector('h1').textContent.startsWith('Run') && document.querySelector('.pill.info')?.textContent === 'running'`)
	b.until("its progress", `[...document.querySelectorAll('tbody th')].some((th) => th.textContent === 'users')`)
	b.look("run-at-work")
	close(seen)
	b.until("the run's end", `document.querySelector('.pill.ok')?.textContent === 'succeeded'`)
	b.until("that it is said", `document.querySelector('#said').textContent === 'The run is succeeded'`)
	b.look("run")
	org.OnRequest(nil)

	// A change arrives live.
	b.open("#/instances/default/changes")
	b.until("the stream", `document.querySelector('.pill.ok')?.textContent === 'live'`)
	events, err := org.AddMember(readers, users[20])
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Deliver(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	b.until("the change", fmt.Sprintf(`[...document.querySelectorAll('tbody tr')].some((tr) => tr.textContent.includes('okta_group_has_user') && tr.textContent.includes('Readers of invoices HAS ') && tr.querySelector('a[href$=%q]') && tr.textContent.includes('hook') && tr.textContent.includes(%q))`,
		users[20], events[0].UUID))
	b.look("changes")
	b.press("Pause")
	b.until("the pause", `document.querySelector('.pill').textContent === 'paused'`)

	// More vanishes than the brake lets pass; the operator looks, and approves.
	for _, user := range users[:45] {
		if _, err := org.ImportRemoval(contractors, user); err != nil {
			t.Fatal(err)
		}
	}
	b.open("#/instances/default")
	b.press("Resync …")
	b.press("Start")
	b.until("what is held", fmt.Sprintf(`document.querySelector('.pill.warn')?.textContent === 'held' && document.querySelectorAll('section tbody tr').length === 45 &&
		[...document.querySelectorAll('section tbody tr')].some((tr) => tr.textContent.includes('Contractors') && tr.querySelector('a[href$="%s"]') && tr.querySelector('a[href$="%s"]'))`,
		contractors, users[0]))
	b.look("held")
	b.press("Approve …")
	b.until("the question", `document.querySelector('dialog[open]').textContent.includes('Approve 45 objects?')`)
	b.look("approve")
	b.press("Approve")
	b.until("the approval", `document.querySelector('.pills .pill.ok')?.textContent === 'succeeded'`)

	// The database follows; then who reaches the application, and through what.
	b.open("#/instances/default/query")
	b.until("the query box", `document.querySelector('#j1ql')`)
	query := fmt.Sprintf("Find UserGroup with _key = '%s' that HAS okta_user as u return count(u) as members", contractors)
	b.until("the database to follow", fmt.Sprintf(`(async () => {
		const answer = await fetch('/v1/instances/default/query', { method: 'POST', body: JSON.stringify({ query: %q }) });
		return (await answer.json()).data?.[0].members === 5;
	})()`, query))
	b.fill("#j1ql", query)
	b.press("Ask")
	b.until("the count", `document.querySelector('section td, section tbody th')?.textContent === '5'`)
	b.fill("#j1ql", "Find okta_user thta HAS UserGroup")
	b.press("Ask")
	b.until("what is wrong with it", `document.querySelector('[role=alert]')?.textContent.includes('line 1, column 16')`)
	b.look("query-error")
	b.press("Go to line 1, column 16")
	b.until("the place", `document.activeElement.id === 'j1ql' && document.activeElement.selectionStart === 15`)
	b.press("Users that are no person")
	b.until("the answer", `document.querySelectorAll('section tbody tr').length > 0 && document.querySelector('section a')`)
	b.look("query")
	b.press("Groups and their applications, as a picture")
	b.until("the tree", `document.querySelector('.picture canvas')`)
	b.look("query-tree")

	b.open("#/instances/default/objects/" + app)
	b.until("the picture", `document.querySelector('.picture canvas')`)
	b.until("who reaches it through which group", fmt.Sprintf(`[...document.querySelectorAll('tbody tr')].some((tr) => tr.querySelector('a[href$="%s"]') && tr.querySelector('a[href$="%s"]'))`, users[50], readers))
	b.until("a name that looks like markup", fmt.Sprintf(`[...document.querySelectorAll('tbody a')].some((a) => a.textContent === %q)`, markup))
	b.look("neighbourhood-app")
	if blank := evaluate[bool](b, `(() => {
		const canvas = [...document.querySelectorAll('.picture canvas')];
		return canvas.every((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((v) => v === 0));
	})()`); blank {
		t.Error("nothing is drawn")
	}
	b.open("#/instances/default/objects/" + users[50])
	b.until("the user's picture", fmt.Sprintf(`document.querySelector('.picture canvas') && document.querySelector('tbody a[href$="%s"]')`, app))
	b.look("neighbourhood-user")

	// A dead letter: an event from the future. It is shown only when asked for.
	letter := strings.NewReplacer(events[0].Published.UTC().Format("2006-01-02"), "2106-01-01",
		events[0].UUID, "11111111-2222-3333-4444-555555555555").Replace(string(org.DeliveryBody(events[:1])))
	post(t, base+"/hooks/okta/default", browserHookSecret, letter)
	b.open("#/instances/default/dead-letters")
	b.until("the list", `document.querySelector('main p')`)
	b.until("the letter to be kept", `(async () => (await (await fetch('/admin/instances/default/dead-letters')).json()).deadLetters.length > 0)()`)
	b.do(chromedp.Reload())
	b.until("the letter", `document.querySelectorAll('tbody tr').length === 1 && !document.querySelector('pre')`)
	b.press("Show")
	b.until("its event", `document.querySelector('pre')?.textContent.includes('group.user_membership.add')`)
	b.look("dead-letters")
	b.press("Replay all …")
	b.press("Replay all")
	b.until("the outcome", `document.querySelector('.note')?.textContent.includes('still cannot be understood')`)

	b.press("Sign out")
	b.until("the form again", `document.querySelector('#token')`)
	if status := evaluate[int](b, `fetch('/admin/session').then((answer) => answer.status)`); status != http.StatusUnauthorized {
		t.Errorf("after the sign-out the session is answered with %d", status)
	}
	for _, c := range b.complaints() {
		t.Error(c)
	}

	// A session that ends elsewhere leads to the form, and back to the same view.
	b.fill("#token", token)
	b.press("Sign in")
	b.until("the view", `document.querySelector('tbody') && !document.querySelector('#token')`)
	evaluate[int](b, `fetch('/admin/session', { method: 'DELETE' }).then((answer) => answer.status)`)
	b.press("Show")
	b.until("the form", `document.querySelector('#token') && document.querySelector('main').textContent.includes('The session is over')`)
	b.fill("#token", token)
	b.press("Sign in")
	b.until("the same view", `document.querySelector('h1').textContent === 'Dead letters of default' && document.querySelector('tbody')`)
}

// Answers that are late, or that are refusals: the page loses nothing of what it
// shows, and says what went wrong.
func TestConsoleInABrowserWhereAnswersAreLateOrRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	org := oktasim.New(t, oktasim.Config{Seed: 7, Users: 150, Groups: 1, Apps: 1, GroupSize: 2, AppUsers: 2})
	app := org.AppIDs("")[0]
	const members = 105 // more than are listed at once
	users := org.UserIDs("ACTIVE")[:members]
	var groups []string
	for _, name := range []string{"Bees", "Wasps", "Hornets"} {
		group, _, err := org.ImportGroup(app, name, users...)
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, group)
	}
	const token = "admin-token-of-the-browser-test"
	line := newLine(t, startServe(t, org, token))
	b := startBrowser(t, line.url, "401 /admin/session", "429 /admin/session", "503 /admin/session", "422 /v1/instances/default/query")
	b.do(chromedp.Navigate(line.url + "/admin"))
	b.until("the form", `document.activeElement.id === 'token'`)
	b.fill("#token", token)
	b.press("Sign in")
	b.until("the instance to be whole", `document.querySelector('article.card .pill.ok')?.textContent === 'whole'`)

	// Three groups lose all their members: what is held is a scope of each.
	for _, group := range groups {
		for _, user := range users {
			if _, err := org.ImportRemoval(group, user); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.open("#/instances/default")
	b.press("Resync …")
	b.press("Start")
	b.until("the first of what is held", fmt.Sprintf(`document.querySelectorAll('section tbody tr').length === %d &&
		document.querySelector('section').textContent.includes('Shown: %d of %d')`, members, members, 3*members))
	b.until("the last look at the run", `document.querySelector('.pill.warn')?.textContent === 'held'`)
	b.press("Approve …")
	b.until("how many were not looked at", fmt.Sprintf(`document.querySelector('dialog[open]').textContent.includes('%d of them are not in the list')`, 2*members))
	b.look("approve-unseen")
	b.press("Back")
	run := evaluate[string](b, `location.hash.split('/').at(-1)`)
	heldPath := "/admin/runs/" + run + "/held"
	b.refused = append(b.refused, "503 "+heldPath)

	// A part is late, and the button is pressed again meanwhile.
	asked, late := line.hold(heldPath)
	b.press("Show more")
	<-asked
	b.until("the button to wait", `[...document.querySelectorAll('button')].find((e) => e.textContent === 'Show more').ariaDisabled === 'true'`)
	b.press("Show more")
	late()
	b.until("the second part", fmt.Sprintf(`document.querySelector('section').textContent.includes('Shown: %d of')`, 2*members))
	// The next one is refused at first.
	line.refuse(heldPath, http.StatusServiceUnavailable, "the store is away")
	b.press("Show more")
	b.until("the refusal", seen("cannot be listed: the store is away"))
	line.pass()
	b.press("Try again")
	b.until("all of it", fmt.Sprintf(`document.querySelector('section').textContent.includes('Shown: %d of %d')`, 3*members, 3*members))
	for _, group := range groups {
		if n := evaluate[int](b, fmt.Sprintf(`document.querySelectorAll('section tbody a[href$="/%s"]').length`, group)); n != members {
			t.Errorf("of group %s %d members of %d are listed", group, n, members)
		}
	}
	if evaluate[bool](b, seen("cannot be listed")) {
		t.Error("a refusal is shown that is mended")
	}
	b.press("Approve …")
	b.until("the question", `document.querySelector('dialog[open]')`)
	if evaluate[bool](b, `document.querySelector('dialog[open]').textContent.includes('not in the list')`) {
		t.Error("approval says that some were not listed")
	}
	b.press("Approve")
	b.until("the approval in words", seen("Approved."))
	b.until("the approval", `document.querySelector('.pills .pill.ok')?.textContent === 'succeeded'`)

	// A question about the neighbourhood is refused; the next is answered; from one
	// that is not answered yet the operator goes away.
	const query = "/v1/instances/default/query"
	b.open("#/instances/default/objects/" + app)
	b.until("the neighbourhood", `document.querySelector('.picture canvas')`)
	line.refuse(query, http.StatusUnprocessableEntity, "the query takes longer than 10s")
	b.press("Show")
	b.until("the refusal", seen("the query takes longer than 10s"))
	line.pass()
	b.press("Show")
	b.until("the neighbourhood again", `document.querySelector('.picture canvas')`)
	asked, late = line.hold(query)
	b.press("Show")
	<-asked
	b.link("Overview")
	b.until("the overview", `document.body.textContent.includes('Records present')`)
	late()

	// What came of an order is there to be seen.
	b.press("Snapshot …")
	b.press("Order it")
	b.until("the order in words", seen("The snapshot is ordered."))
	line.refuse("/admin/session", http.StatusServiceUnavailable, "Redis is away")
	b.press("Sign out")
	b.until("the refusal", seen("You are still signed in: Redis is away"))
	b.look("sign-out-refused")

	// A thousand instances, as the one would be shown under a thousand names.
	line.answer("/admin/instances", manyOf(b, 1000))
	b.link("oktasync")
	b.until("the first of them", `document.querySelectorAll('article.card').length === 60 && document.body.textContent.includes('1 to 60 of 1,000')`)
	b.press("Next page")
	b.until("the next of them", `document.querySelectorAll('article.card').length === 60 && document.querySelector('article.card').textContent.includes('org-0060')`)
	b.fill("#sought", "ORG-0777")
	b.until("the one that is sought", `document.querySelectorAll('article.card').length === 1 && document.querySelector('article.card').textContent.includes('org-0777')`)
	b.look("instances-many")
	line.pass()

	// Too many guesses: how long to wait is said once.
	b.press("Sign out")
	b.until("the form", `document.querySelector('#token')`)
	evaluate[bool](b, `(async () => {
		const guess = () => fetch('/admin/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"token":"guess"}' });
		for (let i = 0; i < 25 && (await guess()).status !== 429; i++);
		return true;
	})()`)
	b.fill("#token", "guess")
	b.press("Sign in")
	b.until("how long to wait", `document.querySelector('[role=alert]')?.textContent.match(/try again in/gi).length === 1`)
	for _, c := range b.complaints() {
		t.Error(c)
	}
}

// seen is met when a note with the text can be seen.
func seen(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('.note')].some((e) => e.textContent.includes(%q) && e.checkVisibility())`, text)
}

// manyOf is what the list of instances would be, were there n like the one there is.
func manyOf(b *browser, n int) string {
	b.t.Helper()
	return evaluate[string](b, fmt.Sprintf(`(async () => {
		const { instances: [one] } = await (await fetch('/admin/instances?fields=summary')).json();
		return JSON.stringify({ instances: Array.from({ length: %d }, (_, i) => ({ ...one, id: 'org-' + String(i).padStart(4, '0') })) });
	})()`, n))
}

// line leads from the browser to serve, and does what lines and proxies do: it
// holds calls back, and gives answers of its own.
type line struct {
	url string

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	l := &line{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		fault := l.fault
		l.mu.Unlock()
		if fault == nil || !fault(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	l.url = server.URL
	return l
}

func (l *line) set(fault func(http.ResponseWriter, *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// pass lets all calls through again.
func (l *line) pass() { l.set(nil) }

// hold keeps calls of a path back until the returned function is called. The
// channel tells of the first one.
func (l *line) hold(path string) (<-chan struct{}, func()) {
	asked, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		once.Do(func() { close(asked) })
		select {
		case <-released:
		case <-r.Context().Done():
		}
		return false
	})
	return asked, func() {
		l.pass()
		close(released)
	}
}

// refuse answers the calls of a path with an error.
func (l *line) refuse(path string, status int, detail string) {
	l.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"detail":%q}`, status, detail)
		return true
	})
}

// answer answers the calls of a path with a text.
func (l *line) answer(path, text string) {
	l.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
		return true
	})
}

const browserHookSecret = "hook-secret-of-the-browser-test"

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

// startServe runs serve for the org until the test ends, and returns its URL.
func startServe(t *testing.T, org *oktasim.Org, token string) string {
	t.Helper()
	address := make(chan string, 1)
	w, said := testWorld()
	w.stderr = writerFunc(func(p []byte) (int, error) {
		if m := listening.FindSubmatch(p); m != nil {
			address <- string(m[1])
		}
		return said.Write(p)
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--listen=127.0.0.1:0", "--admin-token=" + token,
			"--okta-client-orgurl=" + org.URL(), "--okta-client-token=" + org.Token(), "--hook-secret=" + browserHookSecret,
			"--allow-insecure-orgs", "--rate-limit-share=1", "--list-allowance=100ms", "--read-margin=10ms", "--log-poll-interval=1s"}, w)
	}()
	t.Cleanup(func() {
		stop()
		if status := <-ended; status != 0 || t.Failed() {
			t.Logf("serve: status %d: %s", status, said)
		}
	})
	select {
	case a := <-address:
		return "http://" + a
	case status := <-ended:
		ended <- status
		t.Fatalf("serve did not start: %s", said)
		return ""
	}
}

func post(t *testing.T, url, secret, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%s: %s", url, resp.Status)
	}
}

// browser is a Chromium with one page, that notes what it has to complain of.
type browser struct {
	t        *testing.T
	ctx      context.Context
	base     string
	axe      string // the source of axe-core
	pictures string // where they are kept

	// What the test has the page be refused, as status and path: Chromium tells
	// each refusal as an error.
	refused []string

	mu  sync.Mutex
	bad []string
}

func startBrowser(t *testing.T, base string, refused ...string) *browser {
	t.Helper()
	const remedy = "run deploy/browser-setup.sh, and set OKTASYNC_AXE to what it prints"
	path := os.Getenv("OKTASYNC_AXE")
	if path == "" {
		t.Fatal("OKTASYNC_AXE does not name a copy of axe.min.js: " + remedy)
	}
	axe, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("no axe-core: %v: %s", err, remedy)
	}
	b := &browser{t: t, base: base, refused: refused, axe: string(axe), pictures: os.Getenv("OKTASYNC_ARTEFACTS")}
	if b.pictures == "" {
		b.pictures = t.ArtifactDir()
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, endBrowser := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(endBrowser)
	ctx, endPage := chromedp.NewContext(ctx)
	t.Cleanup(endPage)
	b.ctx = ctx
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatalf("no Chromium: %v: %s", err, remedy)
	}
	send(b, network.Enable, network.EnableParams{})
	send(b, browserlog.Enable, cdp.Empty{})
	return b
}

// send sends a command of the protocol for which chromedp has no words.
func send[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
}

// note looks at what happens in the browser: errors, and calls to other hosts.
func (b *browser) note(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complain("an exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			var words []string
			for _, arg := range e.Args {
				words = append(words, string(arg.Value)+arg.Description)
			}
			b.complain("console.%s: %s", e.Type, strings.Join(words, " "))
		}
	case *browserlog.EventEntryAdded:
		refused := e.Entry.Source == browserlog.EntrySourceNetwork && slices.ContainsFunc(b.refused, func(call string) bool {
			status, path, _ := strings.Cut(call, " ")
			url, _, _ := strings.Cut(e.Entry.URL, "?")
			return url == b.base+path && strings.Contains(e.Entry.Text, status)
		})
		if !refused && (e.Entry.Level == browserlog.EntryLevelError || e.Entry.Level == browserlog.EntryLevelWarning) {
			b.complain("%s %s: %s (%s)", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.base+"/") {
			b.complain("a request to %s", e.Request.URL)
		}
	}
}

func (b *browser) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bad = append(b.bad, fmt.Sprintf(format, args...))
}

func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bad
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func evaluate[T any](b *browser, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// patience is how long a browser on a busy machine may take for one step.
const patience = time.Minute

// until waits for a condition in the page. chromedp's own polling makes its
// condition of a text, which the page's policy forbids.
func (b *browser) until(what, condition string) {
	b.t.Helper()
	ok := evaluate[bool](b, fmt.Sprintf(`new Promise((done) => {
		const end = Date.now() + %d;
		const look = async () => {
			let met = false;
			try { met = await (%s); } catch {} // what it looks at is not there yet
			if (met || Date.now() > end) done(Boolean(met));
			else setTimeout(look, 25);
		};
		look();
	})`, patience.Milliseconds(), condition))
	if !ok {
		b.keep("failed")
		b.t.Fatalf("waited in vain for %s; see %s. The page: %s; complaints: %q", what, b.pictures,
			evaluate[string](b, `document.body.innerText`), b.complaints())
	}
}

// open goes to a place behind the #.
func (b *browser) open(place string) {
	b.t.Helper()
	evaluate[string](b, fmt.Sprintf(`location.hash = %q`, place))
}

// press clicks on the button with the text, link on the link.
func (b *browser) press(text string) { b.t.Helper(); b.click("button", text) }
func (b *browser) link(text string)  { b.t.Helper(); b.click("a", text) }

// click clicks with the mouse on the first that can be reached: behind a dialog
// nothing can.
func (b *browser) click(element, text string) {
	b.t.Helper()
	find := fmt.Sprintf(`[...(document.querySelector('dialog[open]') ?? document).querySelectorAll(%q)].find((e) => e.textContent === %q && !e.disabled)`, element, text)
	b.until("the "+element+" "+text, find+` !== undefined`)
	place := evaluate[struct{ X, Y float64 }](b, fmt.Sprintf(`(() => {
		const e = %s;
		e.scrollIntoView({ block: 'center' });
		const r = e.getBoundingClientRect();
		return { X: r.x + r.width / 2, Y: r.y + r.height / 2 };
	})()`, find))
	b.do(chromedp.MouseClickXY(place.X, place.Y))
}

// fill types a text in place of what a field holds.
func (b *browser) fill(field, text string) {
	b.t.Helper()
	evaluate[bool](b, fmt.Sprintf(`(() => { const f = document.querySelector(%q); f.focus(); f.select(); return true; })()`, field))
	b.do(chromedp.KeyEvent(text))
}

// look looks at the view on a wide screen in light, and on a phone in dark: it
// keeps a picture of each, lets axe-core look for barriers, and sees that nothing
// is wider than the screen.
func (b *browser) look(view string) {
	b.t.Helper()
	for _, at := range []struct {
		width  int64
		scheme string
	}{{360, "dark"}, {1280, "light"}} {
		b.do(chromedp.EmulateViewport(at.width, 800))
		send(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: at.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		// Two frames after the last thing was resized the page has got used to it.
		b.until("pictures of the right size", `[...document.querySelectorAll('.picture')].every((p) => [...p.querySelectorAll('canvas')].every((c) => c.clientWidth === p.clientWidth))`)
		evaluate[bool](b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
		name := fmt.Sprintf("%s-%d-%s", view, at.width, at.scheme)
		b.keep(name)
		if wide := evaluate[int64](b, `document.documentElement.scrollWidth`); wide > at.width {
			b.t.Errorf("%s is %d wide", name, wide)
		}
		b.barriers(name)
	}
}

// keep keeps a picture of the whole page.
func (b *browser) keep(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.pictures, name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// barriers lets axe-core look for what keeps people from using the page.
func (b *browser) barriers(name string) {
	b.t.Helper()
	if !evaluate[bool](b, `typeof axe === 'object'`) {
		evaluate[bool](b, b.axe+";true")
	}
	type violation struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}
	found := evaluate[json.RawMessage](b, `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations)`)
	var violations []violation
	if err := json.Unmarshal(found, &violations); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range violations {
		if v.Impact != "serious" && v.Impact != "critical" {
			b.t.Logf("%s: %s, %s: %s", name, v.Impact, v.ID, v.Help)
			continue
		}
		for _, node := range v.Nodes[:min(3, len(v.Nodes))] {
			b.t.Errorf("%s: %s, %s: %s: %s: %s", name, v.Impact, v.ID, v.Help, node.HTML, node.FailureSummary)
		}
	}
}
