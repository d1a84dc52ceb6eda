package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
)

type hookCmd struct {
	Register hookRegisterCmd `cmd:"" help:"Make the org's event hook, or bring it up to date, and have Okta verify it."`
	Status   hookStatusCmd   `cmd:"" help:"Tell whether the event hook brings all that it should."`
	Remove   hookRemoveCmd   `cmd:"" help:"Deactivate the event hook and delete it."`
}

// hookOf says which event hook a command is about.
type hookOf struct {
	Instance string `default:"default" placeholder:"ID" help:"Instance that the hook delivers to."`
	URL      string `name:"url" placeholder:"https://…" help:"Public https address of the service, to which /hooks/okta/ID is added; or the whole address of the hook."`
	Name     string `placeholder:"NAME" help:"Name of the hook in Okta; without it 'oktasync ID'."`

	OrgURL            string `name:"okta-client-orgurl" env:"OKTA_CLIENT_ORGURL" placeholder:"https://…" help:"Org of the hook."`
	OrgToken          Secret `name:"okta-client-token" env:"OKTA_CLIENT_TOKEN" placeholder:"TOKEN" help:"API token of the org: of a super administrator, or of a custom role with okta.eventhooks.manage (for status okta.eventhooks.read)."`
	AllowInsecureOrgs bool   `env:"OKTASYNC_ALLOW_INSECURE_ORGS" help:"Allow http and private addresses. For tests."`
}

const maxHookURL = 1024 // Okta's

var instanceForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// prepare checks what was given and fills in what was left out.
func (h *hookOf) prepare() error {
	if !instanceForm.MatchString(h.Instance) {
		return errors.New("--instance must be 1 to 64 letters, digits, _ or -")
	}
	if h.Name == "" {
		h.Name = "oktasync " + h.Instance
	}
	if len([]rune(h.Name)) > 255 {
		return errors.New("--name must have at most 255 characters")
	}
	if h.URL != "" {
		u, err := url.Parse(h.URL)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(h.URL, unicode.IsSpace) {
			return errors.New("--url must be an address as https://oktasync.example.com, without user, query or white space")
		}
		if u.Scheme != "https" && !(u.Scheme == "http" && h.AllowInsecureOrgs) {
			return errors.New("--url must begin with https://: Okta delivers to nothing else")
		}
		path := "/hooks/okta/" + h.Instance
		switch h.URL = strings.TrimRight(h.URL, "/"); {
		case strings.HasSuffix(h.URL, path):
		case strings.Contains(h.URL, "/hooks/okta"):
			return fmt.Errorf("--url is the address of a hook, but not of the instance %s: it must end in %s", h.Instance, path)
		default:
			h.URL += path
		}
		if len(h.URL) > maxHookURL {
			return fmt.Errorf("the address of the hook must have at most %d characters", maxHookURL)
		}
	}
	if h.OrgURL == "" || h.OrgToken == "" {
		return errors.New("OKTA_CLIENT_ORGURL and OKTA_CLIENT_TOKEN must be set: the org, and a token that may manage event hooks")
	}
	return nil
}

func (h *hookOf) admin(ctx context.Context, w world) (*okta.EventHookAdmin, error) {
	org, err := okta.ParseOrgURL(h.OrgURL, h.AllowInsecureOrgs)
	if err != nil {
		return nil, usageError{fmt.Errorf("OKTA_CLIENT_ORGURL: %w", err)}
	}
	return okta.NewEventHookAdmin(ctx, okta.ClientConfig{OrgURL: org, Token: h.OrgToken.Reveal(), AllowInsecure: h.AllowInsecureOrgs, Log: w.log})
}

// find returns the hook that leads to the address, or has the name.
func (h *hookOf) find(hooks []okta.EventHook) (okta.EventHook, bool) {
	i := slices.IndexFunc(hooks, func(x okta.EventHook) bool { return h.URL != "" && strings.TrimRight(x.URI, "/") == h.URL })
	if i < 0 {
		i = slices.IndexFunc(hooks, func(x okta.EventHook) bool { return x.Name == h.Name })
	}
	if i < 0 {
		return okta.EventHook{}, false
	}
	return hooks[i], true
}

