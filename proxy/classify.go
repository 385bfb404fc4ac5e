package proxy

import (
	"net/http"
	"strings"
)

// Reason names why a response was passed on without the script. It is a small fixed set: metrics count
// it, the access log says it, and the status page and doctor explain it. [inject.Reason] and the policy's
// reasons join it where the page itself, not its headers, decided.
type Reason string

// Reasons that the request, the configuration or the response's headers give.
const (
	Injected         Reason = ""
	ReasonOff        Reason = "off"           // ZCHAT_INJECT=off
	ReasonPreview    Reason = "preview"       // ZCHAT_INJECT=preview, and this visitor has not asked for it
	ReasonPath       Reason = "path-excluded" // by ZCHAT_INCLUDE_PATHS or ZCHAT_EXCLUDE_PATHS
	ReasonMethod     Reason = "method"        // not GET, HEAD or POST
	ReasonFetch      Reason = "fetch"         // the page's own script asked, or a subresource
	ReasonFrame      Reason = "frame"         // shown inside another page
	ReasonNoBody     Reason = "no-body"       // 1xx, 204, 205, 304
	ReasonPartial    Reason = "partial"       // 206, or a Content-Range
	ReasonNotHTML    Reason = "not-html"
	ReasonAttachment Reason = "attachment"   // to be saved, not shown
	ReasonNoTransf   Reason = "no-transform" // Cache-Control forbids it (RFC 9111 section 5.2.2.6)
	ReasonSigned     Reason = "signed"       // an HTTP message signature covers the body (RFC 9421)
	ReasonCoding     Reason = "coding-unknown"
)

// requestClass is what a request says about who will read the response.
type requestClass struct {
	reason   Reason // "" where a page may be shown as a document of its own
	document bool   // a document is what was asked for: Sec-Fetch-Dest says so, or else Accept
	mark     string // the field by which the page's own script was recognised, "" for none
}

// classifyRequest reads what the request says. Where the browser sends Fetch Metadata it is the truth;
// elsewhere (old browsers, and every browser on plain HTTP) the marks that script libraries leave must do.
func classifyRequest(r *http.Request) requestClass {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return requestClass{reason: ReasonMethod}
	}
	if mark := scriptMark(r.Header); mark != "" {
		return requestClass{reason: ReasonFetch, mark: mark}
	}
	dest := r.Header["Sec-Fetch-Dest"]
	if len(dest) == 0 {
		return requestClass{document: prefersHTML(r.Header)}
	}
	switch strings.ToLower(dest[0]) {
	case "document":
		return requestClass{document: true}
	case "iframe", "frame", "embed", "object", "fencedframe":
		return requestClass{reason: ReasonFrame}
	}
	return requestClass{reason: ReasonFetch}
}

// mayBePage reports whether a 304 may be about a page that was asked for as something else than a document. It seldom says
// what it is about.
func mayBePage(request, response http.Header) bool {
	if _, html := pageType(response); !html && len(response["Content-Type"]) > 0 {
		return false
	}
	dest := request["Sec-Fetch-Dest"]
	if len(dest) == 0 {
		return false
	}
	switch strings.ToLower(dest[0]) {
	case "document", "iframe", "frame", "embed", "object", "fencedframe", "empty":
		return true
	}
	return false
}

// scriptMark names a header that only a page's own script sets when it fetches a part of a page, "" where there is none.
func scriptMark(h http.Header) string {
	for _, name := range scriptHeaders {
		if len(h[name]) > 0 {
			return name
		}
	}
	for _, v := range h["X-Requested-With"] {
		// Android's WebView sends the application's package name, which has dots, with every navigation.
		if v != "" && !strings.Contains(v, ".") {
			return "X-Requested-With"
		}
	}
	for _, v := range h["Accept"] {
		if strings.Contains(v, "blazor-enhanced-nav") || strings.Contains(v, "text/vnd.turbo-stream") {
			return "Accept"
		}
	}
	return ""
}

// scriptHeaders are sent by htmx, Turbo, PJAX, Unpoly, Datastar and Blazor, in canonical form.
var scriptHeaders = [...]string{
	"Hx-Request", "Turbo-Frame", "X-Turbo-Request-Id", "X-Pjax", "X-Up-Version", "X-Up-Target", "Datastar-Request", "Blazor-Enhanced-Nav",
}

// classifyResponse decides by the headers whether a response is a page to look into. It is pure: the same
// request class and response give the same answer for GET and HEAD.
func classifyResponse(req requestClass, status int, h http.Header) Reason {
	if !hasBody(status) {
		return ReasonNoBody
	}
	if _, html := pageType(h); !html {
		return ReasonNotHTML
	}
	switch {
	case req.reason != "":
		return req.reason
	case status == http.StatusPartialContent || len(h["Content-Range"]) > 0:
		return ReasonPartial
	case isAttachment(h):
		return ReasonAttachment
	case hasDirective(h["Cache-Control"], "no-transform"):
		return ReasonNoTransf
	case len(h["Signature"]) > 0 && coversBody(h["Signature-Input"]):
		return ReasonSigned
	}
	if _, ok := codingOf(h); !ok {
		return ReasonCoding
	}
	return Injected
}

func hasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusResetContent && status != http.StatusNotModified
}

// pageType reads the media type: whether it is HTML at all, and whether as XML.
func pageType(h http.Header) (xhtml, html bool) {
	v := h["Content-Type"]
	if len(v) == 0 {
		return false, false
	}
	// Browsers take the last field where there are several; a proxy cannot know which one counts.
	mediaType, _, _ := strings.Cut(v[len(v)-1], ";")
	mediaType = strings.TrimSpace(mediaType)
	switch {
	case strings.EqualFold(mediaType, "text/html"):
		return false, true
	case strings.EqualFold(mediaType, "application/xhtml+xml"):
		return true, true
	}
	return false, false
}

// charsetOf reads the charset parameter of Content-Type, "" where there is none.
func charsetOf(contentType string) string {
	_, params, _ := strings.Cut(contentType, ";")
	for p := range strings.SplitSeq(params, ";") {
		name, v, ok := strings.Cut(p, "=")
		if ok && strings.EqualFold(strings.TrimSpace(name), "charset") {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}

func isAttachment(h http.Header) bool {
	for _, v := range h["Content-Disposition"] {
		kind, _, _ := strings.Cut(v, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "attachment") {
			return true
		}
	}
	return false
}

// coversBody reports whether an HTTP message signature covers the content: it would no longer verify.
func coversBody(inputs []string) bool {
	for _, v := range inputs {
		if strings.Contains(v, `"content-digest"`) || strings.Contains(v, `"content-length"`) || strings.Contains(v, `"repr-digest"`) {
			return true
		}
	}
	return false
}
