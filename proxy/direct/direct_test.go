package direct

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// upstream plays back what a test says, request by request, and counts the connections.
type upstream struct {
	t     *testing.T
	url   string
	conns atomic.Int32
	open  sync.Map
}

// play starts an upstream. For each request the function gets the connection to answer on; it returns false to close it.
func play(t *testing.T, answer func(r *http.Request, c net.Conn) (more bool)) *upstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{t: t, url: "http://" + ln.Addr().String()}
	t.Cleanup(func() {
		ln.Close()
		u.closeAll()
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			u.conns.Add(1)
			u.open.Store(c, nil)
			go func() {
				defer c.Close()
				for br := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(br)
					if err != nil || !answer(r, c) {
						return
					}
				}
			}()
		}
	}()
	return u
}

func (u *upstream) closeAll() {
	u.open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
}

// says is an answer that leaves the connection open.
func says(text string) func(*http.Request, net.Conn) bool {
	return func(_ *http.Request, c net.Conn) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func newTransport(t *testing.T) *Transport {
	t.Helper()
	before := runtime.NumGoroutine()
	tr := &Transport{Other: &http.Transport{
		DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		ResponseHeaderTimeout: patience, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
	}}
	t.Cleanup(func() {
		tr.Retire()
		for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before+1; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
				return
			}
		}
	})
	return tr
}

func request(t *testing.T, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// get sends a request and reads the answer.
func get(t *testing.T, tr *Transport, url string) (body string) {
	t.Helper()
	res, err := tr.RoundTrip(request(t, "GET", url))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// idle is how many connections are kept.
func idle(tr *Transport) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.idle)
}

// Everything that an answer may be ends with the connection kept or closed as it should be.
func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		status       int
		body         string
		kept         bool
	}{
		{"length", ok, 200, "ok", true},
		{"length of nothing", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", true},
		{"chunked with trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", 200, "ok", true},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, "", true},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		{"1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
		{"too much", ok + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", 200, "ok", false},
		{"a body where none may be", "HTTP/1.1 204 No Content\r\n\r\npoison", 204, "", false},
		{"informational", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok, 200, "ok", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr, u := newTransport(t), play(t, says(tc.answer))
			res, err := tr.RoundTrip(request(t, "GET", u.url+"/a?b"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tc.status || string(b) != tc.body {
				t.Errorf("%d %q %v", res.StatusCode, b, err)
			}
			if n, err := res.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("behind the end: %d, %v", n, err)
			}
			res.Body.Close()
			if kept := idle(tr) == 1; kept != tc.kept {
				t.Errorf("kept: %v", kept)
			}
			if tc.name == "chunked with trailers" && res.Trailer.Get("X") != "y" {
				t.Errorf("trailers %v", res.Trailer)
			}
		})
	}
}

// What is no answer is an error, and never the end of a body that looks whole.
func TestBadAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":              "",
		"no HTTP":              "SSH-2.0-x\r\n",
		"half a header":        "HTTP/1.1 200 OK\r\nContent-Ty",
		"two lengths":          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
		"unknown coding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
		"status 99":            "HTTP/1.1 099 Odd\r\n\r\n",
		"switch":               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"endless informations": strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50) + ok,
		"large header":         "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n",
		"cut body":             "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
		"cut chunk":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
		"no last chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
		"no chunk size":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t)
			u := play(t, func(_ *http.Request, c net.Conn) bool {
				io.WriteString(c, answer)
				return false
			})
			res, err := tr.RoundTrip(request(t, "GET", u.url))
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			if err == nil || err == io.EOF {
				t.Errorf("it passes for an answer: %v", err)
			}
			if n := idle(tr); n != 0 {
				t.Errorf("%d connections kept", n)
			}
			if n := u.conns.Load(); n != 1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

// The header comes through as http.ReadResponse reads it, the request as the standard transport writes it.
func TestSameAsStandard(t *testing.T) {
	var seen []string
	u := play(t, func(r *http.Request, c net.Conn) bool {
		var b strings.Builder
		r.Header.Write(&b)
		seen = append(seen, r.Method+" "+r.RequestURI+" "+r.Host+"\n"+b.String())
		return says("HTTP/1.1 200 Fine\r\nX-A: 1\r\nX-A: 2\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok")(r, c)
	})
	tr := newTransport(t)
	for _, rt := range []http.RoundTripper{tr, tr.Other} {
		r := request(t, "GET", u.url+"/p%2Fq?x=%zz;y")
		r.Host = "shop.example:8080"
		r.Header = http.Header{"B": {"1", "2"}, "A": {"\xe9"}, "User-Agent": {""}, "Content-Length": {"0"}, "X-Latin": {"caf\xe9"}}
		res, err := rt.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.Status != "200 Fine" || len(res.Header["X-A"]) != 2 || res.ContentLength != 2 || res.Request != r {
			t.Errorf("%+v", res)
		}
	}
	if len(seen) != 2 || seen[0] != seen[1] {
		t.Errorf("%q", seen)
	}
}

