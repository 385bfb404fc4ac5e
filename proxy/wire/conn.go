package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// ErrMalformed is in the chain of the error that reading a request's body ends in when its
// chunks or trailers are malformed. The connection cannot be used after that: answer 400.
var ErrMalformed = errors.New("malformed request body")

// Config sets the guard's limits. The zero value is ready for use.
type Config struct {
	// MaxHeaderBytes bounds a request's head, from the request line to the empty line;
	// 0 means 64 KiB. Set http.Server.MaxHeaderBytes to the same value: up
	// to that one net/http reads filling before it answers 431.
	MaxHeaderBytes int
	// MaxHeaderCount bounds the number of a head's field lines; 0 means 200.
	MaxHeaderCount int
	// OnRefuse, if not nil, is told why a connection was refused, once for each. The error holds
	// nothing that the client sent. It is called while the server reads, so it must not block.
	OnRefuse func(remote net.Addr, why error)
}

const (
	defaultHeaderBytes = 64 << 10
	defaultHeaderCount = 200

	// lingerTime and lingerBytes bound how long and how much a refused client may
	// still send before the connection is torn down (RFC 9112 section 9.6: closing at once
	// resets the connection, and the client loses the answer).
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 256 << 10
)

// poison ends whatever line net/http is in the middle of, and adds one that is neither
// a request line nor a field. So readRequest fails however much of a head it has
// seen, before the head's end, and answers 400.
const poison = "\r\n\x00\r\n\r\n"

// filling is repeated until net/http's own limit is reached. It must not hold a line feed.
const filling = 'a'

// Listener returns a listener whose connections are guarded. It is for plain
// connections; use [TLSListener] for HTTPS.
func Listener(inner net.Listener, c Config) net.Listener { return &listener{inner, c} }

type listener struct {
	net.Listener
	config Config
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Conn(inner, l.config), nil
}

// Conn returns inner, guarded. A *tls.Conn must have completed its handshake and must not have
// negotiated HTTP/2. The result has ReadFrom (for sendfile and splice), CloseWrite and
// ConnectionState where net/http would find them on inner.
func Conn(inner net.Conn, c Config) net.Conn {
	guarded := &conn{Conn: inner, guard: newGuard(c), onRefuse: c.OnRefuse}
	switch inner := inner.(type) {
	case *net.TCPConn:
		return &tcpConn{guarded, inner}
	case *tls.Conn:
		return &tlsConn{halfConn{guarded, inner}, inner}
	case closeWriter:
		return &halfConn{guarded, inner}
	}
	return guarded
}

// ConnState is for http.Server.ConnState: it lets hijacked connections go. Call it from the server's
// own hook if it has one.
func ConnState(c net.Conn, state http.ConnState) {
	if state == http.StateHijacked {
		Release(c)
	}
}

// Release ends the guarding of a connection that has left HTTP: bytes pass unseen from
// now on. It does nothing to connections that are not guarded. It must not be called while
// the server reads from c, which hijacking makes sure of.
func Release(c net.Conn) {
	if r, ok := c.(interface{ release() }); ok {
		r.release()
	}
}

type closeWriter interface{ CloseWrite() error }

// mode is what Read does.
type mode int

const (
	passing mode = iota
	poisoning
	fillingUp
	draining // the server has all it gets; only the connection's end still matters to it
	broken   // in the middle of a body
)

// conn is a guarded connection. Only one goroutine may read at a time, as with net/http; the rest
// is as concurrent as the inner connection.
type conn struct {
	net.Conn
	onRefuse func(net.Addr, error)
	guard    guard
	mode     mode
	poison   string // what is left to give out of it
	// stash holds bytes that came behind a request for an upgrade in one read.
	// Whether they are HTTP is only known when the server has answered.
	stash    []byte
	refused  atomic.Bool
	released atomic.Bool
}

func (c *conn) release() { c.released.Store(true) }

