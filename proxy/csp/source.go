package csp

import (
	"net/url"
	"strings"
)

// source is a scheme-source or host-source expression (CSP3 §2.3.1), or '*'.
type source struct {
	scheme string // in lower case, without the colon; empty: the page's own
	host   string // in lower case; "*" any, "*.example.com" anything below; empty: a scheme-source
	port   string // digits, "*" any, empty: the scheme's default
	path   string // empty: any
	star   bool   // the expression is a lone '*'
}

// target is the part of a URL that source expressions are matched with.
type target struct {
	scheme, host string // in lower case
	port         string // never empty where the scheme has a default
	path         string // percent-encoded as it stands in the URL
}

// parseSource reads a source expression that names where something comes from. It is false for keywords, nonces, hashes and
// whatever does not follow the grammar, all of which match no URL.
func parseSource(token string) (source, bool) {
	if token == "*" {
		return source{star: true}, true
	}
	s, rest := source{}, token
	if scheme, after, found := strings.Cut(token, "://"); found {
		if !isScheme(scheme) {
			return s, false
		}
		s.scheme, rest = strings.ToLower(scheme), after
	} else if scheme, found := strings.CutSuffix(token, ":"); found {
		return source{scheme: strings.ToLower(scheme)}, isScheme(scheme)
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		rest, s.path = rest[:i], rest[i:]
	}
	host, port, hasPort := strings.Cut(rest, ":")
	s.host, s.port = strings.ToLower(host), port
	return s, isHostPattern(host) && (!hasPort || isPort(port)) && !strings.ContainsAny(s.path, "?#")
}