// Names go to the dialer as the standard transport has them.
func TestDialedNames(t *testing.T) {
	for _, url := range []string{"http://site.example/", "http://site.example:8080/", "http://b\u00fccher.example/", "http://b\u00fccher.example:8080/", "http://[::1]/", "http://127.0.0.1:1/"} {
		var dialed []string
		tr := newTransport(t)
		tr.Other.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			dialed = append(dialed, network+" "+addr)
			return nil, errors.New("nobody there")
		}
		for _, rt := range []http.RoundTripper{tr, tr.Other} {
			if _, err := rt.RoundTrip(request(t, "GET", url)); err == nil {
				t.Error("an answer from nobody")
			}
		}
		if len(dialed) != 2 || dialed[0] != dialed[1] {
			t.Errorf("%s: dialed %q", url, dialed)
		}
	}
}

// One connection serves one request after the other.
func TestReuse(t *testing.T) {
	tr, u := newTransport(t), play(t, says(ok))
	for range 20 {
		if body := get(t, tr, u.url); body != "ok" {
			t.Fatal(body)
		}
	}
	if n := u.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A connection that the upstream has closed meanwhile costs nothing, whether that shows before the request or only behind it.
func TestStale(t *testing.T) {
	tr, u := newTransport(t), play(t, says(ok))
	get(t, tr, u.url)
	u.closeAll()
	wait(t, func() bool { return !tr.idle[0].probe.quiet() })
	if body := get(t, tr, u.url); body != "ok" {
		t.Error(body)
	}

	var n atomic.Int32
	tr = newTransport(t)
	u = play(t, func(r *http.Request, c net.Conn) bool {
		if n.Add(1) == 2 {
			return false // closes with the request read and nothing said
		}
		return says(ok)(r, c)
	})
	for range 3 {
		if body := get(t, tr, u.url); body != "ok" {
			t.Error(body)
		}
	}
	if n.Load() != 4 || u.conns.Load() != 2 {
		t.Errorf("%d requests on %d connections", n.Load(), u.conns.Load())
	}
}

// Once anything of an answer has come, or on a new connection, there is no second try.
func TestNoSecondTry(t *testing.T) {
	var n atomic.Int32
	u := play(t, func(r *http.Request, c net.Conn) bool {
		if n.Add(1) == 2 {
			io.WriteString(c, "HTTP/1.1 2")
			return false
		}
		return says(ok)(r, c)
	})
	tr := newTransport(t)
	get(t, tr, u.url)
	if _, err := tr.RoundTrip(request(t, "GET", u.url)); err == nil {
		t.Error("half a status line is an answer")
	}
	if n.Load() != 2 {
		t.Errorf("%d requests", n.Load())
	}
}

// What comes on an idle connection unasked is nobody's answer.
func TestUnasked(t *testing.T) {
	poisoned := make(chan struct{})
	var n atomic.Int32
	u := play(t, func(r *http.Request, c net.Conn) bool {
		if n.Add(1) == 1 {
			io.WriteString(c, ok)
			go func() {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
				close(poisoned)
			}()
			return true
		}
		return says(ok)(r, c)
	})
	tr := newTransport(t)
	get(t, tr, u.url)
	<-poisoned
	for range 3 {
		if body := get(t, tr, u.url); body != "ok" {
			t.Fatal(body)
		}
	}
}

// What is left of an answer that was longer than it said, and comes when the next request is on its way, is nobody's
// answer either.
func TestLeftOver(t *testing.T) {
	var n atomic.Int32
	u := play(t, func(r *http.Request, c net.Conn) bool {
		if n.Add(1) == 2 {
			io.WriteString(c, "\n")
		}
		return says(ok)(r, c)
	})
	tr := newTransport(t)
	for range 3 {
		if body := get(t, tr, u.url); body != "ok" {
			t.Error(body)
		}
	}
	if n.Load() != 4 || u.conns.Load() != 2 {
		t.Errorf("%d requests on %d connections", n.Load(), u.conns.Load())
	}
}

func wait(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("in vain waited")
		}
	}
}

// A request that is given up ends at once, before the header and within the body, and takes its connection with it.
func TestCancel(t *testing.T) {
	for _, first := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"} {
		arrived := make(chan struct{})
		u := play(t, func(r *http.Request, c net.Conn) bool {
			io.WriteString(c, first)
			close(arrived)
			_, err := c.Read(make([]byte, 1)) // until the client closes
			return err == nil
		})
		tr := newTransport(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		res, err := tr.RoundTrip(request(t, "GET", u.url).WithContext(ctx))
		if err == nil {
			_, err = io.ReadAll(res.Body)
			if first == "" {
				t.Error("an answer before anything was said")
			}
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%q: %v", first, err)
		}
		if n := idle(tr); n != 0 {
			t.Errorf("%d connections kept", n)
		}
		if _, err := tr.RoundTrip(request(t, "GET", u.url).WithContext(ctx)); !errors.Is(err, context.Canceled) {
			t.Errorf("a request that was given up before: %v", err)
		}
	}
}

