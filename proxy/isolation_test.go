package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
)

type connKey struct{}

// connLogin is who has logged in on a connection of connectionSite.
type connLogin struct {
	mu   sync.Mutex
	user string
}

// connectionSite authenticates connections, as IIS does with NTLM: the log-in takes two requests on one connection, and
// holds for all that follow on it. Changes in its connections are told to hook, if there is one.
func connectionSite(t *testing.T, hook func(net.Conn, http.ConnState)) *httptest.Server {
	t.Helper()
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		login := r.Context().Value(connKey{}).(*connLogin)
		login.mu.Lock()
		defer login.mu.Unlock()
		scheme, message, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		switch {
		case message == "negotiate":
			login.user = "?"
			w.Header().Set("WWW-Authenticate", scheme+" challenge")
		case message != "" && login.user == "?":
			login.user = message
		}
		if login.user == "" || login.user == "?" {
			w.Header().Add("WWW-Authenticate", "NTLM")
			w.WriteHeader(401)
			return
		}
		w.Header().Set("X-User", login.user)
		io.WriteString(w, "hello "+login.user)
	}))
	up.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, &connLogin{})
	}
	up.Config.ConnState = hook
	up.Start()
	return up
}

// oneConnection is a client with one connection of its own.
func oneConnection(t *testing.T) *http.Client {
	transport := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// TestLogInOfOneConnectionServesNobodyElse: a site that authenticates connections must not take the next visitor for the
// one before.
func TestLogInOfOneConnectionServesNobodyElse(t *testing.T) {
	for _, scheme := range []string{"NTLM", "Negotiate", "ntlm"} {
		t.Run(scheme, func(t *testing.T) {
			noLeak(t)
			g := newRigAt(t, connectionSite(t, nil))
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			serveLikeProgram(t, g, ln)
			bare := g.front.URL // has no ConnContext
			g.front.URL = "http://" + ln.Addr().String()

			ask := func(c *http.Client, authorization ...string) string {
				return sendWith(t, c, g.request("GET", "/", nil, authorization...)).body
			}
			first, second, other := oneConnection(t), oneConnection(t), oneConnection(t)
			ask(other) // leaves a connection to share
			for who, c := range map[string]*http.Client{"ann": first, "bob": second} {
				ask(c, "Authorization: "+scheme+" negotiate")
				if got := ask(c, "Authorization: "+scheme+" "+who); got != "hello "+who {
					t.Errorf("%s logs in and gets %q", who, got)
				}
			}
			for range 5 {
				if a, b := ask(first), ask(second); a != "hello ann" || b != "hello bob" {
					t.Errorf("after their log-ins ann gets %q, bob %q", a, b)
				}
				if got := ask(other); got != "" {
					t.Errorf("somebody who has not logged in gets %q", got)
				}
				if got := ask(oneConnection(t)); got != "" {
					t.Errorf("somebody who has just come gets %q", got)
				}
			}

			g.front.URL = bare
			ask(first, "Authorization: "+scheme+" negotiate")
			ask(first, "Authorization: "+scheme+" ann")
			if got := ask(other); got != "" {
				t.Errorf("without ConnContext somebody who has not logged in gets %q", got)
			}
		})
	}
}

// TestOwnConnectionsEndWithTheVisitors: upstream connections that are one visitor's do not outlive the visitor's by much,
// or a few visitors could use up all that a site has.
func TestOwnConnectionsEndWithTheVisitors(t *testing.T) {
	var open atomic.Int32
	g := newRigAt(t, connectionSite(t, func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveLikeProgram(t, g, ln)
	g.front.URL = "http://" + ln.Addr().String()
	for range 20 {
		c := oneConnection(t)
		sendWith(t, c, g.request("GET", "/", nil, "Authorization: NTLM negotiate"))
		c.CloseIdleConnections()
	}
	eventually(t, "the site's connections end", func() bool {
		runtime.GC()
		return open.Load() == 0
	})
}

// TestIdentityCheckSharesNoConnection: with IDENTITY=upstream the answer to who somebody is must not come over a
// connection on which other visitors, or the same one, have sent anything.
func TestIdentityCheckSharesNoConnection(t *testing.T) {
	var mu sync.Mutex
	paths := map[string][]string{} // by the upstream's side of the connection
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths[r.RemoteAddr] = append(paths[r.RemoteAddr], r.URL.Path)
		mu.Unlock()
		w.Header().Set("X-User", "u-1")
		w.Header().Set("X-Mail", "ann@example.com")
	}), site(func(s *proxy.Site) {
		s.Identity = identity.Config{Preset: "upstream", IDHeader: "X-User", EmailHeader: "X-Mail"}
		s.IdentityPath = "/whoami"
	}))
	for range 3 {
		g.get("/page")
		if res := g.get("/__zchat/jwt"); res.StatusCode != 200 {
			t.Fatalf("status %d: %s", res.StatusCode, res.body)
		}
		g.get("/page")
	}
	mu.Lock()
	defer mu.Unlock()
	checks := 0
	for _, seen := range paths {
		if strings.Contains(strings.Join(seen, " "), "/whoami") {
			checks++
			if len(seen) > 1 {
				t.Errorf("one connection carried %q", seen)
			}
		}
	}
	if checks != 3 {
		t.Errorf("%d identity checks on connections of their own, want 3", checks)
	}
}

