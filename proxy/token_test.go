package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

func claimsOf(t *testing.T, token, secret string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return []byte(secret), nil }, jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		t.Fatalf("token %q: %v", token, err)
	}
	return claims
}

func wantProblem(t *testing.T, res reply, status int) {
	t.Helper()
	if res.StatusCode != status || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s, want %d problem+json", res.StatusCode, res.Header.Get("Content-Type"), status)
	}
	var doc struct {
		Status        int
		Title, Detail string
	}
	if err := json.Unmarshal([]byte(res.body), &doc); err != nil || doc.Status != status || doc.Title == "" || doc.Detail == "" {
		t.Errorf("problem document %s (%v)", res.body, err)
	}
	wantProtected(t, res)
}

func wantProtected(t *testing.T, res reply) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "Vary": "X-Zchat-At",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name := range res.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s is sent", name)
		}
	}
}

func TestToken(t *testing.T) {
	g := newRig(t, http.NotFoundHandler())
	res := g.get("/__zchat/jwt", ann...)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/jwt" {
		t.Fatalf("%d %s: %s", res.StatusCode, res.Header.Get("Content-Type"), res.body)
	}
	wantProtected(t, res)
	claims := claimsOf(t, res.body, testSecret)
	if claims["external_id"] != "u-1" || claims["email"] != "ann@example.com" || claims["name"] != "Ann Lee" || len(claims) != 5 {
		t.Errorf("claims %v", claims)
	}
	if got := res.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "__zchat_visitor=") || !strings.Contains(got, "Path=/; SameSite=Lax") {
		t.Errorf("Set-Cookie %q", got)
	}
}

func TestTokenRefusals(t *testing.T) {
	g := newRig(t, http.NotFoundHandler())
	with := func(h ...string) []string { return append(append([]string(nil), ann...), h...) }
	for _, tt := range []struct {
		name, method string
		headers      []string
		status       int
	}{
		{"anonymous", "GET", nil, 401},
		{"anonymous, asked by the script", "GET", []string{"X-Zchat-At: 1"}, 401},
		{"no e-mail address", "GET", []string{"X-Forwarded-User: u-1"}, 401},
		{"malformed e-mail address", "GET", []string{"X-Forwarded-User: u-1", "X-Forwarded-Email: ann"}, 401},
		{"cross-site", "GET", with("Sec-Fetch-Site: cross-site"), 403},
		{"same-site", "GET", with("Sec-Fetch-Site: same-site"), 403},
		{"another origin", "GET", with("Origin: https://evil.example"), 403},
		{"null origin", "GET", with("Origin: null"), 403},
		{"same host, other scheme", "GET", with("Host: shop.example", "Origin: https://shop.example"), 403},
		{"post", "POST", ann, 405},
		{"options", "OPTIONS", ann, 405},
		{"delete", "DELETE", ann, 405},
		{"two people", "GET", with("X-Forwarded-User: u-2"), 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := g.do(tt.method, "/__zchat/jwt", tt.headers...)
			wantProblem(t, res, tt.status)
			if tt.status == 405 && res.Header.Get("Allow") != "GET" {
				t.Errorf("Allow %q", res.Header.Get("Allow"))
			}
		})
	}
	if res := g.do("HEAD", "/__zchat/jwt", ann...); res.StatusCode != 405 || res.Header.Get("Allow") != "GET" {
		t.Errorf("HEAD gives %d", res.StatusCode)
	}
	for _, ok := range []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Origin: http://shop.example"} {
		if res := g.get("/__zchat/jwt", with("Host: shop.example", ok)...); res.StatusCode != 200 {
			t.Errorf("%s gives %d: %s", ok, res.StatusCode, res.body)
		}
	}
	if res := g.get("/__zchat/jwt", with("Host: internal", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example", "Origin: https://shop.example")...); res.StatusCode != 200 {
		t.Errorf("the origin that a trusted proxy names gives %d: %s", res.StatusCode, res.body)
	}
}