// Read reads from the connection what the server may see.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case c.released.Load():
		return c.readRaw(p)
	case c.mode != passing:
		return c.readRefused(p)
	case c.guard.upgrade:
		return c.readAfterUpgrade(p)
	}
	n, err := c.readRaw(p)
	passed := c.guard.scan(p[:n])
	if passed == n {
		return n, err
	}
	if c.guard.fault == nil { // stopped behind a request for an upgrade
		c.stash = append(append([]byte(nil), p[passed:n]...), c.stash...)
		return passed, nil
	}
	c.refuse()
	if passed == 0 {
		return c.readRefused(p)
	}
	return passed, nil
}

// readRaw reads what was set aside, else from the connection.
func (c *conn) readRaw(p []byte) (int, error) {
	if len(c.stash) > 0 {
		n := copy(p, c.stash)
		c.stash = c.stash[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// readAfterUpgrade reads the one byte that net/http reads in the background while the
// handler decides on an upgrade. It is passed on in any case, since it may belong to the
// next protocol. A second read before a release means that the server goes on with HTTP:
// by then the byte has been judged like any other, and a fault ends in poison.
func (c *conn) readAfterUpgrade(p []byte) (int, error) {
	n, err := c.readRaw(p[:1])
	if n == 1 {
		c.guard.upgrade = false
		if c.guard.scan(p[:1]) == 0 {
			c.refuse()
		}
	}
	return n, err
}

// refuse turns the guard's fault into what Read does from now on.
func (c *conn) refuse() {
	f := c.guard.fault
	c.stash = nil
	c.refused.Store(true)
	switch f.remedy {
	case answer400:
		c.mode, c.poison = poisoning, poison
	case answer431:
		c.mode = fillingUp
	case answerByServer:
		c.mode = draining
		return // it counts as net/http's refusal
	case failBody:
		c.mode = broken
	}
	if c.onRefuse != nil {
		c.onRefuse(c.RemoteAddr(), f)
	}
}

// readRefused gives net/http what makes it answer and close.
func (c *conn) readRefused(p []byte) (int, error) {
	switch c.mode {
	case poisoning:
		if n := copy(p, c.poison); n > 0 {
			c.poison = c.poison[n:]
			return n, nil
		}
		c.mode = draining
	case fillingUp:
		for i := range p {
			p[i] = filling
		}
		return len(p), nil
	case broken:
		// A net.OpError, since net/http closes without a word of its own on those:
		// the handler has answered.
		return 0, &net.OpError{Op: "read", Net: "http", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: c.guard.fault}
	}
	// Not io.EOF: net/http would take it for the client's leaving, and
	// abort the request that it may still be answering.
	for {
		if _, err := c.Conn.Read(p); err != nil {
			return 0, err
		}
	}
}

// Close closes the connection; a refused one lingers for a moment in the background,
// so that the client can read the answer.
func (c *conn) Close() error {
	half, ok := c.Conn.(closeWriter)
	if !ok || !c.refused.Swap(false) || half.CloseWrite() != nil {
		return c.Conn.Close()
	}
	c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	go func() {
		defer c.Conn.Close()
		io.CopyN(io.Discard, onlyReader{c.Conn}, lingerBytes)
	}()
	return nil
}

// onlyReader hides every other method.
type onlyReader struct{ io.Reader }

// halfConn is a guarded connection with an inner one that can be closed for writing
// alone: Unix sockets.
type halfConn struct {
	*conn
	half closeWriter
}

func (c *halfConn) CloseWrite() error { return c.half.CloseWrite() }

// tcpConn is a guarded TCP connection.
type tcpConn struct {
	*conn
	tcp *net.TCPConn
}

func (c *tcpConn) CloseWrite() error { return c.tcp.CloseWrite() }

// ReadFrom writes what r has, in the kernel where that is possible.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) { return c.tcp.ReadFrom(r) }

// tlsConn is a guarded TLS connection.
type tlsConn struct {
	halfConn
	tls *tls.Conn
}

// ConnectionState is where net/http finds what becomes Request.TLS.
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }
