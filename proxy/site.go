package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"time"

	"zchatproxy/inject"
	"zchatproxy/inject/snippet"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// site is one configured site, immutable but for what its parts synchronise themselves.
type site struct {
	name  string
	hosts []string

	identity     *identity.Source
	identityPath string

	secret, helpCenterSecret *signer.Secret
	chat, helpCenter         *signer.Signer // helpCenter is nil without its secret
	tokenKind                string         // of chat, for metrics and logs: "chat" or "messaging"
	limit                    *tokenLimit
	complaints               complaints

	widget      string
	widgetURL   string
	loadsWidget bool // the script loads the widget where the page does not
	snippet     *snippet.Snippet
	element     *inject.Element // without a nonce, made once
	etagSuffix  string

	mode     string // "on", "off" or "preview"
	include  []string
	exclude  []string
	patchCSP bool
	policies policyCache

	upstream     *upstream
	upstreamHost string // the Host sent up; "" for the visitor's
	proxy        *httputil.ReverseProxy

	metrics *siteMetrics
	log     *slog.Logger
	now     func() time.Time
}

// hostUp is the Host that a request goes up with.
func (s *site) hostUp(visitors string) string {
	if s.upstreamHost != "" {
		return s.upstreamHost
	}
	return visitors
}

// pass sends a request to the upstream and its answer back.
func (s *site) pass(ex *exchange, w *recorder, r *http.Request) {
	ex.class = classifyRequest(r)
	ex.skip = s.skips(ex, r)
	s.prepare(ex, r)
	if s.identity.FromUpstream() {
		w.strip = s.identity
	}
	dropForeignUpgrades(r.Header)
	body := newRequestBody(ex, r)
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, ex))
	if body != nil {
		r.Body = body
		// An upstream may answer while the body is still going up; without this, net/http would take what
		// is left of the body away. HTTP/2 is full duplex anyway, ends streams one by one, and lets nobody but the
		// transport read a body.
		if r.ProtoMajor == 1 && http.NewResponseController(w).EnableFullDuplex() == nil {
			w.body = body
		}
	}
	p := *s.proxy
	p.BufferPool = bodyBuffers{ex}
	p.ServeHTTP(w, r)
	if w.body != nil && !w.body.ended.Load() && !ex.switched {
		w.body.leave(w)
	}
}

// skips says why the configuration keeps the script out of whatever this request brings, "" where it
// does not.
func (s *site) skips(ex *exchange, r *http.Request) Reason {
	switch {
	case s.mode == "off":
		return ReasonOff
	case !s.covers(r.URL.Path):
		return ReasonPath
	case s.mode == "preview" && !ex.preview.active:
		return ReasonPreview
	}
	return Injected
}

// covers reports whether the path patterns let a page have the script. An exclusion wins.
func (s *site) covers(path string) bool {
	for _, p := range s.exclude {
		if matchPath(p, path) {
			return false
		}
	}
	if len(s.include) == 0 {
		return true
	}
	for _, p := range s.include {
		if matchPath(p, path) {
			return true
		}
	}
	return false
}

// matchPath reports whether a path matches a pattern in which * stands for any run of characters, slashes
// included, and everything else for itself.
func matchPath(pattern, path string) bool {
	p, s, star, mark := 0, 0, -1, 0
	for s < len(path) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, s
			p++
		case p < len(pattern) && pattern[p] == path[s]:
			p++
			s++
		case star >= 0:
			mark++
			p, s = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// noSuffix matches no entity tag: where no script is put in, no tag with one is current.
const noSuffix = "\x00"

// prepare makes a request's conditional headers and codings fit what will become of the response.
func (s *site) prepare(ex *exchange, r *http.Request) {
	if ex.skip != "" {
		ex.etags = translateValidators(r.Header, noSuffix, false)
		return
	}
	read, suffix := r.Method == http.MethodGet || r.Method == http.MethodHead, s.etagSuffix
	if read && ex.class.reason != "" {
		suffix = noSuffix // or a browser would give a fetch the page that it holds, script and all
	}
	ex.etags = translateValidators(r.Header, suffix, read && ex.class.document)
	if ex.class.reason == "" {
		restrictCodings(r.Header)
	}
}
