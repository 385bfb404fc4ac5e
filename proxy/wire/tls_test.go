package wire

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// newCertificate makes a certificate for 127.0.0.1, and a pool that trusts it.
func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// serveTLS runs a server that says how it was asked.
func serveTLS(t *testing.T, config Config) (addr string, client *tls.Config) {
	t.Helper()
	certificate, pool := newCertificate(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := TLSListener(inner, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}, config)
	if l.Addr() != inner.Addr() {
		t.Errorf("the address is %v", l.Addr())
	}
	serveOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %v %s", r.Proto, r.TLS != nil && r.TLS.HandshakeComplete, r.TLS.NegotiatedProtocol)
	}), l)
	return inner.Addr().String(), &tls.Config{RootCAs: pool}
}

func TestTLSProtocols(t *testing.T) {
	addr, config := serveTLS(t, testConfig)
	for _, tt := range []struct {
		h2   bool
		alpn []string
		want string
	}{
		{true, nil, "HTTP/2.0 true h2"},
		{false, []string{"http/1.1"}, "HTTP/1.1 true http/1.1"},
		{false, nil, "HTTP/1.1 true "},
	} {
		c := config.Clone()
		c.NextProtos = tt.alpn
		transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: tt.h2}
		for range 3 {
			res, err := (&http.Client{Transport: transport, Timeout: testTimeout}).Get("https://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if string(body) != tt.want || err != nil {
				t.Errorf("%q, %v, want %q", body, err, tt.want)
			}
		}
		transport.CloseIdleConnections()
	}
}

func TestTLSIsGuarded(t *testing.T) {
	addr, config := serveTLS(t, testConfig)
	for _, tt := range refusedStreams {
		if tt.remedy != answer400 {
			continue
		}
		raw, err := tls.Dial("tcp", addr, config)
		if err != nil {
			t.Fatal(err)
		}
		raw.SetDeadline(time.Now().Add(testTimeout))
		io.WriteString(raw, tt.stream)
		res, err := http.ReadResponse(bufio.NewReader(raw), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if res.StatusCode != http.StatusBadRequest || !res.Close {
			t.Errorf("%s: status %d, close %v", tt.name, res.StatusCode, res.Close)
		}
		raw.Close()
	}
}

// Clients that are slow to shake hands, or never do, hold up nobody.
func TestTLSSlowHandshakes(t *testing.T) {
	addr, config := serveTLS(t, testConfig)
	for range 50 {
		dial(t, addr) // and says nothing
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: testTimeout}, "tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// A handshake that takes too long is cut off, wherever it has come to.
func TestTLSHandshakeTimeout(t *testing.T) {
	config := testConfig
	config.HandshakeTimeout = 50 * time.Millisecond
	addr, _ := serveTLS(t, config)
	for _, begin := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		c := dial(t, addr)
		c.send(begin)
		if out, err := io.ReadAll(c.in); err != nil {
			t.Errorf("after %q: %q, %v", begin, out, err)
		}
	}
}

func TestTLSRefusals(t *testing.T) {
	why := make(chan error, 10)
	config := testConfig
	config.OnRefuse = func(_ net.Addr, err error) { why <- err }
	addr, _ := serveTLS(t, config)

	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if status, body := c.answer(); status != 400 || !strings.Contains(body, "HTTPS") {
		t.Errorf("plain HTTP got %d %q", status, body)
	}
	if err := <-why; err == nil {
		t.Error("the refusal has no reason")
	}

	c = dial(t, addr)
	c.send("\x00\x01\x02\x03\x04\x05\x06\x07")
	if out, _ := io.ReadAll(c.in); strings.Contains(string(out), "HTTP") {
		t.Errorf("junk got %q", out)
	}
	<-why
}

// Closing the listener ends Accept and handshakes under way.
func TestTLSClose(t *testing.T) {
	certificate, _ := newCertificate(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	why := make(chan error, 1)
	l := TLSListener(inner, &tls.Config{Certificates: []tls.Certificate{certificate}}, Config{OnRefuse: func(_ net.Addr, err error) { why <- err }})
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	c := dial(t, inner.Addr().String())
	c.send("\x16\x03\x01") // a handshake's beginning
	// The connection counts as accepted once another one behind it has been refused.
	d := dial(t, inner.Addr().String())
	d.send("GET / HTTP/1.1\r\n\r\n")
	<-why
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
	if err := <-why; err == nil {
		t.Error("the handshake went on")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want net.ErrClosed", err)
	}
}
