package proxy

import (
	"net/http"
	"strings"
)

// ownRoute reports whether a request is the proxy's to answer, and which of its routes it names
// exactly: "/jwt", or "" for none.
//
// What is the proxy's is decided on a folded path, since upstreams and caches differ in what they fold:
// whatever some server could read as the route must not reach the upstream, where it could be answered by
// something else. What is a route is decided on the path as it came: nothing but its one spelling is.
func (st *state) ownRoute(r *http.Request) (own bool, route string) {
	path := rawPath(r)
	if rest, ok := strings.CutPrefix(path, st.routePrefix); ok && strings.HasPrefix(rest, "/") && isPlainRoute(rest) {
		return true, rest
	}
	if !mayFoldTo(path, st.routePrefix) {
		return false, ""
	}
	rest, ok := strings.CutPrefix(foldPath(path), st.routePrefix)
	return ok && endsSegment(rest), ""
}

// isPlainRoute reports whether a route's path has no byte that folding would change.
func isPlainRoute(p string) bool {
	for i := 0; i < len(p); i++ {
		if c := p[i]; !(c >= 'a' && c <= 'z' || c == '-' || c == '/') {
			return false
		}
	}
	return !strings.Contains(p, "//")
}

// mayFoldTo is the cheap test before foldPath: a path without an escape, a backslash, a double slash, a
// dot segment or one of nothing but parameters can only fold to the prefix if it begins with it, letter case aside.
func mayFoldTo(path, prefix string) bool {
	if len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix) {
		return true
	}
	return strings.ContainsAny(path, "%\\") || strings.Contains(path, "//") || strings.Contains(path, "/.") || strings.Contains(path, "/;")
}

// endsSegment reports whether what follows the prefix cannot be more of the same name. Besides the slash,
// that is what servers cut off a segment: path parameters (;), a trailing dot or space, a stray escape.
func endsSegment(rest string) bool {
	if rest == "" {
		return true
	}
	c := rest[0]
	return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c >= 0x80)
}

// rawPath is the path of the request target as it came, without the query, and without scheme and
// authority where the target is in absolute form (RFC 9112 section 3.2.2).
func rawPath(r *http.Request) string {
	target := r.RequestURI
	if target == "" { // a request that was not read from a connection
		return r.URL.EscapedPath()
	}
	target, _, _ = strings.Cut(target, "?")
	if target != "" && target[0] != '/' {
		if _, rest, ok := strings.Cut(target, "://"); ok {
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				return rest[i:]
			}
			return "/"
		}
	}
	return target
}

// foldPath brings a path into the form that the most lenient server could read it in: one level of
// percent-encoding decoded, lower case, backslashes as slashes, path parameters cut off, empty and
// dot segments resolved.
func foldPath(p string) string {
	decoded := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' && i+2 < len(p) {
			if hi, lo := unhex(p[i+1]), unhex(p[i+2]); hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		if c == '\\' {
			c = '/'
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		decoded = append(decoded, c)
	}
	segments := strings.Split(string(decoded), "/")
	out := segments[:0]
	for i, s := range segments {
		// "/..;x/" is a parent segment to servers that cut path parameters off first.
		name, _, _ := strings.Cut(s, ";")
		switch {
		case name == "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		case name == "." || name == "" && i < len(segments)-1: // also "/;x/"
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// serveRoute answers one of the proxy's own routes.
func (s *site) serveRoute(ex *exchange, w *recorder, r *http.Request, route string) {
	switch {
	case route == "/jwt":
		s.serveToken(ex, w, r, s.chat)
	case route == "/jwt/help-center" && s.helpCenter != nil:
		s.serveToken(ex, w, r, s.helpCenter)
	case route == "/jwt/help-center":
		writeProblem(w, r, problem{status: http.StatusNotFound, asJSON: true,
			detail: "This site has no Help Center secret. Set ZCHAT_HELP_CENTER_SECRET to sign Help Center tokens."})
	default:
		writeProblem(w, r, problem{status: http.StatusNotFound, asJSON: true,
			detail: "There is no such route of the proxy. Its token route is " + ex.state.routePrefix + "/jwt, spelled exactly so."})
	}
}

// askedHeader is sent by the script with the time at which it asks.
const askedHeader = "X-Zchat-At"

// protect sets what every answer of the proxy's own routes carries: it is for the page that asked, now,
// and for nobody else. What service workers keep knows nothing of no-store, but does of Vary.
func protect(h http.Header) {
	v := [...]string{"no-store", "nosniff", "same-origin", "no-referrer", askedHeader} // one allocation for all
	h["Cache-Control"] = v[0:1:1]
	h["X-Content-Type-Options"] = v[1:2:2]
	h["Cross-Origin-Resource-Policy"] = v[2:3:3]
	h["Referrer-Policy"] = v[3:4:4]
	h["Vary"] = v[4:5:5]
}