// findAny is find, and if that finds nothing, the hook that leads to the instance
// at whatever address.
func (h *hookOf) findAny(hooks []okta.EventHook) (okta.EventHook, bool, error) {
	if hook, ok := h.find(hooks); ok {
		return hook, true, nil
	}
	own := slices.DeleteFunc(slices.Clone(hooks), func(x okta.EventHook) bool { return !x.IsOf(h.Instance) })
	switch len(own) {
	case 0:
		return okta.EventHook{}, false, nil
	case 1:
		return own[0], true, nil
	}
	var all []string
	for _, x := range own {
		all = append(all, fmt.Sprintf("%s (%s)", x.Name, x.URI))
	}
	return okta.EventHook{}, false, usageError{fmt.Errorf("several event hooks lead to the instance %s: say which with --url or --name: %s", h.Instance, strings.Join(all, ", "))}
}

type hookRegisterCmd struct {
	hookOf     `embed:""`
	HookSecret Secret `env:"OKTASYNC_HOOK_SECRET" placeholder:"SECRET" help:"Secret that the instance has, which Okta is to send."`

	Rotate     bool   `help:"Give Okta a new secret: first the service, then Okta, and both secrets are valid meanwhile."`
	SecretFile string `placeholder:"FILE" help:"With --rotate: where the new secret is written, readable by its owner alone; FILE.unfinished until Okta has it, so that a rotation that broke off goes on. With --finish: the same file."`
	Finish     bool   `help:"Some minutes after a rotation: the service takes the new secret alone from now on."`
	Service    string `env:"OKTASYNC_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Where the service answers operators: with --rotate and --finish, and to see that the instance is of this org."`
	AdminToken Secret `env:"OKTASYNC_ADMIN_TOKEN" placeholder:"TOKEN" help:"Bearer token of operators: required with --rotate and --finish."`
}

// registering is a register at work.
type registering struct {
	*hookRegisterCmd
	w      world
	okta   *okta.EventHookAdmin
	secret Secret
	held   string // where the operator finds the secret
}

func (r *registering) say(format string, args ...any) { fmt.Fprintf(r.w.stdout, format+"\n", args...) }

// Run may be broken off at any point: run again, it finds what is done.
func (cmd *hookRegisterCmd) Run(ctx context.Context, w world) error {
	if err := cmd.check(); err != nil {
		return usageError{err}
	}
	admin, err := cmd.admin(ctx, w)
	if err != nil {
		return err
	}
	defer admin.Close()
	r := &registering{hookRegisterCmd: cmd, w: w, okta: admin, secret: cmd.HookSecret, held: "OKTASYNC_HOOK_SECRET"}
	if err := r.sameOrg(ctx); err != nil {
		return err
	}
	hooks, err := admin.List(ctx)
	if okta.IsForbidden(err) {
		return r.byHand(okta.EventHook{}, err)
	}
	if err != nil {
		return err
	}
	if cmd.Finish {
		return r.finish(ctx, hooks)
	}
	hook, found := cmd.find(hooks)
	if cmd.Rotate {
		if !found {
			return errors.New("the org has no such event hook whose secret could be rotated: make it first, without --rotate")
		}
		if err := r.newSecret(ctx); err != nil {
			return err
		}
	}
	seen, err := r.tryDelivery(ctx)
	if err != nil {
		return err
	}
	if found {
		hook, err = r.update(ctx, hook)
	} else {
		hook, err = r.create(ctx)
	}
	if okta.IsForbidden(err) {
		return r.byHand(hook, err)
	}
	if err != nil {
		return err
	}
	if at := strings.TrimRight(hook.URI, "/"); at != r.URL {
		return r.keptAddress(ctx, hook)
	}
	if err := r.switchOn(ctx, hook, seen); err != nil {
		return err
	}
	for _, other := range hooks {
		if other.ID != hook.ID && other.IsOf(cmd.Instance) {
			r.say("The event hook %q (%s) leads to the instance %s too, at %s. What both bring counts twice towards Okta's daily limit: remove it if it is not needed.",
				other.Name, other.ID, cmd.Instance, other.URI)
		}
	}
	if cmd.Rotate {
		if err := os.Rename(cmd.unfinished(), cmd.SecretFile); err != nil {
			return fmt.Errorf("the rotation is done, but the file of the secret does not get its name: %w", err)
		}
		r.say(`Okta sends the new secret from now on. It is in %s. The service takes the old one too, for what is still under way.
  In some minutes: oktasync hook register --instance %[2]s --finish --secret-file %[1]s, so that the old one is not valid any more.
  Before the service starts again, or your scheduler sends an instance event with hookSecrets: put the new one there,
  as OKTASYNC_HOOK_SECRET of the instance default, or leave hookSecrets out of the event.`, cmd.SecretFile, cmd.Instance)
	}
	return nil
}

