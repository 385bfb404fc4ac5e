package identity

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Peers are the TCP and Unix-socket peers whose identity and X-Forwarded-* headers count. The zero value trusts
// nobody. Peers are values that never change, so they are safe for concurrent use.
type Peers struct {
	prefixes []netip.Prefix
	zoned    []netip.Addr // link-local addresses that were named together with their interface
	unix     bool
}

// ParsePeers reads a list, separated by commas or white space, of networks in CIDR notation, single addresses, and
// the word "unix", which stands for every peer of a Unix socket. IPv4-mapped IPv6 addresses and networks mean their
// IPv4 form. An empty list trusts nobody. The error joins nothing: it names the first entry that cannot be read.
func ParsePeers(list string) (Peers, error) {
	var p Peers
	for _, entry := range strings.FieldsFunc(list, isListSeparator) {
		if strings.EqualFold(entry, "unix") {
			p.unix = true
			continue
		}
		if err := p.add(entry); err != nil {
			return Peers{}, err
		}
	}
	return p, nil
}

func isListSeparator(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }

func (p *Peers) add(entry string) error {
	if addr, err := netip.ParseAddr(entry); err == nil {
		if addr.Zone() != "" {
			p.zoned = append(p.zoned, addr)
			return nil
		}
		addr = addr.Unmap()
		p.prefixes = append(p.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	prefix, err := netip.ParsePrefix(entry)
	if err != nil {
		return fmt.Errorf("%q is not an address, a network such as 10.0.0.0/8 or fd00::/8, or the word unix", entry)
	}
	p.prefixes = append(p.prefixes, unmapPrefix(prefix).Masked())
	return nil
}

// unmapPrefix turns ::ffff:a.b.c.d/96+n into a.b.c.d/n. netip never matches an IPv4 address against an IPv6 prefix,
// and peers are unmapped before they are compared.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	const mappedBits = 96
	if p.Addr().Is4In6() && p.Bits() >= mappedBits {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
	}
	return p
}

// Trusts reports whether the peer at remoteAddr, as [net/http.Request.RemoteAddr] has it, is one of p. What is not
// an IP address, with or without a port, is the peer of a Unix socket: net/http gives "@", "" or a path there, and
// always an IP address for TCP. The path is the peer's choice and may look like an IP address, so a caller that listens
// on a Unix socket passes "@" for every peer.
func (p Peers) Trusts(remoteAddr string) bool {
	addr, ok := peerAddr(remoteAddr)
	if !ok {
		return p.unix
	}
	if slices.Contains(p.zoned, addr) {
		return true
	}
	// A prefix contains no address with a zone, but fe80::/10 is meant for all interfaces.
	addr = addr.WithZone("").Unmap()
	for _, prefix := range p.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func peerAddr(remoteAddr string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(remoteAddr); err == nil {
		return ap.Addr(), true
	}
	addr, err := netip.ParseAddr(remoteAddr)
	return addr, err == nil
}

// TrustsEveryone reports whether p holds a network so wide that nobody has it for themselves, such as 0.0.0.0/0 or
// 2000::/3: then anybody may say who they are, which deserves a warning.
func (p Peers) TrustsEveryone() bool {
	for _, prefix := range p.prefixes {
		least := 8 // 10.0.0.0/8 is somebody's own
		if prefix.Addr().Is6() {
			least = 16
		}
		if prefix.Bits() < least {
			return true
		}
	}
	return false
}

// String lists the peers in the form that [ParsePeers] reads.
func (p Peers) String() string {
	var list []string
	for _, prefix := range p.prefixes {
		list = append(list, prefix.String())
	}
	for _, addr := range p.zoned {
		list = append(list, addr.String())
	}
	if p.unix {
		list = append(list, "unix")
	}
	return strings.Join(list, ",")
}
