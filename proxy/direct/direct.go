// Package direct sends GET requests over HTTP/1.1 on the goroutine of the caller.
//
// The standard library's transport hands each request to one goroutine that writes and to another that reads, which
// is what bodies, upgrades and HTTP/2 need. A GET, and most of a site's traffic is that, needs none of it: it is written,
// and then the answer is read. Without the hand-over it costs about a quarter less. All other requests go to the standard
// transport.
package direct

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Transport is an [http.RoundTripper] for one origin. It is safe for concurrent use. A response's body must be closed, or
// read to its end, for the connection to be given up or used again.
type Transport struct {
	// Other takes what has a body or wants more than an answer, and everything that does not go to an http URL. Required, with
	// a DialContext, which opens the connections here too; its limits and time-outs hold for them.
	Other *http.Transport

	mu      sync.Mutex
	idle    []*conn // the most recently used last
	retired bool
	reaper  *time.Timer
}

// maxInformational bounds the 1xx responses to one request where nobody has asked to see them.
const maxInformational = 5

var (
	errHeaderTooLarge = errors.New("direct: the upstream's response header is too large")
	errInformational  = errors.New("direct: the upstream sends one informational response after the other")
	errLeftOver       = errors.New("direct: the upstream sends more than the answer before was long")
	errUnsolicited    = errors.New("direct: the upstream switches protocols though nobody asked for it")
)

// eligible reports whether a request can go without the standard transport.
func eligible(r *http.Request) bool {
	return supported && r.Method == http.MethodGet && (r.Body == nil || r.Body == http.NoBody) &&
		r.URL.Scheme == "http" && !r.Close && r.Trailer == nil && len(r.TransferEncoding) == 0 &&
		r.Header["Upgrade"] == nil && r.Header["Expect"] == nil
}

// RoundTrip implements [http.RoundTripper]. A connection that was used before, and turns out to have been closed by the
// upstream before any of an answer came, or to bring what is left of the answer before, costs nothing but another try on
// a new one: GET is safe to repeat (RFC 9112 section 9.3.1).
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !eligible(r) {
		return t.Other.RoundTrip(r)
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c := t.takeIdle(); c != nil {
		res, stale, err := c.roundTrip(ctx, r)
		if err == nil || !stale || ctx.Err() != nil {
			return res, err
		}
	}
	c, err := t.dial(ctx, r)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return t.Other.RoundTrip(r)
	}
	res, _, err := c.roundTrip(ctx, r)
	return res, err
}

// dial opens a connection as the standard transport would; nil without an error is one whose state cannot be looked at.
func (t *Transport) dial(ctx context.Context, r *http.Request) (*conn, error) {
	addr := r.URL.Host
	if r.URL.Port() == "" {
		addr = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	addr, err := httpguts.PunycodeHostPort(addr)
	if err != nil {
		return nil, err
	}
	nc, err := t.Other.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := newConn(t, nc)
	if c == nil {
		nc.Close()
	}
	return c, nil
}

// takeIdle returns the connection that was used last and is still good, or nil: one that has neither been closed nor
// sent anything that nobody asked for.
func (t *Transport) takeIdle() *conn {
	for {
		t.mu.Lock()
		n := len(t.idle)
		if n == 0 {
			t.mu.Unlock()
			return nil
		}
		c := t.idle[n-1]
		t.idle[n-1] = nil
		t.idle = t.idle[:n-1]
		t.mu.Unlock()
		if c.probe.quiet() {
			c.borrow()
			return c
		}
		c.Close()
	}
}

// putIdle keeps a connection for the next request.
func (t *Transport) putIdle(c *conn) {
	c.giveBack()
	c.since = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired || len(t.idle) >= t.Other.MaxIdleConnsPerHost {
		c.Close()
		return
	}
	t.idle = append(t.idle, c)
	if t.reaper == nil {
		t.reaper = time.AfterFunc(reapEvery, t.reap)
	}
}

// reapEvery is how soon after its closing by the upstream an idle connection is closed here too. A goroutine that waits
// for that would know at once, but there would have to be one for each connection.
const reapEvery = time.Second

// reap closes what the upstream has closed and what has been idle for too long, and comes again while anything is left.
func (t *Transport) reap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := time.Now().Add(-t.Other.IdleConnTimeout)
	kept := t.idle[:0]
	for _, c := range t.idle {
		if (t.Other.IdleConnTimeout == 0 || c.since.After(limit)) && c.probe.quiet() {
			kept = append(kept, c)
		} else {
			c.Close()
		}
	}
	clear(t.idle[len(kept):])
	t.idle = kept
	t.reaper = nil
	if len(kept) > 0 {
		t.reaper = time.AfterFunc(reapEvery, t.reap)
	}
}

// Retire closes the connections that no request is using, and lets those in use end with their requests. Requests may
// still come, each of which has a connection of its own.
func (t *Transport) Retire() {
	t.Other.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retired = true
	for _, c := range t.idle {
		c.Close()
	}
	t.idle = nil
	if t.reaper != nil {
		t.reaper.Stop()
		t.reaper = nil
	}
}

