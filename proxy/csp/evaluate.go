package csp

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"strings"
)

// List is the policies of a page; all of them must allow what is to happen.
type List []Policy

// Load is a request that a page makes.
type Load struct {
	// Directive is the effective directive of the request (CSP3 §6.8.1): "script-src-elem", "connect-src", "img-src",
	// "worker-src", ….
	Directive string
	// URL is absolute.
	URL string
	// Origin is the page's, which 'self' stands for. Empty: unknown, and 'self' matches nothing.
	Origin string
	// Nonce is the element's nonce attribute, empty without.
	Nonce string
	// ParserInserted says that a script's tag stands in the page's markup: 'strict-dynamic' trusts only scripts that
	// other scripts have created.
	ParserInserted bool
	// Redirected says that the URL was reached by a redirect: paths in the policy do not count then.
	Redirected bool
}

// Inline is a script or style that stands in the page itself.
type Inline struct {
	// Directive is "script-src-elem", "script-src-attr", "style-src-elem" or "style-src-attr".
	Directive string
	// Text is what stands between the tags, or the attribute's value.
	Text string
	// Nonce is the element's nonce attribute, empty without. Attributes have none.
	Nonce string
}

// AllowsLoad reports whether every policy allows the request (CSP3 §4.1.2). A URL that cannot be read is refused wherever
// a directive governs it.
func (l List) AllowsLoad(r Load) bool {
	t, valid := parseTarget(r.URL)
	self, _ := parseTarget(r.Origin)
	for i := range l {
		if d := l[i].governing(r.Directive); d != nil && !(valid && d.allowsLoad(r, t, self)) {
			return false
		}
	}
	return true
}

// AllowsInline reports whether every policy allows the inline script or style (CSP3 §4.2.3).
func (l List) AllowsInline(in Inline) bool {
	for i := range l {
		if d := l[i].governing(in.Directive); d != nil && !d.list.allowsInline(in.Directive, in.Nonce, in.Text) {
			return false
		}
	}
	return true
}

// allowsLoad applies the directive's list to a request. Scripts, and the workers whose fate the script directives decide,
// may also come by a nonce or by 'strict-dynamic' (§6.7.1.1); styles by a nonce (§6.1.14.1).
func (d *directive) allowsLoad(r Load, t, self target) bool {
	byScript := strings.HasPrefix(r.Directive, "script-src") || r.Directive == "worker-src" && (d.name == "script-src" || d.name == "default-src")
	if byScript || strings.HasPrefix(r.Directive, "style-src") {
		if d.list.hasNonce(r.Nonce) {
			return true
		}
	}
	if byScript && d.list.hasKeyword("'strict-dynamic'") {
		return !r.ParserInserted
	}
	return d.list.matches(t, self, r.Redirected)
}

// list is a directive's value: source expressions as they came.
type list []string

// isNone reports the empty list, which 'none' alone spells out. Beside others 'none' has no meaning (CSP3 §6.7.2.7).
func (l list) isNone() bool {
	return len(l) == 0 || len(l) == 1 && strings.EqualFold(l[0], "'none'")
}

func (l list) matches(t, self target, redirected bool) bool {
	for _, token := range l {
		if strings.EqualFold(token, "'self'") {
			if selfMatches(self, t) {
				return true
			}
		} else if s, ok := parseSource(token); ok && s.matches(t, self, redirected) {
			return true
		}
	}
	return false
}

func (l list) hasKeyword(keyword string) bool {
	for _, token := range l {
		if strings.EqualFold(token, keyword) {
			return true
		}
	}
	return false
}

// allowsAllInline is CSP3 §6.7.3.2: 'unsafe-inline' counts only where there is neither nonce nor hash nor, for scripts,
// 'strict-dynamic'.
func (l list) allowsAllInline(effective string) bool {
	unsafe := false
	for _, token := range l {
		switch {
		case strings.EqualFold(token, "'unsafe-inline'"):
			unsafe = true
		case strings.EqualFold(token, "'strict-dynamic'") && strings.HasPrefix(effective, "script-src"), nonceOf(token) != "", isHash(token):
			return false
		}
	}
	return unsafe
}