func TestHelpCenterToken(t *testing.T) {
	g := newRig(t, http.NotFoundHandler())
	wantProblem(t, g.get("/__zchat/jwt/help-center", ann...), 404)

	const other = "the-other-secret-0123456789abcdefgh"
	g = newRig(t, http.NotFoundHandler(), site(func(s *proxy.Site) { s.HelpCenterSecret = signer.NewSecret(other) }))
	one, two := g.get("/__zchat/jwt/help-center", ann...), g.get("/__zchat/jwt/help-center", ann...)
	a, b := claimsOf(t, one.body, other), claimsOf(t, two.body, other)
	if a["email"] != "ann@example.com" || a["jti"] == b["jti"] || a["external_id"] != nil || a["exp"] != nil {
		t.Errorf("claims %v and %v", a, b)
	}
}

// TestRoutesHaveOneSpelling checks that whatever a server could read as the token route is neither passed
// on nor answered with a token.
func TestRoutesHaveOneSpelling(t *testing.T) {
	passed := make(chan string, 1)
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { passed <- r.RequestURI }))
	ours := []string{
		"/__zchat", "/__zchat/", "/__zchat/jwt/", "/__zchat//jwt", "//__zchat/jwt", "/__ZCHAT/jwt", "/__zchat/JWT", "/%5F_zchat/jwt",
		"/__zchat%2Fjwt", "/__zchat/%6awt", "/a/../__zchat/jwt", "/a/%2e%2e/__zchat/jwt", "/./__zchat/jwt", "/__zchat/./jwt", "/__zchat/x/../jwt",
		"/__zchat;x=1/jwt", "/__zchat/jwt;x", "/a/..;/__zchat/jwt", "/%2F__zchat/jwt", "/;/__zchat/jwt", "/;x=1/__zchat/jwt", "/%3b/__zchat/jwt", "/__zchat%5cjwt", "\\__zchat\\jwt", "/__zchat/jwt%00", "/__zchat/jwt.", "/__zchat%20/jwt",
		"/__zchat/jwt/help-center/x", "/__zchat/unknown",
	}
	for _, target := range ours {
		if target[0] != '/' {
			target = "/" + target
		}
		res := g.raw("", "GET "+target+" HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: u\r\nX-Forwarded-Email: a@example.com\r\nConnection: close\r\n\r\n")
		select {
		case uri := <-passed:
			t.Errorf("%s reached the upstream as %s", target, uri)
			continue
		default:
		}
		if res.StatusCode == 200 || strings.Count(res.body, ".") == 2 && strings.HasPrefix(res.body, "ey") {
			t.Errorf("%s was answered %d %q", target, res.StatusCode, res.body)
		}
	}
	for _, target := range []string{"/__zchatter", "/__zchat-other/x", "/x/__zchat/jwt", "/%255f_zchat/jwt", "/?__zchat/jwt", "/__zcha", "/a..b", "/.well-known/x", "/a//b"} {
		g.raw("", "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		select {
		case uri := <-passed:
			if uri != target {
				t.Errorf("%s reached the upstream as %s", target, uri)
			}
		default:
			t.Errorf("%s did not reach the upstream", target)
		}
	}
}

func TestRoutePrefix(t *testing.T) {
	g := newRig(t, http.NotFoundHandler(), func(c *proxy.Config) { c.RoutePrefix = "/chat-auth" })
	if res := g.get("/chat-auth/jwt", ann...); res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestUntrustedPeersAreNobody(t *testing.T) {
	seen := make(chan http.Header, 1)
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() }))
	forms := []string{"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User", "X~Forwarded-User", "x_forwarded-email", "X-Forwarded-Email"}
	for _, form := range forms {
		head := form + ": victim@example.com\r\n"
		res := g.raw("127.0.0.2", "GET /__zchat/jwt HTTP/1.1\r\nHost: x\r\n"+head+"X-Forwarded-Email: victim@example.com\r\nConnection: close\r\n\r\n")
		if res.StatusCode != 401 {
			t.Errorf("%s from an untrusted peer gives %d %s", form, res.StatusCode, res.body)
		}
		g.raw("127.0.0.2", "GET / HTTP/1.1\r\nHost: x\r\n"+head+"Connection: close, "+form+"\r\n\r\n")
		for name, v := range <-seen {
			if strings.Contains(strings.Join(v, ""), "victim") {
				t.Errorf("%s reached the upstream as %s", form, name)
			}
		}
	}
}

