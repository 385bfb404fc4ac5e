package proxy

import (
	"net"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// With ZCHAT_UPSTREAM_HOST other than "preserve" the upstream believes that it has another name than the
// one in the visitor's address bar. Headers that redirect, set cookies or compare origins are translated, so that
// the visitor stays under that name. Bodies are not: a site's absolute links to itself are its own configuration.

// isUpstreamName reports whether an authority is one that the upstream goes by: the name that it is sent, the
// address at which it is reached, and that name with the address's port, which nginx puts into its redirects.
func (s *site) isUpstreamName(authority string) bool {
	host, port := splitPort(inASCII(authority))
	name, namePort := splitPort(inASCII(s.upstreamHost))
	address, addressPort := splitPort(inASCII(s.upstream.host))
	switch {
	case strings.EqualFold(host, name) && (samePort(port, namePort) || samePort(port, addressPort)):
		return true
	case strings.EqualFold(host, address):
		return samePort(port, addressPort)
	}
	return false
}

// inASCII is how net/http sends an authority: names beyond ASCII go in Punycode.
func inASCII(authority string) string {
	if a, err := httpguts.PunycodeHostPort(authority); err == nil {
		return a
	}
	return authority
}

// samePort compares two ports. The default ports of both schemes are the same as none: a site behind something
// that ends TLS may well write https://name:80.
func samePort(a, b string) bool {
	isDefault := func(port string) bool { return port == "" || port == "80" || port == "443" }
	return a == b || isDefault(a) && isDefault(b)
}

// renameRequest translates the visitor's origin to the upstream's: in Origin and Referer, which protections against
// forged requests compare with Host, and in Destination, which WebDAV servers do (RFC 4918 section 10.3).
func (s *site) renameRequest(ex *exchange, h http.Header) {
	scheme := s.upstream.scheme
	if ex.origin.scheme == "https" {
		scheme = "https" // as X-Forwarded-Proto has it, which applications go by, and WebDAV servers do not
	}
	for _, f := range [...]struct{ name, scheme string }{{"Origin", scheme}, {"Referer", scheme}, {"Destination", s.upstream.scheme}} {
		for i, v := range h[f.name] {
			if rest, ok := cutOrigin(v, ex.origin); ok {
				h[f.name] = append([]string(nil), h[f.name]...)
				h[f.name][i] = f.scheme + "://" + withoutDefaultPort(inASCII(s.upstreamHost), f.scheme) + rest
			}
		}
	}
}

// cutOrigin cuts an origin off the front of a URL.
func cutOrigin(v string, o origin) (rest string, ok bool) {
	scheme, after, found := strings.Cut(v, "://")
	if !found || !strings.EqualFold(scheme, o.scheme) {
		return "", false
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	if !sameAuthority(after[:end], o.host, o.scheme) {
		return "", false
	}
	return after[end:], true
}

// renameResponse translates the upstream's name back.
func (s *site) renameResponse(ex *exchange, res *http.Response) {
	h := res.Header
	for _, name := range [...]string{"Location", "Content-Location", "Access-Control-Allow-Origin"} {
		for i, v := range h[name] {
			h[name][i] = s.renameURL(v, ex.origin)
		}
	}
	for i, v := range h["Refresh"] {
		h["Refresh"][i] = s.renameRefresh(v, ex.origin)
	}
	// Browsers send Fetch Metadata only where they take cookies that demand a secure connection: over TLS,
	// also where a gateway that ends it forgets to say so, and on loopback.
	plain := ex.origin.scheme == "http" && len(res.Request.Header["Sec-Fetch-Site"]) == 0
	for i, v := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = s.renameCookie(v, ex.origin, plain)
	}
}

// renameURL puts the visitor's origin in place of the upstream's, and keeps every other byte.
func (s *site) renameURL(v string, o origin) string {
	prefix, after := "", ""
	switch scheme, rest, ok := strings.Cut(v, "//"); {
	case !ok:
		return v
	case scheme == "":
		prefix, after = "//", rest
	case strings.EqualFold(scheme, "http:"), strings.EqualFold(scheme, "https:"):
		prefix, after = o.scheme+"://", rest
	default:
		return v
	}
	end := strings.IndexAny(after, "/?#\\")
	if end < 0 {
		end = len(after)
	}
	host := strings.LastIndexByte(after[:end], '@') + 1 // behind a user and a password
	if !s.isUpstreamName(after[host:end]) {
		return v
	}
	return prefix + after[:host] + o.host + after[end:]
}

// renameRefresh translates the URL in a Refresh field.
func (s *site) renameRefresh(v string, o origin) string {
	start, end := refreshTarget(v)
	return v[:start] + s.renameURL(v[start:end], o) + v[end:]
}

// refreshTarget finds the URL in a Refresh field: "5; url=http://…" in all the spellings that browsers take (HTML,
// "shared declarative refresh steps").
func refreshTarget(v string) (start, end int) {
	skip := func(i int, set string) int {
		for i < len(v) && strings.IndexByte(set, v[i]) >= 0 {
			i++
		}
		return i
	}
	const space = " \t\f"
	i := skip(skip(skip(0, space), "0123456789."), space)
	if i < len(v) && (v[i] == ';' || v[i] == ',') {
		i = skip(i+1, space)
	}
	if len(v)-i > 3 && strings.EqualFold(v[i:i+3], "url") {
		if equals := skip(i+3, space); equals < len(v) && v[equals] == '=' {
			i = skip(equals+1, space)
		}
	}
	if i < len(v) && (v[i] == '"' || v[i] == '\'') {
		if n := strings.IndexByte(v[i+1:], v[i]); n >= 0 {
			return i + 1, i + 1 + n
		}
		i++
	}
	return i, len(v)
}

// renameCookie translates the Domain attribute of a cookie. For a visitor on a plain connection it takes off what demands
// a secure one: a site that sets such cookies believes that its visitors come over TLS.
func (s *site) renameCookie(v string, o origin, plain bool) string {
	parts := strings.Split(v, ";")
	bare := plain && canBeLoosened(parts)
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, value := attribute(part)
		switch name {
		case "domain":
			// One that covers the visitor's name too is fine as it is: the site shares the cookie between its names.
			if s.coversUpstream(value) && !domainMatches(o.hostname(), value) {
				if !canBeDomain(o.hostname()) {
					continue // a cookie without a domain goes back to the host it came from
				}
				key, _, _ := strings.Cut(part, "=")
				part = key + "=" + o.hostname()
			}
		case "secure", "partitioned":
			if bare {
				continue
			}
		case "samesite":
			if bare && strings.EqualFold(value, "none") {
				continue // without Secure, browsers refuse it
			}
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ";")
}

// canBeLoosened reports whether a cookie demands a secure connection, and would be taken if it did not: one whose name
// begins with __Host- or __Secure- would not.
func canBeLoosened(parts []string) bool {
	name, _ := attribute(parts[0])
	for _, prefix := range [...]string{"__host-", "__secure-", "__http-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	for _, part := range parts[1:] {
		if name, _ := attribute(part); name == "secure" {
			return true
		}
	}
	return false
}

// attribute splits "Name=value" of a cookie, the name in lower case.
func attribute(part string) (name, value string) {
	name, value, _ = strings.Cut(part, "=")
	return strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
}

// coversUpstream reports whether a cookie domain covers a name of the upstream.
func (s *site) coversUpstream(domain string) bool {
	for _, authority := range [...]string{s.upstreamHost, s.upstream.host} {
		if host, _ := splitPort(inASCII(authority)); domainMatches(host, domain) {
			return true
		}
	}
	return false
}

// domainMatches reports whether browsers let a host set a cookie for a domain (RFC 6265 section 5.1.3), as far as can
// be known without a list of public suffixes: those of one label are refused.
func domainMatches(host, domain string) bool {
	host, domain = strings.ToLower(host), strings.ToLower(strings.TrimPrefix(domain, "."))
	if host == domain {
		return domain != ""
	}
	return canBeDomain(domain) && strings.HasSuffix(host, "."+domain) && net.ParseIP(host) == nil
}

// canBeDomain reports whether browsers take a host for a cookie's Domain: no address, no single label.
func canBeDomain(host string) bool {
	return strings.Contains(host, ".") && net.ParseIP(strings.Trim(host, "[]")) == nil
}
