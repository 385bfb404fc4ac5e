package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServe(t *testing.T) {
	t.Parallel()
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET="+goodSecret)
	if _, body := get(t, p.url+"/"); strings.Count(body, `<script data-zchatproxy="">`) != 1 || !strings.HasSuffix(body, "<body>Hello</body></html>") {
		t.Errorf("the page is not injected: %s", body)
	}
	request, _ := http.NewRequest("GET", p.url+"/__zchat/jwt", nil)
	request.Header.Set("X-Forwarded-User", "42")
	request.Header.Set("X-Forwarded-Email", "ada@example.com")
	res, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	token, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if code, out, _ := call([]string{"ZCHAT_SECRET=" + goodSecret}, string(token), "token", "verify"); code != 0 {
		t.Errorf("the token is refused: %s", out)
	}
	if status, body := get(t, p.admin+"/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := p.output(); strings.Contains(out, goodSecret) || strings.Contains(out, "ada@example.com") || strings.Contains(out, string(token)) {
		t.Errorf("the log holds a secret or personal data:\n%s", out)
	}
}

// On SIGTERM readiness goes down, nobody new is let in, and who is inside is served to the end.
func TestDrain(t *testing.T) {
	t.Parallel()
	inside, leave := make(chan struct{}), make(chan struct{})
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-leave
		io.WriteString(w, "done")
	})
	p := start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret)
	answer := make(chan string, 1)
	go func() {
		res, err := http.Get(p.url + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-inside
	p.signal(syscall.SIGTERM)
	p.waitLog("draining")
	eventually(t, "readiness to go down", func() bool {
		status, _ := get(t, p.admin+"/readyz")
		return status == http.StatusServiceUnavailable
	})
	if status, _ := get(t, p.admin+"/healthz"); status != 200 {
		t.Errorf("alive while draining: %d", status)
	}
	eventually(t, "new connections to be refused", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(leave)
	if got := <-answer; got != "done" {
		t.Errorf("the open request got %q", got)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDrainEndsAfterItsTime(t *testing.T) {
	t.Parallel()
	inside := make(chan struct{})
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
	})
	p := start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_SHUTDOWN_TIMEOUT=200ms")
	cut := make(chan error, 1)
	go func() {
		_, err := http.Get(p.url + "/forever")
		cut <- err
	}()
	<-inside
	p.signal(syscall.SIGINT)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := <-cut; err == nil {
		t.Error("the request that was cut looks answered")
	}
	p.waitLog("connections cut")
}

// An upgraded connection (WebSocket) is an open request, too.
func TestDrainWaitsForUpgrades(t *testing.T) {
	t.Parallel()
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(conn, rw)
	})
	p := start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret)
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v %v", res, err)
	}
	p.signal(syscall.SIGTERM)
	p.waitLog("draining")
	eventually(t, "new connections to be refused", func() bool {
		other, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			other.Close()
		}
		return err != nil
	})
	io.WriteString(conn, "still here\n")
	if line, err := r.ReadString('\n'); line != "still here\n" {
		t.Fatalf("%q %v", line, err)
	}
	// Half-closing reaches the upstream, which then ends the connection.
	conn.(*net.TCPConn).CloseWrite()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after half-closing: %v", err)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := p.output(); strings.Contains(out, "connections cut") {
		t.Errorf("the connection was cut:\n%s", out)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	settings := writeFile(t, "settings.json", `{"webWidget":{"color":{"theme":"#111111"}}}`)
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_SETTINGS_FILE="+settings)
	shows := func(colour string) bool {
		_, body := get(t, p.url+"/")
		return strings.Contains(body, colour)
	}
	if !shows("#111111") {
		t.Fatal("the settings are not in the page")
	}
	// On the signal, at once.
	rewrite(t, settings, `{"webWidget":{"color":{"theme":"#222222"}}}`)
	p.signal(syscall.SIGHUP)
	if line := p.waitLog("configuration reloaded"); !shows("#222222") {
		t.Errorf("reloaded, but the page has not changed: %v", line)
	}
	// What cannot be used is said, and the old one stays.
	rewrite(t, settings, `{"webWidget":`)
	line := p.waitLog("the configuration in use stays: ZCHAT_SETTINGS_FILE is not JSON, line 1, column 14")
	if line["level"] != "ERROR" || !shows("#222222") {
		t.Errorf("after a bad file: %v", line)
	}
	// By itself, within five seconds, or the answers that can be had in them: on a busy machine both take longer.
	rewrite(t, settings, `{"webWidget":{"color":{"theme":"#333333"}}}`)
	answers := 0
	eventually(t, "the change to be seen", func() bool {
		answers++
		return shows("#333333")
	})
	if most := int(5 * time.Second / pollEvery); answers > most || followEvery >= 5*time.Second {
		t.Errorf("the change was seen only in the answer number %d, want it within %d; files are looked at every %v", answers, most, followEvery)
	}
}

