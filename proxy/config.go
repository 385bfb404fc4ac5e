package proxy

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"zchatproxy/inject"
	"zchatproxy/inject/snippet"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// Config is a whole configuration. The zero value of a field means its documented default.
type Config struct {
	Sites           []Site         // at least one
	Trusted         identity.Peers // peers whose identity and X-Forwarded-* headers count; zero trusts nobody
	RoutePrefix     string         // where the proxy's own routes live; "" means "/__zchat"
	UpstreamTimeout time.Duration  // until the upstream's response header arrives; 0 means 60 s

	Log     *slog.Logger     // nil discards
	Now     func() time.Time // nil means time.Now
	Version string           // shown on the status page and in metrics
	Commit  string           // shown in metrics
}

// Site configures one site. Strings that are empty mean the default.
type Site struct {
	Name             string   // for logs and metrics; "" means the first host
	Hosts            []string // exact names, "*.example.com", or "*"; empty means "*"
	Upstream         string   // http://…, https://… or unix:///path; required
	UpstreamHost     string   // "preserve" (default), "upstream", or a literal name
	UpstreamCA       []byte   // PEM certificates to trust instead of the system's
	UpstreamInsecure bool     // do not verify the upstream's certificate

	Widget    string          // "classic" (default), "messaging" or "chat"
	WidgetKey string          // "" means that the pages load the widget themselves
	WidgetURL string          // loads the widget from here instead of Zendesk's; for demonstrations and tests
	Settings  json.RawMessage // merged into zESettings

	Secret           *signer.Secret // required
	HelpCenterSecret *signer.Secret // nil means none
	KeyID            string
	TokenTTL         time.Duration // 0 means 5 minutes
	TokenLimit       int           // tokens a visitor may take in an hour; 0 means 1,000,000, negative none
	OmitEmail        bool

	Identity     identity.Config
	IdentityPath string // asked of the upstream with the "upstream" preset; "" means "/"

	Inject  string   // "on" (default), "off" or "preview"
	Include []string // path patterns; empty means all
	Exclude []string // path patterns; wins over Include
	CSP     string   // "patch" (default) or "off"
}

// ConfigError says what is wrong with one field.
type ConfigError struct {
	Site    int    // index in Config.Sites; -1 for the process
	Field   string // the field's name in Config, Site or identity.Config
	Problem string // what is wrong and what to write instead
}

func (e *ConfigError) Error() string {
	if e.Site < 0 {
		return e.Field + ": " + e.Problem
	}
	return fmt.Sprintf("site %d: %s: %s", e.Site, e.Field, e.Problem)
}

const (
	defaultRoutePrefix     = "/__zchat"
	defaultUpstreamTimeout = 60 * time.Second
	defaultTokenLimit      = 1_000_000
	identityTimeout        = 10 * time.Second // of the request that asks the upstream who the visitor is
)

