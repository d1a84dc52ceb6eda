package deploy

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/redis/go-redis/v9"
)

// composed is the project as docker compose understands it: the same library,
// checked against the schema.
func composed(t *testing.T, profiles []string, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithEnv(env), cli.WithProfiles(profiles), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeRunsEachServiceWithoutRights(t *testing.T) {
	project := composed(t, []string{"postgres"})
	if len(project.Services) != 3 {
		t.Fatalf("services: %v", project.ServiceNames())
	}
	for name, s := range project.Services {
		limits := s.Deploy
		switch {
		case s.User == "" || strings.HasPrefix(s.User, "0"), s.Privileged:
			t.Errorf("%s runs as root", name)
		case !s.ReadOnly, len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL", len(s.CapAdd) != 0,
			len(s.SecurityOpt) != 1 || s.SecurityOpt[0] != "no-new-privileges:true":
			t.Errorf("%s has more rights than it needs", name)
		case limits == nil || limits.Resources.Limits == nil || limits.Resources.Limits.MemoryBytes == 0 || limits.Resources.Limits.Pids == 0:
			t.Errorf("%s is not limited", name)
		case s.HealthCheck == nil || len(s.HealthCheck.Test) == 0:
			t.Errorf("%s has no health check", name)
		case s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= drain(t):
			t.Errorf("%s has no time to stop", name)
		}
		for _, port := range s.Ports {
			if name != "oktasync" || port.HostIP != "127.0.0.1" {
				t.Errorf("%s is published at %s:%s", name, port.HostIP, port.Published)
			}
		}
	}
	if !project.Networks["inside"].Internal || len(project.Services["redis"].Networks) != 1 {
		t.Error("Redis is reached from outside")
	}
}

func TestComposeSetsWhatOktasyncKnowsAndNoSecret(t *testing.T) {
	known, secret := settings(t, "serve"), secrets(t)
	for _, env := range [][]string{nil, {"OKTA_CLIENT_ORGURL=https://acme.okta.com"}} {
		set := map[string]string{}
		for name, value := range composed(t, nil, env...).Services["oktasync"].Environment {
			if value != nil && *value != "" { // an empty one is as none
				set[name] = *value
			}
		}
		checkEnvironment(t, "compose.yaml", known, secret, set)
		if _, one := set["OKTA_CLIENT_TOKEN_FILE"]; one != (env != nil) {
			t.Errorf("with %v it sets %v", env, set)
		}
	}
	if _, ok := composed(t, nil).Services["postgres"]; ok {
		t.Error("PostgreSQL runs without being asked for")
	}
}

// Every secret that the file names is made, once, readable in a closed folder.
func TestSecretsAreMadeForCompose(t *testing.T) {
	folder := makeSecrets(t)
	for name, s := range composed(t, []string{"postgres"}).Secrets {
		info, err := os.Stat(filepath.Join(folder, filepath.Base(s.File)))
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", info, err)
	}
	before := read(t, folder+"/admin_token") + read(t, folder+"/sinks")
	if len(before) < 64 || !strings.Contains(before, "sql:") {
		t.Errorf("made %d characters", len(before))
	}
	run(t, "./secrets.sh", folder)
	if read(t, folder+"/admin_token")+read(t, folder+"/sinks") != before {
		t.Error("the second time it made others")
	}
	run(t, "./secrets.sh", "--postgres", folder)
	if sinks := read(t, folder+"/sinks"); !strings.Contains(sinks, read(t, folder+"/postgres_password")) {
		t.Errorf("with --postgres: %d characters of sinks", len(sinks))
	}
}

// The command of the file, with folders of this machine for the container's.
func TestRedisOfComposeKeepsWhatItIsToldAndStopsInGoodOrder(t *testing.T) {
	folder, data := makeSecrets(t), t.TempDir()
	command := composed(t, nil).Services["redis"].Command
	if len(command) != 3 {
		t.Fatalf("command: %q", command)
	}
	socket := filepath.Join(data, "redis.sock")
	conf := filepath.Join(data, "redis.conf")
	script := strings.NewReplacer("/run/secrets", folder, "/tmp/redis.conf", conf, "--dir /data", "--dir "+data+" --port 0 --unixsocket "+socket).Replace(command[2])
	server := exec.Command(command[0], command[1], script)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Password: read(t, folder+"/redis_password")})
	defer client.Close()
	defer client.ShutdownNoSave(context.Background()) // where the signal did not reach it
	for deadline := time.Now().Add(10 * time.Second); client.Ping(t.Context()).Err() != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("Redis does not answer: %v", client.Ping(t.Context()).Err())
		}
		time.Sleep(5 * time.Millisecond) // until another process listens
	}
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "maxmemory": "1073741824"} {
		if got, err := client.ConfigGet(t.Context(), name).Result(); err != nil || got[name] != want {
			t.Errorf("%s = %v, %v", name, got, err)
		}
	}
	stranger := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v", err)
	}
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(server.Process.Pid), "cmdline"))
	if err == nil && strings.Contains(string(line), read(t, folder+"/redis_password")) {
		t.Error("the password is among the arguments")
	}
	if info, err := os.Stat(conf); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the password: %v, %v", info, err)
	}

	// Docker sends the signal to the first process, and the kernel keeps it from one
	// that does not expect it, as a shell: then the server is killed in the end.
	if info := client.InfoMap(t.Context(), "server"); info.Item("Server", "process_id") != strconv.Itoa(server.Process.Pid) {
		t.Errorf("the first process is %d, the server is %s: %v", server.Process.Pid, info.Item("Server", "process_id"), info.Err())
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("it did not stop in good order: %v", err)
	}
}

func makeSecrets(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "secrets")
	run(t, "./secrets.sh", folder)
	return folder
}

// run runs a command that must succeed, and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var said strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, said.String())
	}
	return string(out)
}
