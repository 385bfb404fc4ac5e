package wire

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// net/http writes through a buffer of 4 KiB: a header and the beginning of a body fill it and leave, and the rest of
// what the handler writes follows by itself. So one Write of a handler makes two packets, the client wakes up twice, and
// a small page costs a third more than it needs to. A Gatherer lets both leave together.

// Gatherer gathers what a server writes to a plain connection. The nil Gatherer does nothing. It must only be used by the goroutine
// that writes the response.
type Gatherer struct {
	conn net.Conn
	on   bool
	held *[]byte // what has been gathered; nil for nothing
	vec  net.Buffers
}

// newGatherer looks below what wraps a connection for one that the kernel can take several pieces from at once.
func newGatherer(c net.Conn) *Gatherer {
	for {
		switch inner := c.(type) {
		case *net.TCPConn, *net.UnixConn:
			return &Gatherer{conn: c}
		case *tls.Conn:
			return nil
		case interface{ NetConn() net.Conn }:
			c = inner.NetConn()
		default:
			return nil
		}
	}
}

// GathererOf returns the Gatherer of the connection that a request came on, nil where there is nothing to gain: TLS has records of its
// own, and HTTP/2 frames. It needs ConnContext.
func GathererOf(ctx context.Context) *Gatherer {
	if c, ok := ctx.Value(connKey{}).(interface{ gatherer() *Gatherer }); ok {
		return c.gatherer()
	}
	return nil
}

// Begin holds back small writes from now on, until a larger one or End takes them along.
func (g *Gatherer) Begin() {
	if g != nil {
		g.on = true
	}
}

// End writes what has been held back.
func (g *Gatherer) End() error {
	if g == nil {
		return nil
	}
	g.on = false
	if g.held == nil {
		return nil
	}
	_, err := g.conn.Write(*g.held)
	g.drop()
	return err
}

// maxHeld is net/http's buffer, twice over.
const maxHeld = 8 << 10

var helds = sync.Pool{New: func() any { b := make([]byte, 0, maxHeld); return &b }}

func (g *Gatherer) drop() {
	*g.held = (*g.held)[:0]
	helds.Put(g.held)
	g.held = nil
}

// write is the connection's Write.
func (g *Gatherer) write(p []byte) (int, error) {
	if !g.on && g.held == nil {
		return g.conn.Write(p)
	}
	if g.held == nil {
		if len(p) > maxHeld/2 {
			return g.conn.Write(p)
		}
		g.held = helds.Get().(*[]byte)
	}
	if g.on && len(*g.held)+len(p) <= maxHeld {
		*g.held = append(*g.held, p...)
		return len(p), nil
	}
	before := int64(len(*g.held))
	g.vec = append(g.vec[:0], *g.held, p)
	all := g.vec // WriteTo moves it
	n, err := g.vec.WriteTo(g.conn)
	clear(all)
	g.vec = all[:0]
	g.drop()
	return int(max(0, n-before)), err
}
