package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Address is a URL of Redis taken apart: of one server, of the nodes of a Redis
// Cluster, or of the Sentinels that know the server.
type Address struct {
	Scheme string   // redis, rediss, unix
	Hosts  []string // host:port; of unix, the path
	Master string   // its name among the Sentinels; "": they are no Sentinels

	user  *url.Userinfo
	path  string
	query url.Values
}

// ParseURL takes a URL of Redis apart: redis://user:password@host:6379/0, with several
// hosts, comma-separated or as ?addr=host:port, for a Redis Cluster, or with
// ?master_name= for Sentinels. Errors show nothing of the URL: it has a password in it.
func ParseURL(text string) (Address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "redis" && scheme != "rediss" && scheme != "unix" {
		return Address{}, errors.New("it does not begin with redis://, rediss:// or unix://")
	}
	if scheme == "unix" {
		u, err := url.Parse(text)
		if err != nil {
			return Address{}, hideURL(err)
		}
		return Address{Scheme: scheme, Hosts: []string{u.Path}, user: u.User, query: u.Query()}, nil
	}
	// Several hosts are no host to net/url: they are taken out first.
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	login, hosts := "", authority
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		login, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse(scheme + "://" + login + "host" + tail)
	if err != nil {
		return Address{}, hideURL(err)
	}
	a := Address{Scheme: scheme, user: u.User, path: strings.Trim(u.Path, "/"), query: u.Query()}
	a.Master = a.query.Get("master_name")
	port := "6379"
	if a.Master != "" {
		port = "26379"
	}
	for _, host := range append(strings.Split(hosts, ","), a.query["addr"]...) {
		h, p, err := net.SplitHostPort(host)
		if err != nil { // without a port, as an IPv6 address in brackets may be
			h, p = strings.Trim(host, "[]"), port
		}
		if strings.ContainsAny(h, "@/ ") || (h == "" && len(a.Hosts) > 0) {
			return Address{}, errors.New("one of its hosts is none: write host:port, with commas between several, and characters such as / or @ of the password as %2F, %40")
		}
		if h == "" {
			h = "localhost"
		}
		a.Hosts = append(a.Hosts, net.JoinHostPort(h, p))
	}
	a.query.Del("addr")
	for _, name := range []string{"username", "password"} {
		if a.query.Has(name) {
			return Address{}, fmt.Errorf("%s is no parameter of it: user and password of Redis stand before the @, those of Sentinels are sentinel_username and sentinel_password", name)
		}
	}
	return a, nil
}

// hideURL keeps a URL, and the password in it, out of an error.
func hideURL(err error) error {
	var parse interface{ Unwrap() error }
	if errors.As(err, &parse) && parse.Unwrap() != nil {
		return parse.Unwrap()
	}
	return errors.New("cannot be parsed")
}

// url returns the URL as go-redis parses it, with these parameters.
func (a Address) url(user *url.Userinfo, query url.Values) string {
	if a.Scheme == "unix" {
		return (&url.URL{Scheme: a.Scheme, User: user, Path: a.Hosts[0], RawQuery: query.Encode()}).String()
	}
	if len(a.Hosts) > 1 {
		query["addr"] = a.Hosts[1:]
	}
	return (&url.URL{Scheme: a.Scheme, User: user, Host: a.Hosts[0], Path: "/" + a.path, RawQuery: query.Encode()}).String()
}

// noNotes: announcements of maintenance are for Redis Enterprise; failovers we
// see to ourselves.
var noNotes = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

// connect makes the clients. Only of a single server it asks the server: it may
// be a node of a Redis Cluster, as the configuration endpoint of a hosted one is.
func (s *Store) connect(ctx context.Context, a Address) error {
	switch {
	case a.Master != "":
		return s.connectSentinels(ctx, a)
	case len(a.Hosts) > 1:
		return s.connectCluster(ctx, a)
	}
	opts, err := redis.ParseURL(a.url(a.user, a.query))
	if err != nil {
		return badURL{err}
	}
	opts.ContextTimeoutEnabled, opts.DisableIdentity, opts.MaintNotificationsConfig = true, true, noNotes
	opts.PoolSize = cmp.Or(opts.PoolSize, poolSize)
	client := redis.NewClient(opts)
	s.rdb, s.single = client, client
	if err := s.loaded(ctx); err != nil {
		return err
	}
	// A server that refuses INFO is taken for a single one.
	if info, err := info(ctx, client, "cluster"); err != nil || info["cluster_enabled"] != "1" {
		return ctx.Err()
	}
	s.single = nil
	_ = client.Close()
	return s.connectCluster(ctx, a)
}

