package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// cannedUpstream answers every request on every connection with the same bytes. It costs next to nothing, so
// that what is measured is the proxy.
func cannedUpstream(b *testing.B, response []byte) string {
	b.Helper()
	return bareSite(b, func(conn net.Conn) {
		buf, end := make([]byte, 16<<10), []byte("\r\n\r\n")
		n := 0
		for {
			m, err := conn.Read(buf[n:])
			if err != nil {
				return
			}
			if n += m; bytes.HasSuffix(buf[:n], end) {
				n = 0
				if _, err := conn.Write(response); err != nil {
					return
				}
			}
		}
	})
}

func canned(contentType, coding string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	if coding != "" {
		fmt.Fprintf(&b, "Content-Encoding: %s\r\n", coding)
	}
	b.WriteString("ETag: \"abc\"\r\nServer: legacy\r\n\r\n")
	b.Write(body)
	return b.Bytes()
}

// benchPage makes a page of about n bytes that compresses as real ones do.
func benchPage(n int) []byte {
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Spare parts</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n<script src=\"/menu.js\"></script>\n</head>\n<body>\n<table>\n")
	seed := uint32(1)
	for b.Len() < n-20 {
		seed = seed*1664525 + 1013904223
		fmt.Fprintf(&b, "<tr class=\"r%d\"><td><a href=\"/part/%08x\">Part %d</a></td><td>%d.%02d EUR</td></tr>\n", seed%2, seed, seed%100000, seed%997, seed%89)
	}
	b.WriteString("</table></body></html>\n")
	return b.Bytes()
}

func gzipped(b *testing.B, body []byte) []byte {
	b.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, 6)
	if err != nil {
		b.Fatal(err)
	}
	return written(b, &out, w, body)
}

func brotlied(b *testing.B, body []byte) []byte {
	b.Helper()
	var out bytes.Buffer
	return written(b, &out, brotli.NewWriterLevel(&out, 5), body)
}

func zstandarded(b *testing.B, body []byte) []byte {
	b.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		b.Fatal(err)
	}
	return written(b, &out, w, body)
}

func written(b *testing.B, out *bytes.Buffer, w io.WriteCloser, body []byte) []byte {
	b.Helper()
	if _, err := w.Write(body); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// bareProxy is what the proxy is held against: a ReverseProxy with the same transport settings and buffers that
// passes everything on untouched.
func bareProxy(upstream string) http.Handler {
	target, err := url.Parse(upstream)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			pr.Out.Host = pr.In.Host
			pr.SetXForwarded()
		},
		Transport:  proxy.BenchTransport(upstream),
		BufferPool: proxy.BenchBuffers(),
	}
}

func ours(b *testing.B, upstream string) http.Handler {
	b.Helper()
	peers, err := identity.ParsePeers("127.0.0.1")
	if err != nil {
		b.Fatal(err)
	}
	h, err := proxy.New(proxy.Config{
		Trusted: peers,
		Sites:   []proxy.Site{{Upstream: upstream, Secret: signer.NewSecret(testSecret), Identity: identity.Config{Preset: "forwarded"}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return h
}

// drive sends the same request over keep-alive connections and reads whole responses.
func drive(b *testing.B, h http.Handler, request string) {
	srv := httptest.NewServer(h)
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	var failed sync.Once
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			failed.Do(func() { b.Error(err) })
			return
		}
		defer conn.Close()
		r := bufio.NewReaderSize(conn, 64<<10)
		for pb.Next() {
			if _, err := io.WriteString(conn, request); err != nil {
				failed.Do(func() { b.Error(err) })
				return
			}
			res, err := http.ReadResponse(r, nil)
			if err == nil && res.StatusCode != 200 {
				err = fmt.Errorf("status %d", res.StatusCode)
			}
			if err == nil {
				_, err = io.Copy(io.Discard, res.Body)
			}
			if err != nil {
				failed.Do(func() { b.Error(err) })
				return
			}
		}
	})
}

const benchRequest = "GET /part HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\nX-Forwarded-User: u-1\r\nX-Forwarded-Email: ann@example.com\r\nCookie: a=b\r\n\r\n"

// BenchmarkHandler sets the proxy beside a bare ReverseProxy that passes the same bytes.
func BenchmarkHandler(b *testing.B) {
	page := func(n int) []byte { return canned("text/html; charset=utf-8", "", benchPage(n)) }
	gz := func(n int) []byte { return canned("text/html; charset=utf-8", "gzip", gzipped(b, benchPage(n))) }
	for _, bench := range []struct {
		name     string
		response []byte
	}{
		{"page=2K", page(2 << 10)}, {"page=30K", page(30 << 10)}, {"page=120K", page(120 << 10)}, {"page=700K", page(700 << 10)},
		{"gzip=30K", gz(30 << 10)}, {"gzip=120K", gz(120 << 10)}, {"gzip=700K", gz(700 << 10)},
		{"json=30K", canned("application/json", "", []byte(strings.Repeat(`{"a":1},`, 3840)))},
		{"binary=1M", canned("application/octet-stream", "", make([]byte, 1<<20))},
	} {
		upstream := cannedUpstream(b, bench.response)
		b.Run(bench.name+"/bare", func(b *testing.B) { drive(b, bareProxy(upstream), benchRequest) })
		b.Run(bench.name+"/ours", func(b *testing.B) { drive(b, ours(b, upstream), benchRequest) })
	}
}

// BenchmarkTokenRoute sets the token route beside a handler that returns a fixed body.
func BenchmarkTokenRoute(b *testing.B) {
	request := strings.Replace(benchRequest, "/part", "/__zchat/jwt", 1)
	b.Run("fixed", func(b *testing.B) { drive(b, http.HandlerFunc(fixedBody), request) })
	b.Run("ours", func(b *testing.B) { drive(b, ours(b, "http://127.0.0.1:1"), request) })
}
