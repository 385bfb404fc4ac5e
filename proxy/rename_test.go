package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"zchatproxy/proxy"
)

// alias is a proxy in front of an upstream that goes by another name than the visitor's.
type alias struct {
	*rig
	answer http.Header   // what the upstream says next
	seen   *http.Request // what it was asked last
}

// newAlias starts an upstream that is sent the given Host, over TLS or not.
func newAlias(t *testing.T, upstreamHost string, tls bool) *alias {
	t.Helper()
	n := &alias{}
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.seen = r.Clone(r.Context())
		maps.Copy(w.Header(), n.answer)
		w.WriteHeader(http.StatusFound)
	}))
	if tls {
		up.StartTLS()
	} else {
		up.Start()
	}
	n.rig = newRigAt(t, up, site(func(s *proxy.Site) { s.UpstreamHost, s.UpstreamInsecure = upstreamHost, true }))
	return n
}

// fill puts the upstream's address in place of {address}, and its port in place of {port}.
func (n *alias) fill(s string) string {
	address := n.upstream.Listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.NewReplacer("{address}", address, "{port}", port).Replace(s)
}

// back sends one header field down, and returns what the visitor gets. visitor is an origin.
func (n *alias) back(visitor, name, value string, headers ...string) []string {
	n.t.Helper()
	n.answer = http.Header{name: {n.fill(value)}}
	req := n.request("GET", "/", nil, append([]string{"Host: " + after(visitor), "X-Forwarded-Proto: " + before(visitor)}, headers...)...)
	res, err := plainClient.Transport.RoundTrip(req) // a Client would parse Location
	if err != nil {
		n.t.Fatal(err)
	}
	res.Body.Close()
	return res.Header[name]
}

func before(origin string) string { s, _, _ := strings.Cut(origin, "://"); return s }
func after(origin string) string  { _, s, _ := strings.Cut(origin, "://"); return s }

