//go:build unix && !race

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// visitors open connections from many loopback addresses: one address has too few ports for all of them.
type visitors struct {
	t     *testing.T
	addr  string
	lines lineKind
	open  []net.Conn
}

func (p *process) visitors() *visitors {
	v := &visitors{t: p.t, addr: p.url[strings.Index(p.url, "://")+len("://"):]}
	p.t.Cleanup(v.leave)
	return v
}

func (v *visitors) dial() net.Conn {
	v.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+len(v.open)%200))}, Timeout: patience}
	if v.lines == slowLines {
		d.Control = narrow
	}
	conn, err := d.Dial("tcp", v.addr)
	if err != nil {
		v.t.Fatalf("connection %d: %v", len(v.open), err)
	}
	v.open = append(v.open, conn)
	return conn
}

// dialTLS speaks HTTP/1.1 within TLS.
func (v *visitors) dialTLS() net.Conn {
	v.t.Helper()
	conn := tls.Client(v.dial(), &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		v.t.Fatal(err)
	}
	return conn
}

// ask sends a request and reads the whole answer.
func (v *visitors) ask(conn net.Conn, path string) {
	v.t.Helper()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		v.t.Fatalf("connection %d: %v, %v", len(v.open), res, err)
	}
}

func (v *visitors) leave() {
	for _, conn := range v.open {
		conn.Close()
	}
	v.open = nil
}

// lineKind is what connections are made over.
type lineKind bool

const (
	loopback  lineKind = false // as it is: the kernel takes megabytes, so that a page has gone before anybody reads it
	slowLines lineKind = true  // with the segments and buffers of a slow line
)

func narrow(_, _ string, socket syscall.RawConn) error {
	return socket.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 16<<10)
	})
}

// crowdedSite is an upstream that counts who is waiting in it.
type crowdedSite struct {
	*httptest.Server
	inside atomic.Int64
}

