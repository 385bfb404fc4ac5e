package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
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
		source    interface {
			Err() error
			Fingerprint() string
			Len() int
		}
	}{{"SECRET", s.vars.SecretFile, s.secret}, {"HELP_CENTER_SECRET", s.vars.HelpCenterSecretFile, s.helpCtr}} {
		if x.key == "HELP_CENTER_SECRET" && s.helpCtr == nil {
			continue
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

// target is where the upstream is, taken apart.
type target struct {
	network, address string // to connect to
	host             string // name or address without the port; "" for a Unix socket
	tls              bool
}

func targetOf(upstream string) target {
	if path, ok := strings.CutPrefix(upstream, "unix://"); ok {
		return target{network: "unix", address: path}
	}
	u, _ := url.Parse(upstream) // judged when the configuration was loaded
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return target{network: "tcp", address: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), tls: u.Scheme == "https"}
}

// visitUpstreamAddress looks the upstream's name up, connects to it, and shakes hands.
func (d *doctor) visitUpstreamAddress(ctx context.Context) bool {
	v := &d.site.vars
	var config *tls.Config
	t := targetOf(v.Upstream)
	if t.tls {
		config = upstreamTLS(d.site)
	}
	return d.visitAddress(ctx, t, config, d.site.variable("UPSTREAM"), func(err error) string {
		return tlsRemedy(err, "Put the certificate of the authority that issued it into a file and name that in "+d.site.variable("UPSTREAM_CA_FILE")+".",
			"Write "+strings.Replace(v.Upstream, "https:", "http:", 1)+" into "+d.site.variable("UPSTREAM")+".",
			"Write the name that the certificate is for into "+d.site.variable("UPSTREAM")+".")
	})
}

func upstreamTLS(s *site) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: s.vars.UpstreamInsecure, MinVersion: tls.VersionTLS12}
	if len(s.ca) > 0 {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(s.ca)
	}
	return c
}

// visitAddress visits the stations name, connection and tls.
func (d *doctor) visitAddress(ctx context.Context, t target, config *tls.Config, variable string, remedy func(error) string) bool {
	ctx, cancel := context.WithTimeout(ctx, d.options.timeout)
	defer cancel()
	if t.network == "tcp" && net.ParseIP(t.host) == nil {
		addresses, err := d.resolve(ctx, t.host)
		if err != nil {
			d.fail("name", fmt.Sprintf("%s is not known to this machine's name service: %v", t.host, err),
				"Correct the name in "+variable+", or make it known where the proxy runs (in containers: a network that both are in).")
			return false
		}
		d.ok("name", "%s is %s", t.host, shortList(addresses))
	}
	start := time.Now()
	conn, err := d.dial(ctx, t)
	if err != nil {
		d.fail("connection", fmt.Sprintf("%s cannot be reached: %v", t.address, rootCause(err)),
			"Start the site, or correct "+variable+". In a container, localhost is the container itself; firewalls and network policies must let the proxy through.")
		return false
	}
	defer conn.Close()
	d.ok("connection", "%s in %v", t.address, time.Since(start).Round(100*time.Microsecond))
	if !t.tls {
		return true
	}
	config = config.Clone()
	config.ServerName = t.host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		d.fail("tls", "the handshake fails: "+err.Error(), remedy(err))
		return false
	}
	leaf := secure.ConnectionState().PeerCertificates[0]
	text := fmt.Sprintf("%s, certificate until %s", tls.VersionName(secure.ConnectionState().Version), leaf.NotAfter.Format(time.DateOnly))
	if config.InsecureSkipVerify {
		d.warn("tls", text+", not checked", "Name the authority's certificate in "+d.site.variable("UPSTREAM_CA_FILE")+" instead of leaving it unchecked.")
		return true
	}
	d.ok("tls", "%s", text)
	return true
}

// dial connects to a target, by the addresses that doctor's own look-up gives.
func (d *doctor) dial(ctx context.Context, t target) (net.Conn, error) {
	dialer := new(net.Dialer)
	if t.network != "tcp" || net.ParseIP(t.host) != nil {
		return dialer.DialContext(ctx, t.network, t.address)
	}
	addresses, err := d.resolve(ctx, t.host)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(t.address)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	for _, a := range addresses {
		if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(a, port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// tlsRemedy chooses what to do by why a handshake failed.
func tlsRemedy(err error, authority, plain, name string) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record):
		return "This port does not speak TLS. " + plain
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "Renew the certificate there, or correct this machine's clock."
	case errors.As(err, &host):
		return name
	case errors.As(err, &unknown):
		return authority
	}
	return "See which TLS versions and names the other side has: openssl s_client -connect …"
}

// rootCause is the last error of a chain: "connection refused" without the repetition around it.
func rootCause(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
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

// inside is a proxy that listens on nothing but pipes inside this process, over which requests come from any address.
type inside struct {
	server *http.Server
	pipes  *pipeListener
}

func (d *doctor) startInside() (*inside, error) {
	log := slog.New(slog.DiscardHandler)
	c := d.config.proxyConfig(log)
	c.Now = d.now
	handler, err := proxy.New(c)
	if err != nil {
		return nil, err
	}
	in := &inside{pipes: &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}}
	in.server = &http.Server{Handler: handler, ErrorLog: serverLog(log), MaxHeaderBytes: maxHeaderBytes}
	go in.server.Serve(in.pipes)
	return in, nil
}

func (in *inside) close() { in.server.Close() }

// client sends requests that come from an address. It follows no redirects.
func (in *inside) client(from string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableCompression: true,
			DisableKeepAlives:  true,
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return in.pipes.dial(from) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// pipeListener hands one end of each dialled pipe to Accept.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(from string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- pipeConn{server, pipeAddr(from)}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return pipeAddr("inside") }

type pipeConn struct {
	net.Conn
	from pipeAddr
}

func (c pipeConn) RemoteAddr() net.Addr { return c.from }

type pipeAddr string

func (a pipeAddr) Network() string { return "tcp" }
func (a pipeAddr) String() string  { return string(a) }

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
	last := &d.stations[len(d.stations)-1]
	hint := station{Name: last.Name, Mark: markInfo, Text: fmt.Sprintf("asked for %s instead of %s, it answers %d: set %s=upstream", r.URL.Host, d.publicHost(), a.status, d.site.variable("UPSTREAM_HOST"))}
	d.report(hint)
}

// presetNames are the identity presets, to recognise a gateway by its headers.
var presetNames = []string{"forwarded", "auth-request", "authelia", "authentik", "pomerium", "cloudflare-access", "aws-alb", "google-iap", "azure-easyauth", "tailscale"}

// presetFor names the preset that reads a header, "" for none.
func presetFor(header string) string {
	for _, p := range presetNames {
		source, err := identity.New(identity.Config{Preset: p, Audience: "any", Issuer: "https://any.example", KeysURL: "https://any.example/keys"})
		if err == nil && source.Owns(header) {
			return p
		}
	}
	return ""
}
