package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
)

func TestRequestGoesUpByteForByte(t *testing.T) {
	// The upstream is a bare socket: what it reads is what the proxy wrote.
	heads := make(chan string, 1)
	address := bareSite(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		var head strings.Builder
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if head.WriteString(line); line == "\r\n" {
				break
			}
		}
		heads <- head.String()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	g := newRig(t, http.NotFoundHandler(), at(address))
	for _, target := range []string{
		"/", "/a%2Fb", "/a%2fb", "/%7Euser/~user", "/a|b", "/a\"b", "/a^b{c}", "/caf\xc3\xa9", "/a;b=c/d", "/a//b", "//a/b", "/a/./b/../c", "/?", "/?a=1;b=2&c=%zz&d=3", "/?q=a+b%20c", "/x?y=<z>", "/[a]", "/a%", "/%zz", "/a\\b",
	} {
		g.raw("", "GET "+target+" HTTP/1.1\r\nHost: Shop.Example:81\r\nAccept: a\r\naccept: b\r\nX-Odd: caf\xe9\r\nCookie: a=1; b=\"2\"\r\nConnection: close\r\n\r\n")
		var head string
		select {
		case head = <-heads:
		default:
			if target == "/a%" || target == "/%zz" {
				continue // net/http refuses a malformed escape with 400, as the standard allows
			}
			t.Errorf("%s did not reach the upstream", target)
			continue
		}
		line, _, _ := strings.Cut(head, "\r\n")
		if line != "GET "+target+" HTTP/1.1" {
			t.Errorf("%s went up as %s", target, line)
		}
		for _, want := range []string{"\r\nHost: Shop.Example:81\r\n", "\r\nAccept: a\r\nAccept: b\r\n", "\r\nX-Odd: caf\xe9\r\n", "\r\nCookie: a=1; b=\"2\"\r\n", "\r\nX-Forwarded-For: 127.0.0.1\r\n", "\r\nX-Forwarded-Proto: http\r\n"} {
			if !strings.Contains(head, want) {
				t.Errorf("%s: no %q in %q", target, want, head)
			}
		}
		for _, invented := range []string{"User-Agent", "Accept-Encoding", "\r\nVia:", "Content-Length", "Transfer-Encoding"} {
			if strings.Contains(head, invented) {
				t.Errorf("%s: %s was invented: %q", target, invented, head)
			}
		}
	}
}

func TestForwardedChain(t *testing.T) {
	var seen http.Header
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() }))
	g.get("/", "Host: shop.example", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 443", "Forwarded: for=203.0.113.9;proto=https")
	for name, want := range map[string]string{
		"X-Forwarded-For": "203.0.113.9, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "X-Forwarded-Port": "443",
		"Forwarded": "for=203.0.113.9;proto=https, for=127.0.0.1;host=shop.example;proto=http",
	} {
		if got := seen.Get(name); got != want {
			t.Errorf("trusted: %s is %q, want %q", name, got, want)
		}
	}
	g.raw("127.0.0.2", "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 203.0.113.9\r\nX_Forwarded_For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /x\r\nForwarded: for=9.9.9.9\r\nConnection: close\r\n\r\n")
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.2", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example", "X-Forwarded-Port": "", "X-Forwarded-Prefix": "", "X_forwarded_for": "",
		"Forwarded": "for=127.0.0.2;host=shop.example;proto=http",
	} {
		if got := strings.Join(seen[name], "|"); got != want {
			t.Errorf("untrusted: %s is %q, want %q", name, got, want)
		}
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "application/octet-stream")
		io.Copy(w, r.Body)
	}))
	data := make([]byte, 20<<20)
	rand.Read(data)
	for _, chunked := range []bool{false, true} {
		var body io.Reader = bytes.NewReader(data)
		if chunked {
			body = io.MultiReader(body) // hides the length
		}
		res := g.send(g.request("POST", "/", body))
		if sha256.Sum256([]byte(res.body)) != sha256.Sum256(data) {
			t.Errorf("chunked=%t: the body came back changed, %d bytes", chunked, len(res.body))
		}
	}
}

func TestTrailersBothWays(t *testing.T) {
	var seen http.Header
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen = r.Trailer
		w.Header().Set("Trailer", "X-Announced")
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, plainPage)
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "2")
	}))
	res := g.get("/")
	if res.Trailer.Get("X-Announced") != "1" || res.Trailer.Get("X-Unannounced") != "2" {
		t.Errorf("trailers of the response: %v", res.Trailer)
	}
	chunked := "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n"
	g.raw("", chunked+"X-Sum: 3\r\nX-Late: 4\r\nX-Forwarded-User: forged\r\nx_forwarded_user: forged\r\n\r\n")
	if seen.Get("X-Sum") != "3" {
		t.Errorf("trailers of the request: %v", seen)
	}
	for name, v := range seen {
		if strings.Contains(fmt.Sprint(v), "forged") {
			t.Errorf("an identity came in a trailer: %s", name)
		}
	}
}