func TestVisitorCookie(t *testing.T) {
	up := func(w http.ResponseWriter, r *http.Request) {
		if c := r.Header.Get("Cookie"); strings.Contains(c, "__zchat") {
			t.Errorf("the upstream sees our cookie: %q", c)
		}
		switch r.URL.Path {
		case "/go":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/style.css":
			w.Header().Set("Content-Type", "text/css")
		case "/public":
			w.Header().Set("Cache-Control", "public, max-age=60")
			pageHandler(plainPage)(w, r)
		case "/aged":
			w.Header().Set("Cache-Control", "max-age=60")
			pageHandler(plainPage)(w, r)
		case "/private":
			w.Header().Set("Cache-Control", "private, max-age=60")
			pageHandler(plainPage)(w, r)
		case "/expires":
			w.Header().Set("Expires", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			pageHandler(plainPage)(w, r)
		case "/php":
			w.Header().Set("Expires", "Thu, 19 Nov 1981 08:52:00 GMT")
			w.Header().Set("Cache-Control", "no-store, no-cache, must-revalidate")
			pageHandler(plainPage)(w, r)
		default:
			pageHandler(plainPage)(w, r)
		}
	}
	g := newRig(t, http.HandlerFunc(up))
	cookieOf := func(res reply) string {
		c := res.Header.Get("Set-Cookie")
		c, _, _ = strings.Cut(strings.TrimPrefix(c, "__zchat_visitor="), ";")
		return c
	}
	first := g.get("/", ann...)
	hash := cookieOf(first)
	if len(hash) < 16 || first.Header.Get("Cache-Control") != "private" {
		t.Errorf("Set-Cookie %q, Cache-Control %q", first.Header.Get("Set-Cookie"), first.Header.Get("Cache-Control"))
	}
	with := func(h ...string) []string { return append(append([]string(nil), ann...), h...) }
	mine := "Cookie: a=b; __zchat_visitor=" + hash + "; c=d"
	for _, tt := range []struct {
		name, path string
		headers    []string
		set        string // "": no Set-Cookie; "-": removed; else a new value
	}{
		{"unchanged", "/", with(mine), ""},
		{"gone", "/", []string{mine}, "-"},
		{"another person", "/", []string{mine, "X-Forwarded-User: u-2", "X-Forwarded-Email: bob@example.com"}, "new"},
		{"anonymous all along", "/", nil, ""},
		{"redirect", "/go", ann, hash},
		{"stylesheet", "/style.css", ann, ""},
		{"public", "/public", ann, ""},
		{"max-age", "/aged", ann, ""},
		{"expires", "/expires", ann, ""},
		{"private", "/private", ann, hash},
		{"no-store", "/php", ann, hash},
		{"fetch", "/", with("Sec-Fetch-Dest: empty"), ""},
		{"frame", "/", with("Sec-Fetch-Dest: frame"), hash},
		{"https", "/", with("X-Forwarded-Proto: https"), hash},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := g.get(tt.path, tt.headers...)
			set := res.Header["Set-Cookie"]
			switch {
			case tt.set == "":
				if len(set) > 0 {
					t.Errorf("Set-Cookie %q", set)
				}
				return
			case len(set) != 1:
				t.Fatalf("Set-Cookie %q", set)
			case tt.set == "-":
				if !strings.Contains(set[0], "Max-Age=0") {
					t.Errorf("not removed: %q", set)
				}
			case tt.set == "new":
				if cookieOf(res) == hash {
					t.Error("two people have one hash")
				}
			case cookieOf(res) != tt.set:
				t.Errorf("Set-Cookie %q", set)
			}
			if got := strings.Contains(set[0], "; Secure"); got != (tt.name == "https") {
				t.Errorf("Secure: %t in %q", got, set)
			}
		})
	}
}