func (cmd *hookRegisterCmd) check() error {
	if err := cmd.prepare(); err != nil {
		return err
	}
	switch {
	case cmd.Rotate && cmd.Finish:
		return errors.New("--finish comes some minutes after --rotate, by a call of its own")
	case cmd.URL == "" && !cmd.Finish:
		return errors.New("--url is missing: the public https address of the service, as --url https://oktasync.example.com")
	case cmd.Rotate && cmd.SecretFile == "":
		return errors.New("--rotate needs --secret-file: the new secret is shown nowhere else")
	case cmd.Finish && cmd.SecretFile == "":
		return errors.New("--finish needs the --secret-file of the rotation: it holds the secret that stays valid")
	case !cmd.Rotate && !cmd.Finish && cmd.SecretFile != "":
		return errors.New("--secret-file goes with --rotate and --finish")
	}
	if _, err := serviceURL(cmd.Service); err != nil && cmd.AdminToken != "" {
		return err
	}
	if cmd.Rotate || cmd.Finish {
		if cmd.AdminToken == "" {
			return errors.New("OKTASYNC_ADMIN_TOKEN is not set: the service has to be told of the secret")
		}
		return nil
	}
	return goodSecret(cmd.HookSecret.Reveal(), "OKTASYNC_HOOK_SECRET")
}

func serviceURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, errors.New("the URL of the service must be as https://host or http://host:port")
	}
	return u, nil
}

// goodSecret refuses what the service would refuse as a secret.
func goodSecret(secret, name string) error {
	unfit := func(r rune) bool { return r < ' ' || r > '~' }
	if len(secret) < 16 || len(secret) > 4096 || strings.ContainsFunc(secret, unfit) || strings.TrimSpace(secret) != secret {
		return fmt.Errorf("%s must hold the secret of the hook, 16 to 4096 printable ASCII characters; make one with: openssl rand -hex 32", name)
	}
	return nil
}

// unfinished is where the new secret is until Okta has it.
func (cmd *hookRegisterCmd) unfinished() string { return cmd.SecretFile + ".unfinished" }

// newSecret writes a new secret to the file, or takes that of a rotation that
// broke off, and makes it valid at the service. It is on disk before anybody is
// told of it.
func (r *registering) newSecret(ctx context.Context) error {
	if _, err := os.Lstat(r.SecretFile); !errors.Is(err, os.ErrNotExist) {
		return usageError{fmt.Errorf("--secret-file: %s is there: name a file for the new secret that is not", r.SecretFile)}
	}
	secret, err := fileSecret(r.unfinished())
	if err == nil {
		r.say("A rotation broke off: it goes on with its secret, in %s.", r.unfinished())
	} else if errors.Is(err, os.ErrNotExist) {
		secret = rand.Text() + rand.Text()
		err = writeSecret(r.unfinished(), secret)
	}
	if err != nil {
		return fmt.Errorf("--secret-file: %w", err)
	}
	r.secret, r.held = Secret(secret), "the file "+r.unfinished()
	body, err := json.Marshal(map[string]string{"secret": secret})
	if err != nil {
		return err
	}
	if _, err := r.tellService(ctx, http.MethodPost, "hook-secrets", body); err != nil {
		return fmt.Errorf("the service did not take the new secret, and Okta was not told of it: %w", err)
	}
	r.say("The service takes the new secret, and those before it.")
	return nil
}

func fileSecret(path string) (string, error) {
	secret, err := readSecret(path)
	if err != nil {
		return "", err
	}
	return secret, goodSecret(secret, path)
}

