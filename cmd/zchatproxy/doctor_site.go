package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// walkSite walks the configured site: first its upstream directly, then a page and a token through a proxy inside this
// process.
func (d *doctor) walkSite(ctx context.Context) {
	d.visitSecret()
	upstream := d.newUpstreamClient()
	defer upstream.CloseIdleConnections()

	var direct, proxied *answer
	up := d.visitUpstreamAddress(ctx)
	if up {
		direct = d.visitUpstream(ctx, upstream)
	}
	inside, err := d.startInside()
	if err != nil {
		d.fail("proxy", err.Error(), "")
		return
	}
	defer inside.close()
	if direct != nil {
		proxied = d.visitProxied(ctx, inside, direct)
	} else {
		d.skip("no page came from the upstream", "injection", "policy", "caches")
	}
	if direct != nil {
		d.visitClock(direct, "the upstream's") // before whatever depends on the time
	}
	who := d.visitIdentity(ctx, upstream)
	if proxied != nil {
		d.visitVisitorCookie(proxied, who)
	}
	d.visitToken(ctx, inside, who)
	if direct != nil {
		d.visitWidget(direct)
	}
}

// visitSecret says whether the secrets can be read, and by which fingerprint to compare them.
func (d *doctor) visitSecret() {
	const name = "secret"
	s := d.site
	for _, x := range []struct {
		key, file string
		source    *signer.Secret
	}{{"SECRET", s.vars.SecretFile, s.secret}, {"HELP_CENTER_SECRET", s.vars.HelpCenterSecretFile, s.helpCtr}} {
		if x.source == nil {
			continue // the second one is optional
		}
		variable := s.variable(x.key)
		if x.file != "" {
			variable = s.variable(x.key + "_FILE")
		}
		if err := x.source.Err(); err != nil {
			d.fail(name, fmt.Sprintf("%s: %v", variable, err), "Put the secret there; it is read again by itself, without a restart.")
			continue
		}
		d.ok(name, "%s has %d bytes, fingerprint %s", variable, x.source.Len(), x.source.Fingerprint())
	}
}

// newUpstreamClient asks the upstream directly, as the proxy would. Redirects are the caller's business.
func (d *doctor) newUpstreamClient() *http.Client {
	t := targetOf(d.site.vars.Upstream)
	transport := &http.Transport{
		DisableCompression:    true,
		TLSClientConfig:       upstreamTLS(d.site),
		ResponseHeaderTimeout: min(d.options.timeout, d.config.process.UpstreamTimeout),
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx, t) },
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// upstreamURL is the address of a path of the upstream.
func (d *doctor) upstreamURL(path string) string {
	if t := targetOf(d.site.vars.Upstream); t.network == "unix" {
		return "http://localhost" + path
	}
	return d.site.vars.Upstream + path
}

// publicHost is the host name that the visitor asks for.
func (d *doctor) publicHost() string {
	if d.options.host != "" {
		return d.options.host
	}
	if h := d.headers().Get("Host"); h != "" {
		return h
	}
	if forwarded := d.headers().Get("X-Forwarded-Host"); forwarded != "" {
		return forwarded
	}
	for _, h := range d.site.hosts {
		if !strings.Contains(h, "*") {
			return h
		}
	}
	if rest, ok := strings.CutPrefix(d.site.hosts[0], "*."); ok {
		return "www." + rest
	}
	if u, err := url.Parse(d.site.vars.Upstream); err == nil && u.Host != "" {
		return u.Host
	}
	return "localhost"
}

// hostUp is the Host that the upstream gets.
func (d *doctor) hostUp() string {
	switch h := d.site.vars.UpstreamHost; h {
	case "preserve":
		return d.publicHost()
	case "upstream":
		return "" // the URL's own
	default:
		return h
	}
}

// trustedAddress is an address whose headers count, "" where nobody's do.
func (d *doctor) trustedAddress() string {
	for _, entry := range strings.FieldsFunc(d.config.process.TrustedProxies, func(r rune) bool { return r == ',' || r == ' ' }) {
		if entry == "unix" {
			return "@"
		}
		if ip, err := netip.ParseAddr(entry); err == nil {
			return net.JoinHostPort(ip.String(), "40000")
		}
		if p, err := netip.ParsePrefix(entry); err == nil {
			return net.JoinHostPort(p.Addr().String(), "40000")
		}
	}
	return ""
}

// peerAddress is where the gateway's requests come from.
func (d *doctor) peerAddress() string {
	switch d.options.peer {
	case "":
		if t := d.trustedAddress(); t != "" {
			return t
		}
		return "192.0.2.1:40000" // reserved for examples (RFC 5737)
	case "unix":
		return "@"
	}
	return net.JoinHostPort(d.options.peer, "40000")
}