// newState builds everything that a configuration needs. What an earlier state holds and this one needs
// unchanged (connection pools, token limits) is taken over.
func newState(cfg Config, old *state, m *metrics) (*state, error) {
	st := &state{
		trusted:     cfg.Trusted,
		routePrefix: cmp.Or(strings.TrimRight(cfg.RoutePrefix, "/"), defaultRoutePrefix),
		log:         cfg.Log,
		now:         cfg.Now,
		version:     cfg.Version,
	}
	if st.log == nil {
		st.log = slog.New(slog.DiscardHandler)
	}
	if st.now == nil {
		st.now = time.Now
	}
	var errs []error
	if p := st.routePrefix; p[0] != '/' || p != foldPath(p) {
		errs = append(errs, &ConfigError{-1, "RoutePrefix", fmt.Sprintf("%q is not a plain lower-case path such as /__zchat", p)})
	}
	if len(cfg.Sites) == 0 {
		errs = append(errs, &ConfigError{-1, "Sites", "no site is configured"})
	}
	pools := newUpstreamPool(old)
	for i := range cfg.Sites {
		s, siteErrs := newSite(&cfg.Sites[i], cfg, st, pools, m)
		for _, err := range siteErrs {
			err.Site = i
			errs = append(errs, err)
		}
		if s == nil {
			continue
		}
		if err := st.hosts.add(cfg.Sites[i].Hosts, s); err != nil {
			err.Site = i
			errs = append(errs, err)
		}
		if slices.ContainsFunc(st.sites, func(o *site) bool { return o.name == s.name }) {
			errs = append(errs, &ConfigError{i, "Name", fmt.Sprintf("%q is the name of another site too: logs and metrics would mix them up", s.name)})
		}
		st.sites = append(st.sites, s)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	st.adopt(old)
	return st, nil
}

// adopt carries over what an earlier configuration's sites have gathered, so that a reload resets no one's
// token count and needs no verification key again.
func (st *state) adopt(old *state) {
	if old == nil {
		return
	}
	byName := make(map[string]*site, len(old.sites))
	for _, s := range old.sites {
		byName[s.name] = s
	}
	for _, s := range st.sites {
		before := byName[s.name]
		if before == nil {
			continue
		}
		s.identity.KeepKeys(before.identity)
		if before.limit.perHour == s.limit.perHour {
			s.limit = before.limit
		}
	}
}

// newSite builds one site, or says everything that is wrong with it.
func newSite(c *Site, cfg Config, st *state, pools *upstreamPool, m *metrics) (*site, []*ConfigError) {
	var errs []*ConfigError
	fail := func(field, format string, args ...any) {
		errs = append(errs, &ConfigError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	s := &site{
		name:         cmp.Or(c.Name, firstHost(c.Hosts)),
		widget:       cmp.Or(c.Widget, "classic"),
		widgetURL:    c.WidgetURL,
		loadsWidget:  c.WidgetKey != "",
		identityPath: cmp.Or(c.IdentityPath, "/"),
		include:      c.Include,
		exclude:      c.Exclude,
		patchCSP:     oneOf(cmp.Or(c.CSP, "patch"), fail, "CSP", "patch", "off") == "patch",
		mode:         oneOf(cmp.Or(c.Inject, "on"), fail, "Inject", "on", "off", "preview"),
		log:          st.log,
		now:          st.now,
		hosts:        c.Hosts,
	}
	oneOf(s.widget, fail, "Widget", "classic", "messaging", "chat")
	if s.identityPath[0] != '/' {
		fail("IdentityPath", "%q must begin with /", s.identityPath)
	}
	s.buildSigners(c, st, fail)
	s.buildIdentity(c, fail)
	s.buildSnippet(c, st, fail)
	s.buildUpstream(c, cfg, pools, fail)
	if len(errs) > 0 {
		return nil, errs
	}
	s.metrics = m.site(s.name, s.tokenKind)
	s.limit = newTokenLimit(c.TokenLimit)
	s.proxy = newReverseProxy(s)
	return s, nil
}

type failFunc func(field, format string, args ...any)

func oneOf(value string, fail failFunc, field string, allowed ...string) string {
	if slices.Contains(allowed, value) {
		return value
	}
	fail(field, "%q is not one of %s", value, strings.Join(allowed, ", "))
	return value
}

func (s *site) buildSigners(c *Site, st *state, fail failFunc) {
	kind := signer.Chat
	s.tokenKind = "chat"
	if s.widget == "messaging" {
		kind = signer.Messaging
		s.tokenKind = "messaging"
	}
	if c.Secret == nil {
		fail("Secret", "no secret is set")
		return
	}
	var err error
	s.secret, s.helpCenterSecret = c.Secret, c.HelpCenterSecret
	s.chat, err = signer.New(signer.Config{Kind: kind, Secret: c.Secret, KeyID: c.KeyID, TTL: c.TokenTTL, OmitEmail: c.OmitEmail, Now: st.now})
	if err != nil {
		fail("TokenTTL", "%v", err)
	}
	if c.HelpCenterSecret == nil {
		return
	}
	s.helpCenter, err = signer.New(signer.Config{Kind: signer.HelpCenter, Secret: c.HelpCenterSecret, Now: st.now})
	if err != nil {
		fail("HelpCenterSecret", "%v", err)
	}
}

func (s *site) buildIdentity(c *Site, fail failFunc) {
	ic := c.Identity
	if ic.Log == nil {
		ic.Log = s.log.With("site", s.name)
	}
	if ic.Now == nil {
		ic.Now = s.now
	}
	src, err := identity.New(ic)
	for _, e := range unjoin(err) {
		field, what := "Identity", e.Error()
		var fe *identity.FieldError
		if errors.As(e, &fe) {
			field, what = fe.Field, fe.Problem
		}
		fail(field, "%s", what)
	}
	s.identity = src
}

func (s *site) buildSnippet(c *Site, st *state, fail failFunc) {
	var err error
	s.snippet, err = snippet.Render(snippet.Config{
		Widget:      s.widget,
		Key:         c.WidgetKey,
		WidgetURL:   c.WidgetURL,
		Settings:    c.Settings,
		RoutePrefix: st.routePrefix,
		HelpCenter:  c.HelpCenterSecret != nil,
		Late:        c.Identity.Preset == "upstream",
	})
	if err != nil {
		fail("Settings", "%v", err)
		return
	}
	s.element = inject.NewElement(s.snippet.Element(""))
	s.etagSuffix = "-zchat" + s.snippet.ID()
}

func (s *site) buildUpstream(c *Site, cfg Config, pools *upstreamPool, fail failFunc) {
	target, err := parseUpstream(c.Upstream)
	if err != nil {
		fail("Upstream", "%v", err)
		return
	}
	if len(c.UpstreamCA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(c.UpstreamCA) {
		fail("UpstreamCA", "holds no PEM certificate")
		return
	}
	s.upstream = pools.get(upstreamKey{
		target: c.Upstream, ca: string(c.UpstreamCA), insecure: c.UpstreamInsecure,
		timeout: cmp.Or(cfg.UpstreamTimeout, defaultUpstreamTimeout),
	}, target)
	switch c.UpstreamHost {
	case "", "preserve":
	case "upstream":
		s.upstreamHost = target.Host
	default:
		if strings.ContainsAny(c.UpstreamHost, "/?#@ ") {
			fail("UpstreamHost", "%q is not a host name: write preserve, upstream, or a name such as www.example.com", c.UpstreamHost)
		}
		s.upstreamHost = c.UpstreamHost
	}
}

// parseUpstream accepts http://host[:port], https://host[:port] and unix:///path.
func parseUpstream(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("no upstream is set: write the site's address, such as http://127.0.0.1:8000")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("not an address: write one such as http://127.0.0.1:8000")
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return nil, fmt.Errorf("%q: a Unix socket is written unix:///path/to/socket", raw)
		}
	case "http", "https":
		switch {
		case u.User != nil:
			return nil, errors.New("the address must not hold a user name or password")
		case u.Host == "" || u.Hostname() == "":
			return nil, fmt.Errorf("%q names no host", raw)
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
			return nil, fmt.Errorf("%q: the address must not have a path, query or fragment; write only %s://%s", raw, u.Scheme, u.Host)
		}
	default:
		return nil, fmt.Errorf("%q: write http://host:port, https://host:port or unix:///path", raw)
	}
	return u, nil
}

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

func firstHost(hosts []string) string {
	if len(hosts) == 0 {
		return "*"
	}
	return hosts[0]
}