func TestURLsComeBackUnderTheVisitorsName(t *testing.T) {
	const same = "" // nothing changes
	for _, c := range []struct {
		host, visitor string
		rows          [][2]string
	}{
		{"www.example.com", "http://staging.localhost:8090", [][2]string{
			{"http://www.example.com", "http://staging.localhost:8090"},
			{"http://www.example.com/", "http://staging.localhost:8090/"},
			{"http://www.example.com/a?b=http://www.example.com/#c", "http://staging.localhost:8090/a?b=http://www.example.com/#c"},
			{"http://www.example.com?b", "http://staging.localhost:8090?b"},
			{"http://www.example.com#c", "http://staging.localhost:8090#c"},
			{`http://www.example.com\a`, `http://staging.localhost:8090\a`},
			{"HTTP://WWW.Example.COM/A", "http://staging.localhost:8090/A"},
			{"http://www.example.com/%zz/é/\xe9?ü", "http://staging.localhost:8090/%zz/é/\xe9?ü"},
			// Without a scheme.
			{"//www.example.com/a", "//staging.localhost:8090/a"},
			{"//www.example.com", "//staging.localhost:8090"},
			// Of the other scheme: the site believes in it, and it would lead the visitor out.
			{"https://www.example.com/a", "http://staging.localhost:8090/a"},
			// Ports.
			{"http://www.example.com:80/", "http://staging.localhost:8090/"},
			{"https://www.example.com:443/", "http://staging.localhost:8090/"},
			{"https://www.example.com:80/", "http://staging.localhost:8090/"}, // by a site behind something that ends TLS
			{"http://www.example.com:{port}/", "http://staging.localhost:8090/"},
			{"http://www.example.com:8443/", same},
			{"http://www.example.com:8090/", same},
			// The upstream's address.
			{"http://{address}/a", "http://staging.localhost:8090/a"},
			{"//{address}/a", "//staging.localhost:8090/a"},
			{"http://127.0.0.1/a", same},
			{"http://127.0.0.1:1/a", same},
			// A user and a password.
			{"http://zoe:rope@www.example.com/a", "http://zoe:rope@staging.localhost:8090/a"},
			{"http://zoe@x@www.example.com/a", "http://zoe@x@staging.localhost:8090/a"},
			{"//zoe@{address}/", "//zoe@staging.localhost:8090/"},
			{"http://www.example.com@evil.test/", same},
			{"http://www.example.com:80@evil.test/", same},
			{"http://evil.test/@www.example.com/", same},
			// Others.
			{"/a//www.example.com/b", same},
			{"a?b=//www.example.com/", same},
			{"http:/www.example.com/", same},
			{"http://example.com/", same},
			{"http://www.example.com.evil.test/", same},
			{"http://evilwww.example.com/", same},
			{"http://shop.www.example.com/", same},
			{"ftp://www.example.com/", same},
			{"javascript://www.example.com/", same},
			{"mailto:zoe@www.example.com", same},
			{"http://", same},
			{"http:///a", same},
			{"//", same},
			{"http://:80/", same},
			{"*", same},
			{"null", same},
		}},
		{"www.example.com", "https://shop.staging.test", [][2]string{
			{"http://www.example.com/a", "https://shop.staging.test/a"},
			{"https://www.example.com/a", "https://shop.staging.test/a"},
			{"//www.example.com/a", "//shop.staging.test/a"},
		}},
		{"upstream", "http://staging.localhost", [][2]string{
			{"http://{address}/a", "http://staging.localhost/a"},
			{"http://127.0.0.1/a", same},
			{"http://localhost:{port}/a", same},
		}},
		{"www.example.com:8080", "http://staging.localhost", [][2]string{
			{"http://www.example.com:8080/a", "http://staging.localhost/a"},
			{"http://www.example.com:{port}/a", "http://staging.localhost/a"},
			{"http://www.example.com/a", same},
			{"https://www.example.com/a", same},
		}},
		{"[::1]:8080", "http://[::1]:9000", [][2]string{
			{"http://[::1]:8080/a", "http://[::1]:9000/a"},
			{"http://[::1]/a", same},
		}},
		{"bücher.example", "http://staging.localhost", [][2]string{
			{"http://xn--bcher-kva.example/a", "http://staging.localhost/a"},
			{"http://bücher.example/a", "http://staging.localhost/a"},
			{"http://b\xfccher.example/a", same},
			{"http://bucher.example/a", same},
		}},
		{"preserve", "http://staging.localhost", [][2]string{
			{"http://{address}/a", same},
			{"http://staging.localhost/a", same},
		}},
	} {
		n := newAlias(t, c.host, false)
		for _, row := range c.rows {
			in, want := n.fill(row[0]), row[1]
			if want == same {
				want = in
			}
			for _, field := range []string{"Location", "Content-Location", "Access-Control-Allow-Origin"} {
				if got := n.back(c.visitor, field, in); !cmp.Equal(got, []string{want}) {
					t.Errorf("%s at %s: %s: %s is %q, want %q", c.host, c.visitor, field, in, got, want)
				}
			}
			for _, form := range []string{"5; url=%s", "0;URL='%s'", `1.5 , Url = "%s" `, "5;%s", "5 %s", "3;url='%s", ";URL=%s", `0;URL="%s"; x`} {
				refresh, want := strings.TrimSpace(fmt.Sprintf(form, in)), strings.TrimSpace(fmt.Sprintf(form, want))
				if got := n.back(c.visitor, "Refresh", refresh); !cmp.Equal(got, []string{want}) {
					t.Errorf("%s at %s: Refresh: %s is %q, want %q", c.host, c.visitor, refresh, got, want)
				}
			}
		}
	}
}

