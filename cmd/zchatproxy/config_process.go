package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"zchatproxy/proxy/identity"
)

// checkProcess judges what holds for the whole process.
func (l *loader) checkProcess(c *configuration) {
	p := &c.process
	say := func(key, problem string) {
		if problem != "" {
			c.problems.addf(prefix+key, "%s.", problem)
		}
	}
	say("LISTEN", checkListen(p.Listen))
	if p.AdminListen != "off" {
		say("ADMIN_LISTEN", checkListen(p.AdminListen))
		if p.AdminListen == p.Listen && !strings.HasSuffix(p.Listen, ":0") {
			c.problems.addf(prefix+"ADMIN_LISTEN", "is %s, the address of the proxy itself; write another port, or off.", p.AdminListen)
		}
		if isPublic(p.AdminListen) {
			c.warnings.addf(prefix+"ADMIN_LISTEN", "is %s: the status page and metrics have no log-in and can be reached from other machines. Write 127.0.0.1:9090, or see to it that a firewall or network policy lets only your monitoring in.", p.AdminListen)
		}
	}
	p.RoutePrefix = strings.TrimSuffix(p.RoutePrefix, "/")
	if p.RoutePrefix == "" {
		p.RoutePrefix = "/"
	}
	say("ROUTE_PREFIX", checkRoutePrefix(p.RoutePrefix))

	l.checkPeers(c)
	l.checkCertificate(c)
}

// isPublic reports whether an address to listen on can be reached from outside the machine and its private networks.
func isPublic(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil || host == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host == ""
	}
	return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
}

func (l *loader) checkPeers(c *configuration) {
	name, list := prefix+"TRUSTED_PROXIES", c.process.TrustedProxies
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" || entry == "unix" {
			continue
		}
		if problem := checkPeer(entry); problem != "" {
			c.problems.addf(name, "has %q, %s.", entry, problem)
			continue
		}
		if p, err := identity.ParsePeers(entry); err == nil && p.TrustsEveryone() {
			c.warnings.addf(name, "has %s: whoever can reach the proxy can pass for anybody, by writing the identity headers themselves. Write only the addresses of your gateway.", entry)
		}
	}
	peers, err := identity.ParsePeers(list)
	if err != nil && !slices.ContainsFunc(c.problems.list, func(f finding) bool { return f.Variable == name }) {
		c.problems.addf(name, "is not usable: %v.", err)
	}
	c.peers = peers
}

func checkPeer(entry string) string {
	if _, err := netip.ParseAddr(entry); err == nil {
		return ""
	}
	p, err := netip.ParsePrefix(entry)
	if err == nil {
		if p.Masked() != p {
			return fmt.Sprintf("whose address has bits beyond its mask; write %s for the network or %s for the one machine", p.Masked(), p.Addr())
		}
		return ""
	}
	address, bits, _ := strings.Cut(entry, "/")
	if ip, err := netip.ParseAddr(address); err == nil {
		return fmt.Sprintf("whose mask /%s does not exist; write at most %s/%d", bits, ip, ip.BitLen())
	}
	return "which is neither an address nor a network; write one such as 10.0.0.7 or 10.0.0.0/8 (host names are not looked up), or unix"
}

func (l *loader) checkCertificate(c *configuration) {
	cert, key := c.process.TLSCertFile, c.process.TLSKeyFile
	switch {
	case cert == "" && key == "":
		return
	case key == "":
		c.problems.addf(prefix+"TLS_KEY_FILE", "is not set, but %sTLS_CERT_FILE is; write the file of the private key.", prefix)
		return
	case cert == "":
		c.problems.addf(prefix+"TLS_CERT_FILE", "is not set, but %sTLS_KEY_FILE is; write the file of the certificate chain.", prefix)
		return
	}
	broken := false
	for _, f := range []struct{ variable, file string }{{prefix + "TLS_CERT_FILE", cert}, {prefix + "TLS_KEY_FILE", key}} {
		if _, err := readLimited(f.file); err != nil {
			c.problems.addf(f.variable, "names %s, which cannot be read: %v.", f.file, reasonOf(err))
			broken = true
		}
	}
	if broken {
		return
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		c.problems.addf(prefix+"TLS_CERT_FILE", "and %sTLS_KEY_FILE do not go together: %v. Write the PEM files of one certificate and its key.", prefix, err)
		return
	}
	leaf := pair.Leaf
	switch left := leaf.NotAfter.Sub(l.now()); {
	case left < 0:
		c.warnings.addf(prefix+"TLS_CERT_FILE", "holds a certificate that expired on %s; browsers refuse it. Renew it.", leaf.NotAfter.Format(time.DateOnly))
	case left < 7*24*time.Hour:
		c.warnings.addf(prefix+"TLS_CERT_FILE", "holds a certificate that expires on %s. Renew it; it is read again without a restart.", leaf.NotAfter.Format(time.DateOnly))
	case leaf.NotBefore.After(l.now()):
		c.warnings.addf(prefix+"TLS_CERT_FILE", "holds a certificate that is not valid before %s. Check this machine's clock.", leaf.NotBefore.Format(time.RFC3339))
	}
}
