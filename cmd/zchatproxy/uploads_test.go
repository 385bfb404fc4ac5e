package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawSite is an upstream that says what it likes on each connection.
type rawSite struct {
	url   string
	mu    sync.Mutex
	serve func(conn net.Conn, in *bufio.Reader, head *http.Request)
	heads []string // of the requests that came, as "METHOD /path"
}

func startRawSite(t *testing.T) *rawSite {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	s := &rawSite{url: "http://" + ln.Addr().String()}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go s.talk(conn)
		}
	}()
	return s
}

func (s *rawSite) talk(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	head, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	s.mu.Lock()
	serve := s.serve
	s.heads = append(s.heads, head.Method+" "+head.URL.Path)
	s.mu.Unlock()
	serve(conn, in, head)
}

// will sets what the site does from now on.
func (s *rawSite) will(serve func(conn net.Conn, in *bufio.Reader, head *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve, s.heads = serve, nil
}

// seen returns the requests that came since will.
func (s *rawSite) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.heads, ", ")
}

// visitor is one connection to the program, byte by byte.
type visitor struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (p *process) visit(t *testing.T) *visitor {
	t.Helper()
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(p.url, "https:") {
		conn = tls.Client(conn, insecure())
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * patience))
	return &visitor{conn, t, bufio.NewReader(conn)}
}

func (v *visitor) send(format string, args ...any) {
	v.t.Helper()
	if _, err := fmt.Fprintf(v, format, args...); err != nil {
		v.t.Fatal(err)
	}
}

// end sends the end of the stream, and goes on reading.
func (v *visitor) end() {
	v.t.Helper()
	if err := v.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		v.t.Fatal(err)
	}
}

// answer reads one answer, informational or not, and returns it as "STATUS body".
func (v *visitor) answer() string {
	v.t.Helper()
	res, err := http.ReadResponse(v.in, nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Sprint(res.StatusCode, " ", string(body), ", and then ", err)
	}
	return strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", string(body)))
}

// wants reads answers, and the end of the connection where the last of them is "end".
func (v *visitor) wants(answers ...string) {
	v.t.Helper()
	for _, want := range answers {
		if want == "end" {
			if rest, err := io.ReadAll(v.in); len(rest) > 0 || err != nil {
				v.t.Errorf("instead of the end: %q, %v", rest, err)
			}
			return
		}
		if got := v.answer(); got != want && !(strings.HasSuffix(want, "…") && strings.HasPrefix(got, strings.TrimSuffix(want, "…"))) {
			v.t.Errorf("answer %q, want %q", got, want)
			return
		}
	}
}

// Uploads that go wrong in every way, over plain connections and within TLS, and what is left behind of them: nothing.
func TestUploads(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	for name, env := range map[string][]string{"plain": nil, "TLS": {"ZCHAT_TLS_CERT_FILE=" + cert, "ZCHAT_TLS_KEY_FILE=" + key}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := startRawSite(t)
			// The timeouts are there to be in the way of what may take its time.
			p := startMetered(t, append(env, "ZCHAT_UPSTREAM="+site.url, "ZCHAT_SECRET="+goodSecret,
				"ZCHAT_READ_HEADER_TIMEOUT=1s", "ZCHAT_IDLE_TIMEOUT=1s", "ZCHAT_UPSTREAM_TIMEOUT=2s")...)
			before := p.usage()
			for _, tt := range uploads {
				t.Run(tt.name, func(t *testing.T) { tt.test(t, site, p) })
			}
			p.returned(t, before, before)
		})
	}
}

