package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// hasDirective reports whether a Cache-Control field has a directive, with or without a value (RFC 9111
// section 5.2).
func hasDirective(values []string, name string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			directive, _, _ := strings.Cut(part, "=")
			if strings.EqualFold(strings.TrimSpace(directive), name) {
				return true
			}
		}
	}
	return false
}

// sharedFreshness reports whether a response is explicitly fresh for shared caches, which may then give it
// to other people: a cookie set on it would be theirs too. A lifetime of nothing (max-age=0, an Expires that
// has passed or is no date) is not freshness. What is said to one kind of cache wins there over Cache-Control.
func sharedFreshness(h http.Header, now time.Time) bool {
	for _, name := range targetedFields {
		if v := h[name]; len(v) > 0 && !hasDirective(v, "no-store") && !hasDirective(v, "private") {
			if age, ok := directiveSeconds(v, "max-age"); ok && age != 0 || hasDirective(v, "public") || hasDirective(v, "s-maxage") {
				return true
			}
		}
	}
	if v := h["X-Accel-Expires"]; len(v) > 0 && strings.TrimSpace(v[0]) != "0" {
		return true // nginx
	}
	cc := h["Cache-Control"]
	switch {
	case hasDirective(cc, "no-store"):
		return false
	case hasDirective(cc, "public"), hasDirective(cc, "s-maxage"):
		return true
	case hasDirective(cc, "private"):
		return false
	}
	if age, ok := directiveSeconds(cc, "max-age"); ok {
		return age != 0
	}
	for _, v := range h["Expires"] {
		if t, err := http.ParseTime(v); err == nil && t.After(now) {
			return true
		}
	}
	return false
}

// targetedFields speak to content delivery networks alone (RFC 9213, and Edge Architecture Specification), in canonical form.
var targetedFields = [...]string{"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control"}

// sharedAnswer reports whether a response may be about somebody else than the request that it answers: a cache has had
// it for a while (RFC 9111 section 5.1), or it says of itself that caches may give it to everybody.
func sharedAnswer(h http.Header) bool {
	for _, v := range h["Age"] {
		if strings.Trim(v, "0 \t") != "" {
			return true
		}
	}
	cc := h["Cache-Control"]
	return !hasDirective(cc, "no-store") && (hasDirective(cc, "public") || hasDirective(cc, "s-maxage"))
}

// directiveSeconds reads a directive's delta-seconds; what is not a number counts as -1, unknown.
func directiveSeconds(values []string, name string) (seconds int, ok bool) {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			directive, arg, _ := strings.Cut(part, "=")
			if !strings.EqualFold(strings.TrimSpace(directive), name) {
				continue
			}
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(arg), `"`))
			if err != nil {
				n = -1
			}
			return n, true
		}
	}
	return 0, false
}

// keepPrivate makes sure that no shared cache stores a response that is about one visitor.
func keepPrivate(h http.Header) {
	cc := h["Cache-Control"]
	switch {
	case len(cc) == 0:
		h["Cache-Control"] = []string{"private"}
	case !hasDirective(cc, "private") && !hasDirective(cc, "no-store"):
		h["Cache-Control"] = append(append([]string(nil), cc...), "private")
	}
}
