package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"zchatproxy/inject"
	"zchatproxy/proxy/csp"
	"zchatproxy/proxy/wire"
)

// modifyResponse is where a response turns round on its way back: names and cookies first, then the page.
func (s *site) modifyResponse(res *http.Response) error {
	ex := exchangeOf(res.Request.Context())
	s.metrics.upstreamAnswered(s.now().Sub(ex.came))
	if s.upstreamHost != "" {
		s.renameResponse(ex, res)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		ex.switched = true
		s.identity.StripResponse(res.Header)
		return nil
	}
	keepReason(ex.answer, res)
	s.driveVisitorCookie(ex, res)
	if s.identity.FromUpstream() {
		s.identity.StripResponse(res.Header)
		if res.Body != nil {
			res.Body = &trailerScrub{ReadCloser: res.Body, res: res, owns: s.identity.Owns}
		}
	}
	s.page(ex, res)
	ex.events = isEventStream(res.Header)
	if res.ContentLength > 0 {
		ex.answer.prompt, ex.answer.length = true, res.ContentLength
	}
	return nil
}

// keepReason has the answer say what the upstream says beside the status code, where that is not the standard's.
func keepReason(answer *recorder, res *http.Response) {
	_, phrase, _ := strings.Cut(res.Status, " ")
	if phrase == http.StatusText(res.StatusCode) && phrase != "" {
		return
	}
	ctx := res.Request.Context()
	answer.reason = func(status int) {
		if status == res.StatusCode {
			wire.SetReason(ctx, status, phrase)
		}
	}
}

// page puts the script into a response that is a page, and says why where it does not.
func (s *site) page(ex *exchange, res *http.Response) {
	h := res.Header
	if res.StatusCode == http.StatusNotModified {
		switch {
		case ex.etags.translated:
			s.revalidated(ex, h)
		case ex.skip == "" && len(h["Vary"]) > 0 && mayBePage(res.Request.Header, h):
			varies(ex, h) // it replaces the Vary of the page that is stored
		}
		return
	}
	_, html := pageType(h)
	if !html || !hasBody(res.StatusCode) {
		// Most responses: nothing to count, nothing to say unless somebody asks.
		if ex.preview.set != "" && redirects(res) {
			s.applyPreview(ex, h)
		}
		if ex.explain {
			h.Set(explainHeader, string(classifyResponse(ex.class, res.StatusCode, h)))
		}
		return
	}
	reason := ex.skip
	if reason == "" || reason == ReasonPreview || ex.preview.set != "" {
		s.applyPreview(ex, h)
	}
	if reason == "" {
		varies(ex, h)
		reason = classifyResponse(ex.class, res.StatusCode, h)
	}
	where := ""
	if reason == "" {
		reason, where = s.insert(ex, res)
	}
	s.metrics.page(reason)
	ex.result = string(reason)
	if reason == "" {
		ex.result = "injected"
	}
	if ex.explain {
		h.Set(explainHeader, explanation(ex.result, where))
	}
}

// varies says by what a page's having the script was decided, or a cache would give the page without it to everybody.
func varies(ex *exchange, h http.Header) {
	addVary(h, "Sec-Fetch-Dest")
	if ex.class.mark != "" {
		addVary(h, ex.class.mark)
	}
}

func explanation(result, where string) string {
	if where == "" {
		return result
	}
	return result + "; " + where
}

// patience is longer than a lost packet takes to be sent again. Hardly an upstream pauses between a <script> and a <meta> that names the
// encoding; many pause behind the head of a small page, and visitors must not wait for what comes then.
const patience = 250 * time.Millisecond