// TestVisitorCookieIsInNoSharedCache: fields that speak to one kind of cache overrule Cache-Control there, so a cookie beside
// them would be handed to the next visitor.
func TestVisitorCookieIsInNoSharedCache(t *testing.T) {
	var header string
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pageHandler(plainPage, header)(w, r) }))
	for _, header = range []string{
		"CDN-Cache-Control: max-age=60", "Cloudflare-CDN-Cache-Control: max-age=60", "Surrogate-Control: max-age=60, content=\"ESI/1.0\"",
		"CDN-Cache-Control: public", "X-Accel-Expires: 60", "X-Accel-Expires: @1795721501", "Cache-Control: s-maxage=60",
	} {
		if res := g.get("/", ann...); res.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: Set-Cookie %q", header, res.Header.Get("Set-Cookie"))
		}
	}
	for _, header = range []string{"CDN-Cache-Control: no-store", "CDN-Cache-Control: private, max-age=60", "Surrogate-Control: max-age=0", "X-Accel-Expires: 0"} {
		if res := g.get("/", ann...); res.Header.Get("Set-Cookie") == "" {
			t.Errorf("%s: no Set-Cookie", header)
		}
	}
}

// TestForwardedHostIsAHost: a proxy in front may pass on a host that its client wrote; what ends a cookie's attribute or
// a host in a URL is not taken into either.
func TestForwardedHostIsAHost(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=b; Domain=site.internal")
		w.Header().Set("Location", "http://site.internal/next")
		w.WriteHeader(http.StatusFound)
	}), site(func(s *proxy.Site) { s.UpstreamHost = "site.internal" }))
	for came, want := range map[string]string{
		"www.example.com": "www.example.com", "www.example.com, internal": "www.example.com",
		"evil.example;HttpOnly": "shop.example.com", "evil.example/x": "shop.example.com", "evil.example#": "shop.example.com",
		"u@evil.example": "shop.example.com", "evil.example\\": "shop.example.com", "evil example": "shop.example.com", "evil.example\tx": "shop.example.com",
		"evil.example?": "shop.example.com", "'evil.example'": "shop.example.com", "\xc3\xa9vil.example": "shop.example.com", "": "shop.example.com",
	} {
		for _, header := range []string{"X-Forwarded-Host: " + came, "Forwarded: host=\"" + came + "\""} {
			if strings.HasPrefix(header, "Forwarded") && strings.ContainsAny(came, ",;") {
				continue // ends there
			}
			res := g.get("/", "Host: shop.example.com", header)
			if got := res.Header.Get("Location"); got != "http://"+want+"/next" {
				t.Errorf("%q: Location %q", header, got)
			}
			if got := res.Header.Get("Set-Cookie"); got != "a=b; Domain="+want {
				t.Errorf("%q: Set-Cookie %q", header, got)
			}
		}
	}
}

func TestOwnCookieIsCutOutExactly(t *testing.T) {
	var seen []string
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Header["Cookie"] }))
	for sent, want := range map[string]string{
		"a=b; __zchat_visitor=x; c=\"d e\"": "a=b; c=\"d e\"",
		"__zchat_visitor=x; a=b":            "a=b",
		"a=b;__zchat_visitor=x":             "a=b",
		"a=__zchat_visitor=x":               "a=__zchat_visitor=x",
		"odd;;  =; a=b":                     "odd;;  =; a=b",
	} {
		g.get("/", "Cookie: "+sent)
		if len(seen) != 1 || seen[0] != want {
			t.Errorf("%q went up as %q, want %q", sent, seen, want)
		}
	}
	if g.get("/", "Cookie: __zchat_visitor=x"); seen != nil {
		t.Errorf("an empty Cookie header went up: %q", seen)
	}
}

func TestSecretRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(v string) {
		if err := os.WriteFile(path+".new", []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("first-secret-0123456789abcdefghijk\n")
	secret := signer.SecretFile(path)
	g := newRig(t, http.NotFoundHandler(), site(func(s *proxy.Site) { s.Secret = secret }))
	claimsOf(t, g.get("/__zchat/jwt", ann...).body, "first-secret-0123456789abcdefghijk")
	write("second-secret-0123456789abcdefghij")
	secret.Reload()
	claimsOf(t, g.get("/__zchat/jwt", ann...).body, "second-secret-0123456789abcdefghij")
	write("")
	secret.Reload()
	wantProblem(t, g.get("/__zchat/jwt", ann...), 503)
	rec := serve(g.handler.Admin(), "/readyz")
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("readyz %d %s", rec.Code, rec.Body)
	}
	write("third-secret-0123456789abcdefghijk")
	secret.Reload()
	claimsOf(t, g.get("/__zchat/jwt", ann...).body, "third-secret-0123456789abcdefghijk")
	if rec := serve(g.handler.Admin(), "/readyz"); rec.Code != 200 {
		t.Errorf("readyz %d %s", rec.Code, rec.Body)
	}
}

