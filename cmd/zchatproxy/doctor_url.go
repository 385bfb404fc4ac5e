package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"zchatproxy/signer"
)

// walkURL walks a page behind a running proxy over the network.
func (d *doctor) walkURL(ctx context.Context) {
	u, _ := url.Parse(d.options.target) // judged with the command line
	t := targetOf(u.Scheme + "://" + u.Host)
	reached := d.visitAddress(ctx, t, &tls.Config{MinVersion: tls.VersionTLS12}, "the URL", func(err error) string {
		return tlsRemedy(err, "Browsers refuse it too: use a certificate of an authority that they know.", "Write http:// instead.", "Ask for a name that the certificate is for.")
	})
	if !reached {
		d.skip("nothing answers", "page", "injection", "policy", "caches", "identity", "token", "clock", "widget")
		return
	}
	client := &http.Client{
		Timeout: d.options.timeout,
		Transport: &http.Transport{DisableCompression: true, ForceAttemptHTTP2: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx, t) }},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	defer client.CloseIdleConnections()
	token := d.fetchToken(ctx, client, u)
	a := d.visitURLPage(ctx, client, u, token)
	if a == nil {
		d.skip("there is no page to look at", "injection", "policy", "caches")
	}
	if token.isOurs() {
		d.visitClock(token, "the proxy's") // before whatever depends on the time
	}
	d.visitRemoteToken(token)
	if a != nil {
		d.visitWidget(a)
	}
}

// routePrefix is the prefix of the proxy's routes as far as it is known here.
func (d *doctor) routePrefix() string {
	if d.config != nil {
		return d.config.process.RoutePrefix
	}
	return "/__zchat"
}

// fetchToken asks the token route, nil without an answer.
func (d *doctor) fetchToken(ctx context.Context, client *http.Client, u *url.URL) *answer {
	r, err := d.tokenRequest(ctx, u.Scheme+"://"+u.Host+d.routePrefix()+"/jwt")
	if err != nil {
		return nil
	}
	a, err := fetch(client, r, d.now)
	if err != nil {
		return nil
	}
	return a
}

// isOurs reports whether an answer of the token route is one that zchatproxy gives.
func (a *answer) isOurs() bool {
	if a == nil {
		return false
	}
	switch a.header.Get("Content-Type") {
	case "application/jwt", "application/problem+json":
		return true
	}
	return false
}

// visitURLPage fetches the page and judges injection, policy and caches.
func (d *doctor) visitURLPage(ctx context.Context, client *http.Client, u *url.URL, token *answer) *answer {
	const name = "page"
	target := *u
	for range 6 {
		r, err := d.browserRequest(ctx, target.String())
		if err != nil {
			d.fail(name, err.Error(), "")
			return nil
		}
		r.Header.Set("X-Zchat-Explain", "1")
		a, err := fetch(client, r, d.now)
		if err != nil {
			d.fail(name, "no answer: "+rootCause(err).Error(), "See the log of the proxy.")
			return nil
		}
		a.path = target.RequestURI()
		if location := a.header.Get("Location"); a.status >= 300 && a.status < 400 && location != "" {
			next, err := target.Parse(location)
			if err != nil {
				d.fail(name, "redirects to "+clip(location, 60)+", which is no URL", "Mend the redirect on the site.")
				return nil
			}
			if next.Host != u.Host {
				d.fail(name, fmt.Sprintf("redirects to another host, %s", next.Host),
					"That is a log-in, most likely: give the cookie of a session with --header 'Cookie: …'. If it is the site's real name, set UPSTREAM_HOST=upstream.")
				return nil
			}
			target = *next
			continue
		}
		if a.status == http.StatusBadGateway || a.status == http.StatusGatewayTimeout || a.status == http.StatusMisdirectedRequest {
			d.fail(name, fmt.Sprintf("%s answers %d: %s", a.path, a.status, problemDetail(a)), "The proxy answers, but not the site behind it: see the proxy's log, and run doctor without a URL where it runs.")
			return nil
		}
		if !d.judgePage(name, a) {
			return nil
		}
		injected := d.visitRemoteInjection(a, token)
		d.visitPolicy(a, nil, injected)
		d.visitCaches(ctx, client, r, a, nil)
		return a
	}
	d.fail(name, "redirects in a circle, or more than five times", "Open the page in a browser and see where it leads.")
	return nil
}

