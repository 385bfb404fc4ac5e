package proxy

import (
	"net"
	"net/http"
	"strings"
)

// nameUnixPeer takes the address away from a Unix socket's peer. It is one that the peer gives itself, by binding its
// end to a path: "127.0.0.1:80" is a file name too.
func nameUnixPeer(r *http.Request) {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		r.RemoteAddr = "@"
	}
}

// origin is scheme and host as the visitor's browser sees them.
type origin struct {
	scheme string // "http" or "https"
	host   string // host[:port] as it came
}

// originOf finds the visitor's origin: from the connection, or from what a trusted proxy in front says.
// Where that proxy appended to a chain, the first element is the one nearest to the visitor.
func originOf(r *http.Request, trusted bool) origin {
	o := origin{scheme: "http", host: r.Host}
	if r.TLS != nil {
		o.scheme = "https"
	}
	if !trusted {
		return o
	}
	proto, host := firstElement(r.Header["X-Forwarded-Proto"]), firstElement(r.Header["X-Forwarded-Host"])
	if f := r.Header["Forwarded"]; len(f) > 0 {
		fproto, fhost := parseForwarded(f[0])
		if proto == "" {
			proto = fproto
		}
		if host == "" {
			host = fhost
		}
	}
	switch strings.ToLower(proto) {
	case "https", "wss":
		o.scheme = "https"
	case "http", "ws":
		o.scheme = "http"
	}
	if isHostAndPort(host) {
		o.host = host
	}
	return o
}

// isHostAndPort reports whether a name that a proxy in front passed on, perhaps from its client, can be one: it is put
// into redirects and cookies, where a semicolon begins something else.
func isHostAndPort(host string) bool {
	for i := 0; i < len(host); i++ {
		if !isAlphanumeric(host[i]) && strings.IndexByte("-._:[]", host[i]) < 0 {
			return false
		}
	}
	return host != ""
}

func firstElement(values []string) string {
	if len(values) == 0 {
		return ""
	}
	first, _, _ := strings.Cut(values[0], ",")
	return strings.TrimSpace(first)
}

// parseForwarded reads proto and host of the first element of a Forwarded field (RFC 7239 section 4).
func parseForwarded(value string) (proto, host string) {
	first, _, _ := strings.Cut(value, ",")
	for pair := range strings.SplitSeq(first, ";") {
		name, v, _ := strings.Cut(strings.TrimSpace(pair), "=")
		v = strings.Trim(v, `"`)
		switch strings.ToLower(name) {
		case "proto":
			proto = v
		case "host":
			host = v
		}
	}
	return proto, host
}

func (o origin) String() string { return o.scheme + "://" + o.host }

// is reports whether a serialised origin (RFC 6454 section 6.1) is this one. The host may also be the
// one that the request itself names: a gateway that rewrites X-Forwarded-Host need not be between.
func (o origin) is(serialised, requestHost string) bool {
	scheme, host, ok := strings.Cut(serialised, "://")
	if !ok || !strings.EqualFold(scheme, o.scheme) {
		return false
	}
	return sameAuthority(host, o.host, o.scheme) || sameAuthority(host, requestHost, o.scheme)
}

// sameAuthority compares two authorities, the scheme's default port being the same as none.
func sameAuthority(a, b, scheme string) bool {
	return strings.EqualFold(withoutDefaultPort(a, scheme), withoutDefaultPort(b, scheme))
}

func withoutDefaultPort(authority, scheme string) string {
	switch scheme {
	case "http":
		return strings.TrimSuffix(authority, ":80")
	case "https":
		return strings.TrimSuffix(authority, ":443")
	}
	return authority
}

// hostname is the origin's host without a port or a trailing dot.
func (o origin) hostname() string {
	host, _ := splitPort(o.host)
	return strings.TrimSuffix(host, ".")
}

// setForwarded tells the upstream who is in front of it. From a trusted peer the chain that came goes
// on, with that peer at its end; for anyone else it begins here, since a chain that a client wrote is
// worth nothing (and has been removed from the request before this).
func setForwarded(out http.Header, r *http.Request, ex *exchange) {
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		peer = "" // a Unix socket's peer has no address
	}
	in := r.Header
	chain := in["X-Forwarded-For"]
	if peer != "" {
		if len(chain) > 0 {
			chain = []string{strings.Join(chain, ", ") + ", " + peer}
		} else {
			chain = []string{peer}
		}
	}
	if len(chain) > 0 {
		out["X-Forwarded-For"] = chain
	}
	setFirst(out, in, "X-Forwarded-Host", ex.origin.host)
	setFirst(out, in, "X-Forwarded-Proto", ex.origin.scheme)

	// An element of our own describes the hop to this proxy; without a Forwarded chain before it, it is
	// also the first, the one that upstreams read for the visitor's origin.
	hop := ex.origin
	came := in["Forwarded"]
	if len(came) > 0 {
		hop = origin{connectionScheme(r), r.Host}
	}
	element := "for=" + forwardedNode(peer) + ";host=" + quoted(hop.host) + ";proto=" + hop.scheme
	if len(came) > 0 {
		element = strings.Join(came, ", ") + ", " + element
	}
	out["Forwarded"] = []string{element}
}

// setFirst passes on what a trusted proxy said, or says it ourselves.
func setFirst(out, in http.Header, name, value string) {
	if came := in[name]; len(came) > 0 {
		out[name] = came
		return
	}
	out[name] = []string{value}
}

func connectionScheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// forwardedNode writes a node identifier (RFC 7239 section 6).
func forwardedNode(ip string) string {
	switch {
	case ip == "":
		return "unknown"
	case strings.Contains(ip, ":"):
		return `"[` + ip + `]"`
	}
	return ip
}

// quoted writes a value as a token where it is one, else as a quoted-string.
func quoted(v string) string {
	if isToken(v) {
		return v
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}