// TestNobodyGetsAnothersToken has 200 visitors ask at once, over shared connections.
func TestNobodyGetsAnothersToken(t *testing.T) {
	g := newRig(t, http.NotFoundHandler())
	visitors, each := 200, 100
	if testing.Short() {
		each = 10
	}
	var wg sync.WaitGroup
	for i := range visitors {
		wg.Go(func() {
			id := fmt.Sprintf("visitor-%d", i)
			for range each {
				res, err := plainClient.Do(g.request("GET", "/__zchat/jwt", nil, "X-Forwarded-User: "+id, "X-Forwarded-Email: "+id+"@example.com"))
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				claims := jwt.MapClaims{}
				if _, _, err := jwt.NewParser().ParseUnverified(string(body), claims); err != nil || claims["external_id"] != id || claims["email"] != id+"@example.com" {
					t.Errorf("%s got %v (%v)", id, claims, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestTokenLimit(t *testing.T) {
	g := newRig(t, http.NotFoundHandler(), site(func(s *proxy.Site) { s.TokenLimit = 3 }))
	for range 3 {
		if res := g.get("/__zchat/jwt", ann...); res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
	}
	res := g.get("/__zchat/jwt", ann...)
	wantProblem(t, res, 429)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if res := g.get("/__zchat/jwt", "X-Forwarded-User: u-2", "X-Forwarded-Email: bob@example.com"); res.StatusCode != 200 {
		t.Errorf("another visitor gets %d", res.StatusCode)
	}
}

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

func TestLogsHoldNothingPersonal(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	token := g.get("/__zchat/jwt", ann...).body
	g.get("/page?token=query-secret", ann...)
	g.get("/__zchat/jwt", append([]string{"Sec-Fetch-Site: cross-site"}, ann...)...)
	g.get("/__zchat/jwt", "X-Forwarded-User: u-1", "X-Forwarded-Email: not-an-address")
	g.get("/", "X-Forwarded-User: u-1", "X-Forwarded-User: u-77")
	metrics := serve(g.handler.Admin(), "/metrics").Body.String()
	for _, text := range []string{g.log.String(), metrics} {
		for _, personal := range []string{token, testSecret, "ann@example.com", "Ann Lee", "u-1", "u-77", "query-secret", "not-an-address"} {
			if strings.Contains(text, personal) {
				t.Errorf("%q is in\n%s", personal, text)
			}
		}
	}
	if !strings.Contains(metrics, `zchatproxy_tokens_total{kind="chat",result="signed",site="*"} 1`) {
		t.Errorf("the token is not counted:\n%s", metrics)
	}
}

// What the operator has to mend is a warning now and then, not one for each of a thousand requests.
func TestRefusalsAreWarnedOfNowAndThen(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newRig(t, http.NotFoundHandler(), func(c *proxy.Config) { c.Now = func() time.Time { return now } },
		site(func(s *proxy.Site) { s.Secret = signer.NewSecret("") }))
	warnings := func() int { return strings.Count(g.log.String(), "level=WARN msg=\"no token\"") }
	for range 20 {
		wantProblem(t, g.get("/__zchat/jwt", ann...), 503)
		wantProblem(t, g.get("/__zchat/jwt"), 401)
	}
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings in a minute, want 1:\n%s", n, g.log.String())
	}
	now = now.Add(2 * time.Minute)
	wantProblem(t, g.get("/__zchat/jwt", ann...), 503)
	if n := warnings(); n != 2 {
		t.Errorf("%d warnings after it, want 2", n)
	}
}
