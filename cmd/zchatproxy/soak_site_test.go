package main

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/net/websocket"
)

// times is something that has one value after the other. Values overlap: the old one may still be met for some time
// after the new one has been written.
type times struct {
	mu    sync.Mutex
	spans []span
}

type span struct {
	value       string
	from, until time.Time // until is zero for the present one
}

// reread is how long a file may take to count, as the documentation has it.
const reread = 5 * time.Second

// change writes a new value.
func (h *times) change(value string, write func()) {
	h.mu.Lock()
	h.spans = append(h.spans, span{value: value, from: time.Now()})
	h.mu.Unlock()
	write()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.spans); n > 1 {
		h.spans[n-2].until = time.Now()
	}
}

// within returns the values that may have been met between two moments.
func (h *times) within(from, to time.Time) (values []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.spans {
		if s.from.Before(to) && (s.until.IsZero() || s.until.Add(reread).After(from)) {
			values = append(values, s.value)
		}
	}
	return values
}

func (h *times) now() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.spans[len(h.spans)-1].value
}

// soakSite is an upstream that goes down and comes back at the same address.
type soakSite struct {
	t        *testing.T
	host     string
	network  string
	address  string
	pages    []soakPage
	secret   times // of chat tokens
	helpDesk times // of Help Center tokens; empty without
	colour   times // in the settings

	secretFile, helpDeskFile, settingsFile string

	mu     sync.Mutex
	server *httptest.Server
	downs  []span
}

// soakPage is a page in all codings.
type soakPage struct {
	text  []byte
	coded map[string][]byte
}

func newSoakSite(t *testing.T, host, network, address string, random *rand.Rand) *soakSite {
	s := &soakSite{t: t, host: host, network: network, address: address}
	for range 12 {
		s.pages = append(s.pages, newSoakPage(t, host, random))
	}
	s.up()
	t.Cleanup(func() { s.server.Close() })
	return s
}

func newSoakPage(t *testing.T, host string, random *rand.Rand) soakPage {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html><head><meta charset=utf-8><title>%s</title></head><body>\n", host)
	for n := 1 << (8 + random.IntN(11)); b.Len() < n; {
		fmt.Fprintf(&b, "<p class=c%d>%08x</p>\n", random.IntN(9), random.Uint32())
	}
	b.WriteString("</body></html>\n")
	p := soakPage{b.Bytes(), map[string][]byte{"identity": b.Bytes()}}
	for coding, writer := range soakCodings(t) {
		var coded bytes.Buffer
		w := writer(&coded)
		w.Write(p.text)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		p.coded[coding] = coded.Bytes()
	}
	return p
}

func soakCodings(t *testing.T) map[string]func(w io.Writer) io.WriteCloser {
	return map[string]func(w io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"br":      func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	}
}

// decoded takes a coding off.
func decoded(coding string, r io.Reader) ([]byte, error) {
	switch coding {
	case "", "identity":
		return io.ReadAll(r)
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case "deflate":
		z, err := zlib.NewReader(r)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case "br":
		return io.ReadAll(brotli.NewReader(r))
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return io.ReadAll(z)
	}
	return nil, fmt.Errorf("coding %q", coding)
}

// up starts the server.
func (s *soakSite) up() {
	var ln net.Listener
	eventually(s.t, "an upstream's address to be free", func() (ok bool) {
		var err error
		ln, err = net.Listen(s.network, s.address)
		return err == nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = ln.Addr().String()
	s.server = httptest.NewUnstartedServer(s.handler())
	s.server.Listener.Close()
	s.server.Listener = ln
	s.server.Config.ErrorLog = quietLog
	if s.encrypted() {
		s.server.EnableHTTP2 = true
		// net/http remembers connections to a site for 90 s after their end, with a buffer for the largest frame.
		s.server.Config.HTTP2 = &http.HTTP2Config{MaxReadFrameSize: 16 << 10}
		s.server.StartTLS()
	} else {
		s.server.Start()
	}
	if n := len(s.downs); n > 0 {
		s.downs[n-1].until = time.Now()
	}
}

// encrypted makes one of the sites speak HTTP/2.
func (s *soakSite) encrypted() bool { return s.host == "two.example" }

// down stops it and cuts what is under way.
func (s *soakSite) down() {
	s.mu.Lock()
	s.downs = append(s.downs, span{from: time.Now()})
	server := s.server
	s.mu.Unlock()
	server.Listener.Close()
	server.CloseClientConnections()
	server.Close()
}

// wasDown reports whether the site was down at any time between two moments.
func (s *soakSite) wasDown(from, to time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.downs {
		if d.from.Before(to) && (d.until.IsZero() || d.until.After(from)) {
			return true
		}
	}
	return false
}

func (s *soakSite) url() string {
	switch {
	case s.network == "unix":
		return "unix://" + s.address
	case s.encrypted():
		return "https://" + s.address
	}
	return "http://" + s.address
}

// seen is what the site is told about a request.
type seen struct {
	Host, User, Email, Proto string
	Length                   int64
	Sum                      string
}

func (s *soakSite) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{n}/{coding}/{how}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		coding := r.PathValue("coding")
		body := s.pages[n].coded[coding]
		etag := fmt.Sprintf(`"%s-%d-%s"`, s.host, n, coding)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("ETag", etag)
		if coding != "identity" {
			w.Header().Set("Content-Encoding", coding)
		}
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if r.PathValue("how") == "whole" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body)
			return
		}
		for len(body) > 0 {
			n := min(len(body), 1+len(body)/3)
			w.Write(body[:n])
			http.NewResponseController(w).Flush()
			body = body[n:]
		}
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(seen{r.Host, r.Header.Get("X-Forwarded-User"), r.Header.Get("X-Forwarded-Email"), r.Header.Get("X-Forwarded-Proto"), n, fmt.Sprintf("%x", sum.Sum(nil))})
	})
	mux.HandleFunc("GET /download/{size}", func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.PathValue("size"))
		w.Header().Set("Content-Type", "application/octet-stream")
		if size%2 == 0 {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		io.CopyN(w, newPattern(size), int64(size))
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		control := http.NewResponseController(w)
		for i := range 50 {
			if _, err := fmt.Fprintf(w, "data: %s %d\n\n", s.host, i); err != nil || control.Flush() != nil {
				return
			}
		}
		<-r.Context().Done()
	})
	mux.Handle("GET /socket", websocket.Handler(func(ws *websocket.Conn) {
		io.Copy(ws, ws)
		ws.Close()
	}))
	mux.HandleFunc("GET /moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/json", http.StatusFound) })
	return mux
}

// pattern is bytes that are the same for the same seed.
type pattern struct{ *rand.ChaCha8 }

func newPattern(seed int) io.Reader {
	return pattern{rand.NewChaCha8(sha256.Sum256([]byte(strconv.Itoa(seed))))}
}

// withoutScript takes the injected element out of a page.
func withoutScript(page []byte) (script string, rest []byte, ok bool) {
	before, after, found := strings.Cut(string(page), `<script data-zchatproxy="">`)
	if !found {
		return "", nil, false
	}
	script, after, found = strings.Cut(after, "</script>")
	if !found || strings.Contains(after, "data-zchatproxy") {
		return "", nil, false
	}
	return script, []byte(before + after), true
}
