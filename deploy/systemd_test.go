package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const unitFile = "systemd/zchatproxy.service"

// unit reads the settings of the service's unit: key → its values, in order.
func unit(t testing.TB) map[string][]string {
	t.Helper()
	settings := map[string][]string{}
	for line := range strings.Lines(example(t, unitFile)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasSuffix(line, `\`) {
			t.Fatalf("%q is no setting on a line of its own", line)
		}
		settings[key] = append(settings[key], value)
	}
	return settings
}

// only returns the value of a setting that is written once.
func only(t testing.TB, settings map[string][]string, key string) string {
	t.Helper()
	if len(settings[key]) != 1 {
		t.Fatalf("%s is written %d times, want once", key, len(settings[key]))
	}
	return settings[key][0]
}

// checked is the part of `zchatproxy check --format json` that the platforms' files are held against.
type checked struct {
	OK       bool
	Warnings []struct{ Variable, Message string }
	Process  struct {
		Listen, Admin   string
		ShutdownTimeout string `json:"shutdown_timeout"`
		UpstreamTimeout string `json:"upstream_timeout"`
		RoutePrefix     string `json:"route_prefix"`
		TrustedProxies  string `json:"trusted_proxies"`
	}
}

// checkJSON runs `zchatproxy check` with an environment that must be usable.
func checkJSON(t testing.TB, env []string) (c checked) {
	t.Helper()
	cmd := exec.Command(program(t), "check", "--format", "json")
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("zchatproxy check: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func duration(t testing.TB, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUnitFitsTheProgram(t *testing.T) {
	u := unit(t)
	installed := example(t, unitFile)
	binary, command, _ := strings.Cut(only(t, u, "ExecStart"), " ")
	for _, path := range []string{binary, only(t, u, "EnvironmentFile")} {
		dir, name := filepath.Split(path)
		if !regexp.MustCompile(`(?m)^#   install -m \d+ ` + regexp.QuoteMeta(name) + ` ` + regexp.QuoteMeta(dir) + `$`).MatchString(installed) {
			t.Errorf("the installation at the top does not put %s there", path)
		}
	}

	secret := write(t, filepath.Join(t.TempDir(), "secret"), secretText)
	env := environment(t, example(t, "systemd/zchatproxy.env", "/etc/zchatproxy/secret", secret))
	c := checkJSON(t, env)
	if len(c.Warnings) > 0 {
		t.Errorf("the environment is warned of: %v", c.Warnings)
	}
	if stop, drain := duration(t, only(t, u, "TimeoutStopSec")), duration(t, c.Process.ShutdownTimeout); stop <= drain {
		t.Errorf("systemd kills after %v, and draining may take %v", stop, drain)
	}
	if !strings.Contains(installed, " /etc/zchatproxy/secret\n") {
		t.Error("the installation at the top puts no secret where the environment names it")
	}

	// The way with a Unix socket, which the environment shows as a comment, in the folder that the unit makes.
	var socket []string
	for _, m := range regexp.MustCompile(`(?m)^#   (ZCHAT_\S+)$`).FindAllStringSubmatch(example(t, "systemd/zchatproxy.env"), -1) {
		socket = append(socket, m[1])
	}
	c = checkJSON(t, append(env, socket...))
	if dir := "unix:///run/" + only(t, u, "RuntimeDirectory") + "/"; !strings.HasPrefix(c.Process.Listen, dir) || c.Process.TrustedProxies != "unix" {
		t.Errorf("the other way listens on %s and trusts %s; want a socket in %s, and unix", c.Process.Listen, c.Process.TrustedProxies, dir)
	}

	if reload := only(t, u, "ExecReload"); reload != "/bin/kill -HUP $MAINPID" {
		t.Errorf("ExecReload is %q", reload)
	}
	cmd := exec.Command(program(t), strings.Fields(command)...)
	cmd.Env = []string{"ZCHAT_UPSTREAM=nonsense"}
	var exit *exec.ExitError
	out, err := cmd.CombinedOutput()
	if !errors.As(err, &exit) || fmt.Sprint(exit.ExitCode()) != only(t, u, "RestartPreventExitStatus") || !strings.Contains(string(out), "ZCHAT_UPSTREAM") {
		t.Errorf("%q with a wrong configuration ends with %v, and the unit takes %s for that:\n%s", command, err, only(t, u, "RestartPreventExitStatus"), out)
	}
}