// A service manager may reload as soon as it has started: the signal must not end a process that is not quite up.
func TestReloadDuringTheStart(t *testing.T) {
	t.Parallel()
	p := spawn(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET=too-short-and-so-warned-of")
	p.waitLog("ZCHAT_SECRET") // which is said before anything listens
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration reloaded")
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.output())
	}
}

// rewrite replaces a file as careful programs do.
func rewrite(t *testing.T, path, contents string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestSecretFileComesAndGoes(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET_FILE="+secret)
	p.waitLog("ZCHAT_SECRET_FILE cannot be used")
	if status, _ := get(t, p.url+"/"); status != 200 {
		t.Errorf("without a secret the site is down: %d", status)
	}
	if status, _ := get(t, p.admin+"/readyz"); status != 503 {
		t.Errorf("without a secret the proxy is ready: %d", status)
	}
	rewrite(t, secret, goodSecret+"\n")
	line := p.waitLog("secret read")
	if line["bytes"] != float64(len(goodSecret)) || len(line["fingerprint"].(string)) != 8 {
		t.Errorf("the line about the secret: %v", line)
	}
	if status, _ := get(t, p.admin+"/readyz"); status != 200 {
		t.Errorf("with a secret the proxy is not ready: %d", status)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	p.waitLog("ZCHAT_SECRET_FILE cannot be used, no token")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_TLS_CERT_FILE="+cert, "ZCHAT_TLS_KEY_FILE="+key)

	serial := func() int64 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	for _, http2 := range []bool{true, false} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		client := http.Client{Transport: &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		res, err := client.Get(p.url + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if want := map[bool]int{true: 2, false: 1}[http2]; res.ProtoMajor != want || !strings.Contains(string(body), "data-zchatproxy") {
			t.Errorf("HTTP/%d: %s %s", want, res.Proto, body)
		}
		client.CloseIdleConnections()
	}
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}

	// A renewal whose key has not been written yet changes nothing; together they do.
	other := filepath.Join(dir, "other.pem")
	writeCertificate(t, cert, other, 2)
	p.waitLog("the certificate in use stays")
	if n := serial(); n != 1 {
		t.Errorf("certificate %d without its key", n)
	}
	if err := os.Rename(other, key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate", func() bool { return serial() == 2 })
	if strings.Contains(p.output(), "127.0.0.1:"+"0") {
		t.Error("unexpected address in the log")
	}
}

// writeCertificate makes a certificate for localhost.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	rewrite(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "proxy.sock")
	// What a process that was killed leaves behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()

	env := []string{"ZCHAT_UPSTREAM=" + startSite(t, nil).URL, "ZCHAT_SECRET=" + goodSecret, "ZCHAT_LISTEN=unix://" + path, "ZCHAT_TRUSTED_PROXIES=unix", "ZCHAT_ADMIN_LISTEN=off"}
	p := start(t, env...)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o660 {
		t.Errorf("mode %o", mode)
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	request, _ := http.NewRequest("GET", "http://any/__zchat/jwt", nil)
	request.Header.Set("X-Forwarded-User", "42")
	request.Header.Set("X-Forwarded-Email", "ada@example.com")
	res, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("the socket's peer is not trusted: %d", res.StatusCode)
	}
	client.CloseIdleConnections()

	second := spawn(t, env...)
	if code := second.wait(); code != 1 || !strings.Contains(second.output(), "is in use: another process listens there") {
		t.Errorf("second process: exit code %d, %s", code, second.output())
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, variable := range []string{"ZCHAT_LISTEN", "ZCHAT_ADMIN_LISTEN"} {
		p := spawn(t, "ZCHAT_UPSTREAM=http://127.0.0.1:1", "ZCHAT_SECRET="+goodSecret, variable+"="+ln.Addr().String())
		if code := p.wait(); code != 1 {
			t.Errorf("%s: exit code %d", variable, code)
		}
		if want := variable + ": " + ln.Addr().String() + " is in use by another process; stop that one or choose another port"; !strings.Contains(p.output(), want) {
			t.Errorf("%s: %s", variable, p.output())
		}
	}
}

// A wrong configuration ends it with exit code 2 before anything listens.
func TestWrongConfigurationDoesNotListen(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	p := spawn(t, "ZCHAT_LISTEN="+addr, "ZCHAT_UPSTREAM=ftp://x", "ZCHAT_TOKEN_TTL=9m", "ZCHAT_SECRT=x")
	if code := p.wait(); code != 2 {
		t.Errorf("exit code %d", code)
	}
	if out := p.output(); strings.Count(out, "✗ ") != 3 || strings.Contains(out, "listening") {
		t.Errorf("want three sentences:\n%s", out)
	}
}

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_MAX_CONNECTIONS=2")
	addr := strings.TrimPrefix(p.url, "http://")
	open := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		return conn, bufio.NewReader(conn)
	}
	answered := func(r *bufio.Reader) error {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	first, r1 := open()
	_, r2 := open()
	if err := answered(r1); err != nil {
		t.Fatal(err)
	}
	if err := answered(r2); err != nil {
		t.Fatal(err)
	}
	third, r3 := open()
	third.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if err := answered(r3); err == nil {
		t.Error("a third connection is served")
	}
	first.Close()
	third.SetReadDeadline(time.Now().Add(patience))
	if err := answered(bufio.NewReader(third)); err != nil {
		t.Errorf("after one has gone, the third waits on: %v", err)
	}
}

// A visitor who takes forever to send a header is cut.
func TestReadHeaderTimeout(t *testing.T) {
	t.Parallel()
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_READ_HEADER_TIMEOUT=200ms")
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("not cut: %v", err)
	}
}

func TestServerLogHasNoAddresses(t *testing.T) {
	var out strings.Builder
	log := serverLog(newLog(&out, processVars{LogFormat: "json", LogLevel: "debug"}))
	log.Print("http: TLS handshake error from 203.0.113.9:40412: EOF")
	log.Print("http: TLS handshake error from [2001:db8::1]:40412: EOF")
	log.Print("http: Accept error: accept tcp [::]:80: too many open files; retrying in 5ms")
	log.Print("http: panic serving 203.0.113.9:1: boom")
	log.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=<nil>", "account \"4711\"\n")
	if strings.Contains(out.String(), "4711") {
		t.Errorf("a piece of somebody's page: %s", out.String())
	}
	if strings.Contains(out.String(), "203.0") || strings.Contains(out.String(), "2001") {
		t.Errorf("personal data: %s", out.String())
	}
	for i, level := range []string{"DEBUG", "DEBUG", "WARN", "ERROR", "DEBUG"} {
		if line := strings.Split(out.String(), "\n")[i]; !strings.Contains(line, `"level":"`+level) {
			t.Errorf("want %s: %s", level, line)
		}
	}
}