// conn is one connection, in the hands of one request at a time.
type conn struct {
	net.Conn
	t     *Transport
	probe prober
	since time.Time // idle from then on
	used  bool      // has answered before

	r    *bufio.Reader // pooled; nil while idle
	room int64         // how much may still be read of a header; < 0 for no limit
}

// readers lends connections their buffers for as long as they are in use: idle ones hold nothing.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 16<<10) }}

func (c *conn) borrow() {
	c.r = readers.Get().(*bufio.Reader)
	c.r.Reset(c)
}

func (c *conn) giveBack() {
	c.r.Reset(nil)
	readers.Put(c.r)
	c.r = nil
}

func newConn(t *Transport, nc net.Conn) *conn {
	c := &conn{Conn: nc, t: t, room: -1}
	if !c.probe.open(nc) {
		return nil
	}
	c.borrow()
	return c
}

// Read implements [io.Reader] for r.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case c.room == 0:
		return 0, errHeaderTooLarge
	case c.room > 0 && int64(len(p)) > c.room:
		p = p[:c.room]
	}
	n, err := c.Conn.Read(p)
	if c.room > 0 {
		c.room -= int64(n)
	}
	return n, err
}

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 4<<10) }}

// roundTrip sends r and reads the header of the answer. On an error the connection is closed; stale says that it had been
// used before and was closed by the upstream before anything of an answer came, or that no answer begins like what came.
func (c *conn) roundTrip(ctx context.Context, r *http.Request) (res *http.Response, stale bool, err error) {
	var deadline time.Time
	if d := c.t.Other.ResponseHeaderTimeout; d > 0 {
		deadline = time.Now().Add(d)
	}
	if err = c.SetReadDeadline(deadline); err != nil {
		c.Close()
		return nil, c.used, err
	}
	stop := context.AfterFunc(ctx, c.abort)
	werr := c.write(r)
	// An upstream may answer before it has read all of a request, and close: what it says counts.
	switch first, none := c.r.Peek(1); {
	case none != nil:
		stale = c.used && !isTimeout(none)
		switch {
		case werr != nil:
			err = werr
		case none == io.EOF:
			err = io.ErrUnexpectedEOF
		default:
			err = none
		}
	case c.used && first[0] != 'H':
		stale, err = true, errLeftOver
	default:
		if res, err = c.readHeader(ctx, r); err == nil && werr != nil {
			res.Close = true
		}
	}
	if err != nil {
		stop()
		c.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, stale, err
	}
	c.used = true
	b := &body{ReadCloser: res.Body, c: c, ctx: ctx, stop: stop, reuse: !res.Close}
	c.SetReadDeadline(time.Time{})
	if ctx.Err() != nil { // its end may have come before that
		c.SetDeadline(longAgo)
	}
	if res.Body == http.NoBody {
		b.end(bodyEnded)
		return res, false, nil
	}
	res.Body = b
	return res, false, nil
}

// longAgo as a deadline wakes whoever reads or writes.
var longAgo = time.Unix(1, 0)

func (c *conn) abort() { c.SetDeadline(longAgo) }

func (c *conn) write(r *http.Request) error {
	w := writers.Get().(*bufio.Writer)
	w.Reset(c.Conn)
	err := r.Write(w)
	if err == nil {
		err = w.Flush()
	}
	w.Reset(nil)
	writers.Put(w)
	return err
}

// readHeader reads responses up to the first that is not informational.
func (c *conn) readHeader(ctx context.Context, r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(ctx)
	defer func() { c.room = -1 }()
	for count := 1; ; count++ {
		c.room = max(c.t.Other.MaxResponseHeaderBytes-int64(c.r.Buffered()), 1)
		res, err := http.ReadResponse(c.r, r)
		switch {
		case err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errUnsolicited
		case res.StatusCode >= 200:
			return res, nil
		case res.StatusCode < 100:
			return nil, fmt.Errorf("direct: the upstream answers with status %d", res.StatusCode)
		case trace != nil && trace.Got1xxResponse != nil:
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		case count > maxInformational:
			return nil, errInformational
		}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// body is a response's body. It may be closed while it is read.
type body struct {
	io.ReadCloser
	c     *conn
	ctx   context.Context
	stop  func() bool // ends the watch over ctx; false where ctx has ended
	reuse bool        // the answer leaves the connection fit for another request

	mu    sync.Mutex
	state bodyState
}

type bodyState uint8

const (
	bodyOpen bodyState = iota
	bodyEnded
	bodyFailed // or closed
)

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	state := b.state
	b.mu.Unlock()
	switch state {
	case bodyEnded:
		return 0, io.EOF
	case bodyFailed:
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.end(bodyEnded)
	case err != nil:
		b.end(bodyFailed)
		if b.ctx.Err() != nil {
			err = b.ctx.Err()
		}
	}
	return n, err
}

// Close gives up what has not been read, and with it the connection.
func (b *body) Close() error {
	b.end(bodyFailed)
	return nil
}

// end lets go of the connection, once: for another request if the answer came to its end, else for good.
func (b *body) end(state bodyState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != bodyOpen {
		return
	}
	b.state = state
	c := b.c
	if b.stop() && state == bodyEnded && b.reuse && c.r.Buffered() == 0 {
		c.t.putIdle(c)
		return
	}
	c.Close()
}