// writeSecret writes the file whole or not at all.
func writeSecret(path, secret string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(secret + "\n"); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// refusedError is an answer of the service to an operator.
type refusedError struct {
	status int
	said   string
}

func (e *refusedError) Error() string { return e.said }

// tellService makes a call to the part of the service that is for operators, about
// the instance, and returns its answer.
func (r *registering) tellService(ctx context.Context, method, what string, body []byte) ([]byte, error) {
	u, err := serviceURL(r.Service)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.JoinPath("admin/instances", r.Instance, what).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+r.AdminToken.Reveal())
	req.Header.Set("Content-Type", "application/json")
	client, done := plainClient()
	defer done()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: is --service the address at which it answers?", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 == 2 {
		return b, err
	}
	var p struct{ Detail string }
	_ = json.Unmarshal(b, &p) // else the status says it
	return nil, &refusedError{resp.StatusCode, fmt.Sprintf("it answered %s %.600q", resp.Status, p.Detail)}
}

// sameOrg tells which org and which instance come together, and refuses two that
// do not belong to each other: the secret alone would not tell, if both orgs have
// the same.
func (r *registering) sameOrg(ctx context.Context) error {
	org, err := okta.ParseOrgURL(r.OrgURL, r.AllowInsecureOrgs)
	if err != nil {
		return err
	}
	at := ""
	if r.URL != "" {
		at = ", at " + r.URL
	}
	r.say("The event hook of the org %s is to bring its events to the instance %s%s.", org, r.Instance, at)
	if r.AdminToken == "" {
		return nil
	}
	var in engine.InstanceStatus
	b, err := r.tellService(ctx, http.MethodGet, "", nil)
	if err == nil {
		err = json.Unmarshal(b, &in)
	}
	var refused *refusedError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return fmt.Errorf("the service at %s knows no instance %s: send its instance event first, or name another with --instance: %w", r.Service, r.Instance, err)
	}
	if err != nil || in.ID != r.Instance {
		if err == nil {
			err = errors.New("it does not answer as oktasync does")
		}
		r.say("Warning: whether the instance is of that org could not be seen at %s: %v", r.Service, err)
		return nil
	}
	its, err := okta.ParseOrgURL(in.OrgURL, r.AllowInsecureOrgs)
	if err != nil || its != org {
		return fmt.Errorf("the instance %s is of the org %s, and OKTA_CLIENT_ORGURL is %s, whose events would get into the wrong graph: nothing was changed. "+
			"Name the instance of this org with --instance, or set OKTA_CLIENT_ORGURL and OKTA_CLIENT_TOKEN to those of that org", r.Instance, in.OrgURL, org)
	}
	return nil
}

// plainClient follows no redirect: a secret goes to no other address.
func plainClient() (*http.Client, func()) {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, t.CloseIdleConnections
}

// deliverNothing delivers nothing to the hook's address, with the secret, as Okta
// does, and returns the status of the answer, in number and in words.
func (r *registering) deliverNothing(ctx context.Context) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, strings.NewReader(`{"eventId":"oktasync-hook-register","data":{"events":[]}}`))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", r.secret.Reveal())
	req.Header.Set("Content-Type", "application/json")
	client, done := plainClient()
	defer done()
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Status, nil
}

// proveSecret fails unless who answers at the hook's address takes the secret.
func (r *registering) proveSecret(ctx context.Context) error {
	status, text, err := r.deliverNothing(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("whether the secret in %s is taken at %s could not be tried: run this where that address can be reached: %w", r.SecretFile, r.URL, err)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%s does not take the secret in %s: is it the file of the last rotation?", r.URL, r.SecretFile)
	case status != http.StatusNoContent && status != http.StatusOK:
		return fmt.Errorf("%s answers %s to a delivery with the secret in %s: run doctor with --url, which tells what stands in its way", r.URL, text, r.SecretFile)
	}
	return nil
}

