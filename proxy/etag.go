package proxy

import (
	"net/http"
	"strings"
)

// A page with the script in it is another representation than the upstream's, so its entity tag gets a
// suffix inside the quotes that stands for the script and the site's settings: "abc" becomes
// "abc-zchat1a2b3c4d". Strong stays strong and weak stays weak. On the way in, a tag with the current suffix
// is translated back; one with another suffix belongs to a page with an older script, which must not be
// revived by a 304.
const etagMark = "-zchat"

// etagState remembers, for one request, what its validators were.
type etagState struct {
	translated bool // a tag with the current suffix went up without it: a 304 to it is about our page
}

// addSuffix returns an entity tag with the suffix in it. What is not an entity tag stays as it came.
func addSuffix(etag, suffix string) string {
	if len(etag) < 2 || etag[len(etag)-1] != '"' || !strings.Contains(etag[:len(etag)-1], `"`) {
		return etag
	}
	return etag[:len(etag)-1] + suffix + `"`
}

// cutSuffix translates one entity tag back. Stale reports that it has the mark of another script.
func cutSuffix(etag, suffix string) (original string, ours, stale bool) {
	body, ok := strings.CutSuffix(etag, `"`)
	if !ok {
		return etag, false, false
	}
	if o, found := strings.CutSuffix(body, suffix); found {
		return o + `"`, true, false
	}
	i := strings.LastIndex(body, etagMark)
	return etag, false, i >= 0 && isHex(body[i+len(etagMark):])
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if unhex(s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// splitETags splits a list of entity tags (RFC 9110 section 13.1.2). Tags may hold commas inside their
// quotes.
func splitETags(v string) []string {
	var tags []string
	for start, quoted, i := 0, false, 0; i <= len(v); i++ {
		if i == len(v) || v[i] == ',' && !quoted {
			if tag := strings.Trim(v[start:i], " \t"); tag != "" {
				tags = append(tags, tag)
			}
			start = i + 1
			continue
		}
		if v[i] == '"' {
			quoted = !quoted
		}
	}
	return tags
}

// translateValidators rewrites a request's conditional headers for the upstream.
//
// A document request could be answered with a page that carries the script, so a validator that is not
// ours must not reach the upstream: its 304 would revive a page from before the proxy was there, or one
// with an older script. Last-Modified says nothing about the script, so If-Modified-Since never goes up
// with a document request. Other requests get the upstream's own bytes, and keep their validators.
func translateValidators(h http.Header, suffix string, document bool) etagState {
	var st etagState
	st.translated = translateList(h, "If-None-Match", suffix, document)
	// A precondition for a write fails with a tag that the upstream does not know, as it should: it is
	// translated where it is current, and otherwise goes up as it came.
	translateList(h, "If-Match", suffix, false)
	if v := h["If-Range"]; len(v) > 0 {
		// The upstream's ranges are of its own bytes. What the client holds, and wants to add to, may have
		// the script in it: then it gets the whole page again.
		if _, ours, stale := cutSuffix(v[0], suffix); ours || stale || document {
			delete(h, "If-Range")
			delete(h, "Range")
		}
	}
	if document {
		delete(h, "If-Modified-Since")
		delete(h, "If-Unmodified-Since")
	}
	return st
}

// translateList rewrites one header field that holds "*" or a list of entity tags. Tags of another script
// are dropped from If-None-Match always, foreign ones where onlyOurs is set. A field that needs no change
// keeps its bytes.
func translateList(h http.Header, name, suffix string, onlyOurs bool) (translated bool) {
	values := h[name]
	if len(values) == 0 {
		return false
	}
	var kept []string
	changed := false
	for _, v := range values {
		if strings.Trim(v, " \t") == "*" {
			return false
		}
		for _, tag := range splitETags(v) {
			original, ours, stale := cutSuffix(tag, suffix)
			switch {
			case ours:
				translated, changed = true, true
				kept = append(kept, original)
			case name == "If-None-Match" && (stale || onlyOurs):
				changed = true
			default:
				kept = append(kept, tag)
			}
		}
	}
	switch {
	case !changed:
	case len(kept) == 0:
		delete(h, name)
	default:
		h[name] = []string{strings.Join(kept, ", ")}
	}
	return translated
}