// TestRefresh has what is no URL, or not the one that browsers go to.
func TestRefresh(t *testing.T) {
	n := newAlias(t, "www.example.com", false)
	for in, want := range map[string]string{
		"5":                                     "5",
		"5;":                                    "5;",
		"5; url=":                               "5; url=",
		"5; url='":                              "5; url='",
		"5; url":                                "5; url",
		"5; /login":                             "5; /login",
		"x; url=http://www.example.com/":        "x; url=http://www.example.com/", // browsers do not follow it
		"5; /go?url=http://www.example.com/":    "5; /go?url=http://www.example.com/",
		"\xc4\xd6\xdc\xdf; url=":                "\xc4\xd6\xdc\xdf; url=",
		"5; url=http://www.example.com/\xe4'b'": "5; url=http://staging.localhost/\xe4'b'",
		"5; http://www.example.com/?url=http://www.example.com/": "5; http://staging.localhost/?url=http://www.example.com/",
		"5; url='http://www.example.com'; url=//www.example.com": "5; url='http://staging.localhost'; url=//www.example.com",
	} {
		if got := n.back("http://staging.localhost", "Refresh", in); !cmp.Equal(got, []string{want}) {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestCookiesComeBackUnderTheVisitorsName(t *testing.T) {
	const (
		same    = ""
		browser = "Sec-Fetch-Site: same-origin" // sent over TLS and on loopback only
	)
	type row struct{ in, want string }
	for _, c := range []struct {
		name, host, visitor string
		tls                 bool
		header              string
		rows                []row
	}{
		{name: "domains", host: "www.example.com", visitor: "http://staging.localhost:8090", rows: []row{
			{"a=1", same},
			{"a=1; Path=/; HttpOnly", same},
			{"a=1; Domain=www.example.com", "a=1; Domain=staging.localhost"},
			{"a=1; Domain=.www.example.com; Path=/", "a=1; Domain=staging.localhost; Path=/"},
			{"a=1; domain=.Example.COM; Max-Age=5", "a=1; domain=staging.localhost; Max-Age=5"},
			{"a=1;DOMAIN = example.com ;Path=/", "a=1;DOMAIN =staging.localhost;Path=/"},
			{"a=1; Domain=127.0.0.1", "a=1; Domain=staging.localhost"},
			{"a=Domain=example.com; Path=/x;", same},
			{"Domain=example.com; Path=/", same}, // a cookie that is called Domain
			{"a=1; Domain=", same},
			{"a=1; Domain", same},
			{"a=1; Domain=.", same},
			// Browsers refuse all of these, and still shall.
			{"a=1; Domain=com", same},
			{"a=1; Domain=.com", same},
			{"a=1; Domain=0.0.1", same},
			{"a=1; Domain=shop.www.example.com", same},
			{"a=1; Domain=ample.com", same},
			{"a=1; Domain=other.test", same},
			{"a=1; Domain=www.example.com:80", same},
			{"a=1; Domain=..example.com", same},
			{"a=1; Domain=other.test; Domain=example.com", "a=1; Domain=other.test; Domain=staging.localhost"}, // the last one counts
		}},
		{name: "a name that takes no domain", host: "www.example.com", visitor: "http://staging", rows: []row{
			{"a=1; Domain=.example.com; Path=/", "a=1; Path=/"},
			{"a=1; Domain=other.test; Path=/", same},
		}},
		{name: "an address", host: "www.example.com", visitor: "http://192.0.2.7:8090", rows: []row{
			{"a=1; Domain=.example.com; Path=/", "a=1; Path=/"},
		}},
		{name: "an address with colons", host: "www.example.com", visitor: "http://[2001:db8::7]:8090", rows: []row{
			{"a=1; Domain=.example.com; Path=/", "a=1; Path=/"},
		}},
		{name: "a final dot", host: "www.example.com", visitor: "http://Staging.Localhost.:8090", rows: []row{
			{"a=1; Domain=.example.com", "a=1; Domain=Staging.Localhost"},
		}},
		{name: "a domain of both", host: "www.example.com", visitor: "https://staging.example.com", rows: []row{
			{"a=1; Domain=.example.com", same},
			{"a=1; Domain=www.example.com", "a=1; Domain=staging.example.com"},
		}},
		{name: "one name", host: "www.example.com", visitor: "https://www.example.com", rows: []row{
			{"a=1; Domain=www.example.com", same},
			{"a=1; Domain=.example.com", same},
		}},
		{name: "its address", host: "upstream", visitor: "http://staging.localhost", rows: []row{
			{"a=1; Domain=127.0.0.1; Path=/", "a=1; Domain=staging.localhost; Path=/"},
			{"a=1; Domain=.localhost; Path=/", same},
		}},
		{name: "preserve", host: "preserve", visitor: "http://staging.localhost", tls: true, rows: []row{
			{"a=1; Domain=127.0.0.1; Secure; SameSite=None", same},
		}},
		{name: "from TLS to none", host: "www.example.com", visitor: "http://shop.staging.test", tls: true, rows: []row{
			{"a=1; Secure", "a=1"},
			{"a=1; Path=/; SECURE ;HttpOnly", "a=1; Path=/;HttpOnly"},
			{"a=1; Secure; SameSite=None; Path=/", "a=1; Path=/"},
			{"a=1; samesite = NONE; secure=1", "a=1"},
			{"a=1; Secure; SameSite=Lax", "a=1; SameSite=Lax"},
			{"a=1; Secure; SameSite=Strict; HttpOnly", "a=1; SameSite=Strict; HttpOnly"},
			{"a=1; Secure; SameSite=None; Partitioned", "a=1"},
			{"a=1; Secure; Domain=.example.com", "a=1; Domain=shop.staging.test"},
			{"secure=1; Path=/", same},
			// Browsers refuse these over TLS, and over plain HTTP.
			{"a=1; SameSite=None", same},
			{"a=1; SameSite=None; Partitioned", same},
			// Their names demand it too: what is left of them would be refused.
			{"__Host-a=1; Path=/; Secure", same},
			{"__Secure-a=1; Path=/; Secure; SameSite=None", same},
			{"__SECURE-a=1; Secure; Domain=example.com", "__SECURE-a=1; Secure; Domain=shop.staging.test"},
			{"__Http-a=1; Secure; HttpOnly", same},
			{"__Host-Http-a=1; Secure; HttpOnly; Path=/", same},
			{"x__Host-a=1; Secure", "x__Host-a=1"},
		}},
		// The site is behind something else that ends TLS, or would not ask for it.
		{name: "from none to none", host: "www.example.com", visitor: "http://shop.staging.test", rows: []row{
			{"a=1; Secure; SameSite=None; Path=/", "a=1; Path=/"},
		}},
		{name: "in a browser that takes them", host: "www.example.com", visitor: "http://staging.localhost", tls: true, header: browser, rows: []row{
			{"a=1; Secure; SameSite=None; Partitioned; Domain=.example.com", "a=1; Secure; SameSite=None; Partitioned; Domain=staging.localhost"},
			{"__Host-a=1; Path=/; Secure", same},
		}},
		{name: "to TLS", host: "www.example.com", visitor: "https://shop.staging.test", tls: true, rows: []row{
			{"a=1; Secure; SameSite=None", same},
			{"__Host-a=1; Path=/; Secure", same},
			{"a=1; Domain=example.com; Secure", "a=1; Domain=shop.staging.test; Secure"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newAlias(t, c.host, c.tls)
			var headers []string
			if c.header != "" {
				headers = append(headers, c.header)
			}
			for _, r := range c.rows {
				want := r.want
				if want == same {
					want = r.in
				}
				if got := n.back(c.visitor, "Set-Cookie", r.in, headers...); !cmp.Equal(got, []string{want}) {
					t.Errorf("%s is %q, want %q", r.in, got, want)
				}
			}
		})
	}
}

// TestEveryFieldOfANameIsTranslated has several of a kind, and fields that keep the name.
func TestEveryFieldOfANameIsTranslated(t *testing.T) {
	n := newAlias(t, "www.example.com", false)
	n.answer = http.Header{
		"Set-Cookie": {"a=1; Domain=example.com", "b=2", "c=3; Domain=www.example.com"},
		"Link":       {"<http://www.example.com/>; rel=canonical"}, // a body would name it likewise
		"X-Host":     {"www.example.com"},
	}
	res := n.get("/", "Host: staging.localhost")
	if got, want := res.Header["Set-Cookie"], []string{"a=1; Domain=staging.localhost", "b=2", "c=3; Domain=staging.localhost"}; !cmp.Equal(got, want) {
		t.Errorf("Set-Cookie %q, want %q", got, want)
	}
	for _, name := range []string{"Link", "X-Host"} {
		if got := res.Header[name]; !slices.Equal(got, n.answer[name]) {
			t.Errorf("%s %q, want it as it was", name, got)
		}
	}
}

func TestOriginGoesUpUnderTheUpstreamsName(t *testing.T) {
	const same = ""
	for _, c := range []struct {
		name, host, visitor string
		tls                 bool
		rows                [][2]string
	}{
		{"plain", "www.example.com", "http://staging.localhost:8090", false, [][2]string{
			{"http://staging.localhost:8090", "http://www.example.com"},
			{"http://staging.localhost:8090/", "http://www.example.com/"},
			{"http://staging.localhost:8090/a?b=http://staging.localhost:8090/#c", "http://www.example.com/a?b=http://staging.localhost:8090/#c"},
			{"http://staging.localhost:8090?b", "http://www.example.com?b"},
			{"HTTP://Staging.Localhost:8090/A", "http://www.example.com/A"},
			{"http://staging.localhost", same},
			{"https://staging.localhost:8090", same},
			{"http://staging.localhost:80900", same},
			{"http://www.example.com", same},
			{"http://evil.test/http://staging.localhost:8090", same},
			{"http://staging.localhost:8090@evil.test/", same},
			{"//staging.localhost:8090/", same},
			{"null", same},
			{"about:blank", same},
		}},
		{"default port", "upstream", "http://staging.localhost", false, [][2]string{
			{"http://staging.localhost:80/a", "http://{address}/a"},
			{"http://staging.localhost/a", "http://{address}/a"},
		}},
		{"no default port in an origin", "www.example.com:80", "http://staging.localhost", false, [][2]string{
			{"http://staging.localhost", "http://www.example.com"},
		}},
		{"TLS at the upstream only", "www.example.com", "http://staging.localhost", true, [][2]string{
			{"http://staging.localhost", "https://www.example.com"},
		}},
		{"beyond ASCII", "bücher.example", "http://staging.localhost", false, [][2]string{
			{"http://staging.localhost/a", "http://xn--bcher-kva.example/a"},
		}},
		// X-Forwarded-Proto says https to the site, so its own origin is one of that scheme.
		{"TLS at the visitor only", "www.example.com", "https://staging.localhost", false, [][2]string{
			{"https://staging.localhost", "https://www.example.com"},
			{"http://staging.localhost", same},
		}},
		{"preserve", "preserve", "http://staging.localhost", false, [][2]string{
			{"http://staging.localhost/a", same},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newAlias(t, c.host, c.tls)
			for _, row := range c.rows {
				want := n.fill(row[1])
				if want == same {
					want = row[0]
				}
				for _, field := range []string{"Origin", "Referer"} {
					n.get("/", "Host: "+after(c.visitor), "X-Forwarded-Proto: "+before(c.visitor), field+": "+row[0])
					if got := n.seen.Header[field]; !cmp.Equal(got, []string{want}) {
						t.Errorf("%s: %s goes up as %q, want %q", field, row[0], got, want)
					}
				}
			}
			wantHost := strings.NewReplacer("preserve", after(c.visitor), "upstream", n.fill("{address}"), "bücher", "xn--bcher-kva").Replace(c.host)
			if n.seen.Host != wantHost {
				t.Errorf("Host %q goes up, want %q", n.seen.Host, wantHost)
			}
		})
	}
}

// TestDestinationGoesUpUnderTheUpstreamsName has the other URL of WebDAV's COPY and MOVE. Servers compare its scheme with
// the connection's.
func TestDestinationGoesUpUnderTheUpstreamsName(t *testing.T) {
	for visitor, tls := range map[string]bool{"http://staging.localhost:8090": true, "https://staging.localhost": false} {
		n := newAlias(t, "www.example.com", tls)
		n.do("MOVE", "/a", "Host: "+after(visitor), "X-Forwarded-Proto: "+before(visitor), "Destination: "+visitor+"/b%20c")
		want := "http://www.example.com/b%20c"
		if tls {
			want = "https://www.example.com/b%20c"
		}
		if got := n.seen.Header.Get("Destination"); got != want {
			t.Errorf("from %s: %q goes up, want %q", visitor, got, want)
		}
	}
}

// TestUpgradeUnderAnotherName has the cookie of a handshake, which load balancers use to keep a visitor on one server.
func TestUpgradeUnderAnotherName(t *testing.T) {
	origin := make(chan string, 1)
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin <- r.Header.Get("Origin")
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSet-Cookie: route=1; Domain=.example.com\r\n\r\n")
		rw.Flush()
	}), site(func(s *proxy.Site) { s.UpstreamHost = "www.example.com" }))
	conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: staging.localhost\r\nOrigin: http://staging.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := res.Header["Set-Cookie"], []string{"route=1; Domain=staging.localhost"}; res.StatusCode != http.StatusSwitchingProtocols || !cmp.Equal(got, want) {
		t.Errorf("%s with Set-Cookie %q, want %q", res.Status, got, want)
	}
	if got, want := <-origin, "http://www.example.com"; got != want {
		t.Errorf("Origin %q goes up, want %q", got, want)
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