func TestContinueComesFromTheUpstream(t *testing.T) {
	for _, accept := range []bool{true, false} {
		g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !accept {
				w.WriteHeader(http.StatusExpectationFailed)
				return
			}
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
		}))
		conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !accept {
			if res.StatusCode != http.StatusExpectationFailed {
				t.Errorf("first response %d, want the upstream's 417", res.StatusCode)
			}
			continue
		}
		if res.StatusCode != http.StatusContinue {
			t.Fatalf("first response %d", res.StatusCode)
		}
		fmt.Fprint(conn, "hello")
		res, err = http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "5" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
}

func TestInformationalResponsesAreNotTheStatus(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header()["Content-Type"] = nil
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "<html>looks like it</html>")
	}))
	var hints []string
	req := g.request("GET", "/", nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h.Get("Link")))
			return nil
		},
	}))
	res := g.send(req)
	if res.StatusCode != 404 || len(hints) != 1 || hints[0] != "103</a.css>; rel=preload" && hints[0] != "103 </a.css>; rel=preload" {
		t.Errorf("status %d, hints %q", res.StatusCode, hints)
	}
	if ct, ok := res.Header["Content-Type"]; ok {
		t.Errorf("a Content-Type was invented after a 103: %q", ct)
	}
	if !strings.Contains(g.log.String(), "status=404") {
		t.Errorf("the log took the 103 for the status: %s", g.log)
	}
}

func TestEventsArriveOneByOne(t *testing.T) {
	next := make(chan struct{})
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
			}
		}
	}))
	res, err := plainClient.Do(g.request("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := r.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("%q %v", line, err)
		}
		r.ReadString('\n')
		next <- struct{}{} // the next event is written only after this one was read
	}
}

// TestPageIsStreamed has an upstream that sends the rest of a page only once the visitor has what there was, the script included.
func TestPageIsStreamed(t *testing.T) {
	for _, form := range []string{"chunked", "length", "gzip"} {
		rest := make(chan struct{})
		g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			page, flush := io.Writer(w), func() error { return nil }
			switch form {
			case "length":
				w.Header().Set("Content-Length", fmt.Sprint(len(plainPage)))
			case "gzip":
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				defer z.Close()
				page, flush = z, z.Flush
			}
			cut := strings.Index(plainPage, "Hello")
			io.WriteString(page, plainPage[:cut])
			flush()
			http.NewResponseController(w).Flush()
			select {
			case <-rest:
			case <-r.Context().Done():
			}
			io.WriteString(page, plainPage[cut:])
		}))
		res, err := plainClient.Do(g.request("GET", "/", nil, "Accept-Encoding: gzip"))
		if err != nil {
			t.Fatal(err)
		}
		page := io.Reader(res.Body)
		if form == "gzip" {
			if page, err = gzip.NewReader(res.Body); err != nil {
				t.Fatal(err)
			}
		}
		var got strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(got.String(), "<body><p>") {
			n, err := page.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(buf[:n])
		}
		close(rest)
		tail, err := io.ReadAll(page)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if _, page := elementOf(t, got.String()+string(tail)); page != plainPage {
			t.Errorf("%s: got %q", form, page)
		}
	}
}

func TestUpgradeIsATunnel(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			fmt.Fprintf(w, "upgrade=%q", r.Header.Get("Upgrade"))
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := rw.ReadString('\n')
		io.WriteString(conn, "echo "+line)
	}))
	dial := func(upgrade string) (*http.Response, *bufio.Reader, net.Conn) {
		conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", upgrade)
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res, r, conn
	}
	res, r, conn := dial("websocket")
	defer conn.Close()
	if res.StatusCode != 101 {
		t.Fatalf("status %d", res.StatusCode)
	}
	fmt.Fprint(conn, "hi\n")
	if line, _ := r.ReadString('\n'); line != "echo hi\n" {
		t.Errorf("%q", line)
	}
	for _, foreign := range []string{"h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.2", "h2c, HTTP/2.0", "h2c-16", `"h2c"`, "foo h2c", "h2c;q=1", "foo/1 h2c", "/h2c"} {
		res, _, conn := dial(foreign)
		if body, _ := io.ReadAll(res.Body); string(body) != `upgrade=""` {
			t.Errorf("%s went up: %s", foreign, body)
		}
		conn.Close()
	}
}

func TestUpstreamFailures(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := dead.Addr().String()
	dead.Close()
	g := newRig(t, http.NotFoundHandler(), site(func(s *proxy.Site) { s.Upstream = "http://" + addr }))
	if res := g.get("/"); res.StatusCode != 502 || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	res := g.get("/", "Accept: text/html")
	if res.StatusCode != 502 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || strings.Contains(res.body, addr) {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	if !strings.Contains(g.log.String(), "connection refused") {
		t.Errorf("no cause in the log: %s", g.log)
	}

	release := make(chan struct{})
	defer close(release)
	g = newRig(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }), func(c *proxy.Config) { c.UpstreamTimeout = 50 * time.Millisecond })
	if res := g.get("/"); res.StatusCode != 504 {
		t.Errorf("a slow upstream gives %d", res.StatusCode)
	}
}

