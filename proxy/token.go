package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// serveToken answers a token route: a fresh token for whoever is asking, or a problem document that
// says why there is none.
func (s *site) serveToken(ex *exchange, w *recorder, r *http.Request, sign *signer.Signer) {
	kind := s.tokenKind
	if sign == s.helpCenter {
		kind = "help-center"
	}
	token, p := s.token(ex, w, r, sign)
	if p != nil {
		s.metrics.token(kind, p.result, s.now())
		s.log.LogAttrs(r.Context(), s.complaints.level(p, s.now()), "no token", slog.String("site", s.name), slog.String("kind", kind),
			slog.String("reason", p.result), slog.String("detail", p.detail))
		if s.identity.FromUpstream() && p.result == "anonymous" && !ex.hasCookie && len(r.Header[askedHeader]) > 0 {
			// The script asks for anonymous visitors too, where no page can tell who is there. That nobody is should not be an
			// error on the console of every page.
			w.WriteHeader(http.StatusNoContent)
			return
		}
		p.asJSON = true
		writeProblem(w, r, *p)
		return
	}
	s.metrics.token(kind, "signed", s.now())
	h := w.Header()
	v := [...]string{"application/jwt", strconv.Itoa(len(token))}
	h["Content-Type"], h["Content-Length"] = v[0:1:1], v[1:2:2]
	io.WriteString(w, token)
}

// token does the work of serveToken: every reason to refuse, cheapest and least telling first.
func (s *site) token(ex *exchange, w *recorder, r *http.Request, sign *signer.Signer) (string, *problem) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return "", &problem{status: http.StatusMethodNotAllowed, result: "method", detail: "A token is fetched with GET."}
	}
	if why := crossOrigin(r, ex.origin); why != "" {
		return "", &problem{status: http.StatusForbidden, result: "cross-origin", detail: why}
	}
	visitor := ex.visitor
	if s.identity.FromUpstream() {
		var p *problem
		if visitor, p = s.askUpstream(ex, r); p != nil {
			return "", p
		}
	}
	if visitor.Reason == identity.ReasonKeysUnavailable {
		s.metrics.identityResult(string(visitor.Reason))
		return "", &problem{status: http.StatusServiceUnavailable, result: "keys-unavailable", ours: true,
			detail: "The gateway's keys could not be fetched, so its assertion cannot be verified. Check ZCHAT_ASSERTION_KEYS_URL."}
	}
	s.setVisitorCookie(ex, w.Header(), visitor)
	if !visitor.LoggedIn {
		s.metrics.identityResult(string(visitor.Reason))
		return "", &problem{status: http.StatusUnauthorized, result: "anonymous", detail: nobodyDetail(visitor)}
	}
	s.metrics.identityResult("known")
	if wait := s.limit.take(visitor.Identity.ID, s.now()); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		return "", &problem{status: http.StatusTooManyRequests, result: "limited",
			detail: "Too many tokens were asked for in a short time. Wait as long as Retry-After says; ZCHAT_TOKEN_LIMIT sets the limit."}
	}
	token, err := sign.Sign(signer.Person{
		ID: visitor.Identity.ID, Email: visitor.Identity.Email, Name: visitor.Identity.Name,
		EmailVerified: visitor.Identity.EmailVerified,
	})
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, signer.ErrNoSecret):
		return "", &problem{status: http.StatusServiceUnavailable, result: "no-secret", ours: true,
			detail: "The proxy has no usable secret for this site. Check ZCHAT_SECRET or the file that ZCHAT_SECRET_FILE names; it is read again by itself."}
	case errors.Is(err, signer.ErrNoID), errors.Is(err, signer.ErrNoEmail), errors.Is(err, signer.ErrBadEmail):
		return "", &problem{status: http.StatusUnauthorized, result: "incomplete-identity", ours: true, detail: "The visitor is logged in, but " + err.Error() + "."}
	default:
		return "", &problem{status: http.StatusServiceUnavailable, result: "sign-failed", ours: true, detail: "The token could not be signed: " + err.Error() + "."}
	}
}

