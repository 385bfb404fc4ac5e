package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"zchatproxy/proxy/identity"
)

// checkSite judges one site.
func (l *loader) checkSite(c *configuration, s *site) {
	v := &s.vars
	say := func(key, problem string) {
		if problem != "" {
			c.problems.addf(s.variable(key), "%s.", problem)
		}
	}
	warn := func(key, format string, args ...any) { c.warnings.addf(s.variable(key), format, args...) }

	for _, h := range v.Hosts {
		if strings.TrimSpace(h) == "" {
			continue
		}
		host, note, problem := normalHost(h)
		say("HOSTS", problem)
		if note != "" {
			warn("HOSTS", "%s", note)
		}
		if problem == "" {
			s.hosts = append(s.hosts, host)
		}
	}
	if v.Upstream != "" {
		problem := checkUpstream(v.Upstream)
		say("UPSTREAM", problem)
		if problem == "" && isLoop(v.Upstream, c.process) {
			say("UPSTREAM", fmt.Sprintf("is %s, the address of this proxy itself; write the address of the site behind it", v.Upstream))
		}
		say("UPSTREAM_HOST", checkUpstreamHost(v.UpstreamHost, v.Upstream))
		v.Upstream = strings.TrimSuffix(v.Upstream, "/")
	}
	l.checkUpstreamTLS(c, s)
	v.IncludePaths, v.ExcludePaths = trimmed(v.IncludePaths), trimmed(v.ExcludePaths)
	for _, p := range v.IncludePaths {
		say("INCLUDE_PATHS", checkPattern(p))
	}
	for _, p := range v.ExcludePaths {
		say("EXCLUDE_PATHS", checkPattern(p))
	}
	if !strings.HasPrefix(v.IdentityPath, "/") {
		say("IDENTITY_PATH", fmt.Sprintf("is %q; write a path such as /account", v.IdentityPath))
	}
	l.checkWidget(c, s)
	l.checkSecrets(c, s)
	l.checkIdentity(c, s)
}