func (s *Store) connectSentinels(ctx context.Context, a Address) error {
	query := url.Values{}
	for name, values := range a.query {
		query[name] = values
	}
	// To go-redis what stands before the @ is of the Sentinels.
	var user *url.Userinfo
	if query.Has("sentinel_username") || query.Has("sentinel_password") {
		user = url.UserPassword(query.Get("sentinel_username"), query.Get("sentinel_password"))
		query.Del("sentinel_username")
		query.Del("sentinel_password")
	}
	opts, err := redis.ParseFailoverURL(a.url(user, query))
	if err != nil {
		return badURL{err}
	}
	if opts.ReplicaOnly || opts.RouteByLatency || opts.RouteRandomly {
		return badURL{errors.New("reads of replicas are not allowed: they lag behind")}
	}
	opts.Username = a.user.Username()
	opts.Password, _ = a.user.Password()
	opts.ContextTimeoutEnabled, opts.DisableIdentity = true, true
	opts.PoolSize = cmp.Or(opts.PoolSize, poolSize)
	opts.DialerRetries = cmp.Or(opts.DialerRetries, 1) // a dial asks the Sentinels, which is tried again in itself
	s.single = redis.NewFailoverClient(opts)
	s.rdb, s.sentinels = s.single, true
	return s.loaded(ctx)
}

func (s *Store) connectCluster(ctx context.Context, a Address) error {
	if a.path != "" && a.path != "0" {
		return badURL{errors.New("a Redis Cluster has no database but 0")}
	}
	a.path = ""
	if a.Scheme == "unix" {
		return badURL{errors.New("a Redis Cluster is reached by host and port: it sends to its other nodes")}
	}
	opts, err := redis.ParseClusterURL(a.url(a.user, a.query))
	if err != nil {
		return badURL{err}
	}
	if opts.ReadOnly || opts.RouteByLatency || opts.RouteRandomly {
		return badURL{errors.New("reads of replicas are not allowed: they lag behind")}
	}
	opts.ContextTimeoutEnabled, opts.DisableIdentity, opts.MaintNotificationsConfig = true, true, noNotes
	opts.PoolSize = cmp.Or(opts.PoolSize, poolSize)
	opts.ClusterStateReloadInterval = clusterLook
	opts.DialerRetries = cmp.Or(opts.DialerRetries, 1) // the client tries again itself, on another node if need be
	opts.MaxRedirects = cmp.Or(opts.MaxRedirects, 5)
	s.cluster = redis.NewClusterClient(opts)
	s.cluster.OnNewNode(func(node *redis.Client) { node.AddHook(nodeHook{s.cluster}) })
	s.rdb = s.cluster
	return s.loaded(ctx)
}

// clusterLook is how often the client looks who of a Redis Cluster has which
// slots; it does at once when a node fails or sends it elsewhere.
const clusterLook = 10 * time.Second

// badURL is an error that no server has a part in.
type badURL struct{ error }

// explain tells what to do about a Redis that cannot be used.
func (a Address) explain(err error) string {
	where := strings.Join(a.Hosts, ", ")
	var bad badURL
	switch {
	case errors.As(err, &bad):
		return "OKTASYNC_REDIS_URL cannot be used"
	case strings.Contains(err.Error(), "cluster support disabled"):
		return fmt.Sprintf("OKTASYNC_REDIS_URL has several addresses (%s), as of a Redis Cluster, but they are of none: give one address, or add ?master_name= if they are Sentinels", where)
	case a.Master != "":
		return fmt.Sprintf("no answer of the Redis that the Sentinels at %s call %s: check OKTASYNC_REDIS_URL, its master_name, sentinel_password and password, and that they run", where, a.Master)
	}
	return fmt.Sprintf("no answer of Redis at %s: check OKTASYNC_REDIS_URL and that it runs", where)
}

// node is the server that has the key now.
func (s *Store) node(ctx context.Context, key string) (*redis.Client, error) {
	if s.cluster != nil {
		return s.cluster.MasterForKey(ctx, key)
	}
	return s.single, nil
}

// ErrMoving says that Redis Cluster moves the instance to another node: nothing was written.
var ErrMoving = errors.New("the Redis Cluster moves the instance to another node: try again when it has")

// nodeHook is of a node of a Redis Cluster.
//
// While a slot is moved, a command whose key is not there (any more) is sent to
// the node that it moves to. Of one key that is right. But our scripts name a key
// that never exists and take many others: over there they would find only those
// that have been moved already. So no script is ever sent on.
type nodeHook struct{ cluster *redis.ClusterClient }

func (h nodeHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			h.cluster.ReloadState(ctx) // another may have its slots: by itself the client looks seldom
		}
		return conn, err
	}
}

func (h nodeHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if name := cmd.Name(); name == "evalsha" || name == "eval" {
			if _, ask := redis.IsAskError(err); ask {
				err = ErrMoving
				cmd.SetErr(err)
			}
		}
		return err
	}
}

func (h nodeHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next // no script is ever in one
}
