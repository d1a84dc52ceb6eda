package statetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Node is a redis-server that others reach by its port.
type Node struct {
	*redis.Client // of this node only
	Addr          string

	id, bus string // of a node of a cluster
	cmd     *exec.Cmd
	args    []string
}

// freePort is one that nobody listens at now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// startNode starts a redis-server in a folder of its own under dir.
func startNode(dir string, args ...string) (*Node, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if dir, err = os.MkdirTemp(dir, "node"); err != nil {
		return nil, err
	}
	n := &Node{Addr: net.JoinHostPort("127.0.0.1", port), args: append(args, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")}
	return n, n.Restart()
}

// Restart starts a node that is not running.
func (n *Node) Restart() error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return errNoServer
	}
	n.cmd = exec.Command(path, n.args...)
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	if n.Client == nil {
		n.Client = redis.NewClient(&redis.Options{Addr: n.Addr, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1})
	}
	return until("a redis-server answers", func() bool {
		conn, err := net.Dial("tcp", n.Addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return n.Ping(context.Background()).Err() == nil
	})
}

// Kill ends the node as kill -9 does.
func (n *Node) Kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

func (n *Node) stop() {
	n.Kill()
	if n.Client != nil {
		_ = n.Close()
	}
}

// Freeze stops the node where it is, until Thaw; it keeps its connections.
func (n *Node) Freeze() error { return n.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (n *Node) Thaw() error { return n.cmd.Process.Signal(syscall.SIGCONT) }

// CutOff freezes the replicas of a master, among these nodes, and cuts them off: what it
// acknowledges from now on no replica gets. It returns them.
func CutOff(master *Node, nodes []*Node) ([]*Node, error) {
	_, port, _ := net.SplitHostPort(master.Addr)
	var replicas []*Node
	for _, n := range nodes {
		if n.Tells("master_port") == port {
			replicas = append(replicas, n)
			if err := n.Freeze(); err != nil {
				return replicas, err
			}
		}
	}
	return replicas, master.ClientKillByFilter(context.Background(), "TYPE", "replica").Err()
}

// Tells returns a field of the node's INFO.
func (n *Node) Tells(field string) string {
	text, _ := n.Info(context.Background(), "everything").Result()
	_, rest, _ := strings.Cut(text, "\n"+field+":")
	value, _, _ := strings.Cut(rest, "\r")
	return value
}

// until looks again and again whether something holds; others must see to it.
func until(what string, holds func() bool) error {
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("not within 30 s: " + what)
		}
	}
	return nil
}

// Cluster is a Redis Cluster of three masters, each with a replica. What a node held is
// lost when it is killed.
type Cluster struct {
	URL   string
	Nodes []*Node // the masters first, as it began
	dir   string
}

const (
	slots   = 16384
	patient = "60000" // ms: a machine may be slow
)

