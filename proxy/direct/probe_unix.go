//go:build unix

package direct

import (
	"net"
	"syscall"
)

// supported says that the state of a connection can be looked at without waiting.
const supported = true

// prober looks at an idle connection without waiting.
type prober struct {
	raw  syscall.RawConn
	read func(fd uintptr) bool // made once: a closure for each look would be garbage
	err  error
}

func (p *prober) open(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	p.raw = raw
	p.read = func(fd uintptr) bool {
		var b [1]byte
		_, p.err = syscall.Read(int(fd), b[:])
		return true
	}
	return true
}

// quiet reports that there is nothing to read: no end, and no byte. A connection of which a byte has been read is of no
// use any more.
func (p *prober) quiet() bool {
	if err := p.raw.Read(p.read); err != nil {
		return false
	}
	return p.err == syscall.EAGAIN || p.err == syscall.EWOULDBLOCK
}
