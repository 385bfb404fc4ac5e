package wire

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Config sets the guard's limits. The zero value is ready for use.
type Config struct {
	// MaxHeaderBytes bounds a request's head, from the request line to the empty line;
	// 0 means 64 KiB. Set http.Server.MaxHeaderBytes to the same value: up
	// to that one net/http reads filling before it answers 431.
	MaxHeaderBytes int
	// MaxHeaderCount bounds the number of a head's field lines; 0 means 200.
	MaxHeaderCount int
	// HandshakeTimeout bounds a TLS handshake, as http.Server.ReadHeaderTimeout does where net/http
	// makes it; 0 means 10 s.
	HandshakeTimeout time.Duration
	// OnRefuse, if not nil, is told why a connection was refused, once for each. The error holds
	// nothing that the client sent. It is called while the server reads, so it must not block.
	OnRefuse func(remote net.Addr, why error)
}

const (
	defaultHeaderBytes = 64 << 10
	defaultHeaderCount = 200

	defaultHandshakeTimeout = 10 * time.Second

	// lingerPause and lingerTime bound how long a client that has been answered may still send: without
	// a pause, and in all (RFC 9112 section 9.6: closing at once resets the connection, and
	// the client loses the answer). Many send a whole upload before they read.
	lingerPause = 2 * time.Second
	lingerTime  = 30 * time.Second
)

// poison spoils the line that net/http is in the middle of, if any, and then adds one that is neither a
// request line nor a field. So its parsing fails wherever in a head, in a chunked body's
// framing or in trailers it has come to, before the end of that.
//
// It must not begin with a line end, which would be the end of the head where a line has
// just ended. And its first line must end in a bare LF: net/http ignores
// what stands in a chunk extension, but not that.
const poison = "\x00\n\x00\r\n\r\n"

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
// negotiated HTTP/2. The result has CloseWrite and ConnectionState where net/http would find
// them on inner, and WriteTo and ReadFrom for copying what comes after an upgrade.
func Conn(inner net.Conn, c Config) net.Conn {
	guarded := &conn{Conn: inner, guard: newGuard(c), onRefuse: c.OnRefuse, gather: newGatherer(inner)}
	switch inner := inner.(type) {
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

// ConnContext is for http.Server.ConnContext: it lets handlers ask for BodyFault.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if f, ok := c.(interface{ fault() error }); ok {
		return context.WithValue(ctx, connKey{}, f)
	}
	return ctx
}

// connKey is the context key of the guarded connection.
type connKey struct{}

// BodyFault tells a handler for which reading the request's body has failed whether that was the client's
// fault: it returns what was wrong with the chunks or trailers, and nil if nothing was or if the
// connection is not guarded. The answer to it is 400, and net/http closes the
// connection by itself after it. The error holds nothing that the client sent. (Where a client sends several
// requests at once, one that fails for another reason may be told of the fault in the one behind it.)
func BodyFault(ctx context.Context) error {
	if f, ok := ctx.Value(connKey{}).(interface{ fault() error }); ok {
		return f.fault()
	}
	return nil
}

type closeWriter interface{ CloseWrite() error }

// mode is what Read does.
type mode int

const (
	passing mode = iota
	poisoning
	fillingUp
	draining // the server has all it gets; only the connection's end still matters to it
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
	deadline deadline
	// bodyFault is set once net/http was given something of the poison for a body.
	bodyFault atomic.Pointer[fault]
	within    atomic.Bool // a request has begun and not ended, as far as was read
	released  atomic.Bool
	gather    *Gatherer // nil for TLS
	// reason is for the next status line, nil for the standard's. (100 Continue is written by who reads the body.)
	reason atomic.Pointer[reason]
}

// Write is net.Conn's, gathered where the handler wants it.
func (c *conn) Write(p []byte) (int, error) {
	if r := c.reason.Load(); r != nil {
		if replaced, ok := r.apply(p); ok {
			c.reason.Store(nil)
			n, err := c.write(replaced)
			return min(max(0, n+len(p)-len(replaced)), len(p)), err
		}
	}
	return c.write(p)
}

func (c *conn) write(p []byte) (int, error) {
	if c.gather == nil {
		return c.Conn.Write(p)
	}
	return c.gather.write(p)
}

func (c *conn) gatherer() *Gatherer { return c.gather }

func (c *conn) release() { c.released.Store(true) }

func (c *conn) fault() error {
	if f := c.bodyFault.Load(); f != nil {
		return f
	}
	return nil
}

