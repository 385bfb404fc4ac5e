package proxy_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"zchatproxy/proxy"
	"zchatproxy/proxy/wire"
)

// patience is how long a test waits for what should come at once on a machine that is busy with other things.
const patience = 20 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

// noLeak fails the test if goroutines are left when everything that it starts after this call has been closed.
func noLeak(t *testing.T) {
	t.Helper()
	plainClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if t.Failed() {
			return // what is left open then is a consequence
		}
		plainClient.CloseIdleConnections()
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; <-ticker.C {
			if time.Now().After(deadline) {
				var left strings.Builder
				pprof.Lookup("goroutine").WriteTo(&left, 1)
				t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), left.String())
			}
		}
	})
}

// protocols names what is spoken on the two sides of the proxy.
type protocols struct{ in, up int }

func (p protocols) String() string {
	return "in=" + string(rune('0'+p.in)) + ",up=" + string(rune('0'+p.up))
}

var everyProtocol = []protocols{{1, 1}, {1, 2}, {2, 1}, {2, 2}}

// newServedRig is newRig over TLS on both sides, with the listener as the program has it. The client speaks HTTP/1.1
// or HTTP/2 alone.
func newServedRig(t *testing.T, p protocols, upstream http.Handler, options ...func(*proxy.Config)) (*rig, *http.Client) {
	t.Helper()
	noLeak(t)
	up := httptest.NewUnstartedServer(upstream)
	up.EnableHTTP2 = p.up == 2
	up.StartTLS()
	options = append([]func(*proxy.Config){site(func(s *proxy.Site) { s.UpstreamInsecure = true })}, options...)
	g := newRigAt(t, up, options...)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: up.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	serveLikeProgram(t, g, wire.TLSListener(ln, config, wire.Config{}))
	g.front.URL = "https://" + ln.Addr().String()

	only := new(http.Protocols)
	only.SetHTTP1(p.in == 1)
	only.SetHTTP2(p.in == 2)
	transport := &http.Transport{Protocols: only, DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return g, &http.Client{Transport: transport, CheckRedirect: plainClient.CheckRedirect, Timeout: patience}
}

// newGuardedRig is newRig with the listener as the program has it without TLS.
func newGuardedRig(t *testing.T, upstream http.Handler, options ...func(*proxy.Config)) *rig {
	t.Helper()
	noLeak(t)
	g := newRig(t, upstream, options...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveLikeProgram(t, g, wire.Listener(ln, wire.Config{}))
	g.front.URL = "http://" + ln.Addr().String()
	return g
}

func serveLikeProgram(t *testing.T, g *rig, ln net.Listener) {
	server := &http.Server{
		Handler: g.handler, DisableGeneralOptionsHandler: true,
		ConnState: wire.ConnState, ErrorLog: quiet,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return proxy.ConnContext(wire.ConnContext(ctx, c), c)
		},
	}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
}

// dial opens a connection to the proxy that a test writes to by itself.
func (g *rig) dial() net.Conn {
	g.t.Helper()
	scheme, addr, _ := strings.Cut(g.front.URL, "://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if scheme == "https" {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	return conn
}
