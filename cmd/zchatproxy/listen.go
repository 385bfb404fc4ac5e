package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// socketMode lets the owner and the group connect: a gateway under another user shares a group with the proxy.
const socketMode = 0o660

// listen opens an address of the configuration, host:port or unix:///path. Closing the listener removes the socket.
func listen(addr string) (net.Listener, error) {
	path := socketPath(addr)
	if path == "" {
		ln, err := net.Listen("tcp", addr)
		return ln, explainListen(addr, err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, explainListen(addr, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		ln.Close()
		return nil, fmt.Errorf("setting the mode of %s: %w", path, err)
	}
	return ln, nil
}

// removeStale removes a socket that nobody listens on any more, as a process that was killed leaves it behind.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket: choose another path, or remove it", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return fmt.Errorf("%s is in use: another process listens there; stop it or choose another path", path)
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is a socket that cannot be tried (%w); remove it if nobody uses it", path, err)
	}
	return os.Remove(path)
}

// explainListen says what to do about the usual reasons why an address cannot be had.
func explainListen(addr string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another process; stop that one or choose another port", addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("no permission to listen on %s; choose a port from 1024 up, or give the binary the capability CAP_NET_BIND_SERVICE", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this machine; write :port for all of them", addr)
	}
	return err
}

// tracker counts the connections of a listener that are open, and limits their number. The HTTP server forgets those
// that were upgraded (WebSocket), so a drain has to wait for these here. (netutil.LimitListener would hide CloseWrite.)
type tracker struct {
	net.Listener
	slots  chan struct{} // holds one element for each open connection; nil without a limit
	closed chan struct{} // closed with the listener
	once   sync.Once

	mu   sync.Mutex
	open map[*trackedConn]struct{}
	idle chan struct{} // closed when the last connection has gone; nil while nobody waits
}

// newTracker lets at most limit connections be open at one time and leaves further ones in the kernel's queue; 0 sets
// no limit.
func newTracker(ln net.Listener, limit int) *tracker {
	t := &tracker{Listener: ln, closed: make(chan struct{}), open: map[*trackedConn]struct{}{}}
	if limit > 0 {
		t.slots = make(chan struct{}, limit)
	}
	return t
}

// Accept implements net.Listener.
func (t *tracker) Accept() (net.Conn, error) {
	if t.slots != nil {
		select {
		case t.slots <- struct{}{}:
		case <-t.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := t.Listener.Accept()
	if err != nil {
		t.release()
		return nil, err
	}
	c := &trackedConn{Conn: conn, in: t}
	t.mu.Lock()
	t.open[c] = struct{}{}
	t.mu.Unlock()
	return c, nil
}

// Close implements net.Listener. It also wakes an Accept that waits for a connection to end.
func (t *tracker) Close() error {
	t.once.Do(func() { close(t.closed) })
	return t.Listener.Close()
}

func (t *tracker) release() {
	if t.slots != nil {
		<-t.slots
	}
}

func (t *tracker) forget(c *trackedConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
	if len(t.open) == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// count returns how many connections are open.
func (t *tracker) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// drained returns a channel that is closed as soon as no connection is open.
func (t *tracker) drained() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	return t.idle
}

// cut closes what is still open and returns how many connections that were.
func (t *tracker) cut() int {
	t.mu.Lock()
	conns := make([]*trackedConn, 0, len(t.open))
	for c := range t.open {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	return len(conns)
}

// trackedConn tells its tracker when it is closed. It keeps the ability that half-closing upgraded connections looks for.
type trackedConn struct {
	net.Conn
	in   *tracker
	once sync.Once
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.in.release()
		c.in.forget(c)
	})
	return err
}

// NetConn returns the connection below, as that of package tls does.
func (c *trackedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite sends the end of the stream and leaves reading open, as *net.TCPConn does.
func (c *trackedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
