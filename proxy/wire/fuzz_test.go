package wire

import (
	"bytes"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is a connection on which given pieces arrive one read after the other, and then the end.
type scripted struct {
	mu     sync.Mutex
	pieces [][]byte
	out    bytes.Buffer
	closed chan struct{}
	once   sync.Once
	reads  []int // what was asked for
}

func newScripted(pieces ...[]byte) *scripted {
	return &scripted{pieces: pieces, closed: make(chan struct{})}
}

// cutUp splits a stream at random.
func cutUp(stream []byte, seed uint64) [][]byte {
	rng := rand.New(rand.NewPCG(seed, seed>>32))
	var pieces [][]byte
	for len(stream) > 0 {
		n := 1 + rng.IntN(len(stream))
		if seed%3 == 0 {
			n = 1 + rng.IntN(min(len(stream), 8))
		}
		pieces = append(pieces, stream[:n])
		stream = stream[n:]
	}
	return pieces
}

func (s *scripted) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, len(p))
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *scripted) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// connections is a listener that accepts what is sent to it.
type connections chan net.Conn

func (c connections) Accept() (net.Conn, error) {
	if conn, ok := <-c; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (c connections) Close() error   { return nil }
func (c connections) Addr() net.Addr { return &net.TCPAddr{} }

// recorder is a server that notes every request that a handler got.
type recorder struct {
	conns    connections
	mu       sync.Mutex
	requests []refRequest
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{conns: make(connections)}
	server := &http.Server{
		ConnState:      ConnState,
		MaxHeaderBytes: testHeaderBytes,
		ErrorLog:       log.New(io.Discard, "", 0),

		DisableGeneralOptionsHandler: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, err := io.ReadAll(req.Body)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.requests = append(r.requests, refRequest{
				method: req.Method, target: latin1([]byte(req.RequestURI)), host: latin1([]byte(req.Host)),
				body: latin1(body), whole: err == nil,
			})
		}),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(r.conns)
	}()
	t.Cleanup(func() {
		close(r.conns)
		<-done
	})
	return r
}

// serve has the server work through a stream to its end.
func (r *recorder) serve(s *scripted) ([]refRequest, string) {
	r.conns <- Conn(s, testConfig)
	<-s.closed
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := r.requests
	r.requests = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	return requests, s.out.String()
}

// FuzzServer: whatever bytes come and however they are cut, the requests that handlers get from net/http
// behind the guard are the first of those that the reference finds, with the same bodies; and what the
// guard passes is the beginning of what came.
func FuzzServer(f *testing.F) {
	for i, stream := range acceptable {
		f.Add([]byte(stream), uint64(i))
		f.Add([]byte(stream+acceptable[(i*7+3)%len(acceptable)]), uint64(i+1))
	}
	for i, r := range refusedStreams {
		if len(r.stream) < 2000 {
			f.Add([]byte(acceptable[i%len(acceptable)]+r.stream+acceptable[0]), uint64(i))
		}
	}
	server := newRecorder(f)
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		passesBeginning(t, stream, seed)
		got, out := server.serve(newScripted(cutUp(stream, seed)...))
		if len(stream) > 4<<10 || limited(stream) {
			return // the reference knows no limits
		}
		compareHeads(t, stream)
		want := reference(stream)
		if len(got) > len(want) {
			t.Fatalf("handlers got %d requests, the reference finds %d in %q", len(got), len(want), stream)
		}
		if len(got) < len(want) && !strings.Contains(out, "Connection: close") && !strings.Contains(out, "HTTP/1.0") {
			t.Errorf("handlers got %d requests of %d, and the connection was not said to end: %q\n%q", len(got), len(want), stream, out)
		}
		for i := range got {
			compareRequests(t, stream, got[i], want[i], i == len(got)-1)
		}
	})
}

// limited says whether the guard refuses a stream for its size alone.
func limited(stream []byte) bool {
	_, f := faultAt(stream)
	return f != nil && (f.remedy == answer431 || strings.Contains(f.why, "too ") || strings.Contains(f.why, "more extensions"))
}

func compareRequests(t *testing.T, stream []byte, got, want refRequest, last bool) {
	t.Helper()
	if got.method != want.method || got.target != want.target || got.host != want.host && got.method != "CONNECT" {
		t.Errorf("a handler got %+v, the reference finds %+v in %q", got, want, stream)
	}
	switch {
	case got.whole && (!want.whole || got.body != want.body),
		!strings.HasPrefix(want.body, got.body):
		t.Errorf("a handler got the body of %+v, the reference finds %+v in %q", got, want, stream)
	case !got.whole && !last:
		t.Errorf("a request came after one without an end in %q", stream)
	}
}

// passesBeginning reads a guarded connection alone.
func passesBeginning(t *testing.T, stream []byte, seed uint64) {
	t.Helper()
	conn := Conn(newScripted(cutUp(stream, seed)...), testConfig)
	rng := rand.New(rand.NewPCG(seed, 1))
	var out []byte
	for len(out) < len(stream)+2*len(poison) {
		p := make([]byte, 2+rng.IntN(64))
		n, err := conn.Read(p)
		out = append(out, p[:n]...)
		if err != nil {
			break
		}
	}
	passed, fault := faultAt(stream)
	if !bytes.HasPrefix(out, stream[:passed]) {
		t.Fatalf("%q passes, which is not the beginning of %q", out, stream)
	}
	rest := string(out[passed:])
	ok := rest == ""
	if fault != nil {
		switch fault.remedy {
		case answer400, failBody:
			ok = rest == poison
		case answer431:
			ok = rest != "" && strings.Trim(rest, string(filling)) == ""
		}
	}
	if !ok {
		t.Errorf("behind %d bytes of %q comes %q: %s", passed, stream, rest, describe(fault))
	}
}