// allowsInline is CSP3 §6.7.3.3, "does element match source list for type and source".
func (l list) allowsInline(effective, nonce, text string) bool {
	if l.allowsAllInline(effective) {
		return true
	}
	attribute := strings.HasSuffix(effective, "-attr")
	if !attribute && l.hasNonce(nonce) {
		return true
	}
	if attribute && !l.hasKeyword("'unsafe-hashes'") {
		return false
	}
	for _, token := range l {
		if isHash(token) && hashMatches(token, text) {
			return true
		}
	}
	return false
}

func (l list) hasNonce(nonce string) bool {
	if nonce == "" {
		return false
	}
	for _, token := range l {
		if nonceOf(token) == nonce {
			return true
		}
	}
	return false
}

// hasHash reports whether the list has this hash source ("sha256-…", no quotes), in either alphabet of base64.
func (l list) hasHash(hash string) bool {
	if hash == "" {
		return false
	}
	for _, token := range l {
		if isHash(token) && sameHash(token[1:len(token)-1], hash) {
			return true
		}
	}
	return false
}

// nonceOf returns the nonce of a nonce-source, and "" for everything else. What is not base64 in form, such as a template
// left unexpanded, is no nonce to a browser either.
func nonceOf(token string) string {
	const prefix = "'nonce-"
	if len(token) <= len(prefix)+1 || !strings.EqualFold(token[:len(prefix)], prefix) || token[len(token)-1] != '\'' {
		return ""
	}
	if nonce := token[len(prefix) : len(token)-1]; isBase64(nonce) {
		return nonce
	}
	return ""
}

// isHash reports a hash-source: 'sha256-…', 'sha384-…' or 'sha512-…' in quotes.
func isHash(token string) bool {
	const prefix = "'sha256-"
	if len(token) <= len(prefix)+1 || token[len(token)-1] != '\'' || token[len(prefix)-1] != '-' {
		return false
	}
	algorithm := token[1 : len(prefix)-1]
	known := strings.EqualFold(algorithm, "sha256") || strings.EqualFold(algorithm, "sha384") || strings.EqualFold(algorithm, "sha512")
	return token[0] == '\'' && known && isBase64(token[len(prefix):len(token)-1])
}

// isBase64 is the base64-value of CSP3 §2.3.1: either alphabet, padding optional.
func isBase64(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" || len(s)-len(body) > 2 {
		return false
	}
	for _, c := range []byte(body) {
		if !isAlpha(c) && !isDigit(c) && c != '+' && c != '/' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// hashMatches compares a hash-source with the digest of text.
func hashMatches(token, text string) bool {
	var sum []byte
	switch algorithm := strings.ToLower(token[1:7]); algorithm {
	case "sha256":
		s := sha256.Sum256([]byte(text))
		sum = s[:]
	case "sha384":
		s := sha512.Sum384([]byte(text))
		sum = s[:]
	default:
		s := sha512.Sum512([]byte(text))
		sum = s[:]
	}
	return sameBase64(token[len("'sha256-"):len(token)-1], base64.StdEncoding.EncodeToString(sum))
}

// sameHash compares "sha256-…" with "sha256-…": the algorithm's letter case and the alphabet do not matter.
func sameHash(a, b string) bool {
	const prefix = len("sha256-")
	return len(a) > prefix && len(b) > prefix && strings.EqualFold(a[:prefix], b[:prefix]) && sameBase64(a[prefix:], b[prefix:])
}

func sameBase64(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if standard(a[i]) != standard(b[i]) {
			return false
		}
	}
	return true
}

// standard maps the URL-safe alphabet of base64 to the standard one.
func standard(c byte) byte {
	switch c {
	case '-':
		return '+'
	case '_':
		return '/'
	}
	return c
}
