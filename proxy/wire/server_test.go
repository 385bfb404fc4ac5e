package wire

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testTimeout is far more than anything here takes.
const testTimeout = 20 * time.Second

// origin is an upstream that writes down every request that reached it whole.
type origin struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func newOrigin(t testing.TB) *origin {
	o := &origin{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		o.mu.Lock()
		o.requests = append(o.requests, fmt.Sprintf("%s %s %q", r.Method, r.RequestURI, body))
		o.mu.Unlock()
		fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
	}))
	t.Cleanup(o.Close)
	return o
}

// seen returns what has arrived and forgets it.
func (o *origin) seen() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	requests := o.requests
	o.requests = nil
	return requests
}

// newProxy is a reverse proxy as the product runs one, in as far as it matters here.
func newProxy(t testing.TB, upstream string) http.Handler {
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.URL.RawQuery = r.In.URL.RawQuery
		},
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if BodyFault(r.Context()) != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

// serve runs a server with guarded connections and returns its address.
func serve(t testing.TB, handler http.Handler, config Config) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, handler, Listener(inner, config))
	return inner.Addr().String()
}

func serveOn(t testing.TB, handler http.Handler, l net.Listener) {
	t.Helper()
	server := &http.Server{
		Handler:        handler,
		MaxHeaderBytes: testHeaderBytes,
		ConnState:      ConnState,
		ConnContext:    ConnContext,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// client is a connection that sends what it is told.
type client struct {
	*net.TCPConn
	t  testing.TB
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testTimeout))
	return &client{conn.(*net.TCPConn), t, bufio.NewReader(conn)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one response whole.
func (c *client) answer() (status int, body string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// statuses reads responses until the server closes the connection.
func (c *client) statuses() []int {
	c.t.Helper()
	var list []int
	for {
		if _, err := c.in.Peek(1); err == io.EOF {
			return list
		}
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			c.t.Fatalf("after %v: %v", list, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			c.t.Fatalf("after %v: %v", list, err)
		}
		list = append(list, res.StatusCode)
		if res.StatusCode >= 400 && !res.Close {
			c.t.Errorf("status %d without Connection: close", res.StatusCode)
		}
	}
}

// deliveries are ways for the same bytes to arrive.
var deliveries = map[string]func(c *client, s string){
	"at once": (*client).send,
	"byte by byte": func(c *client, s string) {
		// Long ones need not be so finely cut, and a refused one may be closed before its end.
		for piece := range slices.Chunk([]byte(s), 1+len(s)/500) {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	},
}

// Every fault, alone and behind a good request on the same connection: the good one is answered, the
// bad one gets its status, the connection is closed, and the upstream sees nothing of it.
func TestRefusedByServer(t *testing.T) {
	o := newOrigin(t)
	addr := serve(t, newProxy(t, o.URL), testConfig)
	const good = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
	const goodPost = "POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
	want := map[remedy][]int{answer400: {400}, answer431: {431}, answerByServer: {501, 505}, failBody: {400}}
	for _, tt := range refusedStreams {
		for before, requests := range map[string][]string{"": nil, good: {`GET /good ""`}, goodPost: {`POST /good "hi"`}} {
			for how, deliver := range deliveries {
				c := dial(t, addr)
				deliver(c, before+tt.stream)
				got := c.statuses()
				if len(got) != len(requests)+1 || !slices.Contains(want[tt.remedy], got[len(got)-1]) || len(requests) == 1 && got[0] != 200 {
					t.Errorf("%s, %s, behind %q: statuses %v", tt.name, how, cut(before), got)
				}
				if seen := o.seen(); !slices.Equal(seen, requests) {
					t.Errorf("%s, %s, behind %q: the upstream saw %q", tt.name, how, cut(before), seen)
				}
				c.Close()
			}
		}
	}
}

func TestAcceptedByServer(t *testing.T) {
	o := newOrigin(t)
	addr := serve(t, newProxy(t, o.URL), testConfig)
	stream := "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" +
		"\r\nGET /2?a=b;c=%zz HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n" +
		"GET http://a/4 HTTP/1.1\r\nHost: A:80\r\nUpgrade: nothing\r\n\r\n" +
		"GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for how, deliver := range deliveries {
		c := dial(t, addr)
		deliver(c, stream)
		if got := c.statuses(); !slices.Equal(got, []int{200, 200, 200, 200, 200}) {
			t.Errorf("%s: statuses %v", how, got)
		}
		want := []string{`POST /1 "hello"`, `GET /2?a=b;c=%zz ""`, `POST /3 "hello"`, `GET /4 ""`, `GET /5 ""`}
		if seen := o.seen(); !slices.Equal(seen, want) {
			t.Errorf("%s: the upstream saw %q", how, seen)
		}
	}
}

// The answer to a malformed request waits for the answer to the one before, which is neither
// cut into nor cancelled.
func TestRefusalWaitsItsTurn(t *testing.T) {
	for _, bad := range []string{
		"GET / HTTP/1.1\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", testHeaderCount+1) + "\r\n",
	} {
		refusedNow := make(chan struct{})
		config := testConfig
		config.OnRefuse = func(net.Addr, error) { close(refusedNow) }
		release := make(chan struct{})
		addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "first ")
			http.NewResponseController(w).Flush()
			<-release
			if err := r.Context().Err(); err != nil {
				t.Errorf("the request before was cancelled: %v", err)
			}
			fmt.Fprint(w, "last")
		}), config)
		c := dial(t, addr)
		// One segment: the guard sees the fault while net/http still reads the first request.
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n" + bad)
		<-refusedNow
		// What follows must not disturb either.
		c.send(strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 100))
		close(release)
		if status, body := c.answer(); status != 200 || body != "first last" {
			t.Errorf("the request before got %d %q", status, body)
		}
		if got := c.statuses(); len(got) != 1 || got[0] != 400 && got[0] != 431 {
			t.Errorf("statuses %v", got)
		}
	}
}