// visitRemoteInjection says why the script is missing, as far as the outside shows.
func (d *doctor) visitRemoteInjection(a, token *answer) bool {
	const name = "injection"
	if start, _ := element(a.text); start >= 0 || a.header.Get("X-Zchat-Explain") != "" {
		return d.visitInjection(a, nil)
	}
	age := a.header.Get("Age")
	switch {
	case age != "" && age != "0":
		d.fail(name, fmt.Sprintf("the script is not in the page, which a cache has had for %s seconds", age),
			"A cache in front of the proxy holds the page from before: purge it.")
	case !token.isOurs():
		d.fail(name, fmt.Sprintf("the script is not in the page, and no zchatproxy answers at %s/jwt", d.routePrefix()),
			"Send this host through the proxy; if ZCHAT_ROUTE_PREFIX is not /__zchat, set it here too.")
	default:
		d.fail(name, "the script is not in the page, though zchatproxy answers", "Run doctor where the proxy trusts you (ZCHAT_TRUSTED_PROXIES), or without a URL with its configuration: then it says why.")
	}
	return false
}

// visitRemoteToken judges what the token route answers.
func (d *doctor) visitRemoteToken(a *answer) {
	const name = "token"
	route := d.routePrefix() + "/jwt"
	switch {
	case a == nil:
		d.fail(name, route+" does not answer", "See the log of the proxy.")
		return
	case a.status >= 300 && a.status < 400:
		d.fail(name, fmt.Sprintf("%s redirects to %s: the gateway wants a log-in there", route, hostOf(a.header.Get("Location"))),
			"Give the cookie of a session with --header 'Cookie: …'. For visitors whose session has ended, let the gateway answer 401 there (oauth2-proxy: --api-route=^"+d.routePrefix()+"/).")
		return
	case a.status == http.StatusOK && a.header.Get("Content-Type") == "application/jwt":
		d.visitRemoteIdentity(a)
		return
	case !a.isOurs():
		text := fmt.Sprintf("%s answers %d %s, which is not zchatproxy", route, a.status, orDash(a.header.Get("Content-Type")))
		remedy := "Something in front answers instead: let the gateway pass " + d.routePrefix() + "/ to the proxy."
		if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
			remedy = "The gateway refuses: give the cookie of a session with --header 'Cookie: …'."
		}
		d.fail(name, text, remedy)
		return
	}
	detail := problemDetail(a)
	switch {
	case a.status == http.StatusUnauthorized && len(d.options.headers) == 0:
		d.info("identity", "nobody is logged in on this walk; give the cookie of a session with --header 'Cookie: …'")
		d.info(name, "%s answers 401, as it must for anonymous visitors", route)
	case a.status == http.StatusUnauthorized:
		d.fail("identity", "nobody: "+detail, "See that the cookie is of a session that has not ended, that the gateway passes its identity headers on, and that the proxy trusts the gateway's address.")
	default:
		d.fail(name, fmt.Sprintf("%s answers %d: %s", route, a.status, detail), "")
	}
}

// visitRemoteIdentity judges a token that came.
func (d *doctor) visitRemoteIdentity(a *answer) {
	token := string(a.body)
	kind := signer.Chat
	_, claims, _ := signer.Inspect(token, kind, nil, d.now())
	if strings.Contains(string(claims), `"scope"`) {
		kind = signer.Messaging
	}
	d.ok("identity", "somebody: the token says who")
	if v := a.header.Get("Age"); v != "" {
		d.fail("token", fmt.Sprintf("it comes out of a cache (Age: %s), which may give it to others", v), "Exempt "+d.routePrefix()+"/ from caching; the proxy sends Cache-Control: no-store, which this cache ignores.")
		return
	}
	if d.site == nil {
		d.judgeToken(token, kind, nil)
		return
	}
	_, _, problems := signer.Inspect(token, kind, d.site.secret, d.now())
	for _, p := range problems {
		if p.Check == "signature" {
			d.fail("token", "it is signed with another secret than "+d.site.variable("SECRET")+" here (fingerprint "+d.site.secret.Fingerprint()+")",
				"Compare the fingerprints: the proxy's is in its log and in zchatproxy check.")
			return
		}
	}
	d.judgeToken(token, kind, d.site.secret)
}

func hostOf(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return clip(location, 60)
	}
	return u.Host
}

func originOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
