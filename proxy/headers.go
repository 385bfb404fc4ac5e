package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// page is what is known of a page when its header is about to leave.
type page struct {
	suffix  string // of the entity tag
	length  int64  // of the coded body, -1 where it is not known
	charset string // to be named in Content-Type, "" for none
}

// untrue lists the header fields that an insertion makes untrue, and what becomes of each. Everything
// that is not in this table stays as the upstream sent it.
var untrue = []struct {
	field string
	mend  func(h http.Header, p *page)
}{
	// The length of what is sent; left out where the coding makes it unknowable (RFC 9112 section 6.3).
	{"Content-Length", mendLength},
	// Another representation has another tag (RFC 9110 section 8.8.3).
	{"Etag", func(h http.Header, p *page) {
		if v := h["Etag"]; len(v) > 0 {
			h["Etag"] = []string{addSuffix(v[0], p.suffix)}
		}
	}},
	// Ranges of the upstream's bytes are not ranges of these (RFC 9110 section 14).
	{"Accept-Ranges", remove("Accept-Ranges")},
	// Digests are over bytes that have changed (RFC 1864, RFC 3230, RFC 9530).
	{"Content-Md5", remove("Content-Md5")},
	{"Digest", remove("Digest")},
	{"Repr-Digest", remove("Repr-Digest")},
	{"Content-Digest", remove("Content-Digest")},
	// Names the encoding that a <meta charset> named, where the insertion has pushed that out of the
	// 1,024 bytes in which browsers look for it.
	{"Content-Type", func(h http.Header, p *page) {
		if p.charset != "" {
			v := h["Content-Type"]
			v = append([]string(nil), v...)
			v[len(v)-1] = strings.TrimRight(v[len(v)-1], "; \t") + "; charset=" + p.charset
			h["Content-Type"] = v
		}
	}},
}

func mendLength(h http.Header, p *page) {
	if p.length < 0 {
		delete(h, "Content-Length")
		return
	}
	h["Content-Length"] = []string{strconv.FormatInt(p.length, 10)}
}

func remove(field string) func(http.Header, *page) {
	return func(h http.Header, _ *page) { delete(h, field) }
}

// makeTrue mends the header of a page that gets the script.
func makeTrue(h http.Header, p *page) {
	for _, row := range untrue {
		row.mend(h, p)
	}
}

// addVary adds a field name to Vary, unless it or * is there.
func addVary(h http.Header, name string) {
	values := h["Vary"]
	if len(values) == 0 {
		h["Vary"] = []string{name}
		return
	}
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part == "*" || strings.EqualFold(part, name) {
				return
			}
		}
	}
	h["Vary"] = append(append([]string(nil), values...), name)
}
