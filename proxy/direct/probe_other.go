//go:build !unix

package direct

import "net"

// supported is false where it cannot be told whether an idle connection was closed: there the standard transport
// does everything.
const supported = false

type prober struct{}

func (p *prober) open(net.Conn) bool { return false }

func (p *prober) quiet() bool { return false }
