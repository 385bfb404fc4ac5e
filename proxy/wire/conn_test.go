package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pattern hands out a stream over and over, as much as is asked for at a time.
type pattern struct {
	net.Conn // nil: nothing else may be called
	stream   []byte
	at       int
	asked    []byte // the slice of the last call
}

func (c *pattern) Read(p []byte) (int, error) {
	c.asked = p
	n := 0
	for n < len(p) {
		k := copy(p[n:], c.stream[c.at:])
		c.at = (c.at + k) % len(c.stream)
		n += k
	}
	return n, nil
}

const typicalRequest = "POST /wiki/index.php?title=Main_Page&action=submit HTTP/1.1\r\nHost: wiki.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark; lang=en\r\n" +
	"X-Forwarded-User: user-123456\r\nX-Forwarded-Email: ada@example.com\r\nX-Forwarded-For: 203.0.113.7\r\n" +
	"Connection: keep-alive\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n"

var (
	lengthRequest  = []byte(typicalRequest + "Content-Length: 5\r\n\r\nhello")
	chunkedRequest = []byte(typicalRequest + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
	absoluteReq    = []byte(strings.Replace(typicalRequest, "/wiki", "http://wiki.example.com/wiki", 1) + "\r\n")
)

func TestNoAllocations(t *testing.T) {
	for _, stream := range [][]byte{lengthRequest, chunkedRequest, absoluteReq} {
		c := Conn(&pattern{stream: stream}, Config{})
		p := make([]byte, len(stream))
		if got := testing.AllocsPerRun(1000, func() {
			if n, err := c.Read(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}); got > 0 {
			t.Errorf("%v allocations for %q", got, stream[:40])
		}
	}
}

// Every read is one read of the inner connection, into the caller's own memory, and
// in a body as large as the caller likes.
func TestReadsArePassedOn(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 1<<20)
	stream := append([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n"), body...)
	inner := &pattern{stream: stream}
	c := Conn(inner, Config{})
	for _, size := range []int{10, 1, 4096, 64 << 10, 1, 512 << 10} {
		p := make([]byte, size)
		n, err := c.Read(p)
		if n != size || err != nil || &inner.asked[0] != &p[0] || len(inner.asked) != size {
			t.Errorf("a read of %d bytes gave %d, %v", size, n, err)
		}
	}
}

func TestReleaseOfOthers(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	Release(a) // must do nothing
	ConnState(a, http.StateHijacked)
	if ctx := ConnContext(t.Context(), a); BodyFault(ctx) != nil {
		t.Error("a connection that is not guarded has a fault")
	}
	if BodyFault(context.Background()) != nil {
		t.Error("no connection has a fault")
	}
}

// What net/http looks for on a connection is there where it is on the inner one.
func TestMethodsStayReachable(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{tcp, unix} {
		guarded := Listener(l, Config{})
		defer guarded.Close()
		if guarded.Addr() != l.Addr() {
			t.Errorf("%v: the address is %v", l.Addr(), guarded.Addr())
		}
		peer, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		c, err := guarded.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		from, readsFrom := c.(io.ReaderFrom)
		_, closesHalf := c.(closeWriter)
		_, hasState := c.(interface{ ConnectionState() tls.ConnectionState })
		if network := l.Addr().Network(); !readsFrom || !closesHalf || hasState {
			t.Fatalf("%s: ReadFrom %v, CloseWrite %v, ConnectionState %v", network, readsFrom, closesHalf, hasState)
		}
		if n, err := from.ReadFrom(strings.NewReader("hello")); n != 5 || err != nil {
			t.Errorf("ReadFrom = %d, %v", n, err)
		}
		if err := c.(closeWriter).CloseWrite(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(peer); string(got) != "hello" || err != nil {
			t.Errorf("the peer got %q, %v", got, err)
		}
	}
	secure := Conn(tls.Server(nil, nil), Config{})
	if _, ok := secure.(interface{ ConnectionState() tls.ConnectionState }); !ok {
		t.Error("TLS: no ConnectionState")
	}
	if _, ok := secure.(closeWriter); !ok {
		t.Error("TLS: no CloseWrite")
	}
}

// The read that waits for an upgrade's decision ends with the deadline, whenever that is set,
// and with the connection.
func TestDeadline(t *testing.T) {
	past := time.Unix(1, 0)
	tests := []struct {
		name          string
		before, after func(d *deadline)
		want          error
	}{
		{"set before", func(d *deadline) { d.set(past) }, func(*deadline) {}, os.ErrDeadlineExceeded},
		{"set after", func(*deadline) {}, func(d *deadline) { d.set(past) }, os.ErrDeadlineExceeded},
		{"moved", func(d *deadline) { d.set(time.Now().Add(time.Hour)) }, func(d *deadline) { d.set(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
		{"taken away and set", func(d *deadline) { d.set(time.Now().Add(time.Hour)) }, func(d *deadline) { d.set(time.Time{}); d.set(past) }, os.ErrDeadlineExceeded},
		{"closed before", func(d *deadline) { d.close() }, func(*deadline) {}, net.ErrClosed},
		{"closed after", func(*deadline) {}, func(d *deadline) { d.close() }, net.ErrClosed},
	}
	for _, tt := range tests {
		var d deadline
		tt.before(&d)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := d.wait(); !errors.Is(err, tt.want) {
					t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
				}
			})
		}
		tt.after(&d)
		wg.Wait()
	}
}

// A connection costs its guard no more than this.
func TestSize(t *testing.T) {
	const most = 600
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if raceEnabled {
		t.Skip("the race detector allocates more")
	}
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Conn(a, Config{})
		}
	})
	if got := result.AllocedBytesPerOp(); got > most {
		t.Errorf("a guarded connection takes %d bytes, more than %d", got, most)
	}
}

func BenchmarkHead(b *testing.B) {
	stream := []byte(typicalRequest + "\r\n")
	g := newGuard(Config{})
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if g.scan(stream) != len(stream) {
			b.Fatal(describe(g.fault))
		}
	}
}

func BenchmarkBody(b *testing.B) {
	for name, stream := range map[string][]byte{
		"length": append([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n"), make([]byte, 1<<20)...),
		"chunked": append(append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
			bytes.Repeat(append([]byte("8000\r\n"), append(make([]byte, 0x8000), '\r', '\n')...), 32)...), "0\r\n\r\n"...),
	} {
		b.Run(name, func(b *testing.B) {
			g := newGuard(Config{})
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				for rest := stream; len(rest) > 0; {
					n := g.scan(rest[:min(len(rest), 64<<10)])
					if n == 0 {
						b.Fatal(describe(g.fault))
					}
					rest = rest[n:]
				}
			}
		})
	}
}
