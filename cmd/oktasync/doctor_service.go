package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/sink"
)

const (
	hookTime   = 3 * time.Second // Okta gives up then
	slowHook   = time.Second     // little is left for Okta's own way, and a busy moment
	maxAnswer  = 1 << 20         // bytes that are read of an answer
	oldLog     = 10 * time.Minute
	challenge  = "X-Okta-Verification-Challenge"
	tlsByProxy = "put a proxy before the service that ends TLS with a certificate for this name, of an authority that everybody trusts"
)

// trust is whom TLS to the service may rely on; the zero value is what this machine
// trusts.
type trust struct{ roots *x509.CertPool }

// answer is what a call to the service got.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	took    time.Duration
	address netip.AddrPort // who answered
}

// caller calls one base URL.
type caller struct {
	http *http.Client
	base string
}

func (d *doctor) caller(base string) *caller {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: d.tls.roots, MinVersion: tls.VersionTLS12}
	return &caller{base: base, http: &http.Client{Transport: t, Timeout: checkTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (c *caller) close() { c.http.CloseIdleConnections() }

func (c *caller) call(ctx context.Context, method, path, body string, headers ...string) (answer, error) {
	var a answer
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		a.address, _ = netip.ParseAddrPort(i.Conn.RemoteAddr().String())
	}})
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return a, errors.New("the address cannot be used")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	begun := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a.took = time.Since(begun)
	return a, err
}

// checkHook looks at the public address as Okta does, and at the hook in Okta.
func (d *doctor) checkHook(ctx context.Context) {
	if d.URL == "" {
		d.r.skip("hook.address", "The public address of the hook is not checked.", "--url is not set", "set --url to the base of the URL that Okta calls")
		return
	}
	if strings.HasPrefix(d.URL, "http://") {
		f := finding{"hook.https", levelError, "The public URL is not https.", "Okta calls only https: no hook can be made for it", tlsByProxy}
		if d.AllowInsecureOrgs {
			f.Level, f.Why = levelWarning, "Okta calls only https; for a simulated org http will do"
		}
		d.r.add(f)
	}
	c := d.caller(d.URL)
	defer c.close()
	path := "/hooks/okta/" + d.Instance
	word := rand.Text()
	a, err := c.call(ctx, http.MethodGet, path, "", challenge, word)
	if err != nil {
		d.unreachable("hook.address", "Okta cannot deliver, and changes arrive only with the System Log", err)
		return
	}
	if d.private(a.address) {
		d.r.add(finding{"hook.address", levelWarning, "The name in the public URL leads to a private address here.",
			"Okta calls from the internet: unless the name leads elsewhere there, no event arrives", "look the name up from outside, and set --url to what is told to Okta"})
	}
	if !d.echoed(a, word) {
		return
	}
	switch {
	case a.took > hookTime:
		d.r.add(finding{"hook.time", levelError, fmt.Sprintf("The answer took %s.", a.took.Round(time.Millisecond)),
			"Okta gives up after 3 s, tries once more, and the event is lost to the hook", "find what holds it up: Redis, the proxy, or the way"})
	case a.took > slowHook:
		d.r.add(finding{"hook.time", levelWarning, fmt.Sprintf("The answer took %s.", a.took.Round(time.Millisecond)),
			"Okta gives up after 3 s, its own way to here included", "find what holds it up: Redis, the proxy, or the way"})
	default:
		d.r.ok("hook.time", "The answer came within a second; Okta gives up after 3.")
	}
	d.delivered(ctx, c, path)
}

// private tells whether Okta cannot reach an address from outside.
func (d *doctor) private(at netip.AddrPort) bool {
	ip := at.Addr().Unmap()
	return !d.AllowInsecureOrgs && ip.IsValid() && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast())
}

// echoed tells whether the answer to the verification is the one that Okta wants.
func (d *doctor) echoed(a answer, word string) bool {
	wrong := func(what, todo string) bool {
		d.r.add(finding{"hook.verify", levelError, what, "Okta cannot verify the hook, and sends no events to a hook that is not verified", todo})
		return false
	}
	var got struct {
		Verification string `json:"verification"`
	}
	switch {
	case a.status == http.StatusOK && json.Unmarshal(a.body, &got) == nil && got.Verification == word:
		d.r.ok("hook.verify", "The address answers a verification as Okta wants it.")
		return true
	case a.status >= 300 && a.status < 400:
		return wrong(fmt.Sprintf("The address answers with a redirect (%d).", a.status), "Okta is not known to follow redirects: give Okta the address that the redirect leads to, or have the proxy answer itself")
	case a.status == http.StatusNotFound && problem(a):
		return wrong(fmt.Sprintf("The service knows no instance %s.", d.Instance), "register it by an instance event, or name another with --instance")
	case a.status == http.StatusNotFound:
		return wrong("Nobody knows the address (404), and that is not the service's own answer.", "have the proxy pass on all paths that begin with /hooks/okta/, unchanged")
	case a.status == http.StatusBadRequest:
		return wrong("The service did not get the header "+challenge+".", "have the proxy pass all headers on")
	case a.status == http.StatusServiceUnavailable && problem(a):
		return wrong("The service cannot take deliveries at the moment (503).", "see what is said of the service and of Redis below")
	case a.status == http.StatusOK:
		return wrong("Something else than the service answers: the challenge does not come back.", "check --url, and where the proxy leads")
	}
	return wrong(fmt.Sprintf("The address answers with %d.", a.status), "check --url, and what the proxy does before the service; Okta's call brings no cookie and no login")
}