// Closing a body early gives the connection up, also while it is read.
func TestCloseBody(t *testing.T) {
	u := play(t, says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"))
	tr := newTransport(t)
	res, err := tr.RoundTrip(request(t, "GET", u.url))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(res.Body, make([]byte, 2))
	ended := make(chan error)
	go func() {
		_, err := res.Body.Read(make([]byte, 1))
		ended <- err
	}()
	res.Body.Close()
	if err := <-ended; err == nil || err == io.EOF {
		t.Errorf("a closed body ends with %v", err)
	}
	if _, err := res.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Error(err)
	}
	if n := idle(tr); n != 0 {
		t.Errorf("%d connections kept", n)
	}
}

// An upstream that says nothing is too slow; one that has begun to answer may take its time.
func TestHeaderTimeout(t *testing.T) {
	end := make(chan struct{})
	u := play(t, func(r *http.Request, c net.Conn) bool {
		if r.URL.Path == "/silent" {
			<-end
			return false
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
		select {
		case <-end:
		case <-time.After(150 * time.Millisecond):
		}
		io.WriteString(c, "ok")
		return true
	})
	defer close(end)
	tr := newTransport(t)
	tr.Other.ResponseHeaderTimeout = 30 * time.Millisecond
	var timeout net.Error
	if _, err := tr.RoundTrip(request(t, "GET", u.url+"/silent")); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
	if body := get(t, tr, u.url); body != "ok" {
		t.Error(body)
	}
}

// Informational responses reach the trace in order, each with its own header.
func TestInformational(t *testing.T) {
	u := play(t, says("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 20)+ok))
	var got []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		got = append(got, fmt.Sprint(code, h["Link"]))
		return nil
	}})
	tr := newTransport(t)
	res, err := tr.RoundTrip(request(t, "GET", u.url).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if len(got) != 21 || got[0] != "103 [</a>]" || got[1] != "102 []" {
		t.Errorf("%q", got)
	}
}

// What is more than a question and an answer takes the standard way.
func TestOthersTakeTheStandardWay(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	defer srv.Close()
	tr := newTransport(t)
	post := request(t, "POST", srv.URL)
	post.Body, post.ContentLength = io.NopCloser(strings.NewReader("hello")), 5
	upgrade := request(t, "GET", srv.URL)
	upgrade.Header.Set("Upgrade", "websocket")
	expect := request(t, "GET", srv.URL)
	expect.Header.Set("Expect", "100-continue")
	for _, r := range []*http.Request{post, request(t, "HEAD", srv.URL), request(t, "DELETE", srv.URL), upgrade, expect} {
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if r == post && string(b) != "hello" {
			t.Errorf("%q", b)
		}
	}
	if n := idle(tr); n != 0 {
		t.Errorf("%d connections of our own", n)
	}
}

// Connections that nobody uses are closed after a while, and all at once when that is asked for.
func TestIdle(t *testing.T) {
	tr, u := newTransport(t), play(t, says(ok))
	tr.Other.IdleConnTimeout = 50 * time.Millisecond
	get(t, tr, u.url)
	wait(t, func() bool { return idle(tr) == 0 })

	tr.Other.IdleConnTimeout = time.Minute
	get(t, tr, u.url)
	u.closeAll()
	wait(t, func() bool { return idle(tr) == 0 })

	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			<-start
			for range 50 {
				if body := get(t, tr, u.url); body != "ok" {
					t.Error(body)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	if n := idle(tr); n > 4 {
		t.Errorf("%d connections kept, 4 allowed", n)
	}
	// What is under way goes on, and keeps nothing open behind it; nor does a request that comes late.
	res, err := tr.RoundTrip(request(t, "GET", u.url))
	if err != nil {
		t.Fatal(err)
	}
	tr.Retire()
	if body, err := io.ReadAll(res.Body); string(body) != "ok" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	res.Body.Close()
	get(t, tr, u.url)
	if n := idle(tr); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

// TestManyAtOnce mixes everything that can happen to a connection, and every answer must be that of its own request.
func TestManyAtOnce(t *testing.T) {
	var n atomic.Int32
	u := play(t, func(r *http.Request, c net.Conn) bool {
		body := r.URL.Path
		switch n.Add(1) % 7 {
		case 0:
			return false
		case 1:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
			return false
		case 2:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
			return true
		case 3:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", len(body), body)
			return true
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return true
	})
	tr := newTransport(t)
	var wg sync.WaitGroup
	var failed atomic.Int32
	for i := range 8 {
		wg.Go(func() {
			for k := range 200 {
				path := fmt.Sprintf("/%d/%d", i, k)
				ctx, cancel := context.WithCancel(t.Context())
				res, err := tr.RoundTrip(request(t, "GET", u.url+path).WithContext(ctx))
				if err != nil {
					failed.Add(1) // a new connection that was closed at once
					cancel()
					continue
				}
				if k%11 == 0 {
					cancel()
				}
				if b, err := io.ReadAll(res.Body); err == nil && string(b) != path {
					t.Errorf("asked for %s, got %q", path, b)
				}
				res.Body.Close()
				cancel()
			}
		})
	}
	wg.Wait()
	if f := failed.Load(); f > 8*200/4 {
		t.Errorf("%d requests failed", f)
	}
}
