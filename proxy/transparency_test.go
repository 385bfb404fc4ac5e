package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"zchatproxy/proxy"
)

// scripted starts an upstream that answers each request with the bytes of play, and returns its address. The
// connection is closed after the first answer unless play returns true.
func scripted(t *testing.T, play func(r *http.Request, conn net.Conn) (more bool)) string {
	t.Helper()
	return bareSite(t, func(conn net.Conn) {
		for r := bufio.NewReader(conn); ; {
			req, err := http.ReadRequest(r)
			if err != nil || !play(req, conn) {
				return
			}
			io.Copy(io.Discard, req.Body)
		}
	})
}

// at makes the only site's upstream another one.
func at(url string) func(*proxy.Config) { return site(func(s *proxy.Site) { s.Upstream = url }) }

// exchange sends bytes to the proxy and returns everything that comes back until it closes the connection.
func (g *rig) exchange(request string) (string, error) {
	g.t.Helper()
	conn := g.dial()
	defer conn.Close()
	io.WriteString(conn, request)
	all, err := io.ReadAll(conn)
	return string(all), err
}

// Old clients know neither chunks nor informational responses, and end of connection is end of body to them.
func TestHTTP10Clients(t *testing.T) {
	g := newGuardedRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			for part := range strings.SplitAfterSeq(plainPage, "\n") {
				io.WriteString(w, part)
				http.NewResponseController(w).Flush()
			}
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "final")
		case "/echo":
			io.Copy(w, r.Body)
		}
	}))
	for _, line := range []string{"GET /stream HTTP/1.0\r\n\r\n", "GET /stream HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n"} {
		got, err := g.exchange(line)
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if _, rest := elementOf(t, body); rest != plainPage || strings.Contains(head, "Transfer-Encoding") {
			t.Errorf("%q\n%s", head, body)
		}
	}
	if got, _ := g.exchange("GET /hints HTTP/1.0\r\n\r\n"); strings.Contains(got, " 103 ") || !strings.HasSuffix(got, "\r\n\r\nfinal") {
		t.Errorf("an informational response to HTTP/1.0: %q", got)
	}
	if got, _ := g.exchange("POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"); !strings.HasSuffix(got, "\r\n\r\nhello") {
		t.Errorf("%q", got)
	}
	// With a length, the connection can be kept.
	got, _ := g.exchange("POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nA" + "POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nB")
	if strings.Count(got, "200 OK") != 2 || !strings.HasSuffix(got, "\r\n\r\nB") {
		t.Errorf("keep-alive: %q", got)
	}
}

// Every informational response arrives, in order, before the final one, with the header it came with.
func TestInformationalResponses(t *testing.T) {
	noLeak(t)
	g := newRig(t, http.NotFoundHandler(), at(scripted(t, func(r *http.Request, conn net.Conn) bool {
		io.WriteString(conn, "HTTP/1.1 102 Processing\r\n\r\n"+
			"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\nX-Zchat-Unrelated: 1\r\n\r\n"+
			"HTTP/1.1 103 Early Hints\r\nLink: </c.js>; rel=preload\r\n\r\n"+
			"HTTP/1.1 199 Whatever\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "+fmt.Sprint(len(plainPage))+"\r\n\r\n"+plainPage)
		return true
	})))
	got, err := g.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	var statuses []string
	for _, m := range regexp.MustCompile(`(?m)^HTTP/1\.1 (\d+)`).FindAllStringSubmatch(got, -1) {
		statuses = append(statuses, m[1])
	}
	if fmt.Sprint(statuses) != "[102 103 103 199 200]" {
		t.Errorf("statuses %v", statuses)
	}
	blocks := strings.SplitN(got, "\r\n\r\n", 6)
	if len(blocks) != 6 || !strings.Contains(blocks[1], "Link: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload") || strings.Contains(blocks[2], "a.css") || strings.Contains(blocks[4], "Link") {
		t.Errorf("headers mixed up: %q", blocks)
	}
	if _, rest := elementOf(t, blocks[len(blocks)-1]); rest != plainPage {
		t.Errorf("%q", rest)
	}
}

