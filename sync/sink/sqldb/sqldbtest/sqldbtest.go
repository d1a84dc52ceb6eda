// Package sqldbtest gives tests a real PostgreSQL server, databases of both kinds,
// and graphs of orgs of any size.
package sqldbtest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
)

// Each runs a test on a new, empty database of both kinds, side by side. target is
// what sqldb.Open takes.
func Each(t *testing.T, f func(t *testing.T, target string)) {
	t.Helper()
	for name, target := range map[string]func(testing.TB) string{"SQLite": SQLite, "PostgreSQL": Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, target(t))
		})
	}
}

// SQLite returns the target of a database that is not there yet.
func SQLite(t testing.TB) string {
	return "sql:" + filepath.Join(t.TempDir(), "graph.db")
}

// Postgres returns the URL of a new database of the server that the tests of a
// process share, started at the first call. Its texts are sorted by ICU's rules for
// English unless a column says otherwise.
func Postgres(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = start()
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	name := fmt.Sprintf("test%d", databases.Add(1))
	if err := shared.server.create(name); err != nil {
		t.Fatal(err)
	}
	return shared.server.url(name)
}

// Main runs the tests of a package and ends the server that they share. Call it
// from TestMain.
func Main(m *testing.M) int {
	defer Stop()
	return m.Run()
}

// Stop ends the server, for a TestMain that has more to do than Main.
func Stop() {
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.stop()
	}
}

var (
	shared struct {
		sync.Mutex
		server *server
		err    error
	}
	databases atomic.Int64
)

// server is a PostgreSQL server on a socket in a folder of its own.
type server struct {
	dir string
	cmd *exec.Cmd
	db  *sql.DB // of the database postgres
}

func start() (*server, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := program("postgres")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "oktasync-pg")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	if err := s.run(initdb, postgres); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// program finds a program of PostgreSQL, the newest version first.
func program(name string) (string, error) {
	paths, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err == nil && len(paths) > 0 {
		slices.SortFunc(paths, func(a, b string) int { // 9 is before 15
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
		return paths[len(paths)-1], nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", errors.New("tests need PostgreSQL's server: apt-get install postgresql, or run ./deploy/test.sh, which does")
}

func (s *server) run(initdb, postgres string) error {
	data := filepath.Join(s.dir, "data")
	command := func(path string, args ...string) (*exec.Cmd, error) {
		cmd := exec.Command(path, args...)
		cmd.Dir = s.dir
		return cmd, unprivileged(cmd, s.dir)
	}
	make, err := command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	if err != nil {
		return err
	}
	if out, err := make.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	s.cmd, err = command(postgres, "-D", data, "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=200",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "log_min_messages=fatal")
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if s.db, err = sql.Open("pgx", s.url("postgres")); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if err = s.db.PingContext(context.Background()); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("postgres did not answer within 20 s: %w", err)
		}
		time.Sleep(5 * time.Millisecond) // until another process listens
	}
}

func (s *server) url(database string) string {
	return "postgres://postgres@/" + database + "?host=" + url.QueryEscape(s.dir)
}

func (s *server) create(name string) error {
	sorted := ""
	var version int
	err := s.db.QueryRow("SELECT current_setting('server_version_num')::int").Scan(&version)
	if version >= 150000 {
		sorted = " LOCALE_PROVIDER icu ICU_LOCALE 'en'"
	}
	if err == nil {
		_, err = s.db.Exec("CREATE DATABASE " + name + " TEMPLATE template0" + sorted)
	}
	return err
}

func (s *server) stop() {
	if s.db != nil {
		_ = s.db.Close()
	}
	if s.cmd != nil && s.cmd.Process != nil {
		_ = interrupt(s.cmd.Process)
		_ = s.cmd.Wait()
	}
	_ = os.RemoveAll(s.dir)
}
