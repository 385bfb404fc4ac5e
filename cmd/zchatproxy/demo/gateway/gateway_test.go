package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var people = []Person{
	{ID: "c-1", Name: "Mary Okafor", Email: "mary@example.com", Role: "harbour master"},
	{ID: "c-2", Name: "Łukasz Żuraw", Email: "lukasz@example.com", Role: "first mate"},
}

// upstream records the last request that reached it.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	last *http.Request
	n    int
}

func (u *upstream) seen() (*http.Request, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last, u.n
}

// start runs a gateway before an upstream that answers with answer, and returns a client that keeps cookies and
// follows no redirect.
func start(t *testing.T, answer http.HandlerFunc) (*upstream, *httptest.Server, *http.Client, *clock) {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.last, u.n = r.Clone(r.Context()), u.n+1
		u.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(u.Close)
	target, err := url.Parse(u.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	g, err := New(Config{Upstream: target, People: people, TokenURL: "/__zchat/jwt", Now: c.time,
		Pages: []Page{{Path: "/orders", Title: "Orders", Trait: "old", Note: "very"}}})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{
		Jar:           jar,
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)
	return u, front, client, c
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func do(t *testing.T, c *http.Client, method, address string, form url.Values, header ...string) (*http.Response, string) {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

func login(t *testing.T, c *http.Client, front, id string) {
	t.Helper()
	res, body := do(t, c, "POST", front+"/_sso/login", url.Values{"person": {id}})
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("logging in: %s: %s", res.Status, body)
	}
}

// identity returns the headers of r that a legacy server could read as an identity.
func identity(r *http.Request) map[string][]string {
	out := make(map[string][]string)
	for name, values := range r.Header {
		folded := strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
		if strings.HasPrefix(folded, "xforwarded") && folded != "xforwardedfor" && folded != "xforwardedhost" && folded != "xforwardedproto" {
			out[name] = values
		}
	}
	return out
}

func TestIdentityHeaders(t *testing.T) {
	u, front, client, _ := start(t, nil)
	forged := []string{
		"X-Forwarded-User", "root", "X_Forwarded_User", "root", "x-forwarded_EMAIL", "root@example.com", "X.Forwarded.Preferred.Username", "Root",
		"X-Forwarded-Groups", "admins", "X-Forwarded-Access-Token", "t", "Connection", "X-Forwarded-User, X-Forwarded-Email",
	}

	do(t, client, "GET", front.URL+"/page", nil, forged...)
	r, _ := u.seen()
	if got := identity(r); len(got) != 0 {
		t.Errorf("nobody is logged in, and the upstream was told of %v", got)
	}

	for _, p := range people {
		login(t, client, front.URL, p.ID)
		do(t, client, "GET", front.URL+"/page", nil, forged...)
		r, _ := u.seen()
		want := map[string][]string{
			"X-Forwarded-User": {p.ID}, "X-Forwarded-Email": {p.Email}, "X-Forwarded-Preferred-Username": {p.Name},
		}
		if diff := cmp.Diff(want, identity(r)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", p.Name, diff)
		}
	}

	do(t, client, "POST", front.URL+"/_sso/logout", url.Values{})
	do(t, client, "GET", front.URL+"/page", nil)
	r, _ = u.seen()
	if got := identity(r); len(got) != 0 {
		t.Errorf("after the log-out the upstream was told of %v", got)
	}
}

func TestPassesOn(t *testing.T) {
	u, front, client, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Accept-Encoding", r.Header.Get("Accept-Encoding"))
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "these bytes stand for gzip")
	})
	login(t, client, front.URL, "c-1")
	res, body := do(t, client, "GET", front.URL+"/a%2fb/../c;x?a=1;b=%zz&c", nil, "Cookie", "theme=dark", "Accept-Encoding", "gzip")
	r, _ := u.seen()
	if res.StatusCode != http.StatusTeapot || body != "these bytes stand for gzip" || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("the answer changed on its way: %s %v %q", res.Status, res.Header, body)
	}
	if got, want := r.RequestURI, "/a%2fb/../c;x?a=1;b=%zz&c"; got != want {
		t.Errorf("request target %q, want %q", got, want)
	}
	if got, want := r.Host, strings.TrimPrefix(front.URL, "http://"); got != want {
		t.Errorf("host %q, want the visitor's %q", got, want)
	}
	if got := r.Header["Cookie"]; !cmp.Equal(got, []string{"theme=dark"}) {
		t.Errorf("cookies %q, want the site's own only", got)
	}
	if r.Header.Get("X-Forwarded-For") == "" || r.Header.Get("X-Forwarded-Proto") != "http" || r.Header.Get("X-Forwarded-Host") != r.Host {
		t.Errorf("forwarding headers are missing: %v", r.Header)
	}
}

func TestStreams(t *testing.T) {
	release := make(chan struct{})
	_, front, client, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "first\n")
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		io.WriteString(w, "second\n")
	})
	res, err := client.Get(front.URL + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	line, err := lines.ReadString('\n') // blocks for good where the gateway waits for the whole body
	if err != nil || line != "first\n" {
		t.Fatalf("first line %q, %v", line, err)
	}
	close(release)
	if line, err = lines.ReadString('\n'); line != "second\n" {
		t.Fatalf("second line %q, %v", line, err)
	}
}

func TestUpgrade(t *testing.T) {
	_, front, _, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, line)
		rw.Flush()
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", res, err)
	}
	fmt.Fprint(conn, "ahoy\n")
	if line, err := in.ReadString('\n'); line != "ahoy\n" {
		t.Fatalf("echo %q, %v", line, err)
	}
}

func TestEndedSession(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *http.Client, string, *clock){
		"silently": func(t *testing.T, c *http.Client, front string, _ *clock) {
			do(t, c, "POST", front+"/_sso/expire", url.Values{})
		},
		"by time": func(_ *testing.T, _ *http.Client, _ string, k *clock) { k.add(sessionLifetime) },
	} {
		t.Run(name, func(t *testing.T) {
			u, front, client, k := start(t, nil)
			login(t, client, front.URL, "c-1")
			k.add(sessionLifetime - 1)
			do(t, client, "GET", front.URL+"/page", nil)
			if _, n := u.seen(); n != 1 {
				t.Fatal("a live session does not pass")
			}
			k.add(1 - sessionLifetime)
			end(t, client, front.URL, k)

			res, body := do(t, client, "GET", front.URL+"/__zchat/jwt", nil, "Accept", "application/jwt, application/json")
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("a client that accepts JSON got %s %v %s", res.Status, res.Header, body)
			}
			res, _ = do(t, client, "GET", front.URL+"/orders?a=1&b=2", nil, "Accept", "text/html,*/*")
			if got, want := res.Header.Get("Location"), "/_sso/login?rd=%2Forders%3Fa%3D1%26b%3D2"; res.StatusCode != http.StatusSeeOther || got != want {
				t.Errorf("a browser got %s to %q, want %q", res.Status, got, want)
			}
			res, _ = do(t, client, "POST", front.URL+"/orders", url.Values{"a": {"b"}})
			if got := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || got != "/_sso/login" {
				t.Errorf("a form post got %s to %q", res.Status, got)
			}
			if _, n := u.seen(); n != 1 {
				t.Errorf("the upstream saw %d requests, want none after the session's end", n-1)
			}

			res, body = do(t, client, "GET", front.URL+"/_sso/login?rd=/orders", nil)
			if res.StatusCode != http.StatusOK || !strings.Contains(body, "Your session has ended") {
				t.Errorf("the log-in page does not say why: %s", body)
			}
			do(t, client, "POST", front.URL+"/_sso/logout", url.Values{"rd": {"/orders"}})
			do(t, client, "GET", front.URL+"/orders", nil)
			if _, n := u.seen(); n != 2 {
				t.Error("going on as a guest does not pass")
			}
		})
	}
}

func TestSwitchEndsTheOldSession(t *testing.T) {
	u, front, client, _ := start(t, nil)
	login(t, client, front.URL, "c-1")
	address, _ := url.Parse(front.URL)
	old := client.Jar.Cookies(address)
	login(t, client, front.URL, "c-2")
	client.Jar.SetCookies(address, old)
	res, _ := do(t, client, "GET", front.URL+"/page", nil)
	if _, n := u.seen(); n != 0 || res.StatusCode != http.StatusSeeOther {
		t.Errorf("the last person's cookie still passes: %s", res.Status)
	}
}

func TestOtherSitesCannotDriveSessions(t *testing.T) {
	u, front, client, _ := start(t, nil)
	login(t, client, front.URL, "c-1")
	for _, path := range []string{"login", "logout", "expire"} {
		res, _ := do(t, client, "POST", front.URL+"/_sso/"+path, url.Values{"person": {"c-2"}}, "Sec-Fetch-Site", "cross-site")
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("POST %s from another site: %s", path, res.Status)
		}
	}
	do(t, client, "GET", front.URL+"/_sso/logout", nil, "Sec-Fetch-Site", "cross-site")
	do(t, client, "GET", front.URL+"/page", nil)
	if r, _ := u.seen(); r == nil || r.Header.Get("X-Forwarded-User") != "c-1" {
		t.Error("another site has ended or changed the session")
	}
	res, _ := do(t, client, "GET", front.URL+"/_sso/logout?rd=/page", nil, "Sec-Fetch-Site", "same-origin")
	if got := res.Header.Get("Location"); got != "/page" {
		t.Errorf("logging out by the site's link leads to %q", got)
	}
}

func TestLocalPath(t *testing.T) {
	for rd, want := range map[string]string{
		"": Prefix, "/": "/", "/orders?a=b#c": "/orders?a=b#c", "orders": Prefix, "//evil.example": Prefix, `/\evil.example`: Prefix,
		"https://evil.example/": Prefix, "/\t/evil.example": Prefix, "javascript:alert(1)": Prefix, "/%zz": Prefix, "\\\\evil.example": Prefix,
	} {
		if got := localPath(rd); got != want {
			t.Errorf("localPath(%q) = %q, want %q", rd, got, want)
		}
	}
}

func TestOwnPages(t *testing.T) {
	u, front, client, _ := start(t, nil)
	for _, path := range []string{"", "login?rd=/orders", "whoami", "assets/gateway.css", "assets/gateway.js", "assets/icon.svg"} {
		res, body := do(t, client, "GET", front.URL+"/_sso/"+path, nil)
		if res.StatusCode != http.StatusOK || body == "" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %v", path, res.Status, res.Header)
		}
	}
	for _, path := range []string{"/_sso", "/_sso/nothing", "/_sso/pages/landing.html"} {
		do(t, client, "GET", front.URL+path, nil)
	}
	if _, n := u.seen(); n != 0 {
		t.Errorf("%d requests for the gateway's own pages reached the upstream", n)
	}

	login(t, client, front.URL, "c-2")
	_, body := do(t, client, "GET", front.URL+"/_sso/", nil)
	for _, want := range []string{"Łukasz Żuraw", "Switch to Mary", "User: c-2", `href="/orders"`, `data-person="c-2"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the landing page lacks %q", want)
		}
	}
	res, _ := do(t, client, "POST", front.URL+"/_sso/login", url.Values{"person": {"c-3"}})
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("logging in as a stranger: %s", res.Status)
	}
}

func TestUnreachable(t *testing.T) {
	u, front, client, _ := start(t, nil)
	u.Close()
	res, body := do(t, client, "GET", front.URL+"/page", nil)
	if res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "cannot reach zchatproxy") {
		t.Errorf("%s %q", res.Status, body)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	s := newSessions(c.time)
	oldest := s.start(people[0])
	c.add(time.Second)
	var last string
	for range maxSessions {
		last = s.start(people[1])
	}
	if len(s.byID) != maxSessions {
		t.Errorf("%d sessions, want %d", len(s.byID), maxSessions)
	}
	if _, ok := s.person(oldest); ok {
		t.Error("the oldest session is still there")
	}
	if _, ok := s.person(last); !ok {
		t.Error("the newest session is gone")
	}
}

func TestNewRefuses(t *testing.T) {
	good := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	for want, c := range map[string]Config{
		"Upstream":     {People: people},
		"People must":  {Upstream: good},
		"distinct ids": {Upstream: good, People: []Person{{ID: "a"}, {ID: "a"}}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
}