// What does not keep to its own framing is never passed on as a whole body, and nothing of it ends up in another
// visitor's answer.
func TestUpstreamSendsTooMuchOrTooLittle(t *testing.T) {
	page := plainPage
	for _, tc := range []struct {
		name, answer string
		status       int
		body         string // what arrives, without the script; "" where the answer has to be cut
	}{
		{"too little", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999\r\n\r\n" + page, 200, ""},
		{"too little, no page", "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 9\r\n\r\na{}", 200, ""},
		{"too much", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", len(page), page), 200, page},
		{"too much, no page", "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 3\r\n\r\na{}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", 200, "a{}"},
		{"chunks without an end", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(page), page), 200, ""},
		{"chunk cut", "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nTransfer-Encoding: chunked\r\n\r\nff\r\na{}", 200, ""},
		{"chunk size malformed", "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na{}\r\nzz\r\n", 200, ""},
		{"body where none may be", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison", 204, "none"},
		{"not modified with a body", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\npoison", 304, "none"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 6\r\n\r\npoison", 502, "problem"},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n", 502, "problem"},
		{"header cut", "HTTP/1.1 200 OK\r\nContent-Ty", 502, "problem"},
		{"nothing", "", 502, "problem"},
		{"unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", 502, "problem"},
		{"until close", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page, 200, page},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + page, 200, page},
	} {
		t.Run(tc.name, func(t *testing.T) {
			noLeak(t)
			g := newRig(t, http.NotFoundHandler(), at(scripted(t, func(r *http.Request, conn net.Conn) bool {
				if r.URL.Path == "/after" {
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter")
					return true
				}
				io.WriteString(conn, tc.answer)
				// Where the answer is whole, the connection stays: it is for the proxy not to use it again.
				return tc.body != "" && tc.body != "problem" && strings.Contains(tc.answer, "poison")
			})))
			res, err := plainClient.Do(g.request("GET", "/", nil))
			if err != nil {
				if tc.body != "" {
					t.Fatal(err)
				}
				return // cut before the header left: as good
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			switch {
			case res.StatusCode != tc.status:
				t.Errorf("status %d, want %d", res.StatusCode, tc.status)
			case tc.body == "":
				if err == nil {
					t.Errorf("a broken body ends cleanly: %q", body)
				}
			case err != nil:
				t.Error(err)
			case tc.body == "none" && len(body) > 0:
				t.Errorf("a body with %d: %q", tc.status, body)
			case strings.HasPrefix(tc.body, "<!"):
				if _, rest := elementOf(t, string(body)); rest != tc.body {
					t.Errorf("%q", rest)
				}
			case tc.body == "a{}" && string(body) != "a{}":
				t.Errorf("%q", body)
			}
			for range 3 {
				if after := g.get("/after"); after.body != "after" {
					t.Fatalf("the next answer is %d %q", after.StatusCode, after.body)
				}
			}
		})
	}
}

// The header comes through as it was: nothing twice, nothing invented, in order.
func TestResponseHeaderIsTheUpstreams(t *testing.T) {
	noLeak(t)
	const date = "Tue, 03 Mar 2020 10:00:00 GMT"
	g := newRig(t, http.NotFoundHandler(), at(scripted(t, func(r *http.Request, conn net.Conn) bool {
		own := "Date: " + date + "\r\n"
		if r.URL.Path == "/undated" {
			own = ""
		}
		io.WriteString(conn, "HTTP/1.1 200 Fine\r\n"+own+"Server: Old/1.0\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\nSet-Cookie: b=2; Expires=Wed, 09 Jun 2032 10:18:14 GMT\r\nX-Latin: caf\xe9\r\nX-Empty:\r\nSet-Cookie: a=3; Path=/sub\r\nVary: A\r\nVary: B\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok")
		return true
	})))
	got, err := g.exchange("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: u-1\r\nX-Forwarded-Email: ann@example.com\r\nConnection: close\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	var cookies []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if v, ok := strings.CutPrefix(line, "Set-Cookie: "); ok && !strings.HasPrefix(v, "__zchat") {
			cookies = append(cookies, v)
		}
	}
	if want := "a=1; Path=/; HttpOnly|b=2; Expires=Wed, 09 Jun 2032 10:18:14 GMT|a=3; Path=/sub"; strings.Join(cookies, "|") != want {
		t.Errorf("cookies %q", cookies)
	}
	for _, want := range []string{"\r\nDate: " + date, "\r\nServer: Old/1.0", "\r\nX-Latin: caf\xe9", "\r\nX-Empty: ", "\r\nVary: A\r\nVary: B", "\r\nContent-Length: 2"} {
		if strings.Count(head+"\r\n", want+"\r\n") != 1 && !strings.HasPrefix(want, "\r\nVary") || !strings.Contains(head, want) {
			t.Errorf("not once %q in\n%s", want, head)
		}
	}
	for _, no := range []string{"X-Hop", "Keep-Alive", "Content-Type", "Via:", "Transfer-Encoding"} {
		if strings.Contains(head, no) {
			t.Errorf("%s in\n%s", no, head)
		}
	}
	if n := strings.Count(head, "\r\nDate:"); n != 1 || body != "ok" {
		t.Errorf("%d Date fields, body %q", n, body)
	}
	// RFC 9110 section 6.6.1: a recipient with a clock dates what came without a date.
	if res := g.get("/undated"); len(res.Header["Date"]) != 1 {
		t.Errorf("Date %q", res.Header["Date"])
	}
}

// A long poll holds a request open until there is news, while others pass.
func TestLongPolling(t *testing.T) {
	news := make(chan string)
	g := newGuardedRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/poll" {
			select {
			case n := <-news:
				io.WriteString(w, n)
			case <-r.Context().Done():
			}
			return
		}
		io.WriteString(w, "now")
	}))
	const polls = 20
	answers := make(chan string, polls)
	for range polls {
		go func() {
			res, err := plainClient.Get(g.front.URL + "/poll")
			if err != nil {
				answers <- err.Error()
				return
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			answers <- string(body)
		}()
	}
	for i := range polls {
		if res := g.get("/other"); res.body != "now" {
			t.Fatalf("%d %q", res.StatusCode, res.body)
		}
		news <- fmt.Sprint("news ", i)
		select {
		case got := <-answers:
			if !strings.HasPrefix(got, "news ") {
				t.Error(got)
			}
		case <-time.After(patience):
			t.Fatal("a poll was not answered")
		}
	}
}
