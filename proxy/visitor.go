package proxy

import (
	"net/http"
	"strings"

	"zchatproxy/proxy/identity"
)

// The visitor cookie tells the injected script that somebody is logged in, and when that becomes another
// person, without telling who: its value is an opaque keyed hash. It authorises nothing.
const (
	visitorCookie = "__zchat_visitor"
	previewCookie = "__zchat_preview"
	explainHeader = "X-Zchat-Explain"
)

// takeOwnCookies reads the proxy's own cookies and removes them from the request: the upstream gets the
// Cookie header that it would have got without the proxy.
func takeOwnCookies(ex *exchange, r *http.Request) {
	values := r.Header["Cookie"]
	for i, v := range values {
		if !strings.Contains(v, "__zchat_") {
			continue
		}
		rest, found := cutCookies(v, func(name, value string) bool {
			switch name {
			case visitorCookie:
				ex.cookie, ex.hasCookie = value, true
			case previewCookie:
				ex.preview.cookie = value
			default:
				return false
			}
			return true
		})
		if found {
			values[i] = rest
		}
	}
	kept := values[:0]
	for _, v := range values {
		if v != "" {
			kept = append(kept, v)
		}
	}
	if len(kept) == len(values) {
		return
	}
	if len(kept) == 0 {
		delete(r.Header, "Cookie")
		return
	}
	r.Header["Cookie"] = kept
}

// cutCookies removes the cookie pairs that take claims, and keeps the bytes of all others.
func cutCookies(header string, take func(name, value string) bool) (rest string, found bool) {
	var kept []string
	for pair := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if take(name, value) {
			found = true
			continue
		}
		kept = append(kept, pair)
	}
	if !found {
		return header, false
	}
	return strings.TrimLeft(strings.Join(kept, ";"), " \t"), true
}

// setVisitorCookie makes the browser's visitor cookie agree with who is asking, if it does not.
func (s *site) setVisitorCookie(ex *exchange, h http.Header, visitor identity.Outcome) {
	if s.mode == "off" || s.mode == "preview" && !ex.preview.active {
		return
	}
	want := ""
	if visitor.LoggedIn {
		hash, err := s.chat.Visitor(visitor.Identity.ID, visitor.Identity.Email)
		if err != nil {
			return // no secret now: what the browser has is left alone until there is one
		}
		want = hash
	}
	if want == ex.cookie && ex.hasCookie == (want != "") {
		return
	}
	c := visitorCookie + "=" + want + "; Path=/"
	if want == "" {
		c += "; Max-Age=0"
	}
	if ex.origin.scheme == "https" {
		c += "; Secure"
	}
	h["Set-Cookie"] = append(h["Set-Cookie"], c+"; SameSite=Lax")
}

// driveVisitorCookie decides on an upstream's response whether the visitor cookie belongs on it.
func (s *site) driveVisitorCookie(ex *exchange, res *http.Response) {
	visitor := ex.visitor
	if s.identity.FromUpstream() {
		visitor = s.identity.Response(res.Header)
		if !visitor.LoggedIn && s.identityPath != "/" && res.Request.URL.Path != s.identityPath {
			return // the site says who it is on one path only: silence elsewhere means nothing
		}
	}
	if visitor.Reason == identity.ReasonKeysUnavailable {
		return // who it is cannot be told now: nobody is logged out for that
	}
	if !carriesVisitorCookie(ex, res) || sharedFreshness(res.Header, s.now()) {
		return
	}
	before := len(res.Header["Set-Cookie"])
	s.setVisitorCookie(ex, res.Header, visitor)
	if len(res.Header["Set-Cookie"]) > before {
		keepPrivate(res.Header)
	}
}

// carriesVisitorCookie reports whether a response is one on which identity changes show: a document
// (also one in a frame: that is where a frameset's log-in happens) or a redirect.
func carriesVisitorCookie(ex *exchange, res *http.Response) bool {
	if isRedirection(res.StatusCode) {
		return redirects(res)
	}
	_, html := pageType(res.Header)
	return html && hasBody(res.StatusCode) && (ex.class.reason == "" || ex.class.reason == ReasonFrame)
}

func isRedirection(status int) bool {
	return status >= 300 && status < 400 && status != http.StatusNotModified
}

// redirects reports whether a response sends the visitor elsewhere.
func redirects(res *http.Response) bool {
	return isRedirection(res.StatusCode) && len(res.Header["Location"]) > 0
}