// carelessSite answers requests one after the other without reading their bodies, and sends a body with every answer, to
// HEAD too. From the second request of a connection on it answers only when another one has come, so that its answers
// are late for whoever asks in between. It honours Connection: close.
func carelessSite(t *testing.T) (smuggled *atomic.Int32, address string) {
	t.Helper()
	smuggled = new(atomic.Int32)
	return smuggled, bareSite(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		held := "" // what goes out in front of the next answer
		for {
			path, method, last := "", "", false
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				line = strings.TrimSpace(line)
				if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[2], "HTTP/") {
					method, path = f[0], f[1]
				}
				last = last || strings.EqualFold(line, "Connection: close")
				if line == "" && path != "" {
					break
				}
			}
			body := "for " + path
			head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			switch {
			case path == "/smuggled":
				smuggled.Add(1)
				held += head + body
			case method == "HEAD":
				io.WriteString(conn, held+head)
				held = head + body
			default:
				io.WriteString(conn, held+head+body)
				held = ""
			}
			if last {
				return
			}
		}
	})
}

// TestNobodyGetsTheAnswerToAnothersRequest: a site that loses step, on a body that it does not read or with an answer to
// HEAD that has one, must not make the proxy give one visitor's answer to the next.
func TestNobodyGetsTheAnswerToAnothersRequest(t *testing.T) {
	const inner = "GET /smuggled HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-User: u-1\r\n\r\n"
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"} {
		for _, body := range []string{"", inner} {
			for _, chunked := range []bool{false, true} {
				if body == "" && (chunked || method != "HEAD") {
					continue
				}
				t.Run(fmt.Sprintf("%s,%d,%v", method, len(body), chunked), func(t *testing.T) {
					smuggled, address := carelessSite(t)
					g := newRig(t, http.NotFoundHandler(), site(func(s *proxy.Site) { s.Upstream = address }))
					for i := range 3 {
						var content io.Reader
						if body != "" {
							content = strings.NewReader(body)
							if chunked {
								content = io.MultiReader(content)
							}
						}
						g.send(g.request(method, "/first", content))
						path := fmt.Sprintf("/next/%d", i)
						if got := g.get(path).body; got != "for "+path {
							t.Fatalf("who asked for %s got %q", path, got)
						}
					}
					if n := smuggled.Load(); n > 0 {
						t.Errorf("%d requests went up inside another one's body", n)
					}
				})
			}
		}
	}
}

// TestStreamsStayTogether: HTTP/2 cannot lose step, so its one connection is kept whatever comes over it.
func TestStreamsStayTogether(t *testing.T) {
	var mu sync.Mutex
	conns := map[string]bool{}
	g, client := newServedRig(t, protocols{1, 2}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		mu.Unlock()
		io.Copy(io.Discard, r.Body)
	}))
	sendWith(t, client, g.request("GET", "/", nil))
	for range 5 {
		sendWith(t, client, g.request("POST", "/", strings.NewReader("abc")))
		sendWith(t, client, g.request("HEAD", "/", nil))
	}
	mu.Lock()
	defer mu.Unlock()
	if len(conns) != 1 {
		t.Errorf("%d connections of HTTP/2 for one visitor, want 1", len(conns))
	}
}