// tryDelivery tries the secret at the hook's address, so that Okta is never told of
// one that would be refused. It returns what was seen, since the address may be out
// of reach from here.
func (r *registering) tryDelivery(ctx context.Context) (seen string, err error) {
	status, text, err := r.deliverNothing(ctx)
	if err != nil {
		r.say("Warning: whether the service takes this secret could not be tried from here: %v", err)
		return "it could not be reached", nil
	}
	switch status {
	case http.StatusNoContent, http.StatusOK:
	case http.StatusUnauthorized:
		if r.Rotate {
			return "", fmt.Errorf("the service at %s took the new secret, but who answers at %s does not take it: nothing was changed in Okta. Are both the same service?", r.Service, r.URL)
		}
		return "", fmt.Errorf("the service does not take this secret at %s, and Okta's deliveries would be refused: nothing was changed in Okta. "+
			"Give the instance %s the secret that is in %s, by an instance event with hookSecrets (default: OKTASYNC_HOOK_SECRET of the service)", r.URL, r.Instance, r.held)
	case http.StatusNotFound:
		return "", fmt.Errorf("nothing receives event hooks at %s: nothing was changed in Okta. Send the instance event of %s first, and see that a proxy lets /hooks/okta/ through as it is", r.URL, r.Instance)
	default:
		r.say("Warning: from here, %s answers %s to a delivery", r.URL, text)
	}
	return "it answered " + text + " to a delivery", nil
}

// create makes the hook.
func (r *registering) create(ctx context.Context) (okta.EventHook, error) {
	var hook okta.EventHook
	types, err := r.offered(convert.HookTypes(), func(types []string) (err error) {
		if len(types) == 0 {
			return errors.New("the org offers none of the event types that are used")
		}
		if err := r.makeNewest(ctx); err != nil {
			return err
		}
		hook, err = r.okta.Create(ctx, r.Name, types, r.channel())
		return err
	})
	if err == nil {
		r.say("Created the event hook %q (%s) with %d event types, to %s.", hook.Name, hook.ID, len(hook.Types), hook.URI)
		r.notTaken(hook, types)
	}
	return hook, err
}

// update adds what the hook lacks. Without a difference it changes nothing: each
// change has to be verified, and nothing is delivered meanwhile.
func (r *registering) update(ctx context.Context, hook okta.EventHook) (okta.EventHook, error) {
	moved := strings.TrimRight(hook.URI, "/") != r.URL
	set := r.Rotate || moved || !strings.EqualFold(hook.Header, "Authorization")
	missing := slices.DeleteFunc(convert.HookTypes(), func(t string) bool { return slices.Contains(hook.Types, t) })
	now := hook
	added, err := r.offered(missing, func(types []string) error {
		if len(types) == 0 && !set {
			return nil
		}
		if err := r.makeNewest(ctx); err != nil {
			return err
		}
		changed, err := r.okta.Change(ctx, hook, types, r.channel())
		if err == nil {
			now = changed
		}
		return err
	})
	if err != nil {
		return hook, err
	}
	if moved && now.URI != hook.URI {
		r.say("The event hook %q (%s) led to %s, and leads to %s now.", hook.Name, hook.ID, hook.URI, now.URI)
	}
	r.notTaken(now, added)
	added = slices.DeleteFunc(added, func(t string) bool { return !slices.Contains(now.Types, t) })
	if len(added) > 0 {
		r.say("Added %s to the event hook %q (%s): %s.", count(len(added), "event type", "event types"), hook.Name, hook.ID, strings.Join(added, ", "))
	}
	if len(added) == 0 && !set {
		r.say("The event hook %q (%s) leads to %s and has all event types that the org offers: nothing to change.", hook.Name, hook.ID, r.URL)
	}
	return now, nil
}

// makeNewest makes the secret that Okta is about to get the newest of the service,
// so that the end of an earlier rotation does not drop it.
func (r *registering) makeNewest(ctx context.Context) error {
	if r.Rotate || r.AdminToken == "" { // a rotation has done so
		return nil
	}
	body, err := json.Marshal(map[string]string{"secret": r.secret.Reveal()})
	if err != nil {
		return err
	}
	if _, err := r.tellService(ctx, http.MethodPost, "hook-secrets", body); err != nil {
		return fmt.Errorf("the service could not be told which secret Okta is to send, and nothing was changed in Okta: set OKTASYNC_URL to where it answers operators, "+
			"or leave OKTASYNC_ADMIN_TOKEN out if no rotation is under way: %w", err)
	}
	return nil
}