// TestLogQuotesNoMalformedAnswer: what the site sent instead of an answer may be somebody's, and is in no log.
func TestLogQuotesNoMalformedAnswer(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nSet-Cookie session=private\r\n\r\n", "HTTP/1.1 200 OK\r\nX: \x00private\r\n\r\n", "<p>private</p>\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: private\r\n\r\n", "HTTP/1.1 2x0 private\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: \"private\"\r\n\r\n",
		"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: private\r\n\r\n", "HTTP/private 200 OK\r\n\r\n",
	} {
		g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, answer)
		}), site(func(s *proxy.Site) { s.Identity = identity.Config{Preset: "upstream", IDHeader: "X-User"} }))
		if page, token := g.get("/"), g.get("/__zchat/jwt"); page.StatusCode != 502 || token.StatusCode != 503 {
			t.Errorf("%q: %d and %d", answer, page.StatusCode, token.StatusCode)
		}
		if log := g.log.String(); strings.Contains(log, "private") || !strings.Contains(log, "cause=") {
			t.Errorf("%q: %s", answer, log)
		}
	}
}

func TestClientAbortCancelsTheUpstream(t *testing.T) {
	started, cancelled := make(chan struct{}), make(chan struct{})
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(cancelled)
	}))
	conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	conn.Close()
	<-cancelled
}

func TestMethods(t *testing.T) {
	var seen string
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Method + " " + r.RequestURI }))
	for _, method := range []string{"PROPFIND", "REPORT", "PURGE", "PATCH", "DELETE", "X-ODD"} {
		if res := g.do(method, "/x"); res.StatusCode != 200 || seen != method+" /x" {
			t.Errorf("%s: %d, upstream saw %q", method, res.StatusCode, seen)
		}
	}
	if res := g.raw("", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); res.StatusCode != 200 || seen != "OPTIONS *" {
		t.Errorf("OPTIONS *: %d, upstream saw %q", res.StatusCode, seen)
	}
	for _, line := range []string{"TRACE / HTTP/1.1", "CONNECT x:443 HTTP/1.1"} {
		seen = ""
		if res := g.raw("", line+"\r\nHost: x\r\nConnection: close\r\n\r\n"); res.StatusCode != 405 || seen != "" {
			t.Errorf("%s: %d, upstream saw %q", line, res.StatusCode, seen)
		}
	}
}

func TestUpstreamUnderAnotherName(t *testing.T) {
	var seen *http.Request
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		h := w.Header()
		h.Set("Location", "https://www.example.com/next?u=https://www.example.com/")
		h.Set("Content-Location", "//www.example.com/here")
		h.Set("Refresh", "3; URL='https://www.example.com/later'")
		h.Add("Set-Cookie", "a=1; Domain=.example.com; Path=/; Secure; SameSite=None")
		h.Add("Set-Cookie", "b=2; HttpOnly")
		h.Add("Set-Cookie", "c=3; Domain=other.test")
		w.WriteHeader(302)
	}))
	up.StartTLS()
	g := newRigAt(t, up, site(func(s *proxy.Site) { s.UpstreamHost = "www.example.com"; s.UpstreamInsecure = true }))
	res := g.get("/", "Host: shop.staging.test", "Origin: http://shop.staging.test", "Referer: http://shop.staging.test/a?b")
	if seen.Host != "www.example.com" || seen.Header.Get("Origin") != "https://www.example.com" || seen.Header.Get("Referer") != "https://www.example.com/a?b" {
		t.Errorf("up: Host %q Origin %q Referer %q", seen.Host, seen.Header.Get("Origin"), seen.Header.Get("Referer"))
	}
	for name, want := range map[string]string{
		"Location":         "http://shop.staging.test/next?u=https://www.example.com/",
		"Content-Location": "//shop.staging.test/here",
		"Refresh":          "3; URL='http://shop.staging.test/later'",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	want := []string{"a=1; Domain=shop.staging.test; Path=/", "b=2; HttpOnly", "c=3; Domain=other.test"}
	if got := res.Header["Set-Cookie"]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Set-Cookie %q, want %q", got, want)
	}
}

func TestMalformedRequestBody(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	res := g.raw("", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n")
	if res.StatusCode != 400 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestStalePooledConnectionCostsNothing(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	g := newRigAt(t, up)
	for range 20 {
		if res := g.get("/"); res.body != "ok" {
			t.Fatalf("%d %s", res.StatusCode, res.body)
		}
		up.CloseClientConnections()
	}
}

func TestUpstreamOnAUnixSocket(t *testing.T) {
	path := t.TempDir() + "/up.sock"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: pageHandler(plainPage)}
	go srv.Serve(ln)
	defer srv.Close()
	g := newRig(t, http.NotFoundHandler(), site(func(s *proxy.Site) { s.Upstream = "unix://" + path }))
	if _, rest := elementOf(t, g.get("/").body); rest != plainPage {
		t.Errorf("%q", rest)
	}
}