func nobodyDetail(o identity.Outcome) string {
	if o.Detail == "" {
		return "Nobody is logged in: the request carries no identity."
	}
	return "Nobody is logged in: " + strings.TrimSuffix(o.Detail, ".") + "."
}

// crossOrigin says why a request for a token does not come from the site's own pages, "" where it does.
// A browser tells by Sec-Fetch-Site (Fetch Metadata), or else by Origin (RFC 6454); a request with neither
// comes from an old browser's same-origin GET, or from no browser, which has no one else's cookies.
func crossOrigin(r *http.Request, o origin) string {
	for _, site := range r.Header["Sec-Fetch-Site"] {
		switch strings.ToLower(strings.TrimSpace(site)) {
		case "same-origin", "none":
		case "same-site", "cross-site":
			return "Tokens are for pages of this very origin: the request came from another site (Sec-Fetch-Site: " + site + ")."
		default:
			return "The request's Sec-Fetch-Site header is not one that a browser sends."
		}
	}
	for _, from := range r.Header["Origin"] {
		if !o.is(from, r.Host) {
			return "Tokens are for pages of this very origin: the request's Origin is another. Behind a gateway that ends TLS, it must send X-Forwarded-Proto."
		}
	}
	return ""
}

// askUpstream asks the site itself who the visitor is: a request of its own, with the visitor's
// cookies, whose answer is used for this visitor and this moment only.
func (s *site) askUpstream(ex *exchange, r *http.Request) (identity.Outcome, *problem) {
	ctx, cancel := context.WithTimeout(r.Context(), identityTimeout)
	defer cancel()
	unavailable := &problem{status: http.StatusServiceUnavailable, result: "identity-check", ours: true,
		detail: "The site could not be asked who is logged in. Check that ZCHAT_IDENTITY_PATH answers."}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.upstream.base+s.identityPath, nil)
	if err != nil {
		return identity.Outcome{}, unavailable
	}
	for _, name := range []string{"Cookie", "Authorization", "User-Agent", "Accept-Language"} {
		if v := r.Header[name]; v != nil {
			req.Header[name] = v
		}
	}
	if req.Header["User-Agent"] == nil {
		req.Header["User-Agent"] = []string{""} // net/http would send its own name
	}
	req.Header["Accept"] = []string{"text/html, */*"}
	req.Header["Cache-Control"] = []string{"no-cache"}
	req.Host = s.hostUp(r.Host)
	setForwarded(req.Header, r, ex)
	// What other visitors have sent over a connection must not come before the answer to who this one is.
	res, err := s.upstream.alone.RoundTrip(req)
	if err != nil {
		s.metrics.upstreamError(errorKind(err))
		s.log.Warn("the upstream identity check failed", "site", s.name, "cause", causeOf(err))
		return identity.Outcome{}, unavailable
	}
	res.Body.Close()
	switch code := res.StatusCode; {
	case code >= 300 && code < 400, code == http.StatusUnauthorized, code == http.StatusForbidden:
		return identity.Outcome{Reason: "upstream-says-nobody", Detail: "the site answered the identity check with a redirect, 401 or 403"}, nil
	case code >= 200 && code < 300:
		visitor := s.identity.Response(res.Header)
		if visitor.LoggedIn && sharedAnswer(res.Header) {
			unavailable.detail = "The site's answer to who is logged in comes from a cache, or may be given to everybody, so it may be about somebody else. " +
				"Let ZCHAT_IDENTITY_PATH answer with Cache-Control: no-store, and no cache stand between."
			return identity.Outcome{}, unavailable
		}
		return visitor, nil
	default:
		s.log.Warn("the upstream identity check failed", "site", s.name, "status", code)
		return identity.Outcome{}, unavailable
	}
}