// notTaken tells which of the types Okta's answer does not show.
func (r *registering) notTaken(hook okta.EventHook, types []string) {
	left := slices.DeleteFunc(slices.Clone(types), func(t string) bool { return slices.Contains(hook.Types, t) })
	if len(left) > 0 {
		r.say("Warning: Okta took the change, and left out %s; what they tell comes by the System Log.", strings.Join(left, ", "))
	}
}

// keptAddress tells that Okta took a change of the hook, but not its address. What
// the hook did before it may go on doing: any change has to be verified anew.
func (r *registering) keptAddress(ctx context.Context, hook okta.EventHook) error {
	state := "active and verified"
	if !hook.Delivers() {
		state = "not delivering"
		if now, err := r.okta.Verify(ctx, hook.ID); err == nil && now.Delivers() {
			state = "active and verified again"
		}
	}
	return fmt.Errorf("the event hook %q (%s) was left by Okta at the address %s, in place of %s; it is %s. "+
		"Remove it (oktasync hook remove --instance %s --url %[3]s), and register again, which makes a new one",
		hook.Name, hook.ID, hook.URI, r.URL, state, r.Instance)
}

func (r *registering) channel() okta.HookChannel {
	return okta.HookChannel{URI: r.URL, Secret: r.secret.Reveal()}
}

// offered does something with types, and again without those that Okta refuses
// by name, which the org does not offer. It returns those that were left.
func (r *registering) offered(types []string, do func([]string) error) ([]string, error) {
	for {
		err := do(types)
		refused := refusedTypes(err, types)
		if len(refused) == 0 {
			return types, err
		}
		r.say("Warning: the org does not offer %s to event hooks; what they tell comes by the System Log.", strings.Join(refused, ", "))
		types = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return slices.Contains(refused, t) })
	}
}

// refusedTypes are those of the types that Okta's refusal names.
func refusedTypes(err error, types []string) (refused []string) {
	var e *okta.Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
		return nil
	}
	for _, text := range append([]string{e.Summary}, e.Causes...) {
		words := strings.FieldsFunc(text, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.')
		})
		if strings.HasSuffix(text, "…") && len(words) > 0 { // the last one may be a part
			words = words[:len(words)-1]
		}
		for _, word := range words {
			if word = strings.Trim(word, "."); slices.Contains(types, word) && !slices.Contains(refused, word) {
				refused = append(refused, word)
			}
		}
	}
	return refused
}

// switchOn sees to it that Okta delivers.
func (r *registering) switchOn(ctx context.Context, hook okta.EventHook, seen string) error {
	var err error
	if hook.Status != "ACTIVE" {
		if hook, err = r.okta.Activate(ctx, hook.ID); err != nil {
			return r.forbidden(hook, err)
		}
		r.say("Activated it.")
	}
	if hook.VerificationStatus != "VERIFIED" {
		if _, err = r.okta.Verify(ctx, hook.ID); err != nil {
			return r.unverified(hook, seen, err)
		}
		r.say("Okta verified it.")
	}
	r.say("It is active and verified. After a change Okta takes some minutes until events flow.")
	return nil
}

func (r *registering) forbidden(hook okta.EventHook, err error) error {
	if okta.IsForbidden(err) {
		return r.byHand(hook, err)
	}
	return err
}

// unverified explains a verification that failed.
func (r *registering) unverified(hook okta.EventHook, seen string, err error) error {
	var e *okta.Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
		return r.forbidden(hook, err)
	}
	return fmt.Errorf(`the event hook %s could not be verified. Okta says: %s
Until it is, Okta sends nothing. From here: %s. Check that
  - Okta reaches %s from the internet, with a certificate that everybody trusts and without a redirect
  - the instance %s is known to the service (else it answers 404): send its instance event first
  - a proxy before the service lets /hooks/okta/ through as it is, with the header X-Okta-Verification-Challenge
  - the answer comes within 3 seconds
then run this again`, hook.ID, e.Said(), seen, r.URL, r.Instance)
}

