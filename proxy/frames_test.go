package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zchatproxy/proxy"
)

// field is one line of an HTTP/2 header section, sent as it is.
type field struct{ name, value string }

func streamFields(path string, more ...field) []field {
	return append([]field{{":method", "GET"}, {":scheme", "https"}, {":path", path}, {":authority", "shop.example"}}, more...)
}

// replaced is streamFields("/") with one value replaced.
func replaced(name, value string) []field {
	fields := streamFields("/")
	for i := range fields {
		if fields[i].name == name {
			fields[i].value = value
		}
	}
	return fields
}

// sendFrames sends one request in frames that no client would make, and returns the status of the answer, "" where the
// stream or the connection was ended instead. Trailers follow a body of three bytes.
func sendFrames(t *testing.T, g *rig, header, trailer []field) (status string) {
	t.Helper()
	conn, err := tls.Dial("tcp", g.front.URL[len("https://"):], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	block := func(fields []field) []byte {
		var b bytes.Buffer
		encoder := hpack.NewEncoder(&b)
		for _, f := range fields {
			encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
		}
		return b.Bytes()
	}
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(header), EndHeaders: true, EndStream: trailer == nil})
	if trailer != nil {
		framer.WriteData(1, false, []byte("abc"))
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(trailer), EndHeaders: true, EndStream: true})
	}
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return ""
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return ""
		}
	}
}

// lenientSite takes any lines up to an empty one for a request, counts it, and answers.
func lenientSite(t *testing.T) (requests *atomic.Int32, address string) {
	t.Helper()
	requests = new(atomic.Int32)
	return requests, bareSite(t, func(conn net.Conn) {
		in := textproto.NewReader(bufio.NewReader(conn))
		for line, err := in.ReadLine(); line != "" && err == nil; {
			line, err = in.ReadLine()
		}
		requests.Add(1)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
}

// TestHTTP2CannotSmuggle: what HTTP/1.1 has no room for, or reads as something else, ends at the proxy.
func TestHTTP2CannotSmuggle(t *testing.T) {
	reached, address := lenientSite(t)
	g, _ := newServedRig(t, protocols{2, 1}, http.NotFoundHandler(), site(func(s *proxy.Site) { s.Upstream = address }))
	if status := sendFrames(t, g, streamFields("/a%20b?c;d#e"), nil); status != "200" || reached.Load() != 1 {
		t.Fatalf("a plain request: %q", status)
	}
	if status := sendFrames(t, g, streamFields("/", field{"host", "SHOP.example"}, field{"cookie", "a=1"}, field{"cookie", "b=2"}, field{"content-length", "0"}), nil); status != "200" {
		t.Fatalf("a plain request with the same host: %q", status)
	}
	reached.Store(0)
	for _, fields := range [][]field{
		streamFields("/a b"), streamFields("/a HTTP/1.1"), streamFields("/?q HTTP/1.0"), streamFields("/a\tb"), streamFields("/a\x7f"),
		streamFields("/a HTTP/1.1\r\nX-Forwarded-User: u-1\r\n\r\n"), streamFields("/__zchat/jwt x"), streamFields("http://shop.example/"), streamFields("x"), streamFields(""),
		replaced(":method", "G ET"), replaced(":method", "GET /x HTTP/1.1"), replaced(":method", "GE\tT"), replaced(":method", "PRI"), replaced(":method", ""),
		replaced(":authority", "a b"), replaced(":authority", "shop.example/x"), replaced(":authority", "shop.example, b"), replaced(":authority", "a\tb"),
		replaced(":authority", "u@shop.example"), replaced(":authority", "\xc3\xa4.example"), replaced(":authority", `a"b`),
		streamFields("/", field{"host", "evil.example"}), streamFields("/", field{"host", "shop.example"}, field{"host", "evil.example"}),
		{{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {"host", "a.example"}, {"host", "b.example"}},
		streamFields("/", field{"content_length", "5"}), streamFields("/", field{"transfer_encoding", "chunked"}), streamFields("/", field{"content.length", "5"}),
		streamFields("/", field{"transfer-encoding", "chunked"}), streamFields("/", field{"connection", "x-forwarded-user"}), streamFields("/", field{"upgrade", "h2c"}),
		streamFields("/", field{"X-Upper", "1"}), streamFields("/", field{"x y", "1"}), streamFields("/", field{"x", "1\r\nX-Forwarded-User: u-1"}),
	} {
		if status := sendFrames(t, g, fields, nil); status != "" && status != "400" && status != "421" || reached.Load() > 0 {
			t.Errorf("%q: status %q, %d requests reached the site", fields, status, reached.Swap(0))
		}
	}
}

// TestHTTP2JunkLengths: net/http takes any Content-Length over HTTP/2, where frames alone end a body. None of it is passed
// on: the site, which would refuse it, sees one request that is whole, or none.
func TestHTTP2JunkLengths(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	g, _ := newServedRig(t, protocols{2, 1}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			mu.Lock()
			defer mu.Unlock()
			seen[fmt.Sprintf("%s, length %q, coding %q, body %q", r.Method, r.Header["Content-Length"], r.TransferEncoding, body)]++
		}
	}))
	junk := []string{"+3", "x", "-1", "3, 3", "", "0x3", "3 3", "18446744073709551616", "5", "2"}
	for _, length := range junk {
		if status := sendFrames(t, g, streamFields("/", field{"content-length", length}), nil); status != "200" {
			t.Errorf("%q without a body: status %q", length, status)
		}
		sendFrames(t, g, append(replaced(":method", "POST"), field{"content-length", length}), []field{{"x-sum", "1"}}) // after three bytes
	}
	g.upstream.Close() // waits for what is under way
	for _, whole := range []string{`GET, length [], coding [], body ""`, `POST, length ["0"], coding [], body ""`} {
		if seen[whole] > len(junk) {
			t.Errorf("%d requests became %d", len(junk), seen[whole])
		}
		delete(seen, whole)
	}
	if len(seen) > 0 {
		t.Errorf("the site saw %v", seen)
	}
}

// TestHTTP2TrailersCannotFrame: trailers that a server could merge into the header section bring no identity and no framing.
func TestHTTP2TrailersCannotFrame(t *testing.T) {
	seen := make(chan string, 1)
	g, _ := newServedRig(t, protocols{2, 1}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		announced := fmt.Sprint(len(r.Trailer))
		body, err := io.ReadAll(r.Body)
		seen <- fmt.Sprint(announced, " ", string(body), err, " ", r.Trailer)
	}))
	names := "x-forwarded-user, x_forwarded_email, content_length, transfer_encoding, cookie, forwarded, x-sum"
	trailer := []field{{"x-forwarded-user", "u-1"}, {"x_forwarded_email", "a@b"}, {"content_length", "9"}, {"transfer_encoding", "chunked"},
		{"cookie", "a=1"}, {"forwarded", "for=1.1.1.1"}, {"x-sum", "6"}, {"x-unannounced", "1"}}
	if status := sendFrames(t, g, append(replaced(":method", "POST"), field{"trailer", names}), trailer); status != "200" {
		t.Fatalf("status %q", status)
	}
	if got, want := <-seen, "1 abc<nil> map[X-Sum:[6]]"; got != want {
		t.Errorf("the site saw %s, want %s", got, want)
	}
}
