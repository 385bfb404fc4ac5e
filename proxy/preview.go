package proxy

import (
	"net/http"
	"strings"
)

// previewState is what a request says about ZCHAT_INJECT=preview.
type previewState struct {
	cookie string // value of the preview cookie as it came
	active bool   // this visitor sees the widget's configuration
	set    string // Set-Cookie to send, "" for none
}

// readPreview decides whether this visitor has asked for the preview. ?__zchat=on asks for it and
// ?__zchat=off ends it; in between a cookie remembers.
func (s *site) readPreview(ex *exchange, r *http.Request) {
	if s.mode != "preview" {
		return
	}
	p := &ex.preview
	p.active = p.cookie == "on"
	if !strings.Contains(r.URL.RawQuery, "__zchat=") || !fromHere(r, ex.origin) {
		return
	}
	attributes := "; Path=/; HttpOnly; SameSite=Lax"
	if ex.origin.scheme == "https" {
		attributes += "; Secure"
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		switch pair {
		case "__zchat=on":
			p.active, p.set = true, previewCookie+"=on"+attributes
		case "__zchat=off":
			p.active, p.set = false, previewCookie+"=; Max-Age=0"+attributes
		}
	}
}

// fromHere reports whether a request was not caused by another site: a link there must not switch the
// preview. Without Fetch Metadata (plain HTTP) the Referer tells, as far as it is sent.
func fromHere(r *http.Request, o origin) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return site[0] == "none" || site[0] == "same-origin"
	}
	referer := r.Header.Get("Referer")
	return referer == "" || strings.HasPrefix(referer, o.String()+"/") || referer == o.String()
}

// applyPreview marks a page's response: which bytes it has depends on a cookie of one browser.
func (s *site) applyPreview(ex *exchange, h http.Header) {
	if s.mode != "preview" {
		return
	}
	addVary(h, "Cookie")
	if ex.preview.active || ex.preview.set != "" {
		keepPrivate(h)
		dropPublic(h)
	}
	if ex.preview.set != "" {
		h["Set-Cookie"] = append(h["Set-Cookie"], ex.preview.set)
	}
}

// dropPublic takes the permissions for shared caches out of Cache-Control: a preview is for one browser,
// whatever the page says of itself.
func dropPublic(h http.Header) {
	for i, v := range h["Cache-Control"] {
		var kept []string
		for part := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
			if strings.EqualFold(name, "public") || strings.EqualFold(name, "s-maxage") {
				continue
			}
			kept = append(kept, strings.TrimSpace(part))
		}
		h["Cache-Control"][i] = strings.Join(kept, ", ")
	}
}