// byHand prints what to do in the Admin Console, and never the secret.
func (r *registering) byHand(hook okta.EventHook, refusal error) error {
	if r.Finish {
		return fmt.Errorf("whether Okta sends the new secret cannot be seen with this token: %w", refusal)
	}
	step, types := "Create Event Hook", convert.HookTypes()
	name := r.Name
	if hook.ID != "" {
		step, name = "Actions › Edit of "+hook.Name, hook.Name
		types = slices.DeleteFunc(types, func(t string) bool { return slices.Contains(hook.Types, t) })
	}
	r.say(`The API token may not manage event hooks. Run this again with the token of a super administrator, or of a custom role with
okta.eventhooks.manage; or do the same in Okta's Admin Console:

  Workflow › Event Hooks › %s
    Name                   %s
    URL                    %s
    Authentication field   Authorization
    Authentication secret  what is in %s, as it is, without Bearer
    Subscribe to events    %s
  then Save, and Verify. Leave out a type that the org does not offer.
`, step, name, r.URL, r.held, strings.Join(orNone(types), "\n                           "))
	return fmt.Errorf("the event hook was not changed: %w", refusal)
}

func orNone(types []string) []string {
	if len(types) == 0 {
		return []string{"those it has"}
	}
	return types
}

// finish ends a rotation: the service drops the old secrets, unless Okta may yet
// send one. Okta shows no secret, so this rests on the file, which has its name
// only since Okta verified the hook with the secret in it, and on the service, which
// refuses if a later rotation has begun.
func (r *registering) finish(ctx context.Context, hooks []okta.EventHook) error {
	const notYet = "the old secret may still be what Okta sends: end the rotation first, by --rotate with the same --secret-file, until it says so"
	hook, found, err := r.findAny(hooks)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(r.unfinished()); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s (%s is there)", notYet, r.unfinished())
	}
	secret, err := fileSecret(r.SecretFile)
	if errors.Is(err, os.ErrNotExist) || err == nil && (!found || !hook.Delivers()) {
		return errors.New(notYet)
	}
	if err != nil {
		return fmt.Errorf("--secret-file: %w", err)
	}
	if at := strings.TrimRight(hook.URI, "/"); !hook.IsOf(r.Instance) || r.URL != "" && r.URL != at {
		return fmt.Errorf("the event hook %q (%s) leads to %s, which is another address: nothing was dropped", hook.Name, hook.ID, hook.URI)
	}
	r.URL, r.secret, r.held = hook.URI, Secret(secret), "the file "+r.SecretFile
	if err := r.proveSecret(ctx); err != nil {
		return fmt.Errorf("the old secret is still valid: %w", err)
	}
	body, err := json.Marshal(map[string]string{"secret": secret})
	if err != nil {
		return err
	}
	if _, err := r.tellService(ctx, http.MethodDelete, "hook-secrets/old", body); err != nil {
		return fmt.Errorf("the old secret is still valid: %w", err)
	}
	r.say("The service takes the new secret alone. The old one must not be left in OKTASYNC_HOOK_SECRET of the service, or in an instance event.")
	return nil
}

type hookStatusCmd struct {
	hookOf `embed:""`
	JSON   bool `name:"json" help:"One JSON document."`
}

// hookReport is what status tells.
type hookReport struct {
	engine.HookStatus
	Types       int      `json:"types"`                 // that the hook has
	Needed      int      `json:"needed"`                // that are used
	Superfluous []string `json:"superfluous,omitempty"` // that the hook has beside
	FilterOf    []string `json:"filterOf,omitempty"`
	Todo        []string `json:"todo,omitempty"`
}

// errTodo says by the exit status that the report names something to do.
var errTodo = errors.New("the event hook needs somebody to see to it: the report says what to do")

// Run tells how the hook does.
func (cmd *hookStatusCmd) Run(ctx context.Context, w world) error {
	if err := cmd.prepare(); err != nil {
		return usageError{err}
	}
	admin, err := cmd.admin(ctx, w)
	if err != nil {
		return err
	}
	defer admin.Close()
	hooks, err := admin.List(ctx)
	if err != nil {
		return fmt.Errorf("nothing is known of the event hook; the Admin Console shows it at Workflow › Event Hooks: %w", err)
	}
	report := cmd.report(hooks)
	if cmd.JSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.print(w.stdout)
	}
	if err == nil && len(report.Todo) > 0 {
		err = errTodo
	}
	return err
}

