package csp

import (
	"slices"
	"strings"
)

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
	return l.allowsAllInlineBut(effective, isHash)
}

// allowsAllInlineBut is allowsAllInline where isHash says what a hash is.
func (l list) allowsAllInlineBut(effective string, isHash func(token string) bool) bool {
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

// hasHash reports whether the list has this hash source ("sha256-…" or "sha-256-…", no quotes), in either alphabet of
// base64.
func (l list) hasHash(hash string) bool {
	want, ok := parseHash("'" + hash + "'")
	return ok && slices.ContainsFunc(l, func(token string) bool {
		have, ok := parseHash(token)
		return ok && have.old == want.old && have.algorithm == want.algorithm && sameBase64(have.digest, want.digest)
	})
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

// hash is a hash-source (CSP3 §2.3.1).
type hash struct {
	algorithm string // "256", "384" or "512"
	digest    string // base64
	old       bool   // spelled 'sha-256-…', which Chromium takes for the same, and others for nothing
}

// parseHash reads 'sha256-…' and its kin, in quotes. Where the digest cannot be decoded it is false, as in Chromium: a
// script that 'unsafe-inline' lets run must not be stopped by a hash put beside what only looks like one.
func parseHash(token string) (h hash, ok bool) {
	const prefix = "'sha"
	if len(token) < len(prefix)+len("256-'") || !strings.EqualFold(token[:len(prefix)], prefix) || token[len(token)-1] != '\'' {
		return h, false
	}
	rest := token[len(prefix) : len(token)-1]
	rest, h.old = strings.CutPrefix(rest, "-")
	h.algorithm, h.digest, _ = strings.Cut(rest, "-")
	known := h.algorithm == "256" || h.algorithm == "384" || h.algorithm == "512"
	return h, known && isDigest(h.digest)
}

func isHash(token string) bool {
	_, ok := parseHash(token)
	return ok
}

// isNewHash reports a hash-source that every browser takes for one.
func isNewHash(token string) bool {
	h, ok := parseHash(token)
	return ok && !h.old
}

// hasURLHash reports a list with the hash of a script's address in it, 'url-sha256-…'. Chromium heeds no place beside one,
// in any directive; browsers that do not know such hashes go by the places.
func (l list) hasURLHash() bool {
	const prefix = "'url-"
	return slices.ContainsFunc(l, func(token string) bool {
		return len(token) > len(prefix) && strings.EqualFold(token[:len(prefix)], prefix) && isNewHash("'"+token[len(prefix):])
	})
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

// isDigest reports base64 that stands for whole bytes, with no more padding than it needs.
func isDigest(s string) bool {
	body := len(strings.TrimRight(s, "="))
	return isBase64(s) && body%4 != 1 && (len(s) == body || body%4 != 0 && len(s) <= body+4-body%4)
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
