package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

const testSecret = "a-secret-for-tests-0123456789abcdef"

// rig is a proxy on a real socket in front of an upstream on another.
type rig struct {
	t        *testing.T
	upstream *httptest.Server
	front    *httptest.Server
	handler  *proxy.Handler
	config   proxy.Config
	log      *lockedBuffer
}

// lockedBuffer collects a log that many goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig starts an upstream and a proxy in front of it, its only site changed by the options.
func newRig(t *testing.T, upstream http.Handler, options ...func(*proxy.Config)) *rig {
	t.Helper()
	up := httptest.NewUnstartedServer(upstream)
	up.Config.DisableGeneralOptionsHandler = true
	up.Start()
	return newRigAt(t, up, options...)
}

func newRigAt(t *testing.T, up *httptest.Server, options ...func(*proxy.Config)) *rig {
	t.Helper()
	t.Cleanup(up.Close)
	g := &rig{t: t, upstream: up, log: &lockedBuffer{}}
	peers, err := identity.ParsePeers("127.0.0.1/32,::1/128")
	if err != nil {
		t.Fatal(err)
	}
	g.config = proxy.Config{
		Sites: []proxy.Site{{
			Upstream: up.URL,
			Secret:   signer.NewSecret(testSecret),
			Identity: identity.Config{Preset: "forwarded"},
		}},
		Trusted: peers,
		Log:     slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, o := range options {
		o(&g.config)
	}
	g.handler, err = proxy.New(g.config)
	if err != nil {
		t.Fatal(err)
	}
	g.front = httptest.NewUnstartedServer(g.handler)
	g.front.Config.DisableGeneralOptionsHandler = true
	g.front.Start()
	t.Cleanup(g.front.Close)
	return g
}

// site makes an option out of a change to the only site.
func site(change func(*proxy.Site)) func(*proxy.Config) {
	return func(c *proxy.Config) { change(&c.Sites[0]) }
}

// reply is an answer with its body read.
type reply struct {
	*http.Response
	body string
}

// do sends a request to the proxy; headers are "Name: value".
func (g *rig) do(method, path string, headers ...string) reply {
	g.t.Helper()
	return g.send(g.request(method, path, nil, headers...))
}

func (g *rig) get(path string, headers ...string) reply {
	g.t.Helper()
	return g.do("GET", path, headers...)
}

func (g *rig) request(method, path string, body io.Reader, headers ...string) *http.Request {
	g.t.Helper()
	req, err := http.NewRequest(method, g.front.URL+path, body)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header[http.CanonicalHeaderKey(name)] = append(req.Header[http.CanonicalHeaderKey(name)], value)
	}
	return req
}

// plainClient adds nothing and follows nothing.
var plainClient = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

func (g *rig) send(req *http.Request) reply {
	g.t.Helper()
	res, err := plainClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatalf("reading the body: %v", err)
	}
	return reply{res, string(body)}
}

// raw sends bytes over a connection of its own, optionally from another loopback address, and reads one
// response.
func (g *rig) raw(from, bytes string) reply {
	g.t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, bytes)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		g.t.Fatalf("reading the response: %v", err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return reply{res, string(body)}
}

// bareSite is an upstream of bare connections, each in the hands of serve, after which it is closed.
func bareSite(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.Map // among them those that the proxy keeps for its next request
	t.Cleanup(func() {
		ln.Close()
		open.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
	})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// elementOf returns the injected element of a page, and the page without it.
func elementOf(t *testing.T, body string) (element, rest string) {
	t.Helper()
	start := strings.Index(body, `<script data-zchatproxy="`)
	if start < 0 {
		t.Fatalf("no script in:\n%s", body)
	}
	end := start + strings.Index(body[start:], "</script>") + len("</script>")
	return body[start:end], body[:start] + body[end:]
}

const plainPage = "<!DOCTYPE html>\n<html>\n<head>\n<title>Shop</title>\n</head>\n<body><p>Hello</p></body>\n</html>\n"

// pageHandler serves one HTML page with the given headers.
func pageHandler(page string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Add(name, value)
		}
		if w.Header().Get("Content-Length") == "" && r.Method != "HEAD" {
			w.Header().Set("Content-Length", fmt.Sprint(len(page)))
		}
		io.WriteString(w, page)
	}
}

var ann = []string{"X-Forwarded-User: u-1", "X-Forwarded-Email: ann@example.com", "X-Forwarded-Preferred-Username: Ann Lee"}
