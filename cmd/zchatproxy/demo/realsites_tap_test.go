package demo

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"zchatproxy/testdata/group"
)

// tap passes TCP connections on as they are and keeps both sides of them: what the proxy has asked, and what the
// software has answered, to the byte.
type tap struct {
	listener net.Listener
	mu       sync.Mutex
	wires    []*wire
}

// wire is one connection, since the last reset.
type wire struct {
	tap         *tap
	asked, sent bytes.Buffer
}

func newTap(t *testing.T, server string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &tap{listener: l}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(client, server)
		}
	}()
	return p
}

func (p *tap) pass(client net.Conn, server string) {
	defer client.Close()
	up, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer up.Close()
	w := &wire{tap: p}
	p.mu.Lock()
	p.wires = append(p.wires, w)
	p.mu.Unlock()
	// Everything is kept before it is passed on: whoever has an answer finds it here.
	go func() {
		io.Copy(io.MultiWriter(side{w, &w.asked}, up), client)
		up.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(io.MultiWriter(side{w, &w.sent}, client), up)
}

// side is what goes one way on a wire.
type side struct {
	wire *wire
	kept *bytes.Buffer
}

func (s side) Write(b []byte) (int, error) {
	s.wire.tap.mu.Lock()
	defer s.wire.tap.mu.Unlock()
	return s.kept.Write(b)
}

func (p *tap) url() string { return "http://" + p.listener.Addr().String() }

// reset forgets what has passed. Nothing may be under way.
func (p *tap) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wires {
		w.asked.Reset()
		w.sent.Reset()
	}
}

// one parses the one request and its answer since the last reset.
func (p *tap) one(method string) (*http.Request, *http.Response, []byte, error) {
	p.mu.Lock()
	var asked, sent []byte
	for _, w := range p.wires {
		asked, sent = append(asked, w.asked.Bytes()...), append(sent, w.sent.Bytes()...)
	}
	p.mu.Unlock()
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(asked)))
	if err != nil {
		return nil, nil, nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(sent)), &http.Request{Method: method})
	if err != nil {
		return nil, nil, nil, err
	}
	body, err := io.ReadAll(res.Body)
	return req, res, body, err
}

// requests parses every request since the last reset.
func (p *tap) requests(t *testing.T) (list []*http.Request) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wires {
		r := bufio.NewReader(bytes.NewReader(w.asked.Bytes()))
		for {
			req, err := http.ReadRequest(r)
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				break // that was all, or the rest is under way
			}
			if err != nil {
				t.Fatalf("a request of the proxy's: %v", err)
			}
			list = append(list, req)
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				break
			}
		}
	}
	return list
}

// redirects counts the answers since the last reset that lead to an origin.
func (p *tap) redirects(origin string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wires {
		n += bytes.Count(w.sent.Bytes(), []byte("\r\nLocation: "+origin+"/"))
	}
	return n
}

// server runs a program until the test ends, and waits until address accepts connections.
func server(t *testing.T, address string, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	group.New(cmd) // it has workers, which are to end with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		group.Signal(cmd, syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			group.Signal(cmd, syscall.SIGKILL)
			<-gone
		}
		if t.Failed() {
			t.Logf("%s said:\n%.4000s", filepath.Base(cmd.Path), out.String())
		}
	})
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-gone:
			t.Fatalf("%s has ended: %s", cmd, out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s", cmd, address)
		}
	}
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// publicDir is a directory that a server under another account can read.
func publicDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for at := dir; at != os.TempDir() && len(at) > len(os.TempDir()); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
