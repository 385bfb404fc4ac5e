package csp

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"slices"
	"strings"
)

// What a whole page may load and run, answered by the same parts that the patch is made with: so they can be held against
// the naive evaluator and against Chromium.

// List is the policies of a page; all of them must allow what is to happen.
type List []policy

func listOf(fields []string) List { return parse(fields) }

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
// may also come by a nonce or by 'strict-dynamic' (§6.7.1.1); styles by a nonce (§6.1.14.1). What the hash of an
// address allows is left out.
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
	return !d.list.hasURLHash() && d.list.matches(t, self, r.Redirected)
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
	return slices.ContainsFunc(l, func(token string) bool { return hashMatches(token, text) })
}

// hashMatches compares a hash-source with the digest of text.
func hashMatches(token, text string) bool {
	h, ok := parseHash(token)
	if !ok {
		return false
	}
	var sum []byte
	switch h.algorithm {
	case "256":
		s := sha256.Sum256([]byte(text))
		sum = s[:]
	case "384":
		s := sha512.Sum384([]byte(text))
		sum = s[:]
	default:
		s := sha512.Sum512([]byte(text))
		sum = s[:]
	}
	return sameBase64(h.digest, base64.StdEncoding.EncodeToString(sum))
}
