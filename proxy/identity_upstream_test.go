package proxy_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
)

func TestIdentityFromTheUpstream(t *testing.T) {
	up := func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Cookie("session")
		switch {
		case c == nil:
			if r.URL.Path == "/whoami-redirect" {
				http.Redirect(w, r, "/login", http.StatusFound)
				return
			}
		case c.Value == "broken":
			w.WriteHeader(500)
			return
		default:
			w.Header().Set("X-Site-User", c.Value)
			w.Header().Set("X-Site-Email", c.Value+"@example.com")
		}
		if r.URL.Path == "/hint" {
			w.WriteHeader(http.StatusEarlyHints)
		}
		pageHandler(plainPage, "Trailer: X-Site-User")(w, r)
		w.Header().Set("X-Site-User", "in-a-trailer")
	}
	g := newRig(t, http.HandlerFunc(up), site(func(s *proxy.Site) {
		s.Identity = identity.Config{Preset: "upstream", IDHeader: "X-Site-User", EmailHeader: "X-Site-Email"}
	}))
	res := g.get("/__zchat/jwt", "Cookie: session=ann")
	if res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	if claims := claimsOf(t, res.body, testSecret); claims["external_id"] != "ann" {
		t.Errorf("claims %v", claims)
	}
	wantProblem(t, g.get("/__zchat/jwt"), 401)
	wantProblem(t, g.get("/__zchat/jwt", "X-Site-User: forged", "X-Site-Email: forged@example.com"), 401)
	// The script asks quietly where nobody counts as logged in.
	res = g.get("/__zchat/jwt", "X-Zchat-At: 1")
	if res.StatusCode != 204 || res.body != "" || res.Header.Get("Content-Type") != "" {
		t.Errorf("%d %s: %s", res.StatusCode, res.Header.Get("Content-Type"), res.body)
	}
	wantProtected(t, res)
	wantProblem(t, g.get("/__zchat/jwt", "X-Zchat-At: 1", "Cookie: __zchat_visitor=old"), 401)
	wantProblem(t, g.get("/__zchat/jwt", "X-Zchat-At: 1", "Cookie: session=broken"), 503)
	wantProblem(t, g.get("/__zchat/jwt", "Cookie: session=broken"), 503)
	for _, path := range []string{"/", "/hint"} {
		page := g.get(path, "Cookie: session=ann")
		for name := range page.Header {
			if strings.HasPrefix(name, "X-Site-") {
				t.Errorf("%s: %s reached the visitor", path, name)
			}
		}
		if len(page.Trailer) > 0 {
			t.Errorf("%s: trailers %v reached the visitor", path, page.Trailer)
		}
		if !strings.HasPrefix(page.Header.Get("Set-Cookie"), "__zchat_visitor=") {
			t.Errorf("%s: Set-Cookie %q", path, page.Header.Get("Set-Cookie"))
		}
	}
	page := g.get("/", "Cookie: __zchat_visitor=old")
	if !strings.Contains(page.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the cookie stays after a log-out: %q", page.Header.Get("Set-Cookie"))
	}
}

// TestIdentityCheckDoesNotWaitForever: a site that does not say who is there has less time for it than for a page.
func TestIdentityCheckDoesNotWaitForever(t *testing.T) {
	if os.Getenv("ZCHATPROXY_TEST_ALL") != "1" {
		t.Skip("waits for ten seconds: set ZCHATPROXY_TEST_ALL=1")
	}
	t.Parallel()
	left := make(chan struct{})
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(left)
	}), site(func(s *proxy.Site) {
		s.Identity = identity.Config{Preset: "upstream", IDHeader: "X-Site-User", EmailHeader: "X-Site-Email"}
	}), func(c *proxy.Config) { c.UpstreamTimeout = time.Hour })
	wantProblem(t, g.get("/__zchat/jwt", "Cookie: session=ann"), 503) // for which the client waits half a minute
	<-left
}

// TestNobodyIsWhoACachedAnswerNames: with IDENTITY=upstream an answer that a cache may have kept from another visitor
// signs no token.
func TestNobodyIsWhoACachedAnswerNames(t *testing.T) {
	answer := make(chan []string, 1)
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range <-answer {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Add(name, value)
		}
	}), site(func(s *proxy.Site) {
		s.Identity = identity.Config{Preset: "upstream", IDHeader: "X-Site-User", EmailHeader: "X-Site-Email"}
	}))
	for _, test := range []struct {
		header string
		status int
	}{
		{"Age: 1", 503}, {"Age: 00100", 503}, {"Age: x", 503}, {"Cache-Control: public", 503}, {"Cache-Control: s-maxage=60", 503},
		{"Cache-Control: max-age=0, Public", 503},
		{"Age: 0", 200}, {"Cache-Control: no-store, public", 200}, {"Cache-Control: private, max-age=60", 200},
		{"Cache-Control: max-age=60", 200}, {"Expires: Thu, 01 Jan 2099 00:00:00 GMT", 200}, {"X-Other: 1", 200},
	} {
		answer <- []string{"X-Site-User: ann", "X-Site-Email: ann@example.com", test.header}
		if res := g.get("/__zchat/jwt", "Cookie: session=eve"); res.StatusCode != test.status {
			t.Errorf("%s: %d, want %d: %s", test.header, res.StatusCode, test.status, res.body)
		}
	}
	answer <- []string{"Age: 100"}
	wantProblem(t, g.get("/__zchat/jwt"), 401) // nobody is nobody, from a cache too
}

// TestSwitchedConnectionTellsNoIdentity: the headers in which the site says who the visitor is stay behind on an answer
// that upgrades the connection, too.
func TestSwitchedConnectionTellsNoIdentity(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Site-User: ann\r\nX_Site_Email: ann@example.com\r\nX-Kept: 1\r\n\r\n")
	}), site(func(s *proxy.Site) {
		s.Identity = identity.Config{Preset: "upstream", IDHeader: "X-Site-User", EmailHeader: "X-Site-Email"}
	}))
	res := g.raw("", "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if res.StatusCode != 101 || res.Header.Get("X-Kept") != "1" {
		t.Fatalf("%s %v", res.Status, res.Header)
	}
	for name := range res.Header {
		if strings.Contains(name, "Site") || strings.Contains(name, "site") {
			t.Errorf("%s reached the visitor", name)
		}
	}
}