// echo answers with the body, once all of it has come.
func echo(conn net.Conn, _ *bufio.Reader, head *http.Request) {
	body, err := io.ReadAll(head.Body)
	if err != nil {
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// lingering says something at once and reads on until the visitor has had enough, as large servers do.
func lingering(answer string) func(conn net.Conn, in *bufio.Reader, _ *http.Request) {
	return func(conn net.Conn, in *bufio.Reader, _ *http.Request) {
		io.WriteString(conn, answer)
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, in)
	}
}

const tooLarge = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"

// framings are the two ways to send "hello" as a body; %s is for further fields.
var framings = []string{
	"POST /up HTTP/1.1\r\nHost: x\r\n%sContent-Length: 5\r\n\r\nhello",
	"POST /up HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}

var uploads = []struct {
	name string
	test func(t *testing.T, site *rawSite, p *process)
}{
	{"slow", func(t *testing.T, site *rawSite, p *process) {
		site.will(echo)
		v := p.visit(t)
		v.send("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		pace := time.NewTicker(1300 * time.Millisecond) // more than the timeouts
		defer pace.Stop()
		for i := range 10 {
			if i%8 == 0 {
				<-pace.C
			}
			v.send("%d", i)
		}
		v.wants("200 0123456789")
	}},
	{"in pieces of one byte", func(t *testing.T, site *rawSite, p *process) {
		for _, framing := range framings {
			site.will(echo)
			v := p.visit(t)
			for _, b := range fmt.Appendf(nil, framing, "") {
				v.Write([]byte{b})
			}
			v.wants("200 hello")
		}
	}},
	{"abandoned", func(t *testing.T, site *rawSite, p *process) {
		for _, part := range [][2]string{{"Content-Length: 5\r\n\r\nhe", "l"}, {"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "3\r\nl"}, {"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "0\r\n"}} {
			for _, leave := range []func(v *visitor){func(v *visitor) { v.Close() }, (*visitor).end} {
				began, ended := make(chan struct{}), make(chan error, 1)
				site.will(func(conn net.Conn, in *bufio.Reader, head *http.Request) {
					io.ReadFull(head.Body, make([]byte, 2))
					close(began)
					_, err := io.Copy(io.Discard, head.Body)
					ended <- err
				})
				v := p.visit(t)
				v.send("POST /up HTTP/1.1\r\nHost: x\r\n%s", part[0])
				<-began
				v.send("%s", part[1])
				leave(v)
				if err := <-ended; err == nil {
					t.Errorf("%q: the upload looks complete to the site", part)
				}
				if answer := v.answer(); strings.HasPrefix(answer, "2") {
					t.Errorf("%q: the visitor got %q", part, answer)
				}
			}
		}
	}},
	{"answered before its end", func(t *testing.T, site *rawSite, p *process) {
		site.will(lingering(tooLarge))
		v := p.visit(t)
		v.send("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
		// This visitor reads only when all has been sent.
		if n, err := io.WriteString(v, strings.Repeat("x", 8_000_000)); err != nil {
			t.Errorf("cut off after %d bytes: %v", n, err)
		}
		v.wants("413 big", "end")
	}},
	{"answered while it goes on", func(t *testing.T, site *rawSite, p *process) {
		site.will(func(conn net.Conn, in *bufio.Reader, head *http.Request) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n->\r\n")
			for buf := make([]byte, 100); ; {
				n, err := head.Body.Read(buf)
				if n > 0 {
					fmt.Fprintf(conn, "%x\r\n%s\r\n", n, buf[:n])
				}
				if err == io.EOF {
					io.WriteString(conn, "0\r\n\r\n")
				}
				if err != nil {
					return
				}
			}
		})
		v := p.visit(t)
		v.send("POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		res, err := http.ReadResponse(v.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(res.Body, make([]byte, 2))
		for i := range 10 { // what is said is heard before more is said
			v.send("1\r\n%d\r\n", i)
			got := make([]byte, 1)
			if _, err := io.ReadFull(res.Body, got); err != nil || got[0] != byte('0'+i) {
				t.Fatalf("after %d: %q, %v", i, got, err)
			}
		}
		v.send("0\r\n\r\n")
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("at the end %q, %v", rest, err)
		}
	}},
	{"to a site that gives up", func(t *testing.T, site *rawSite, p *process) {
		site.will(func(conn net.Conn, in *bufio.Reader, head *http.Request) {
			io.ReadFull(head.Body, make([]byte, 2))
		})
		for _, framing := range framings {
			v := p.visit(t)
			v.send(framing, "")
			v.wants("502 …")
		}
	}},
	{"expectation met", func(t *testing.T, site *rawSite, p *process) {
		for i := range 100 { // there is more than one who could say 100, and one of them has to
			site.will(func(conn net.Conn, in *bufio.Reader, head *http.Request) {
				io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
				echo(conn, in, head)
			})
			v := p.visit(t)
			request := fmt.Sprintf(framings[i%len(framings)], "Expect: 100-continue\r\n")
			body := strings.Index(request, "\r\n\r\n") + 4
			v.send("%s", request[:body])
			v.wants("100")
			v.send("%s", request[body:])
			v.wants("200 hello")
			v.Close()
		}
	}},
	{"expectation refused", func(t *testing.T, site *rawSite, p *process) {
		for _, status := range []string{"417 Expectation Failed", "401 Unauthorized", "302 Found"} {
			for _, framing := range framings {
				site.will(lingering("HTTP/1.1 " + status + "\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"))
				v := p.visit(t)
				request := fmt.Sprintf(framing, "Expect: 100-continue\r\n")
				v.send("%s", request[:strings.Index(request, "\r\n\r\n")+4])
				v.wants(status[:3] + " no")
				// What comes now might be the body and might be a request, so it is neither.
				v.Write([]byte("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"))
				v.wants("end")
				if got := site.seen(); got != "POST /up" {
					t.Errorf("%s: the site got %s", status, got)
				}
			}
		}
	}},
	{"expectation refused, body sent nevertheless", func(t *testing.T, site *rawSite, p *process) {
		for _, framing := range framings {
			site.will(lingering(tooLarge))
			v := p.visit(t)
			v.send(framing, "Expect: 100-continue\r\n")
			v.wants("413 big", "end")
		}
	}},
	{"expectation ignored", func(t *testing.T, site *rawSite, p *process) {
		for _, framing := range framings {
			site.will(echo) // which waits for a body that nobody has asked for
			v := p.visit(t)
			v.send(framing, "Expect: 100-continue\r\n")
			v.wants("100", "200 hello")
		}
	}},
	{"expectation unknown", func(t *testing.T, site *rawSite, p *process) {
		site.will(echo)
		v := p.visit(t)
		v.send(framings[0], "Expect: miracles\r\n")
		v.wants("417…")
		if got := site.seen(); got != "" {
			t.Errorf("the site got %s", got)
		}
	}},
	{"HTTP/1.0", func(t *testing.T, site *rawSite, p *process) {
		site.will(echo)
		v := p.visit(t)
		v.send("POST /up HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
		v.wants("200 hello", "end")
		v = p.visit(t)
		v.send("POST /up HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello")
		v.wants("200 hello")
		v.send("POST /up HTTP/1.0\r\nContent-Length: 1\r\n\r\n!")
		v.wants("200 !", "end")
		v = p.visit(t)
		v.send("POST /up HTTP/1.0\r\n\r\nhello") // without a length there is no body
		v.wants("200", "end")
	}},
	{"pipelined", func(t *testing.T, site *rawSite, p *process) {
		site.will(func(conn net.Conn, in *bufio.Reader, head *http.Request) {
			body, _ := io.ReadAll(head.Body)
			text := head.Method + head.URL.Path + string(body)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
		})
		v := p.visit(t)
		v.send("%s", "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"+fmt.Sprintf(framings[0], "")+"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"+fmt.Sprintf(framings[1], "")+
			"GET /__zchat/jwt HTTP/1.1\r\nHost: x\r\n\r\n"+"GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n")
		v.wants("200 GET/1", "200 POST/uphello", "200 GET/2", "200 POST/uphello", "401 …", "200 GET/3", "end")
		if got := site.seen(); got != "GET /1, POST /up, GET /2, POST /up, GET /3" {
			t.Errorf("the site got %s", got)
		}
	}},
	{"malformed", func(t *testing.T, site *rawSite, p *process) {
		site.will(echo)
		for _, body := range []string{"5\nhello\r\n0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"} {
			v := p.visit(t)
			v.send("POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s", body)
			v.wants("400 …", "end")
		}
	}},
}
