package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"zchatproxy/proxy"
)

// hastySite answers as soon as it has a request's head, and never reads a body.
func hastySite(t *testing.T) (address string) {
	t.Helper()
	return bareSite(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		if _, err := textproto.NewReader(in).ReadMIMEHeader(); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
		io.Copy(io.Discard, in)
	})
}

// TestBodyNeverBecomesARequest: when the site answers before the body has come, what is left of it must not be read as
// the next request. Over a gateway's connection it would be one that a trusted peer sends, in whosever name it likes.
func TestBodyNeverBecomesARequest(t *testing.T) {
	smuggled := "GET /__zchat/jwt HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-User: u-1\r\nX-Forwarded-Email: ann@example.com\r\n\r\n"
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for _, address := range []string{hastySite(t), "http://" + dead.Addr().String()} {
		g := newGuardedRig(t, http.NotFoundHandler(), site(func(s *proxy.Site) { s.Upstream = address }))
		for _, request := range []struct{ framing, begun, rest string }{
			{"Transfer-Encoding: chunked", "400\r\nbegun", smuggled},
			{"Transfer-Encoding: chunked", "5\r\nbegun", smuggled},
			{"Transfer-Encoding: chunked", "5\r\nbegun\r\n", smuggled},
			{"Transfer-Encoding: chunked", "", smuggled},
			{"Transfer-Encoding: chunked", "", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)},
			{fmt.Sprintf("Content-Length: %d", len(smuggled)), "", smuggled},
			{fmt.Sprintf("Content-Length: %d", len(smuggled)+5), "begun", smuggled},
			{fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d", len(smuggled)), "", smuggled},
		} {
			conn := g.dial()
			in := bufio.NewReader(conn)
			io.WriteString(conn, "POST /upload HTTP/1.1\r\nHost: shop.example\r\n"+request.framing+"\r\n\r\n"+request.begun)
			res, err := http.ReadResponse(in, nil)
			if err == nil && res.StatusCode == 100 {
				res, err = http.ReadResponse(in, nil)
			}
			if err != nil {
				t.Fatalf("%+v: %v", request, err)
			}
			if body, err := io.ReadAll(res.Body); err != nil || !res.Close {
				t.Errorf("%+v: %s %q %v, with Connection: close %v", request, res.Status, body, err, res.Close)
			}
			io.WriteString(conn, request.rest)
			if more, _ := io.ReadAll(in); len(more) > 0 {
				t.Errorf("%+v: the body was answered as a request of its own:\n%s", request, more)
			}
			conn.Close()
		}
		if lines := g.log.String(); strings.Contains(lines, "panic") {
			t.Error(lines)
		}
	}
}

// TestSwitchAmidABodyIsNoPanic: a connection that was switched to another protocol is not net/http's any more.
func TestSwitchAmidABodyIsNoPanic(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	}))
	var errors lockedBuffer
	returned := make(chan struct{}, 1)
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { returned <- struct{}{} }()
		g.handler.ServeHTTP(w, r)
	}))
	front.Config.ErrorLog = log.New(&errors, "", 0)
	front.Start()
	t.Cleanup(front.Close)
	g.front.URL = front.URL
	for _, framing := range []string{"Transfer-Encoding: chunked\r\n\r\n400\r\nab", "Content-Length: 400\r\n\r\nab", "Content-Length: 2\r\n\r\nab"} {
		conn := g.dial()
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+framing)
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 101 {
			t.Errorf("%q: %v %v", framing, res, err)
		}
		conn.Close()
		<-returned
	}
	front.Close() // waits for what is still logged
	if errors.String() != "" {
		t.Error(errors.String())
	}
}

// TestWholeBodyKeepsTheConnection: an answer after the end of the body does not cost the connection.
func TestWholeBodyKeepsTheConnection(t *testing.T) {
	g := newGuardedRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	conn := g.dial()
	in := bufio.NewReader(conn)
	for _, body := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
		for range 3 {
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: shop.example\r\n"+body)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); string(got) != "abc" || err != nil || res.Close {
				t.Errorf("%q %v, with Connection: close %v", got, err, res.Close)
			}
		}
	}
}

// TestAbortedUploadKeepsHTTP2 has a visitor give up one upload after another: what else goes on over the connection must not suffer.
func TestAbortedUploadKeepsHTTP2(t *testing.T) {
	arrived := make(chan struct{})
	g, client := newServedRig(t, protocols{2, 1}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			r.Body.Read(make([]byte, 1))
			arrived <- struct{}{}
		}
		io.Copy(io.Discard, r.Body)
	}))
	var first net.Conn
	for i := range 10 {
		body, upload := io.Pipe()
		aborted, abort := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := client.Do(g.request("POST", "/upload", body).WithContext(aborted)); err == nil {
				res.Body.Close()
				t.Error("an answer to an upload that was given up")
			}
		}()
		io.WriteString(upload, "x")
		<-arrived
		abort()
		<-done
		eventually(t, "the upload's end", func() bool { return strings.Count(g.log.String(), "path=/upload") == i+1 })
		var conn net.Conn
		trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn }})
		res, err := client.Do(g.request("GET", "/", nil).WithContext(trace))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if first == nil {
			first = conn
		} else if conn != first {
			t.Fatalf("another connection after %d uploads", i)
		}
	}
}

// TestEarlyAnswerKeepsHTTP2: over HTTP/2 an answer before the end of the body costs its stream, not the connection.
func TestEarlyAnswerKeepsHTTP2(t *testing.T) {
	g, client := newServedRig(t, protocols{2, 1}, http.NotFoundHandler(), site(func(s *proxy.Site) { s.Upstream = hastySite(t) }))
	var first net.Conn
	for i := range 5 {
		body, upload := io.Pipe()
		var reused bool
		var conn net.Conn
		trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { conn, reused = info.Conn, info.Reused }})
		res, err := client.Do(g.request("POST", "/upload", body).WithContext(trace))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 404 || string(text) != "no" {
			t.Errorf("%s %q %v", res.Status, text, err)
		}
		res.Body.Close()
		upload.Close()
		if i == 0 {
			first = conn
		} else if conn != first || !reused {
			t.Error("the connection was not used again")
		}
	}
}