func (cmd *hookStatusCmd) report(hooks []okta.EventHook) hookReport {
	needed := convert.HookTypes()
	r := hookReport{HookStatus: engine.JudgeHooks(hooks, cmd.Instance), Needed: len(needed)}
	r.CheckedAt = time.Now().UTC()
	if r.Problem != "" {
		r.Todo = append(r.Todo, r.Problem)
	}
	if cmd.URL != "" && r.ID != "" && strings.TrimRight(r.URI, "/") != cmd.URL {
		r.Todo = append(r.Todo, "the hook leads to "+r.URI+", not to "+cmd.URL+": oktasync hook register --instance "+cmd.Instance+" --url "+cmd.URL)
	}
	for _, h := range hooks {
		if h.ID != r.ID {
			continue
		}
		r.Types, r.FilterOf = len(h.Types), h.Filtered
		for _, t := range h.Types {
			if !slices.Contains(needed, t) {
				r.Superfluous = append(r.Superfluous, t)
			}
		}
	}
	return r
}

func (r hookReport) print(out io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	if r.ID != "" {
		fmt.Fprintf(&b, "Event hook %q (%s)\n", r.Name, r.ID)
		line("leads to", "%s", r.URI)
		line("state", "%s, %s", r.Status, r.VerificationStatus)
		line("event types", "%d of the %d that are used", r.Needed-len(r.Missing), r.Needed)
	}
	if len(r.Missing) > 0 && r.ID != "" {
		line("missing", "%s", strings.Join(r.Missing, ", "))
	}
	if len(r.Superfluous) > 0 {
		line("beside", "%s, which are not used here and left alone", strings.Join(r.Superfluous, ", "))
	}
	if len(r.FilterOf) > 0 {
		line("filter", "of %s: events that it holds back come by the System Log alone", strings.Join(r.FilterOf, ", "))
	}
	if len(r.Todo) == 0 {
		b.WriteString("It brings all that it should.\n")
	}
	for _, todo := range r.Todo {
		fmt.Fprintf(&b, "To do: %s\n", todo)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

type hookRemoveCmd struct {
	hookOf `embed:""`
	Yes    bool `help:"Do not ask."`
}

// Run removes the hook.
func (cmd *hookRemoveCmd) Run(ctx context.Context, w world) error {
	if err := cmd.prepare(); err != nil {
		return usageError{err}
	}
	admin, err := cmd.admin(ctx, w)
	if err != nil {
		return err
	}
	defer admin.Close()
	hooks, err := admin.List(ctx)
	if err != nil {
		return byConsole(err)
	}
	hook, found, err := cmd.findAny(hooks)
	if err != nil {
		return err
	}
	if !found {
		fmt.Fprintf(w.stdout, "The org has no event hook of the instance %s.\n", cmd.Instance)
		return nil
	}
	what := fmt.Sprintf("the event hook %q (%s), which leads to %s", hook.Name, hook.ID, hook.URI)
	if !cmd.Yes {
		if err := confirm(w, "Delete "+what+"? Changes then come by the System Log alone."); err != nil {
			return err
		}
	}
	if hook.Status != "INACTIVE" {
		if _, err := admin.Deactivate(ctx, hook.ID); err != nil {
			return byConsole(err)
		}
	}
	if err := admin.Delete(ctx, hook.ID); err != nil {
		return byConsole(err)
	}
	fmt.Fprintf(w.stdout, "Deleted %s.\n", what)
	return nil
}

func byConsole(err error) error {
	if okta.IsForbidden(err) {
		return fmt.Errorf("%w; or do it in the Admin Console: Workflow › Event Hooks › Actions › Deactivate, then Delete", err)
	}
	return err
}

// confirm asks whoever sits at the terminal.
func confirm(w world, question string) error {
	if in, ok := w.stdin.(*os.File); !ok || !isatty.IsTerminal(in.Fd()) {
		return usageError{errors.New("nobody is there to be asked: add --yes")}
	}
	fmt.Fprintf(w.stderr, "%s Type yes: ", question)
	answer, err := bufio.NewReader(io.LimitReader(w.stdin, 100)).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}
