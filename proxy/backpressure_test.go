package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// stalled waits until a count has stopped growing, and returns it.
func stalled(t *testing.T, count *atomic.Int64) int64 {
	t.Helper()
	last, since := int64(-1), time.Now()
	eventually(t, "the flow to stop", func() bool {
		if n := count.Load(); n != last {
			last, since = n, time.Now()
		}
		return last > 0 && time.Since(since) > 300*time.Millisecond
	})
	return last
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// flow is what all bodies of these tests may take together: the kernel's socket buffers on both sides, which loopback
// lets grow to megabytes, and a little of ours.
const maxFlow, maxHeap = 48 << 20, 8 << 20

// A visitor who does not read stops the upstream, and costs the proxy a buffer.
func TestSlowReaderStopsTheUpstream(t *testing.T) {
	filler := []byte(strings.Repeat("<p>Lorem ipsum dolor sit amet, consectetur.</p>\n", 1000))
	var packed bytes.Buffer
	gz := gzip.NewWriter(&packed)
	gz.Write([]byte(plainPage[:strings.Index(plainPage, "</body>")]))
	gz.Flush()
	for _, tc := range []struct{ name, kind, coding string }{
		{"page", "text/html; charset=utf-8", ""}, {"gzip page", "text/html; charset=utf-8", "gzip"}, {"download", "application/octet-stream", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var sent atomic.Int64
			over := make(chan struct{}, 1)
			g := newGuardedRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tc.kind)
				piece, write := filler, func(p []byte) (int, error) { return w.Write(p) }
				if tc.coding != "" {
					w.Header().Set("Content-Encoding", tc.coding)
					w.Write(packed.Bytes())
					piece = storedBlock(48 << 10)
				} else {
					io.WriteString(w, plainPage[:strings.Index(plainPage, "</body>")])
				}
				for {
					n, err := write(piece)
					sent.Add(int64(n))
					if err != nil {
						over <- struct{}{}
						return
					}
				}
			}))
			before := heapInUse()
			conn := g.dial()
			conn.(*net.TCPConn).SetReadBuffer(32 << 10)
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
			flowed := stalled(t, &sent)
			if grown := heapInUse() - before; flowed > maxFlow || grown > maxHeap {
				t.Errorf("%d bytes left the upstream and the heap grew by %d though nobody reads", flowed, grown)
			}
			// Reading on makes it flow again.
			io.CopyN(io.Discard, conn, 2*flowed)
			if sent.Load() <= flowed {
				t.Error("the upstream stays stopped")
			}
			conn.Close()
			<-over
		})
	}
}

// storedBlock is a deflate block that says n bytes of text as they are.
func storedBlock(n int) []byte {
	b := []byte{0, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}
	return append(b, bytes.Repeat([]byte{'x'}, n)...)
}

// An upstream that does not read stops the visitor's upload.
func TestSlowUpstreamStopsTheUpload(t *testing.T) {
	read := make(chan struct{})
	g := newGuardedRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body.Read(make([]byte, 1))
		select {
		case <-read:
		case <-r.Context().Done():
		}
		io.Copy(io.Discard, r.Body)
	}))
	before := heapInUse()
	conn := g.dial()
	conn.(*net.TCPConn).SetWriteBuffer(32 << 10)
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", int64(1)<<40)
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for piece := make([]byte, 64<<10); ; {
			n, err := conn.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	flowed := stalled(t, &sent)
	if grown := heapInUse() - before; flowed > maxFlow || grown > maxHeap {
		t.Errorf("%d bytes were taken and the heap grew by %d though the upstream does not read", flowed, grown)
	}
	close(read)
	eventually(t, "the upload to go on", func() bool { return sent.Load() > 2*flowed })
	conn.Close()
	<-done
}
