package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"zchatproxy/proxy"
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
		{"trace", "TRACE", ann, 405},
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

// disguises are names that some legacy server takes for name: with any letter case, and any punctuation for a hyphen.
func disguises(name string) []string {
	list := []string{name, strings.ToLower(name), strings.ToUpper(name)}
	for _, c := range "!#$%&'*+.^_`|~" {
		list = append(list, strings.ReplaceAll(name, "-", string(c)), strings.Replace(strings.ToLower(name), "-", string(c), 1))
	}
	return list
}

// TestUntrustedPeersAreNobody asks for tokens from an address that may not speak for visitors, and looks at what the site
// gets to see of it, over HTTP/1.1 by raw sockets, and over HTTP/2.
func TestUntrustedPeersAreNobody(t *testing.T) {
	seen := make(chan string, 1)
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen <- fmt.Sprint(r.Header, r.Trailer)
	})
	const untrusted, victim = "127.0.0.2", "victim@example.com"
	var forms []string
	for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-Anything"} {
		forms = append(forms, disguises(name)...)
	}
	check := func(form string, token reply) {
		t.Helper()
		if token.StatusCode != 401 {
			t.Errorf("%s from an untrusted peer gives %d %s", form, token.StatusCode, token.body)
		}
		select {
		case got := <-seen:
			if strings.Contains(got, victim) {
				t.Errorf("%s reached the upstream: %s", form, got)
			}
		default:
			t.Errorf("%s: the request did not reach the upstream", form)
		}
	}

	t.Run("HTTP/1.1", func(t *testing.T) {
		g := newRig(t, site)
		for _, form := range forms {
			head := "Host: x\r\n" + form + ": " + victim + "\r\nX-Forwarded-User: " + victim + "\r\nX-Forwarded-Email: " + victim + "\r\n"
			token := g.raw(untrusted, "GET /__zchat/jwt HTTP/1.1\r\n"+head+"Connection: close\r\n\r\n")
			g.raw(untrusted, "POST / HTTP/1.1\r\n"+head+form+": "+victim+"\r\nConnection: close, "+form+"\r\nTrailer: "+form+
				"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"+form+": "+victim+"\r\n\r\n")
			check(form, token)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		g, client := newServedRig(t, protocols{2, 1}, site)
		client.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(untrusted)}}).DialContext
		ask := func(form, method, path string, body io.Reader) *http.Request {
			r := g.request(method, path, body, "X-Forwarded-User: "+victim, "X-Forwarded-Email: "+victim)
			r.Header[form] = []string{victim, victim}
			return r
		}
		for _, form := range forms {
			token := sendWith(t, client, ask(form, "GET", "/__zchat/jwt", nil))
			if token.ProtoMajor != 2 {
				t.Fatalf("asked over %s", token.Proto)
			}
			upload := ask(form, "POST", "/", strings.NewReader("x"))
			upload.Trailer = http.Header{form: {victim}}
			sendWith(t, client, upload)
			check(form, token)
		}
	})
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

// TestNobodyGetsAnothersToken has 200 visitors ask at once, over shared connections, for 20,000 tokens in all.
func TestNobodyGetsAnothersToken(t *testing.T) {
	g := newRig(t, http.NotFoundHandler())
	const visitors, each = 200, 100
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