// TestUnitIsValid has systemd judge the unit, and how much the service could do beyond its work.
func TestUnitIsValid(t *testing.T) {
	analyze := need(t, "systemd-analyze")
	copied := write(t, filepath.Join(t.TempDir(), "zchatproxy.service"), example(t, unitFile, "/usr/local/bin/zchatproxy", program(t)))
	out, err := exec.Command(analyze, "verify", "--man=no", copied).CombinedOutput()
	// What is wrong with other units of this machine is not ours.
	ours := regexp.MustCompile(`(?m)^.*zchatproxy\.service.*$`).FindAllString(string(out), -1)
	if err != nil || len(ours) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold=15", copied).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security finds an exposure above 1.5: %v\n%s", err, out)
	}
}

// TestUnitAllowsWhatTheProgramDoes traces the program from start to end and compares its system calls with those that
// the unit's filter lets through.
func TestUnitAllowsWhatTheProgramDoes(t *testing.T) {
	analyze, strace := need(t, "systemd-analyze"), need(t, "strace")
	allowed := map[string]bool{}
	for _, filter := range unit(t)["SystemCallFilter"] {
		names, denied := strings.CutPrefix(filter, "~")
		for name := range strings.FieldsSeq(names) {
			for _, call := range systemCalls(t, analyze, name) {
				allowed[call] = !denied
			}
		}
	}
	if !allowed["execve"] || allowed["setuid"] {
		t.Fatal("the filter is not understood: execve must be allowed and setuid must not")
	}

	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!DOCTYPE html><title>Shop</title>")
	}))
	defer site.Close()
	dir := t.TempDir()
	log, secret := filepath.Join(dir, "strace"), write(t, filepath.Join(dir, "secret"), secretText)
	front, admin := freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1")
	cmd := exec.Command(strace, "-f", "-qq", "-e", "signal=none", "-o", log, program(t), "serve")
	cmd.Env = []string{"ZCHAT_LISTEN=" + front, "ZCHAT_ADMIN_LISTEN=" + admin, "ZCHAT_UPSTREAM=" + site.URL, "ZCHAT_SECRET_FILE=" + secret}
	traced := start(t, cmd, front, admin)
	for _, url := range []string{front + "/", front + "/__zchat/jwt", admin + "/metrics", admin + "/readyz"} {
		res, err := http.Get("http://" + url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		signalChildren(t, cmd.Process.Pid, s)
		if s == syscall.SIGHUP {
			eventually(t, "it has reloaded", func() bool { return strings.Contains(traced.said(), "configuration reloaded") })
		}
	}
	select {
	case <-traced.gone:
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", traced.said())
	}

	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, m := range regexp.MustCompile(`(?m)^\d+ +([a-z0-9_]+)\(`).FindAllStringSubmatch(string(trace), -1) {
		if !slices.Contains(used, m[1]) {
			used = append(used, m[1])
		}
	}
	for _, want := range []string{"accept4", "epoll_ctl", "openat"} {
		if !slices.Contains(used, want) {
			t.Errorf("the trace has no %s: it misses most of the program", want)
		}
	}
	for _, call := range used {
		if !allowed[call] {
			t.Errorf("the unit refuses %s, which the program uses", call)
		}
	}
}

// systemCalls expands a name of SystemCallFilter as systemd does.
func systemCalls(t testing.TB, analyze, name string) (calls []string) {
	t.Helper()
	if !strings.HasPrefix(name, "@") {
		return []string{name}
	}
	out, err := exec.Command(analyze, "syscall-filter", "--no-pager", name).Output()
	if err != nil {
		t.Fatalf("systemd-analyze syscall-filter %s: %v", name, err)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == name || line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		calls = append(calls, systemCalls(t, analyze, line)...)
	}
	return calls
}

// signalChildren sends a signal to what a process has started.
func signalChildren(t testing.TB, pid int, s syscall.Signal) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(children)) {
			var id int
			if _, err := fmt.Sscan(child, &id); err != nil {
				t.Fatal(err)
			}
			process, err := os.FindProcess(id)
			if err == nil {
				err = process.Signal(s)
			}
			if err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	if sent == 0 {
		t.Fatalf("process %d has no children", pid)
	}
}