// StartCluster starts one, where nobody replaces a master until Timeout.
func StartCluster() (*Cluster, error) {
	dir, err := os.MkdirTemp("", "oktasync-cluster")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := c.start(); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start() error {
	ctx := context.Background()
	for range 6 {
		bus, err := freePort()
		if err != nil {
			return err
		}
		n, err := startNode(c.dir, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", patient,
			"--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no", "--appendonly", "no")
		if n != nil && n.cmd != nil {
			c.Nodes = append(c.Nodes, n)
		}
		if err != nil {
			return err
		}
		n.bus = bus
		if n.id, err = n.Do(ctx, "CLUSTER", "MYID").Text(); err != nil {
			return err
		}
	}
	var addrs []string
	for i, n := range c.Nodes {
		addrs = append(addrs, n.Addr)
		if err := n.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		if i < 3 {
			if err := n.ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err(); err != nil {
				return err
			}
		}
		host, port, _ := net.SplitHostPort(n.Addr)
		if err := c.Nodes[0].Do(ctx, "CLUSTER", "MEET", host, port, n.bus).Err(); i > 0 && err != nil {
			return err
		}
	}
	c.URL = "redis://" + strings.Join(addrs, ",")
	for i, n := range c.Nodes {
		if i < 3 {
			continue
		}
		master := c.Nodes[i-3]
		if err := until("the nodes know each other", func() bool { return n.ClusterReplicate(ctx, master.id).Err() == nil }); err != nil {
			return err
		}
	}
	return c.Whole()
}

// Whole waits until all nodes are up, and agree that there are three masters with a
// replica each.
func (c *Cluster) Whole() error {
	ctx := context.Background()
	return until("the cluster is whole", func() bool {
		for _, n := range c.Nodes {
			text, err := n.Do(ctx, "CLUSTER", "INFO").Text()
			if err != nil || !strings.Contains(text, "cluster_state:ok") || !strings.Contains(text, "cluster_known_nodes:6") {
				return false
			}
			if n.Tells("role") == "slave" && n.Tells("master_link_status") != "up" {
				return false
			}
			shards, err := n.ClusterShards(ctx).Result()
			if err != nil || len(shards) != 3 {
				return false
			}
			for _, s := range shards {
				if len(s.Nodes) != 2 || len(s.Slots) == 0 {
					return false
				}
			}
		}
		return true
	})
}

// Timeout is after how long a master that does not answer is replaced.
func (c *Cluster) Timeout(after time.Duration) error {
	for _, n := range c.Nodes {
		if n.Ping(context.Background()).Err() != nil {
			continue // it is the one
		}
		if err := n.ConfigSet(context.Background(), "cluster-node-timeout", fmt.Sprint(after.Milliseconds())).Err(); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the nodes and removes their folders.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes {
		n.stop()
	}
	_ = os.RemoveAll(c.dir)
}

// Master is the node that has the instance.
func (c *Cluster) Master(instance string) (*Node, error) {
	ctx := context.Background()
	for _, n := range c.Nodes {
		if n.Get(ctx, "oktasync:{"+instance+"}:nothing").Err() == redis.Nil && n.Tells("role") == "master" {
			return n, nil
		}
	}
	return nil, errors.New("no node has the instance")
}

// Instances returns ids of instances, that many for each of the masters.
func (c *Cluster) Instances(each int) ([]string, error) {
	var ids []string
	of := map[*Node]int{}
	for i := 0; len(ids) < 3*each; i++ {
		id := fmt.Sprint("org", i)
		n, err := c.Master(id)
		if err != nil {
			return nil, err
		}
		if of[n]++; of[n] <= each {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Slot is that of the instance.
func (c *Cluster) Slot(instance string) (int, error) {
	n, err := c.Nodes[0].ClusterKeySlot(context.Background(), "{"+instance+"}").Result()
	return int(n), err
}

// Migration moves the slot of an instance, as redis-cli --cluster reshard does.
type Migration struct {
	Slot     int
	From, To *Node
	c        *Cluster
}

// Migrate begins to move an instance to another node.
func (c *Cluster) Migrate(instance string, to *Node) (*Migration, error) {
	ctx := context.Background()
	from, err := c.Master(instance)
	if err != nil {
		return nil, err
	}
	slot, err := c.Slot(instance)
	if err != nil {
		return nil, err
	}
	return &Migration{slot, from, to, c}, errors.Join(
		to.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", from.id).Err(),
		from.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.id).Err())
}

// Keys are the keys of the slot that a node has.
func (m *Migration) Keys(n *Node) ([]string, error) {
	return n.ClusterGetKeysInSlot(context.Background(), m.Slot, 1_000_000).Result()
}

// Move moves keys.
func (m *Migration) Move(keys ...string) error {
	host, port, _ := net.SplitHostPort(m.To.Addr)
	args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
	for _, key := range keys {
		args = append(args, key)
	}
	return m.From.Do(context.Background(), args...).Err()
}

// End moves what is left, and gives the slot to its new node.
func (m *Migration) End() error {
	for {
		keys, err := m.From.ClusterGetKeysInSlot(context.Background(), m.Slot, 100).Result()
		if err == nil && len(keys) > 0 {
			err = m.Move(keys...)
		}
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
	}
	for _, n := range append([]*Node{m.To, m.From}, m.c.Nodes...) {
		if n.Tells("role") != "master" {
			continue
		}
		if err := n.Do(context.Background(), "CLUSTER", "SETSLOT", m.Slot, "NODE", m.To.id).Err(); err != nil {
			return err
		}
	}
	return nil
}

// Sentinels are three, of a master with two replicas.
type Sentinels struct {
	URL       string
	Servers   []*Node
	Sentinels []*Node
	dir       string
}

// StartSentinels starts them; nobody replaces the master until Timeout.
func StartSentinels() (*Sentinels, error) {
	dir, err := os.MkdirTemp("", "oktasync-sentinels")
	if err != nil {
		return nil, err
	}
	s := &Sentinels{dir: dir}
	if err := s.start(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Sentinels) start() error {
	var host, port string
	for i := range 3 {
		args := []string{"--appendonly", "no"}
		if i > 0 {
			args = append(args, "--replicaof", host+" "+port)
		}
		n, err := startNode(s.dir, args...)
		if n != nil && n.cmd != nil {
			s.Servers = append(s.Servers, n)
		}
		if err != nil {
			return err
		}
		if i == 0 {
			host, port, _ = net.SplitHostPort(n.Addr)
		}
	}
	var addrs []string
	for i := range 3 {
		sentinelPort, err := freePort()
		if err != nil {
			return err
		}
		config := filepath.Join(s.dir, fmt.Sprint("sentinel", i))
		text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor main %s %s 2\nsentinel down-after-milliseconds main %s\nsentinel failover-timeout main 4000\nsentinel parallel-syncs main 2\n",
			sentinelPort, s.dir, host, port, patient)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return err
		}
		n := &Node{Addr: net.JoinHostPort("127.0.0.1", sentinelPort), args: []string{config, "--sentinel"}}
		if err := n.Restart(); n.cmd != nil {
			s.Sentinels = append(s.Sentinels, n)
			if err != nil {
				return err
			}
		}
		addrs = append(addrs, n.Addr)
	}
	s.URL = "redis://" + strings.Join(addrs, ",") + "/0?master_name=main"
	return s.Whole()
}

// Whole waits until the Sentinels know each other and a master with two replicas, which
// are connected.
func (s *Sentinels) Whole() error {
	return until("the Sentinels know all", func() bool {
		for _, n := range s.Sentinels {
			text, err := n.Info(context.Background(), "sentinel").Result()
			if err != nil || !strings.Contains(text, "status=ok") || !strings.Contains(text, "slaves=2,sentinels=3") {
				return false
			}
		}
		m := s.Master()
		return m != nil && m.Tells("connected_slaves") == "2" && strings.Count(m.Tells("slave0")+m.Tells("slave1"), "state=online") == 2
	})
}

// Master is the server that the Sentinels take for it; nil if they do not know.
func (s *Sentinels) Master() *Node {
	for _, sentinel := range s.Sentinels {
		at, err := sentinel.Do(context.Background(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main").StringSlice()
		if err != nil || len(at) != 2 {
			continue
		}
		for _, n := range s.Servers {
			if n.Addr == net.JoinHostPort(at[0], at[1]) {
				return n
			}
		}
	}
	return nil
}

// Timeout is after how long a master that does not answer is replaced.
func (s *Sentinels) Timeout(after time.Duration) error {
	var errs []error
	for _, n := range s.Sentinels {
		errs = append(errs, n.Do(context.Background(), "SENTINEL", "SET", "main", "down-after-milliseconds", after.Milliseconds()).Err())
	}
	return errors.Join(errs...)
}

// Stop ends all of them and removes their folders.
func (s *Sentinels) Stop() {
	for _, n := range append(s.Sentinels, s.Servers...) {
		n.stop()
	}
	_ = os.RemoveAll(s.dir)
}