func trimmed(list []string) []string {
	var out []string
	for _, v := range list {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// isLoop reports whether an upstream is certainly the proxy's own address.
func isLoop(upstream string, p processVars) bool {
	if path := socketPath(p.Listen); path != "" {
		return upstream == "unix://"+path
	}
	u, err := url.Parse(upstream)
	if err != nil || u.Host == "" {
		return false
	}
	host, port, err := net.SplitHostPort(p.Listen)
	if err != nil || port == "0" {
		return false
	}
	theirs := u.Port()
	if theirs == "" {
		theirs = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if theirs != port {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	own, err := netip.ParseAddr(host)
	everywhere := host == "" || err == nil && own.IsUnspecified()
	return local && (everywhere || host == "localhost" || u.Hostname() == host)
}

func (l *loader) checkUpstreamTLS(c *configuration, s *site) {
	v := &s.vars
	https := strings.HasPrefix(v.Upstream, "https:")
	if v.UpstreamInsecure {
		switch {
		case https:
			c.warnings.addf(s.variable("UPSTREAM_INSECURE"), "is true: the upstream's certificate is not checked, and whoever sits in between reads along. For staging only; %s is the better way.", s.variable("UPSTREAM_CA_FILE"))
		case v.Upstream != "":
			c.warnings.addf(s.variable("UPSTREAM_INSECURE"), "has no effect: %s is not https.", s.variable("UPSTREAM"))
		}
	}
	if v.UpstreamCAFile == "" {
		return
	}
	name := s.variable("UPSTREAM_CA_FILE")
	c.files = append(c.files, v.UpstreamCAFile)
	if !https && v.Upstream != "" {
		c.warnings.addf(name, "has no effect: %s is not https.", s.variable("UPSTREAM"))
	}
	data, err := readLimited(v.UpstreamCAFile)
	if err != nil {
		c.problems.addf(name, "names %s, which cannot be read: %v.", v.UpstreamCAFile, reasonOf(err))
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM(data) {
		c.problems.addf(name, "names %s, which holds no certificate; write a file with PEM blocks (-----BEGIN CERTIFICATE-----).", v.UpstreamCAFile)
		return
	}
	s.ca = data
}

var (
	widgetKey = regexp.MustCompile(`^[0-9A-Za-z_-]{8,64}$`)
	authKey   = regexp.MustCompile(`"authenticat(e|ion)"\s*:`)
)

func (l *loader) checkWidget(c *configuration, s *site) {
	v := &s.vars
	settings, name := v.Settings, s.variable("SETTINGS")
	if v.SettingsFile != "" {
		name = s.variable("SETTINGS_FILE")
		c.files = append(c.files, v.SettingsFile)
		data, err := readLimited(v.SettingsFile)
		if err != nil {
			c.problems.addf(name, "names %s, which cannot be read: %v.", v.SettingsFile, reasonOf(err))
			return
		}
		settings = strings.TrimSpace(strings.TrimPrefix(string(data), "\ufeff"))
		if settings == "" {
			settings = "{}"
		}
	}
	if problem := checkSettings(settings); problem != "" {
		c.problems.addf(name, "%s.", problem)
		return
	}
	s.settings = []byte(settings)
	if authKey.MatchString(settings) {
		c.warnings.addf(name, `has an "authenticate" or "authentication" of its own; the authentication is the proxy's. Remove it.`)
	}

	switch key := v.WidgetKey; {
	case key == "":
	case strings.Contains(key, "key=") || strings.Contains(key, "/"):
		c.problems.addf(s.variable("WIDGET_KEY"), "is an address; write the key alone, what stands after key= in the widget's script tag.")
	case strings.ContainsAny(key, "<>\"'&? \t"):
		c.problems.addf(s.variable("WIDGET_KEY"), "has characters that no key has; write what stands after key= in the widget's script tag.")
	case !widgetKey.MatchString(key):
		c.warnings.addf(s.variable("WIDGET_KEY"), "does not look like a key: Zendesk's have 32 or 36 letters, digits and hyphens.")
	}
	if v.Widget == "messaging" && v.KeyID == "" {
		c.problems.addf(s.variable("KEY_ID"), "is not set, but messaging needs it; write the key's id as Zendesk's admin pages show it (app_…).")
	}
	if v.Widget != "messaging" && strings.HasPrefix(v.KeyID, "app_") {
		c.warnings.stopf(s.variable("KEY_ID"), "is the id of a messaging key, but %s is %s, which has a secret of another kind. Write messaging there, or use the secret of the chat widget without a key id.", s.variable("WIDGET"), v.Widget)
	}
}

func (l *loader) checkSecrets(c *configuration, s *site) {
	v := &s.vars
	if v.Secret != "" || v.SecretFile != "" {
		s.secret = l.secretOf(s.variable("SECRET"), v.Secret, v.SecretFile)
		l.checkSecret(c, s, "SECRET", v.SecretFile)
	}
	if v.HelpCenterSecret != "" || v.HelpCenterSecretFile != "" {
		s.helpCtr = l.secretOf(s.variable("HELP_CENTER_SECRET"), v.HelpCenterSecret, v.HelpCenterSecretFile)
		l.checkSecret(c, s, "HELP_CENTER_SECRET", v.HelpCenterSecretFile)
		name := s.variable("HELP_CENTER_SECRET")
		if v.Widget != "classic" {
			c.warnings.addf(name, "has no effect with %s: only the Web Widget (Classic) has a second secret.", v.Widget)
		}
		if s.secret != nil && s.secret.Len() > 0 && s.secret.Fingerprint() == s.helpCtr.Fingerprint() {
			c.warnings.addf(name, "is the same as %s; in Zendesk these are two secrets, in two places. One of them is the wrong one.", s.variable("SECRET"))
		}
	}
	switch ttl := v.TokenTTL; {
	case ttl > 7*time.Minute:
		c.problems.addf(s.variable("TOKEN_TTL"), "is %v, but Zendesk refuses tokens that live longer than 7 minutes; write 7m or less.", ttl)
	case ttl < 0:
		c.problems.addf(s.variable("TOKEN_TTL"), "is %v; write a positive time, such as 5m.", ttl)
	case ttl.Truncate(time.Second) <= 10*time.Second:
		c.problems.addf(s.variable("TOKEN_TTL"), "is %v, but tokens are dated 10 seconds back, so this one would have expired when it is made; write a longer time, such as 5m.", ttl)
	case ttl < 30*time.Second:
		c.warnings.addf(s.variable("TOKEN_TTL"), "is %v: a slow connection can outlast it. Write 5m.", ttl)
	}
}

// checkSecret says whether a secret can be used, and whether it is long enough.
func (l *loader) checkSecret(c *configuration, s *site, key, file string) {
	source := s.secret
	if key == "HELP_CENTER_SECRET" {
		source = s.helpCtr
	}
	name := s.variable(key)
	if file != "" {
		name = s.variable(key + "_FILE")
	}
	if err := source.Err(); err != nil {
		c.problems.add(finding{Variable: name, passing: true, Message: fmt.Sprintf(
			"%s cannot be used: %v. Until it can, no token is signed (503).", name, err)})
		return
	}
	value := s.vars.Secret
	if key == "HELP_CENTER_SECRET" {
		value = s.vars.HelpCenterSecret
	}
	if file != "" {
		data, _ := readLimited(file)
		value = strings.TrimSpace(string(data))
	}
	if odd := oddSecret(value); odd != "" {
		c.warnings.stopf(name, "%s.", odd)
		return
	}
	if n := source.Len(); n < 32 {
		c.warnings.stopf(name, "holds a secret of %d bytes; some verifiers refuse less than 32, and Zendesk's have more. Copy it again, all of it.", n)
	}
}

// placeholders are what people write until they have the real thing.
var placeholders = regexp.MustCompile(`(?i)^(change[-_ ]?me|secret|password|your[-_ ].*|example|test|todo|xxx+|<.*>|\$\{?.*\}?)$`)

// oddSecret recognises what is surely not the secret that Zendesk gave out, without repeating it; "" for all else.
func oddSecret(value string) string {
	if len(value) < 2 {
		return ""
	}
	first, last := value[0], value[len(value)-1]
	switch {
	case first == last && (first == '"' || first == '\''):
		return "has quotes around the secret, which count as a part of it (env files are not read by a shell); remove them"
	case strings.HasPrefix(value, "app_"):
		return "begins with app_, as ids of messaging keys do; write the secret there and the id into KEY_ID"
	case strings.HasPrefix(value, prefix), strings.HasPrefix(strings.ToUpper(value), "SECRET="):
		return "holds a name and an equals sign before the secret; write the value alone"
	case strings.ContainsAny(value, " \t\r\n"):
		return "has white space inside the secret; copy it again, on one line"
	case placeholders.MatchString(value):
		return "holds a placeholder; write the secret that Zendesk shows"
	}
	return ""
}

func (l *loader) checkIdentity(c *configuration, s *site) {
	_, err := identity.New(s.identityConfig())
	for _, e := range joined(err) {
		var fe *identity.FieldError
		if !errors.As(e, &fe) {
			c.problems.add(finding{Message: e.Error()})
			continue
		}
		c.problems.addf(s.variableOf(fe.Field), "%s.", strings.TrimSuffix(fe.Problem, "."))
	}
	v := &s.vars
	if v.Widget != "messaging" {
		return
	}
	header := v.IDHeader
	if header == "" && v.Identity == "tailscale" {
		header = "Tailscale-User-Login"
	}
	low := strings.ToLower(header)
	if strings.Contains(low, "mail") || low == "tailscale-user-login" || header != "" && strings.EqualFold(header, v.EmailHeader) {
		c.warnings.addf(s.variable("ID_HEADER"), "takes the id from %s, which holds an e-mail address. Messaging's ids should not be addresses: they cannot change when the address does. Use a header with a stable id.", header)
	}
}
