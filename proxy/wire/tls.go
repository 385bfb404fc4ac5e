package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// TLSListener returns a listener of TLS connections over plain ones. Its Accept
// returns connections whose handshake is done: those that negotiated HTTP/2 as *tls.Conn, as
// http.Server wants them, and all others guarded. Handshakes run beside each
// other, so that a slow client holds up nobody. Failed ones go to OnRefuse.
//
// The guard has to stand between TLS and the server, and http.Server.ServeTLS leaves no room there. For
// HTTP/2 the server's own TLSConfig must be nil or name "h2" in NextProtos too.
func TLSListener(inner net.Listener, config *tls.Config, c Config) net.Listener {
	closing, end := context.WithCancel(context.Background())
	l := &tlsListener{
		inner:    inner,
		config:   config,
		guard:    c,
		accepted: make(chan acceptance),
		closing:  closing,
		end:      end,
	}
	l.start = sync.OnceFunc(func() { go l.run() })
	return l
}

type tlsListener struct {
	inner    net.Listener
	config   *tls.Config
	guard    Config
	accepted chan acceptance
	start    func()          // at the first Accept
	closing  context.Context // ends when the listener is closed
	end      context.CancelFunc
}

// acceptance is one result of Accept.
type acceptance struct {
	conn net.Conn
	err  error
}

func (l *tlsListener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection that is ready.
func (l *tlsListener) Accept() (net.Conn, error) {
	l.start()
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closing.Done():
		return nil, net.ErrClosed
	}
}

// Close stops listening, and drops handshakes under way.
func (l *tlsListener) Close() error {
	l.end()
	return l.inner.Close()
}

// run accepts until the listener is closed. Errors go to Accept's caller, which decides whether to
// go on, as http.Server does; the next connection is accepted only when it asks again.
func (l *tlsListener) run() {
	for {
		raw, err := l.inner.Accept()
		if err == nil {
			go l.handshake(raw)
			continue
		}
		if !l.deliver(acceptance{err: err}) || errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// deliver reports whether somebody took it.
func (l *tlsListener) deliver(a acceptance) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closing.Done():
		return false
	}
}

func (l *tlsListener) handshake(raw net.Conn) {
	timeout := l.guard.HandshakeTimeout
	if timeout <= 0 {
		timeout = defaultHandshakeTimeout
	}
	ctx, cancel := context.WithTimeout(l.closing, timeout)
	defer cancel()
	secure := tls.Server(raw, l.config)
	if err := secure.HandshakeContext(ctx); err != nil {
		l.refuse(raw, err)
		return
	}
	var ready net.Conn = secure
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		ready = Conn(secure, l.guard)
	}
	if !l.deliver(acceptance{conn: ready}) {
		secure.Close()
	}
}

// refuse closes a connection without TLS; a browser that was sent to the wrong scheme is told
// so, since it shows nothing otherwise.
func (l *tlsListener) refuse(raw net.Conn, err error) {
	defer raw.Close()
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && looksLikeHTTP(record.RecordHeader) {
		raw.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(raw, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+
			"400 Bad Request: this is an HTTPS address\n")
	}
	if l.guard.OnRefuse != nil {
		l.guard.OnRefuse(raw.RemoteAddr(), err)
	}
}

// looksLikeHTTP says whether what came for a TLS record's header is a request line's beginning.
func looksLikeHTTP(header [5]byte) bool {
	for _, c := range header[:3] {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