// Read reads from the connection what the server may see.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case c.released.Load():
		return c.readRaw(p)
	case c.mode != passing:
		return c.readRefused(p)
	case c.guard.upgrade && len(p) == 1:
		return 0, c.readUndecided(p)
	}
	// Whether or not an upgrade was asked for: the server goes on with HTTP.
	c.guard.upgrade = false
	n, err := c.readRaw(p)
	passed := c.guard.scan(p[:n])
	if within := c.guard.within(); within != c.within.Load() {
		c.within.Store(within)
	}
	if c.guard.fault != nil {
		c.refuse()
		if passed == 0 {
			return c.readRefused(p)
		}
		return passed, nil
	}
	if passed < n { // stopped behind a request for an upgrade
		c.stash = append(append([]byte(nil), p[passed:n]...), c.stash...)
		err = nil // it comes again
	}
	return passed, err
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

// readUndecided stands for the read of a single byte by which net/http notices in the background
// that the client leaves, while a handler decides on an upgrade. If a byte comes, it
// belongs to the next request or to the next protocol, and nobody knows yet to which. So it is
// set aside, and the read waits for the end that net/http puts to it by a deadline when the handler
// has returned or hijacked the connection. (Passed on, it would also be lost with a handler
// that hijacks and ignores what is buffered, as httputil.ReverseProxy does.)
func (c *conn) readUndecided(p []byte) error {
	if len(c.stash) == 0 {
		n, err := c.Conn.Read(p)
		if n == 0 {
			return err
		}
		c.stash = append(c.stash, p[0])
		if err != nil {
			return err
		}
	}
	return c.deadline.wait()
}

// refuse turns the guard's fault into what Read does from now on.
func (c *conn) refuse() {
	f := c.guard.fault
	switch f.remedy {
	case answer400, failBody:
		c.mode, c.poison = poisoning, poison
	case answer431:
		c.mode = fillingUp
	case answerByServer:
		c.mode = draining
		return // it counts as net/http's refusal
	}
	if c.onRefuse != nil {
		c.onRefuse(c.RemoteAddr(), f)
	}
}

// readRefused gives net/http what makes it answer and close.
func (c *conn) readRefused(p []byte) (int, error) {
	switch c.mode {
	case poisoning:
		if c.guard.fault.remedy == failBody {
			c.bodyFault.Store(c.guard.fault)
		}
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
	}
	// Not io.EOF: net/http would take it for the client's leaving, and
	// abort the request that it may still be answering.
	for {
		if _, err := c.Conn.Read(p); err != nil {
			return 0, err
		}
	}
}

// WriteTo copies everything that comes to w. io.Copy finds it where an upgraded connection is passed on.
func (c *conn) WriteTo(w io.Writer) (int64, error) { return relay(w, c) }

// ReadFrom writes everything that r has. io.Copy finds it where an upgraded connection is passed on.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return relay(c.Conn, r) }

// Close closes the connection. Where more of a request may come, which the guard or net/http has
// refused or has answered before its end, it lingers in the background, so that the client
// can read the answer.
func (c *conn) Close() error {
	c.deadline.close()
	half, ok := c.Conn.(closeWriter)
	if !ok || !c.within.Swap(false) || c.released.Load() || half.CloseWrite() != nil {
		return c.Conn.Close()
	}
	go c.linger()
	return nil
}

// linger reads what is still on its way, to nobody.
func (c *conn) linger() {
	defer c.Conn.Close()
	buf := make([]byte, 4<<10)
	for end := time.Now().Add(lingerTime); ; {
		now := time.Now()
		if now.After(end) {
			return
		}
		c.Conn.SetReadDeadline(now.Add(lingerPause))
		if _, err := c.Conn.Read(buf); err != nil {
			return
		}
	}
}

// SetDeadline is net.Conn's.
func (c *conn) SetDeadline(t time.Time) error {
	err := c.Conn.SetDeadline(t)
	c.deadline.set(t)
	return err
}

// SetReadDeadline is net.Conn's.
func (c *conn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	c.deadline.set(t)
	return err
}

// halfConn is a guarded connection with an inner one that can be closed for writing
// alone: TCP and Unix sockets.
type halfConn struct {
	*conn
	half closeWriter
}

func (c *halfConn) CloseWrite() error { return c.half.CloseWrite() }

// tlsConn is a guarded TLS connection.
type tlsConn struct {
	halfConn
	tls *tls.Conn
}

// ConnectionState is where net/http finds what becomes Request.TLS.
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }
