package deploy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// visitor is a browser as far as HTTP goes: it keeps cookies and follows redirects.
type visitor struct {
	t      *testing.T
	c      *chain
	client *http.Client
	user   string // for HTTP Basic authentication, if any
}

func (c *chain) visitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: c.dial, TLSClientConfig: c.tls(), ForceAttemptHTTP2: true, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: t, c: c, client: &http.Client{Jar: jar, Transport: transport, Timeout: patience}}
}

// page is an answer, after all redirects.
type page struct {
	status int
	header http.Header
	body   []byte
	url    *url.URL
}

func (v *visitor) do(r *http.Request) page {
	v.t.Helper()
	if v.user != "" && r.URL.Hostname() == hostName {
		r.SetBasicAuth(v.user, "password")
	}
	res, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatalf("%s: %v", r.URL, err)
	}
	return page{res.StatusCode, res.Header, body, res.Request.URL}
}

// get asks for a path of the site, or for a whole address, with headers as pairs.
func (v *visitor) get(target string, headers ...string) page {
	v.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = v.c.origin + target
	}
	r, err := http.NewRequest("GET", target, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Dest", "document")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return v.do(r)
}

// token asks for a token as the script does, which follows no redirect. More headers may be added.
func (v *visitor) token(more ...http.Header) page {
	v.t.Helper()
	follow := v.client.CheckRedirect
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { v.client.CheckRedirect = follow }()
	r, err := http.NewRequest("GET", v.c.origin+"/__zchat/jwt", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header = http.Header{"Accept": {"application/jwt, application/json"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Site": {"same-origin"}}
	for _, h := range more {
		maps.Copy(r.Header, h)
	}
	return v.do(r)
}

// cookie is the value of a cookie for the site, "" without it.
func (v *visitor) cookie(name string) string {
	for _, c := range v.client.Jar.Cookies(v.c.url()) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// press sends the provider's form with somebody's button.
func (v *visitor) press(p page, who person) page {
	v.t.Helper()
	r, err := http.NewRequest("POST", p.url.String(), strings.NewReader("person="+who.id))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.do(r)
}

// logIn opens an address of the site as nobody and lets the gateway do its work.
func (v *visitor) logIn(who person, target string) page {
	v.t.Helper()
	p := v.get(target)
	if p.url.Host != v.c.provider.Listener.Addr().String() || p.url.Path != "/authorize" || p.status != http.StatusOK {
		v.t.Fatalf("%s leads nobody to the log-in, but to %s: %d %s", target, p.url, p.status, p.body)
	}
	p = v.press(p, who)
	if p.status != http.StatusOK || p.url.String() != v.c.origin+target {
		v.t.Fatalf("who wanted to see %s and logged in for it is at %s: %d %s", target, p.url, p.status, p.body)
	}
	return p
}

// is wants a good token for somebody.
func (v *visitor) is(who person) {
	v.t.Helper()
	p := v.token()
	if p.status != http.StatusOK || p.header.Get("Content-Type") != "application/jwt" {
		v.t.Fatalf("no token for %s: %d %s", who.name, p.status, p.body)
	}
	agent, err := v.c.site.judge("chat", string(p.body))
	if err != nil {
		v.t.Fatal(err)
	}
	if agent.ID != who.chatID() || agent.Email != who.email || agent.Name != who.name {
		v.t.Errorf("the token is for %+v, want %+v", agent, who)
	}
	if v.cookie("__zchat_visitor") == "" {
		v.t.Error("there is no visitor cookie")
	}
}

// isNobody wants the token route to say so plainly: no redirect, which could disturb a log-in in another tab, and no
// question for a password.
func (v *visitor) isNobody() {
	v.t.Helper()
	p := v.token()
	if p.status != http.StatusUnauthorized || p.header.Get("Location") != "" || p.header.Get("Www-Authenticate") != "" {
		v.t.Errorf("the token route answers nobody with %d %v %s", p.status, p.header, p.body)
	}
}

// standsBetween checks what every gateway must leave as it is, for somebody who is logged in.
func (v *visitor) standsBetween() {
	v.t.Helper()
	v.seesTheSite()
	v.targetsStay()
	v.eventsArrive()
	v.upgrades()

	const size = 3 << 20                                                                                               // more than nginx's default limit
	r, err := http.NewRequest("POST", v.c.origin+"/_site/length", io.MultiReader(bytes.NewReader(make([]byte, size)))) // of unknown length
	if err != nil {
		v.t.Fatal(err)
	}
	if p := v.do(r); string(p.body) != fmt.Sprint(size, nil) {
		v.t.Errorf("an upload of %d bytes arrived as %d %.200s", size, p.status, p.body)
	}

	var got struct {
		Host   string
		Header http.Header
	}
	p := v.get("/_site/header", "X-Own", "kept")
	if err := json.Unmarshal(p.body, &got); err != nil {
		v.t.Fatalf("%v: %s", err, p.body)
	}
	for name, want := range map[string]string{"X-Own": "kept", "X-Forwarded-Proto": "https", "X-Forwarded-Host": v.c.host()} {
		if have := got.Header.Values(name); !slices.Equal(have, []string{want}) {
			v.t.Errorf("the site gets %s: %q, want %q", name, have, want)
		}
	}
	if credentials := got.Header["Authorization"]; credentials != nil {
		v.t.Errorf("the site gets the credentials %q", credentials)
	}
	if got.Host != v.c.host() {
		v.t.Errorf("the site gets the host %s, want %s", got.Host, v.c.host())
	}
}

var scriptElement = regexp.MustCompile(`(?s)<script data-zchatproxy="">.*?</script>`)

// seesTheSite compares pages with what the site sent for them.
func (v *visitor) seesTheSite() {
	v.t.Helper()
	for target, scripts := range map[string]int{"/help.html": 1, "/catalogue.html": 1, "/css/portal.css": 0} {
		through := v.get(target, "Accept-Encoding", "gzip")
		body := decoded(v.t, through.header.Get("Content-Encoding"), through.body)
		if n := len(scriptElement.FindAll(body, -1)); n != scripts || through.status != http.StatusOK {
			v.t.Errorf("%s: %d, with %d scripts of ours, want %d", target, through.status, n, scripts)
		}
		v.c.site.mu.Lock()
		sent := v.c.site.sent
		v.c.site.mu.Unlock()
		own := decoded(v.t, sent.Header().Get("Content-Encoding"), sent.Body.Bytes())
		if !bytes.Equal(scriptElement.ReplaceAll(body, nil), own) {
			v.t.Errorf("%s: %d bytes came, and without the script they are not the %d that the site sent", target, len(body), len(own))
		}
	}
}

// decoded is a body without its coding.
func decoded(t testing.TB, coding string, body []byte) []byte {
	t.Helper()
	if coding != "gzip" {
		return body
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	return body
}

// targetsStay sends request targets that servers like to tidy up.
func (v *visitor) targetsStay() {
	v.t.Helper()
	for _, target := range []string{
		"/_site/target/a%2Fb", "/_site/target/a//b", "/_site/target/%7Euser/%e4?q=%zz&a=1;b=2", "/_site/target/x;v=1,2/y?", "/_site/target/a+b%20c?d=%C3%A9",
	} {
		res, body := v.raw(nil, "GET "+target+" HTTP/1.1", "Host: "+v.c.host())
		want := target
		if tidied, yes := v.c.tidies[target]; yes {
			want = tidied
		}
		if want == "" {
			continue
		}
		if res.StatusCode != http.StatusOK || string(body) != want {
			v.t.Errorf("the target %s arrives as %d %.200s", target, res.StatusCode, body)
		}
	}
}

func (v *visitor) eventsArrive() {
	v.t.Helper()
	r, err := http.NewRequest("GET", v.c.origin+"/_site/events", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	if v.user != "" {
		r.SetBasicAuth(v.user, "password")
	}
	res, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	events := bufio.NewReader(res.Body)
	first, err := events.ReadString('\n')
	if first != "data: first\n" {
		v.t.Fatalf("%d, the first event is %q, %v", res.StatusCode, first, err)
	}
	v.c.site.next <- struct{}{} // not sent before the first one was here
	if rest, err := io.ReadAll(events); string(rest) != "\ndata: second\n\n" {
		v.t.Errorf("after the first event came %q, %v", rest, err)
	}
}

func (v *visitor) upgrades() {
	v.t.Helper()
	conn := v.connect()
	defer conn.Close()
	io.WriteString(conn, v.request("GET /_site/upgrade HTTP/1.1", "Host: "+v.c.host(), "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		v.t.Errorf("no upgrade: %v %v", res, err)
		return
	}
	io.WriteString(conn, "ping")
	var pong [4]byte
	if _, err := io.ReadFull(in, pong[:]); err != nil || string(pong[:]) != "ping" {
		v.t.Errorf("after the upgrade came %q, %v", pong, err)
	}
}

// connect opens a connection of the visitor's own, for HTTP/1.1.
func (v *visitor) connect() net.Conn {
	v.t.Helper()
	conn, err := tls.Dial("tcp", v.c.gateway, v.c.tls())
	if err != nil {
		v.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// request writes a request with the visitor's cookies, every line as it is given.
func (v *visitor) request(lines ...string) string {
	var cookies []string
	for _, c := range v.client.Jar.Cookies(v.c.url()) {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	if len(cookies) > 0 {
		lines = append(lines, "Cookie: "+strings.Join(cookies, "; "))
	}
	if v.user != "" {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(v.user, "password")
		lines = append(lines, "Authorization: "+r.Header.Get("Authorization"))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// raw sends a request over a connection, or one of its own for nil, and reads the answer.
func (v *visitor) raw(conn net.Conn, lines ...string) (*http.Response, []byte) {
	v.t.Helper()
	if conn == nil {
		conn = v.connect()
		defer conn.Close()
	}
	io.WriteString(conn, v.request(lines...))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		v.t.Fatalf("%q: %v", lines, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatalf("%q: %v", lines, err)
	}
	return res, body
}

// deepTarget is the page where the widget is, with a query that half of all gateways lead back to in part.
const deepTarget = "/help.html?topic=a%26b&page=2"

// loggedInRequests walks from nobody to somebody, and back by the gateway's log-out.
func (c *chain) loggedInRequests(t *testing.T) {
	v := c.visitor(t)
	v.isNobody()
	v.logIn(mary, deepTarget)
	v.is(mary)
	v.standsBetween()

	v.get(c.logOut)
	if v.cookie("__zchat_visitor") == "" {
		t.Fatal("the visitor cookie has gone before zchatproxy could take it away")
	}
	v.isNobody()
	if (v.cookie("__zchat_visitor") != "") != c.refuses {
		t.Errorf("after the log-out the visitor cookie is %q; the gateway lets the request through: %t", v.cookie("__zchat_visitor"), !c.refuses)
	}
	v.logIn(lukasz, "/catalogue.html")
	v.is(lukasz)
}