func isScheme(s string) bool {
	for i, c := range []byte(s) {
		if !isAlpha(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// isHostPattern accepts what browsers do, which is more than the grammar: the underscore occurs in real names, and an
// address of IPv4 looks like a name.
func isHostPattern(s string) bool {
	if s == "*" {
		return true
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "*."), ".")
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for _, c := range []byte(label) {
			if !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isPort(s string) bool {
	if s == "*" {
		return true
	}
	for _, c := range []byte(s) {
		if !isDigit(c) {
			return false
		}
	}
	return s != ""
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseTarget reads an absolute URL. It is false for what has no scheme.
func parseTarget(raw string) (target, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" {
		return target{}, false
	}
	t := target{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port(), path: u.EscapedPath()}
	if t.port == "" {
		t.port = defaultPort(t.scheme)
	}
	return t, true
}

// join resolves a reference, as the page would, against the origin o.
func (o target) join(ref string) (target, bool) {
	base := url.URL{Scheme: o.scheme, Host: o.host, Path: "/"}
	if strings.Contains(o.host, ":") {
		base.Host = "[" + o.host + "]"
	}
	if o.port != defaultPort(o.scheme) {
		base.Host += ":" + o.port
	}
	u, err := base.Parse(ref)
	if err != nil {
		return target{}, false
	}
	return parseTarget(u.String())
}

func (o target) sameOrigin(t target) bool {
	return o.host != "" && o.scheme == t.scheme && o.host == t.host && o.port == t.port
}

func defaultPort(scheme string) string {
	switch scheme {
	case "http", "ws":
		return "80"
	case "https", "wss":
		return "443"
	}
	return ""
}

// matches is CSP3 §6.7.2.8, "does url match expression in origin". self is the page's origin. An address instead of a name
// may match, as it does in browsers, though the specification holds back there.
func (s source) matches(t, self target, redirected bool) bool {
	switch {
	case s.star:
		return isNetwork(t.scheme) || t.scheme == self.scheme
	case s.host == "":
		return schemeMatches(s.scheme, t.scheme)
	}
	scheme := s.scheme
	if scheme == "" {
		scheme = self.scheme
	}
	return t.host != "" && schemeMatches(scheme, t.scheme) && hostMatches(s.host, t.host) && s.portMatches(scheme, t) &&
		(redirected || pathMatches(s.path, t.path))
}

// selfMatches is the part of §6.7.2.8 about 'self': the page's origin, also reached more securely, and its WebSockets.
func selfMatches(self, t target) bool {
	if self.host == "" || self.host != t.host {
		return false
	}
	if self.scheme == t.scheme && self.port == t.port {
		return true
	}
	bothDefault := self.port == defaultPort(self.scheme) && t.port == defaultPort(t.scheme)
	if self.port != t.port && !bothDefault {
		return false
	}
	return t.scheme == "https" || t.scheme == "wss" || self.scheme == "http" && t.scheme == "ws"
}

// isNetwork lists what '*' stands for. The specification sees WebSocket requests as HTTP requests; browsers agree on the
// outcome here.
func isNetwork(scheme string) bool {
	return scheme == "http" || scheme == "https" || scheme == "ws" || scheme == "wss"
}

// schemeMatches is CSP3 §6.7.2.9 as browsers apply it: the more secure variant of the same protocol is included. That a
// WebSocket scheme also covers HTTP, and the other way round, follows from the specification but not from what Chromium
// does, and the stricter reading decides.
func schemeMatches(have, want string) bool {
	return have == want || have == "http" && want == "https" || have == "ws" && want == "wss"
}

func hostMatches(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// portMatches is CSP3 §6.7.2.11 with what browsers add: where the scheme was taken for its more secure variant, a port
// written out is not that variant's, except that 80 stands for 443 then.
func (s source) portMatches(scheme string, t target) bool {
	switch {
	case s.port == "*":
		return true
	case s.port == "":
		return t.port == defaultPort(t.scheme)
	}
	port := strings.TrimLeft(s.port, "0")
	if scheme != t.scheme {
		return port == "80" && t.port == "443"
	}
	return port == t.port
}

// pathMatches is CSP3 §6.7.2.12: a path with a slash at its end allows all below it, another only itself.
func pathMatches(pattern, path string) bool {
	if pattern == "" || pattern == "/" && path == "" {
		return true
	}
	have, want := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(have) > len(want) {
		return false
	}
	if have[len(have)-1] != "" { // no slash at the end
		if len(have) != len(want) {
			return false
		}
	} else {
		have = have[:len(have)-1]
	}
	for i := range have {
		if unescape(have[i]) != unescape(want[i]) {
			return false
		}
	}
	return true
}

// unescape decodes percent-encoding where it is well-formed, and leaves a segment alone where it is not.
func unescape(segment string) string {
	if plain, err := url.PathUnescape(segment); err == nil {
		return plain
	}
	return segment
}

// covers reports whether s allows everything that want allows, whatever the page's scheme where self is unknown.
func (s source) covers(want source, self target) bool {
	if s.star {
		return isNetwork(want.scheme)
	}
	if s.host == "" || want.host == "" {
		return s.host == "" && schemeMatches(s.scheme, want.scheme)
	}
	scheme := s.scheme
	if scheme == "" {
		scheme = self.scheme
		if scheme == "" { // an unknown page speaks http or https: either covers https, and nothing else is certain
			scheme = "https"
		}
	}
	if !schemeMatches(scheme, want.scheme) || s.path != "" && s.path != "/" {
		return false
	}
	if !s.portMatches(scheme, want.asTarget()) { // a port of "*" is matched by "*" alone
		return false
	}
	if wild, ok := strings.CutPrefix(want.host, "*"); ok { // all below wild: only a pattern can cover that
		return s.host == "*" || strings.HasPrefix(s.host, "*") && strings.HasSuffix(wild, s.host[1:])
	}
	return hostMatches(s.host, want.host)
}

// asTarget reads a host-source as the URL that it allows; a pattern remains one.
func (s source) asTarget() target {
	t := target{scheme: s.scheme, host: s.host, port: s.port}
	if t.port == "" {
		t.port = defaultPort(t.scheme)
	}
	return t
}