// A client that sends a lot after what was refused still gets the answer, not a reset.
func TestAnswerSurvivesUnreadInput(t *testing.T) {
	addr := serve(t, http.NotFoundHandler(), testConfig)
	for range 20 {
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n" + strings.Repeat("x", 100_000))
		if got := c.statuses(); !slices.Equal(got, []int{400}) {
			t.Fatalf("statuses %v", got)
		}
	}
}

// A client that sends a whole upload before it reads still gets the answer that came at its beginning.
func TestAnswerBeforeTheBody(t *testing.T) {
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}), testConfig)
	for _, framing := range []string{"Content-Length: 20000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1312D00\r\n"} {
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\n" + framing)
		if n, err := io.WriteString(c, strings.Repeat("x", 20_000_000)); err != nil {
			t.Errorf("%q: cut off after %d bytes: %v", framing, n, err)
		}
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%q: %v, %v", framing, res, err)
		}
		c.Close()
	}
}

// One that says no more is not waited for.
func TestLingeringEnds(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.NotFoundHandler(), testConfig)
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n")
	if got := c.statuses(); !slices.Equal(got, []int{400}) {
		t.Errorf("statuses %v", got)
	}
	// The byte that shows the connection closed must come after a pause, or it would prolong it.
	reset := make(chan error)
	go func() {
		ticker := time.NewTicker(lingerPause + lingerPause/4)
		defer ticker.Stop()
		for range ticker.C {
			if _, err := c.Write([]byte("x")); err != nil {
				reset <- err
				return
			}
		}
	}()
	select {
	case <-reset:
	case <-time.After(testTimeout):
		t.Error("the connection stays open")
	}
}

func TestOnRefuse(t *testing.T) {
	type report struct {
		remote net.Addr
		why    error
	}
	reports := make(chan report, 10)
	config := testConfig
	config.OnRefuse = func(remote net.Addr, why error) { reports <- report{remote, why} }
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }), config)
	for _, tt := range refusedStreams {
		if tt.remedy == answerByServer {
			continue // net/http's refusals are not ours
		}
		c := dial(t, addr)
		c.send(tt.stream)
		c.in.WriteTo(io.Discard)
		got := <-reports
		if got.remote.String() != c.LocalAddr().String() || got.why.Error() == "" {
			t.Errorf("%s: %v, %v", tt.name, got.remote, got.why)
		}
		c.Close()
	}
	if len(reports) > 0 {
		t.Errorf("a refusal was reported twice: %v", <-reports)
	}
}

