package deploy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zchatproxy/testdata/browser"
	"zchatproxy/testdata/group"
)

// patience is how long a test waits for what should come at once, on a machine that is busy with other things.
const patience = time.Minute

// all says that nothing may be skipped, and that the longer forms of tests run.
func all() bool { return os.Getenv("ZCHATPROXY_TEST_ALL") == "1" }

// need returns the path of the first of some tools that is there. Without any it skips the test, or fails it where
// all tests are to run. The administrator's programs count, which are not in everybody's PATH.
func need(t testing.TB, tools ...string) string {
	t.Helper()
	for _, name := range tools {
		if path, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err == nil {
			return path
		}
	}
	return browser.Need(t, tools...)
}

// lacking skips a test for want of something that is no program, or fails it where all tests are to run.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if all() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// scratch is the folder of what all tests share. TestMain removes it.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "zchatproxy-deploy-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// program builds zchatproxy, once for all tests, and returns the binary's path.
func program(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "zchatproxy")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/zchatproxy").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building zchatproxy: %v\n%s", err, out)
	}
	return path, nil
})

// goTool returns a program that is distributed as Go source, in a version that never changes. It is built once and
// kept in the user's cache folder; only where all tests are to run, since that may take minutes.
func goTool(t testing.TB, pkg, version string, build func(t testing.TB, pkg, version, path string) *exec.Cmd) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		lacking(t, "no cache folder for %s: %v", pkg, err)
	}
	dir := filepath.Join(cache, "zchatproxy", "tools")
	path := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "_")+"@"+version)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if !all() {
		t.Skipf("%s@%s has not been built yet; ZCHATPROXY_TEST_ALL=1 does", pkg, version)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	began := time.Now()
	if out, err := build(t, pkg, version, filepath.Join(fresh, "program")).CombinedOutput(); err != nil {
		t.Fatalf("building %s@%s: %v\n%s", pkg, version, err, out)
	}
	t.Logf("built %s@%s in %s", pkg, version, time.Since(began).Round(time.Second))
	entries, err := os.ReadDir(fresh)
	if err != nil || len(entries) != 1 {
		t.Fatalf("building %s@%s left %d files (%v), want 1", pkg, version, len(entries), err)
	}
	if err := os.Rename(filepath.Join(fresh, entries[0].Name()), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// goInstall is how most programs are built: the module has no replacements of its own.
func goInstall(_ testing.TB, pkg, version, path string) *exec.Cmd {
	cmd := exec.Command("go", "install", pkg+"@"+version)
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(path))
	return cmd
}

// example returns a file as it is shipped but for some names and addresses, given as pairs of what stands there and
// what stands for it here. Each of them must occur: what no longer does is a test of something else.
func example(t testing.TB, name string, pairs ...string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s has no %q any more, which this test puts something else in place of", name, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// environment reads lines NAME=value as systemd, Docker and a shell all read them, without comments and quotes.
func environment(t testing.TB, text string) (env []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found || strings.TrimSpace(name) != name || strings.ContainsAny(value, "'\"\\$` #") {
			t.Fatalf("%q means different things to systemd, Docker and a shell", line)
		}
		env = append(env, line)
	}
	return env
}

// running is a program that a test has started.
type running struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended

	mu  sync.Mutex
	out bytes.Buffer
}

// Write takes what the program says.
func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(b)
}

func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// start runs a program until the test ends, and waits until each of the addresses accepts connections.
func start(t testing.TB, cmd *exec.Cmd, addresses ...string) *running {
	t.Helper()
	r := &running{cmd: cmd, gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r, r
	group.New(cmd) // it may have workers, which are to end with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(r.gone)
	}()
	t.Cleanup(func() {
		select {
		case <-r.gone: // and its number may be another's by now
			t.Logf("%s had ended already: %s", filepath.Base(cmd.Path), cmd.ProcessState)
		default:
			group.Signal(cmd, syscall.SIGTERM)
		}
		select {
		case <-r.gone:
		case <-time.After(3 * time.Second):
			group.Signal(cmd, syscall.SIGKILL)
			<-r.gone
		}
		if t.Failed() {
			said := r.said()
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), said[max(0, len(said)-3000):])
		}
	})
	for _, address := range addresses {
		eventually(t, filepath.Base(cmd.Path)+" listens on "+address, func() bool {
			select {
			case <-r.gone:
				t.Fatalf("%s has ended:\n%s", cmd, r.said())
			default:
			}
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
	return r
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

// freeAddress is an address on a loopback host that nobody listens on. Its port is below those that systems give to
// whoever asks for any, so it is still free when a program comes to listen there, however busy the machine is.
func freeAddress(t testing.TB, host string) string {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(10000+mathrand.IntN(22000)))); err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	lacking(t, "cannot listen on %s: %v", host, err)
	return ""
}

// publicDir is a folder of the test's own that servers under another account can read.
func publicDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for at := dir; len(at) > len(os.TempDir()); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// write writes a file, and the folders above it, and returns its name.
func write(t testing.TB, name, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// certificate is made for one test: a chain of one, and its key.
type certificate struct {
	certFile, keyFile string
	pool              *x509.CertPool
}

// newCertificate makes a certificate for some names, in two files of a folder.
func newCertificate(t testing.TB, dir string, names ...string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c := certificate{pool: x509.NewCertPool()}
	c.pool.AppendCertsFromPEM(cert)
	c.certFile = write(t, filepath.Join(dir, "fullchain.pem"), string(cert))
	c.keyFile = write(t, filepath.Join(dir, "privkey.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return c
}

func port(t testing.TB, address string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