// problem tells whether an error is the service's own.
func problem(a answer) bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json")
}

// delivered looks at how a delivery would fare, with what stores nothing: a body that
// is none is refused after the secret was looked at.
func (d *doctor) delivered(ctx context.Context, c *caller, path string) {
	if d.HookSecret == "" {
		d.r.skip("hook.secret", "Whether the hook's secret arrives is not checked.", "OKTASYNC_HOOK_SECRET is not set", "set it to the secret that Okta sends, and run doctor again")
		return
	}
	if strings.HasPrefix(d.URL, "http://") && !d.AllowInsecureOrgs {
		d.r.skip("hook.secret", "Whether the hook's secret arrives is not checked.", "over http it could be read on the way", "use https")
		return
	}
	a, err := c.call(ctx, http.MethodPost, path, "no delivery", "Authorization", d.HookSecret.Reveal(), "Content-Type", "application/json")
	switch {
	case err != nil:
		d.unreachable("hook.secret", "Okta cannot deliver, and changes arrive only with the System Log", err)
	case a.status == http.StatusBadRequest && problem(a):
		d.r.ok("hook.secret", "The service takes the hook's secret.")
	case a.status == http.StatusUnauthorized:
		d.r.add(finding{"hook.secret", levelError, "The service refuses the hook's secret.",
			"deliveries get 401, and Okta does not repeat them",
			"send the instance event with this secret among hookSecrets (of the instance default: OKTASYNC_HOOK_SECRET of the service); if it is there, the proxy drops the header Authorization"})
	default:
		d.r.add(finding{"hook.secret", levelError, fmt.Sprintf("A delivery is answered with %d before the service looks at it.", a.status),
			"deliveries are lost", "have the proxy pass POST, and bodies of up to 8 MiB, on to the service"})
	}
}

// unreachable tells why nobody answers.
func (d *doctor) unreachable(check, why string, err error) {
	todo := "check --url, that the service or its proxy runs there, and firewalls"
	what := "Nobody answers: "
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		what, todo = "The name cannot be looked up: ", "check --url and the name server"
	case errors.As(err, &cert):
		what, todo = "The certificate is not good: ", tlsByProxy+"; it must not have expired, and the chain must be complete"
	}
	d.r.add(finding{check, levelError, what + shown(err.Error()) + ".", why, todo})
}