// insert looks into a page's head and puts the script there. The header is changed only once it is sure
// that the script goes in.
func (s *site) insert(ex *exchange, res *http.Response) (reason Reason, where string) {
	h := res.Header
	if res.Request.Method == http.MethodHead {
		// What GET would say, as far as it can be known without a body: the length cannot.
		_, blocked := s.headerFor(ex, h, page{suffix: s.etagSuffix, length: -1})
		return Reason(blocked), ""
	}
	xhtml, _ := pageType(h)
	contentType := h["Content-Type"]
	coding, _ := codingOf(h)
	doc := inject.Open(inject.Source{
		Body: res.Body, XHTML: xhtml, Charset: charsetOf(contentType[len(contentType)-1]), Coding: coding,
		Patience: patience,
	})
	place, err := doc.Locate()
	if err != nil {
		res.Body = doc.Pass() // what came still goes out, and then the same error
		return "upstream-broke-off", ""
	}
	if place.Reason != "" {
		res.Body = doc.Pass()
		return Reason(place.Reason), ""
	}
	element, blocked := s.headerFor(ex, h, page{suffix: s.etagSuffix, length: -1, charset: place.ContentTypeCharset})
	if blocked != "" {
		res.Body = doc.Pass()
		return Reason(blocked), ""
	}
	res.Body = doc.Insert(element)
	if grown, ok := doc.Growth(); ok && res.ContentLength >= 0 {
		res.ContentLength += grown
		mendLength(h, &page{length: res.ContentLength})
	} else {
		ex.answer.prompt, ex.answer.length = true, -1
		res.ContentLength = 0 // keeps ReverseProxy from flushing too; it reads the length for nothing else
	}
	if ex.explain {
		where = fmt.Sprintf("at byte %d, before %q", place.Offset, place.Before)
	}
	return Injected, where
}

// headerFor mends a page's header and returns the element that agrees with its policy. Blocked names what
// in the policy keeps any script out; then nothing is changed.
func (s *site) headerFor(ex *exchange, h http.Header, p page) (element *inject.Element, blocked string) {
	element = s.element
	enforce, report := h["Content-Security-Policy"], h["Content-Security-Policy-Report-Only"]
	if len(enforce)+len(report) > 0 {
		patch := s.policies.patch(enforce, report, s.cspNeeds(ex))
		if patch.Nonce != "" {
			element = inject.NewElement(s.snippet.Element(patch.Nonce))
		}
		if s.patchCSP {
			if patch.Blocked != "" {
				return nil, patch.Blocked
			}
			setPolicies(h, patch)
		}
	}
	makeTrue(h, &p)
	return element, ""
}

func (s *site) cspNeeds(ex *exchange) csp.Needs {
	return csp.Needs{
		ScriptHash: s.snippet.Hash(), Widget: s.widget, WidgetURL: s.widgetURL, LoadsWidget: s.loadsWidget,
		Origin: ex.origin.String(), RoutePrefix: ex.state.routePrefix,
	}
}

func setPolicies(h http.Header, patch csp.Result) {
	if !patch.Changed {
		return
	}
	if len(patch.Enforce) > 0 {
		h["Content-Security-Policy"] = patch.Enforce
	}
	if len(patch.ReportOnly) > 0 {
		h["Content-Security-Policy-Report-Only"] = patch.ReportOnly
	}
}

// revalidated makes a 304 agree with the page that the browser holds, which has the script in it. A
// field of a 304 replaces the stored one (RFC 9111 section 3.2), so what would be untrue of that page is
// left out: a Content-Type without the charset that was added, and a policy with a new nonce, which neither
// the page's own scripts nor ours carry.
func (s *site) revalidated(ex *exchange, h http.Header) {
	ex.result = "revalidated"
	delete(h, "Content-Type")
	enforce, report := h["Content-Security-Policy"], h["Content-Security-Policy-Report-Only"]
	switch {
	case csp.HasNonce(enforce) || csp.HasNonce(report):
		delete(h, "Content-Security-Policy")
		delete(h, "Content-Security-Policy-Report-Only")
	case s.patchCSP && len(enforce)+len(report) > 0:
		setPolicies(h, s.policies.patch(enforce, report, s.cspNeeds(ex)))
	}
	makeTrue(h, &page{suffix: s.etagSuffix, length: -1})
	addVary(h, "Sec-Fetch-Dest")
	s.applyPreview(ex, h)
}

// isEventStream reports whether the body is server-sent events.
func isEventStream(h http.Header) bool {
	v := h["Content-Type"]
	if len(v) == 0 {
		return false
	}
	mediaType, _, _ := strings.Cut(v[0], ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream")
}

// codingOf reads Content-Encoding: one coding that a page can be rewritten in, or not ok.
func codingOf(h http.Header) (coding string, ok bool) {
	v := h["Content-Encoding"]
	switch len(v) {
	case 0:
		return "", true
	case 1:
		return v[0], v[0] == "" || inject.Supports(v[0])
	}
	return "", false
}

// trailerScrub removes the identity headers of the "upstream" preset from a response's trailers.
type trailerScrub struct {
	io.ReadCloser
	res  *http.Response
	owns func(name string) bool
}

func (t *trailerScrub) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		for name := range t.res.Trailer {
			if t.owns(name) {
				delete(t.res.Trailer, name)
			}
		}
	}
	return n, err
}