// switching is an upstream or handler that speaks another protocol, an echo, after 101.
func switching(t testing.TB) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/switch" {
			fmt.Fprint(w, "no switch")
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(conn, rw)
		if half, ok := conn.(closeWriter); ok {
			half.CloseWrite()
		}
	})
}

// notHTTP is data that no part of would pass as HTTP.
var notHTTP = "\x81\x05hello\x00\r\n \n\n\r\r" + strings.Repeat("\xff", 100_000)

func TestUpgrade(t *testing.T) {
	upstream := httptest.NewServer(switching(t))
	defer upstream.Close()
	for name, handler := range map[string]http.Handler{"handler": switching(t), "reverse proxy": newProxy(t, upstream.URL)} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, handler, testConfig)
			const request = "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
			for _, early := range []int{0, 1, 2, 100, len(notHTTP)} {
				c := dial(t, addr)
				go func() {
					io.WriteString(c, request+notHTTP[:early])
					io.WriteString(c, notHTTP[early:])
					c.CloseWrite()
				}()
				res, err := http.ReadResponse(c.in, nil)
				if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("%d bytes early: %v, %v", early, res, err)
				}
				echo, err := io.ReadAll(c.in)
				if err != nil || string(echo) != notHTTP {
					t.Errorf("%d bytes early: %d of %d bytes came back, %v", early, len(echo), len(notHTTP), err)
				}
			}
		})
	}
}

// An upgrade that was asked for and not granted leaves the connection as guarded as before.
func TestUpgradeRefused(t *testing.T) {
	o := newOrigin(t)
	addr := serve(t, newProxy(t, o.URL), testConfig)
	const ask = "POST /ask HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 2\r\n\r\nhi"
	const asked = `POST /ask "hi"`
	tests := []struct {
		name, after string
		statuses    []int
		seen        []string
	}{
		{"a good request", "GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{200, 200}, []string{asked, `GET /2 ""`}},
		{"another upgrade", ask + "GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{200, 200, 200}, []string{asked, asked, `GET /2 ""`}},
		{"the other protocol", notHTTP[:100], []int{200, 400}, []string{asked}},
		{"an LF first", "\n\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", []int{200, 400}, []string{asked}},
		{"a CR first", "\rGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", []int{200, 400}, []string{asked}},
		{"a malformed request", "GET /2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", []int{200, 400}, []string{asked}},
		{"a smuggled one", "G", []int{200, 400}, []string{asked}},
	}
	for _, tt := range tests {
		for how, deliver := range deliveries {
			c := dial(t, addr)
			deliver(c, ask+tt.after)
			if tt.after == "G" {
				// It is followed by what only the guard refuses.
				deliver(c, "ET /2 HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n")
			}
			if got := c.statuses(); !slices.Equal(got, tt.statuses) {
				t.Errorf("%s, %s: statuses %v, want %v", tt.name, how, got, tt.statuses)
			}
			if seen := o.seen(); !slices.Equal(seen, tt.seen) {
				t.Errorf("%s, %s: the upstream saw %q", tt.name, how, seen)
			}
		}
	}
}

// Bodies of any size pass in both directions as they are.
func TestLargeBodies(t *testing.T) {
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	}), testConfig)
	data := bytes.Repeat([]byte("0123456789\r\n\r\n\x00"), 1<<18)
	for name, body := range map[string]io.Reader{"known length": bytes.NewReader(data), "chunked": io.MultiReader(bytes.NewReader(data))} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr, body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d of %d bytes came back: %v", name, len(got), len(data), err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A client's leaving still cancels its request, and shutting down still works.
func TestLifecycle(t *testing.T) {
	cancelled := make(chan struct{})
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ConnState: ConnState, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
			close(cancelled)
		}
	})}
	done := make(chan error)
	go func() { done <- server.Serve(Listener(inner, testConfig)) }()
	c := dial(t, inner.Addr().String())
	c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	c.CloseWrite()
	select {
	case <-cancelled:
	case <-time.After(testTimeout):
		t.Fatal("the request goes on without its client")
	}
	idle := dial(t, inner.Addr().String())
	idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.answer()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-done; err != http.ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
	if got := idle.statuses(); len(got) != 0 {
		t.Errorf("an idle connection got %v at the end", got)
	}
}