// shown makes foreign text fit for the report.
func shown(s string) string {
	const most = 300
	s = printable(strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// checkService asks the service that runs how it is.
func (d *doctor) checkService(ctx context.Context) {
	if d.InternalURL == "" {
		d.r.skip("service.ready", "The service is not checked.", "--url is not set", "set --url, or --internal-url, to where it answers")
		return
	}
	c := d.caller(d.InternalURL)
	defer c.close()
	a, err := c.call(ctx, http.MethodGet, "/readyz", "")
	const hidden = "%s is answered with %d, and not by the service."
	const inside = "run doctor where the service can be reached itself, with --internal-url; that a proxy to the internet lets only /hooks/okta/ through is right"
	switch {
	case err != nil:
		d.unreachable("service.ready", "nobody works for the graph, as far as can be seen from here", err)
		return
	case a.status == http.StatusOK:
		d.r.ok("service.ready", "The service takes deliveries.")
	case a.status == http.StatusServiceUnavailable && problem(a):
		d.r.add(finding{"service.ready", levelError, "The service does not take deliveries: " + detail(a) + ".", "event hooks are answered with 503, and Okta tries only once more", "see what is said of Redis; the log of the service tells the cause"})
	default:
		d.r.skip("service.ready", fmt.Sprintf(hidden, "/readyz", a.status), "a proxy does not pass it on, or something else answers there", inside)
		return
	}
	a, err = c.call(ctx, http.MethodGet, "/healthz", "")
	var health struct {
		Status string `json:"status"`
		engine.Health
	}
	switch {
	case err != nil:
		d.unreachable("service.health", "its state is not known", err)
	case a.status != http.StatusOK || json.Unmarshal(a.body, &health) != nil:
		d.r.skip("service.health", fmt.Sprintf(hidden, "/healthz", a.status), "a proxy does not pass it on", inside)
	case len(health.Warnings) > 0 && len(d.current(health.Warnings)) == 0:
		d.r.ok("service.health", "The service warns of nothing but the event hook, by its last look; what is said above was seen just now.")
	case len(health.Warnings) == 0:
		d.r.ok("service.health", "The service has no warnings.")
	default:
		warnings := d.current(health.Warnings)
		for i, w := range warnings[:min(len(warnings), 20)] {
			d.r.add(finding{fmt.Sprintf("service.health%d", i+1), levelWarning, sentence(shown(w)), "the service itself warns of it, in /healthz", "do what the warning says"})
		}
	}
	d.checkInstance(ctx, c)
}

// current leaves out what the service warns of the event hook by its last look, if
// doctor has just looked itself.
func (d *doctor) current(warnings []string) []string {
	if !d.hookSeen {
		return warnings
	}
	return slices.DeleteFunc(slices.Clone(warnings), func(w string) bool { return w == engine.HookWarning(d.Instance) })
}

// detail is what the service says of an error.
func detail(a answer) string {
	var p struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(a.body, &p) != nil || p.Detail == "" {
		return fmt.Sprintf("it answers with %d", a.status)
	}
	return shown(p.Detail)
}

// checkInstance looks at the state of the instance.
func (d *doctor) checkInstance(ctx context.Context, c *caller) {
	if d.AdminToken == "" {
		d.r.skip("service.instance", "The state of the instance is not checked.", "OKTASYNC_ADMIN_TOKEN is not set", "set it, and run doctor again")
		return
	}
	if u, err := url.Parse(c.base); err != nil || u.Scheme == "http" && !d.AllowInsecureOrgs && !local(u.Hostname()) {
		d.r.skip("service.instance", "The state of the instance is not checked.", "the admin token is not sent over http to another machine, where it could be read on the way", "use https, or run doctor on the machine of the service")
		return
	}
	a, err := c.call(ctx, http.MethodGet, "/admin/instances/"+d.Instance, "", "Authorization", "Bearer "+d.AdminToken.Reveal())
	var in engine.InstanceStatus
	switch {
	case err != nil:
		d.unreachable("service.instance", "the state of the instance is not known", err)
	case a.status == http.StatusUnauthorized:
		d.r.add(finding{"service.instance", levelError, "The service refuses the admin token.", "nobody can operate it with this token", "set OKTASYNC_ADMIN_TOKEN to that of the service"})
	case a.status == http.StatusNotFound && problem(a):
		d.r.add(finding{"service.instance", levelError, "The service knows no instance " + d.Instance + ".", "nothing is read for it, and its hook is refused", "register it by an instance event, or name another with --instance"})
	case a.status != http.StatusOK || json.Unmarshal(a.body, &in) != nil || in.ID != d.Instance:
		d.r.add(finding{"service.instance", levelWarning, "The state of the instance cannot be read: " + detail(a) + ".", "what ails it is not known", "run doctor again"})
	default:
		d.judgeInstance(in)
	}
}

func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (d *doctor) judgeInstance(in engine.InstanceStatus) {
	before := len(d.r.Findings)
	state := "service.instance"
	warn := func(l level, what, why, todo string) { d.r.add(finding{state, l, what, why, todo}) }
	if in.Problem != "" {
		warn(levelError, "Something keeps the instance from working: "+shown(in.Problem)+".", "the graph grows old", "do what it says")
	}
	if in.Paused {
		warn(levelWarning, "The instance is paused.", "events are kept and nothing else is done; Redis fills", "resume it, when the reason is gone")
	}
	if in.Owner == "" {
		warn(levelWarning, "No process works for the instance.", "the graph grows old", "run doctor again in a minute; if that stays, see the log of the service")
	}
	if !in.Whole {
		warn(levelWarning, "The graph is not whole yet.", "what is missing in it may exist in Okta, and sinks get no snapshot", "wait for the full read and the System Log after it; if no run works, resync")
	}
	switch upTo := in.Log.ReadUpTo; {
	case in.Log.Problem != "":
		warn(levelError, "The System Log cannot be read: "+shown(in.Log.Problem)+".", "what hooks lose stays lost until the next full read", "do what it says")
	case upTo != nil && time.Since(*upTo) > oldLog && !in.Paused:
		warn(levelWarning, fmt.Sprintf("The System Log was read up to %s ago.", time.Since(*upTo).Round(time.Minute)), "what hooks lost since then is not known yet (a wrong clock of this machine looks the same)", "see the log of the service for reads that fail")
	}
	if in.DeadLetters > 0 {
		warn(levelWarning, fmt.Sprintf("%d events could not be understood.", in.DeadLetters), "what they told is missing until the next full read", "see dead-letters of the instance, update oktasync, and replay them")
	}
	if in.Held > 0 {
		warn(levelWarning, fmt.Sprintf("%d changes await approval.", in.Held), "a read found more gone than the brake lets pass", "look at what the run holds, and approve or cancel it")
	}
	if run := in.LastRun; run != nil && run.State == engine.RunIncomplete {
		warn(levelWarning, "The last run, "+shown(run.ID)+", is incomplete.", "nothing of the lists that could not be read was deleted", "see errors of the run")
	}
	for name, s := range in.Sinks {
		if s.State == sink.Stopped || s.Error != "" {
			warn(levelWarning, "The sink "+shown(name)+" fails: "+shown(s.Error)+".", "it does not get the changes", "do what it says")
		}
	}
	if len(d.r.Findings) == before {
		d.r.ok(state, "The instance %s is whole, and nothing keeps it from working.", in.ID)
	}
}
