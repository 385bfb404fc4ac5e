package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

// program is the binary, built from the sources around this folder.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "zchatproxy-kubernetes-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "zchatproxy")
		if out, err := exec.Command("go", "build", "-C", "../..", "-o", program, "./cmd/zchatproxy").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building zchatproxy: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

const secretText = "0123456789abcdef0123456789abcdef0123456789abcdef"

// environment is what the container's process finds: the variables, their paths led to copies of the volumes in a
// folder of the test.
func (m manifests) environment(t *testing.T) (env []string, root string) {
	t.Helper()
	root = t.TempDir()
	c := m.container(t)
	volumes := map[string]core.Volume{}
	for _, v := range m.pod().Volumes {
		volumes[v.Name] = v
	}
	paths := []string{}
	for _, mount := range c.VolumeMounts {
		paths = append(paths, mount.MountPath, filepath.Join(root, mount.MountPath))
		put := func(name, content string) {
			name = filepath.Join(root, mount.MountPath, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		switch v := volumes[mount.Name]; {
		case v.Secret != nil:
			for _, item := range v.Secret.Items {
				put(item.Path, secretText)
			}
		case v.ConfigMap != nil:
			config := m.configs[v.ConfigMap.Name]
			if config == nil {
				t.Fatalf("there is no ConfigMap %s", v.ConfigMap.Name)
			}
			for name, content := range config.Data {
				put(name, content)
			}
		default:
			t.Fatalf("nobody here knows what is mounted at %s", mount.MountPath)
		}
	}
	inside := strings.NewReplacer(paths...)
	for _, from := range c.EnvFrom {
		config := m.configs[from.ConfigMapRef.Name]
		if config == nil {
			t.Fatalf("there is no ConfigMap %s", from.ConfigMapRef.Name)
		}
		for name, value := range config.Data {
			env = append(env, name+"="+inside.Replace(value))
		}
	}
	for _, v := range c.Env {
		env = append(env, v.Name+"="+inside.Replace(v.Value))
	}
	return env, root
}

// report is the part of `zchatproxy check --format json` that matters here.
type report struct {
	Warnings []struct{ Variable, Message string }
	Process  struct {
		Listen, Admin   string
		ShutdownTimeout string `json:"shutdown_timeout"`
	}
	Sites []struct{ Hosts []string }
}

// check runs the program's own judgement on the pods' environment.
func (m manifests) check(t *testing.T) (r report) {
	t.Helper()
	env, _ := m.environment(t)
	cmd := exec.Command(program, "check", "--format", "json")
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("zchatproxy check: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEnvironmentIsUsable(t *testing.T) {
	each(t, func(t *testing.T, overlay string, m manifests) {
		r := m.check(t)
		for _, w := range r.Warnings {
			if w.Variable != "ZCHAT_ADMIN_LISTEN" { // for which the NetworkPolicy is there
				t.Errorf("warning: %s", w.Message)
			}
		}
		for name, address := range map[string]string{"http": r.Process.Listen, "admin": r.Process.Admin} {
			// The kubelet and other pods connect to the pod's address: on the default, 127.0.0.1, probes would fail.
			if want := fmt.Sprintf(":%d", m.port(t, name)); address != want {
				t.Errorf("the program listens on %s, and the container's port %q is %s", address, name, want)
			}
		}
		if hosts := r.Sites[0].Hosts; overlay == "production" && hosts[0] == "*" {
			t.Error("production answers under every name")
		}
	})
}

// TestProbes starts the program as the container does and asks what the kubelet asks.
func TestProbes(t *testing.T) {
	each(t, func(t *testing.T, _ string, m manifests) {
		env, root := m.environment(t)
		c := m.container(t)
		front, admin := freeAddress(t), freeAddress(t)
		cmd := exec.Command(program, c.Args...)
		// The last of two values counts, as in the shell.
		cmd.Env = append(env, "ZCHAT_LISTEN="+front, "ZCHAT_ADMIN_LISTEN="+admin)
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cmd.Process.Kill()
			cmd.Wait()
			if t.Failed() {
				t.Logf("the log:\n%s", log.String())
			}
		}()
		ask := func(p *core.Probe) int {
			t.Helper()
			if p == nil || p.HTTPGet == nil {
				t.Fatal("a probe is missing, or asks another way than by HTTP")
			}
			address := front
			if p.HTTPGet.Port.StrVal == "admin" {
				address = admin
			}
			res, err := http.Get("http://" + address + p.HTTPGet.Path)
			if err != nil {
				return 0
			}
			defer res.Body.Close()
			io.Copy(io.Discard, res.Body)
			return res.StatusCode
		}
		eventually(t, "the start is noticed", func() bool { return ask(c.StartupProbe) == 200 })
		if live, ready := ask(c.LivenessProbe), ask(c.ReadinessProbe); live != 200 || ready != 200 {
			t.Errorf("alive %d, ready %d, want 200 and 200", live, ready)
		}
		if err := os.RemoveAll(filepath.Join(root, "run/secrets")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "no pod without a secret is ready", func() bool { return ask(c.ReadinessProbe) == 503 })
		if live := ask(c.LivenessProbe); live != 200 {
			t.Errorf("without a secret the pod would be restarted, which brings none back: %d", live)
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("in vain waited until %s", what)
		}
	}
}