// asGateway adds what a gateway in front of the proxy sends with every request, unless --header says otherwise.
func (d *doctor) asGateway(r *http.Request) {
	if r.Header.Get("X-Forwarded-Proto") == "" && r.Header.Get("Forwarded") == "" {
		r.Header.Set("X-Forwarded-Proto", "https")
	}
}

// visitUpstream fetches the page from the upstream itself, following redirects within the site, and judges what came.
func (d *doctor) visitUpstream(ctx context.Context, client *http.Client) *answer {
	const name = "upstream"
	path := d.options.path
	for range 6 {
		ctx, cancel := context.WithTimeout(ctx, d.options.timeout)
		defer cancel()
		r, err := d.browserRequest(ctx, d.upstreamURL(path))
		if err != nil {
			d.fail(name, err.Error(), "")
			return nil
		}
		if host := d.hostUp(); host != "" {
			r.Host = host
		}
		d.asGateway(r)
		r.Header.Set("X-Forwarded-Host", d.publicHost())
		a, err := fetch(client, r, d.now)
		if err != nil {
			d.failUpstream(err)
			return nil
		}
		a.path = path
		if location := a.header.Get("Location"); a.status >= 300 && a.status < 400 && location != "" {
			next, ok := d.sameSite(location, path)
			if !ok {
				d.failRedirect(name, location)
				return nil
			}
			path = next
			continue
		}
		if !d.judgePage(name, a) {
			if d.site.vars.UpstreamHost == "preserve" && a.status >= 400 {
				d.tryOwnHost(ctx, client, path)
			}
			return nil
		}
		return a
	}
	d.fail(name, fmt.Sprintf("%s redirects in a circle, or more than five times", d.options.path), "Open the page in a browser and see where it leads; the gateway must send X-Forwarded-Proto where the site insists on https.")
	return nil
}

func (d *doctor) failUpstream(err error) {
	remedy := "See the site's own log."
	switch {
	case strings.Contains(err.Error(), "malformed HTTP response"):
		remedy = "Something else than HTTP answers there, perhaps TLS: write https:// into " + d.site.variable("UPSTREAM") + "."
	case strings.Contains(err.Error(), "timeout awaiting response headers"), errors.Is(err, context.DeadlineExceeded):
		remedy = "The site takes longer than " + prefix + "UPSTREAM_TIMEOUT; find out why, or raise it."
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		remedy = "The site closed the connection without an answer; see its own log."
	}
	d.fail("upstream", "no answer: "+rootCause(err).Error(), remedy)
}

// sameSite returns the path of a redirect that stays on the site.
func (d *doctor) sameSite(location, from string) (string, bool) {
	base, _ := url.Parse(d.upstreamURL(from))
	u, err := base.Parse(location)
	if err != nil {
		return "", false
	}
	own := u.Host == base.Host || strings.EqualFold(u.Host, d.publicHost()) || strings.EqualFold(u.Host, d.hostUp())
	return u.RequestURI(), own
}

func (d *doctor) failRedirect(name, location string) {
	u, err := url.Parse(location)
	if err != nil {
		u = &url.URL{Host: location}
	}
	text := fmt.Sprintf("redirects to another host, %s", u.Host)
	remedy := "If that is a log-in page, the site wants a session of its own: give its cookie with --header 'Cookie: …'. If it is the site's real name, set " +
		d.site.variable("UPSTREAM_HOST") + "=upstream."
	d.fail(name, text, remedy)
}

// tryOwnHost finds out whether the site would know itself under its own name.
func (d *doctor) tryOwnHost(ctx context.Context, client *http.Client, path string) {
	r, err := d.browserRequest(ctx, d.upstreamURL(path))
	if err != nil {
		return
	}
	r.Host = ""
	a, err := fetch(client, r, d.now)
	if err != nil || a.status >= 400 {
		return
	}
	d.info("upstream", "asked for %s instead of %s, it answers %d: set %s=upstream", r.URL.Host, d.publicHost(), a.status, d.site.variable("UPSTREAM_HOST"))
}

// presetFor names the preset that reads a header, "" for none.
func presetFor(header string) string {
	for _, p := range identity.PresetNames() {
		source, err := identity.New(identity.Config{Preset: p, Audience: "any", Issuer: "https://any.example", KeysURL: "https://any.example/keys"})
		if err == nil && source.Owns(header) {
			return p
		}
	}
	return ""
}