func startCrowdedSite(t *testing.T, lines lineKind, packed map[string][]byte) *crowdedSite {
	t.Helper()
	s := &crowdedSite{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, testPage)
			return
		}
		s.inside.Add(1)
		defer s.inside.Add(-1)
		switch r.URL.Path {
		case "/download":
			w.Header().Set("Content-Type", "application/octet-stream")
			writeForever(w, make([]byte, 8<<10))
		case "/packed":
			coding := r.Header.Get("Accept-Encoding")
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Encoding", coding)
			w.Write(packed[coding])
		case "/endless":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, testPage)
			writeForever(w, []byte(strings.Repeat("<p>and on</p>\n", 1000)))
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: hello\n\n")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/socket":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(conn, rw)
		}
	}))
	if lines == slowLines {
		socket, err := s.Listener.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := narrow("", "", socket); err != nil {
			t.Fatal(err)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func writeForever(w io.Writer, piece []byte) {
	for {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

func (s *crowdedSite) wait(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d requests in the site", n), func() bool { return s.inside.Load() == int64(n) })
}

// each is what one of n costs, and says so.
func each(t *testing.T, what string, n int, before, after usage) (memory int64) {
	t.Helper()
	kib := func(bytes int64) string { return fmt.Sprintf("%.1f KiB", float64(bytes)/float64(n)/1024) }
	t.Logf("%d %s: each %s, of which heap %s and stacks %s; resident %s, goroutines %.1f", n, what, kib(after.memory()-before.memory()),
		kib(after.Heap-before.Heap), kib(after.Stack-before.Stack), kib(after.Resident-before.Resident), float64(after.Goroutines-before.Goroutines)/float64(n))
	return (after.memory() - before.memory()) / int64(n)
}

// asStated holds what one of n costs against what deploy/README.md tells operators.
func asStated(t *testing.T, what string, n int, before, after usage) {
	t.Helper()
	row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(what) + ` \| (\d+) KiB \|$`).FindStringSubmatch(contents(t, "deploy/README.md"))
	if row == nil {
		t.Fatalf("deploy/README.md does not say what %s take", what)
	}
	most, err := strconv.ParseInt(row[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if got := each(t, what, n, before, after); got > most<<10 {
		t.Errorf("one of the %s takes %d bytes, more than the %d KiB that deploy/README.md states", what, got, most)
	}
}

// Ten thousand connections that do nothing and a thousand downloads that hardly get on keep nobody else waiting.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	idle, slow := 500, 50
	if thorough() {
		idle, slow = 10_000, 1000
	}
	needDescriptors(t, uint64(idle+3*slow+500))
	site := startCrowdedSite(t, slowLines, nil)
	p := startMetered(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_IDLE_TIMEOUT=10m")
	get(t, p.url+"/")
	site.CloseClientConnections()
	http.DefaultClient.CloseIdleConnections()
	before := p.usage()

	v := p.visitors()
	for range idle {
		v.ask(v.dial(), "/")
	}
	waiting := p.usage()
	asStated(t, "idle connections", idle, before, waiting)
	v.lines = slowLines
	for range slow {
		io.WriteString(v.dial(), "GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	site.wait(t, slow)
	crowded := p.usage()
	asStated(t, "slow downloads", slow, waiting, crowded)
	for range 100 {
		if status, body := get(t, p.url+"/"); status != http.StatusOK || strings.Count(body, "data-zchatproxy") != 1 {
			t.Fatalf("%d %s", status, body)
		}
	}
	for _, conn := range v.open[:idle] {
		v.ask(conn, "/") // they are all still there
	}
	v.leave()
	site.wait(t, 0)
	site.CloseClientConnections()
	http.DefaultClient.CloseIdleConnections()
	p.returned(t, before, crowded)
}

// needDescriptors skips the test where this process, or one it starts, may not open n files. (Package os raises the
// limit as far as it may be.)
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if uint64(limit.Max) >= n {
		return
	}
	if thorough() {
		t.Fatalf("RLIMIT_NOFILE is %d, and ZCHATPROXY_TEST_ALL=1 wants all tests to run: raise it to %d", limit.Max, n)
	}
	t.Skipf("RLIMIT_NOFILE is %d; this test opens %d", limit.Max, n)
}

// What waits for a long time costs little, whatever it is.
func TestWaitingConnections(t *testing.T) {
	t.Parallel()
	n := 100
	if thorough() {
		n = 1000
	}
	site := startCrowdedSite(t, slowLines, nil)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	common := []string{"ZCHAT_UPSTREAM=" + site.URL, "ZCHAT_SECRET=" + goodSecret, "ZCHAT_IDLE_TIMEOUT=10m"}
	plain := startMetered(t, common...)
	secure := startMetered(t, append(common, "ZCHAT_TLS_CERT_FILE="+cert, "ZCHAT_TLS_KEY_FILE="+key)...)

	until := func(conn net.Conn, request, end string) {
		fmt.Fprintf(conn, "GET %s\r\nHost: x\r\n\r\n", request)
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == end {
				return
			}
		}
	}
	var transports []*http.Transport
	for _, tt := range []struct {
		what   string
		of     *process
		inside bool
		begin  func(v *visitors)
	}{
		{"event streams", plain, true, func(v *visitors) { until(v.dial(), "/events HTTP/1.1", "data: hello\n") }},
		{"WebSockets", plain, true, func(v *visitors) {
			until(v.dial(), "/socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket", "\r\n")
		}},
		{"idle connections with TLS", secure, false, func(v *visitors) { v.ask(v.dialTLS(), "/") }},
		{"WebSockets with TLS", secure, true, func(v *visitors) {
			until(v.dialTLS(), "/socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket", "\r\n")
		}},
		{"idle connections with HTTP/2", secure, false, func(v *visitors) {
			protocols := new(http.Protocols)
			protocols.SetHTTP2(true)
			tr := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			transports = append(transports, tr)
			res, err := (&http.Client{Transport: tr}).Get(secure.url + "/")
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}},
	} {
		v := tt.of.visitors()
		tt.begin(v)
		v.leave()
		for _, tr := range transports {
			tr.CloseIdleConnections()
		}
		site.wait(t, 0)
		site.CloseClientConnections()
		before := tt.of.usage()
		for range n {
			tt.begin(v)
		}
		if tt.inside {
			site.wait(t, n)
		}
		crowded := tt.of.usage()
		asStated(t, tt.what, n, before, crowded)
		v.leave()
		for _, tr := range transports {
			tr.CloseIdleConnections()
		}
		site.wait(t, 0)
		site.CloseClientConnections()
		tt.of.returned(t, before, crowded)
	}
}

// Pages on their way to visitors who read slowly, and one that never ends.
func TestSlowPages(t *testing.T) {
	t.Parallel()
	pages := largePages(t, 700<<10)
	for _, tt := range []struct {
		lines  lineKind
		coding string
		n      int
		most   int64 // of all of them
	}{
		{loopback, "gzip", 500, 20 << 20},
		{slowLines, "gzip", 500, 60 << 20},
		{slowLines, "identity", 100, 12 << 20},
		// What is coded again keeps a decoder and an encoder meanwhile, and the window that the upstream has chosen.
		{slowLines, "deflate", 20, 40 << 20},
		{slowLines, "br", 20, 160 << 20},
		{slowLines, "zstd", 20, 260 << 20},
	} {
		if tt.lines == loopback && runtime.GOOS != "linux" {
			continue // other kernels take less
		}
		if !thorough() {
			tt.n, tt.most = tt.n/5, tt.most/5
		}
		needDescriptors(t, uint64(4*tt.n))
		site := startCrowdedSite(t, tt.lines, pages)
		p := startMetered(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret)
		get(t, p.url+"/")
		site.CloseClientConnections()
		http.DefaultClient.CloseIdleConnections()
		before := p.usage()
		v := p.visitors()
		v.lines = tt.lines
		for range tt.n {
			v.dial()
		}
		for _, conn := range v.open {
			fmt.Fprintf(conn, "GET /packed HTTP/1.1\r\nHost: x\r\nAccept-Encoding: %s\r\n\r\n", tt.coding)
		}
		if tt.lines == slowLines {
			site.wait(t, tt.n)
		} else {
			for _, conn := range v.open {
				if _, err := io.ReadFull(conn, make([]byte, 16<<10)); err != nil {
					t.Fatal(err)
				}
			}
			site.wait(t, 0)
		}
		now := p.usage()
		each(t, tt.coding+" pages", tt.n, before, now)
		if grown := now.memory() - before.memory(); grown > tt.most {
			t.Errorf("%d slow %s pages take %d bytes", tt.n, tt.coding, grown)
		}
		v.leave()
		site.wait(t, 0)
		site.CloseClientConnections()
		p.returned(t, before, now)
	}
}

// largePages returns a page that is of n bytes, with some tolerance, in each coding.
func largePages(t *testing.T, n int) map[string][]byte {
	t.Helper()
	pages := map[string][]byte{}
	for coding, begin := range map[string]func(w io.Writer) io.WriteCloser{
		"identity": func(w io.Writer) io.WriteCloser { return plainWriter{w} },
		"gzip":     func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate":  func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"br":       func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	} {
		var b bytes.Buffer
		w := begin(&b)
		io.WriteString(w, testPage[:strings.Index(testPage, "</body>")])
		for random := rand.New(rand.NewPCG(1, 2)); b.Len() < n; {
			fmt.Fprintf(w, "<tr><td><a href=\"/part/%08x\">Part %d</a></td></tr>\n", random.Uint32(), random.IntN(100_000))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		pages[coding] = b.Bytes()
	}
	return pages
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

func TestEndlessPage(t *testing.T) {
	t.Parallel()
	site := startCrowdedSite(t, loopback, nil)
	p := startMetered(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret)
	get(t, p.url+"/")
	before := p.usage()
	v := p.visitors()
	conn := v.dial()
	io.WriteString(conn, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
	size := int64(256 << 20)
	if thorough() {
		size = 2 << 30
	}
	if _, err := io.CopyN(io.Discard, conn, size); err != nil {
		t.Fatal(err)
	}
	if grown := each(t, "endless page", 1, before, p.usage()); grown > 4<<20 {
		t.Errorf("an endless page takes %d bytes", grown)
	}
}
