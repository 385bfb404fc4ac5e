package identity

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Config says where a site's identity comes from. The zero value is the preset "forwarded".
type Config struct {
	// Preset is one of forwarded, auth-request, authelia, authentik, pomerium, cloudflare-access, aws-alb, google-iap,
	// azure-easyauth, tailscale, custom and upstream; empty means forwarded.
	Preset string

	// Headers that replace the preset's own. Custom and upstream need at least IDHeader. A signed preset takes id,
	// address and name from its assertion alone.
	IDHeader, EmailHeader, NameHeader string
	// EmailVerifiedHeader holds "true" where the gateway vouches for the address; no preset has a default.
	EmailVerifiedHeader string
	// EmailVerified says that the gateway vouches for every address.
	EmailVerified bool

	// IDPrefix is put before every id.
	IDPrefix string

	// KeysURL, Issuer and Audience configure the signed presets and mean nothing to the others. KeysURL is the JWK set
	// (RFC 7517 section 5), for aws-alb the base of the key endpoint. Audience is for aws-alb the load balancer's ARN.
	KeysURL, Issuer, Audience string

	// Transport fetches the keys; nil means one of the Source's own, which honours the proxy environment variables.
	Transport http.RoundTripper
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// Log takes what an operator should know; nil means [slog.Default]. No identity is ever logged.
	Log *slog.Logger
}

// A FieldError says what is wrong with one field of a [Config], and what to write instead.
type FieldError struct {
	Field   string // the field's name in Config
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// New checks c and makes a Source of it. The error joins a [*FieldError] for every problem there is. Keys are fetched
// when the first assertion needs them, so New does no input or output.
func New(c Config) (*Source, error) {
	if c.Preset == "" {
		c.Preset = "forwarded"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	p, ok := presetNamed(c.Preset)
	if !ok {
		return nil, &FieldError{"Preset", fmt.Sprintf("%q is not a preset; write one of %s", c.Preset, strings.Join(PresetNames(), ", "))}
	}
	s := &Source{
		config: c, preset: p,
		warnShared:   rate.Sometimes{First: 1, Interval: warnEvery},
		warnDisagree: rate.Sometimes{First: 1, Interval: warnEvery},
	}
	problems := s.checkHeaders()
	if p.signed != nil {
		problems = append(problems, s.checkAssertion()...)
	}
	if err := checkPrefix(c.IDPrefix); err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if p.signed != nil {
		s.verifier = newVerifier(*p.signed, s.config)
	}
	return s, nil
}

// An override is a header that the configuration may name in place of the preset's.
type override struct {
	field string  // of Config
	value string  // configured
	own   *string // the preset's, replaced when value is set
	index *int    // where the Source keeps its place in the list
}

// checkHeaders fills the list of names: those that are read first, then those that are only removed.
func (s *Source) checkHeaders() (problems []error) {
	c, p := &s.config, &s.preset
	verified := ""
	overrides := []override{
		{"IDHeader", c.IDHeader, &p.id, &s.id},
		{"EmailHeader", c.EmailHeader, &p.email, &s.email},
		{"NameHeader", c.NameHeader, &p.fullName, &s.name},
		{"EmailVerifiedHeader", c.EmailVerifiedHeader, &verified, &s.verified},
	}
	// A header that was replaced still is the gateway's: it is removed with the others, not read.
	var replaced []string
	for _, o := range overrides {
		*o.index = -1
		if o.value != "" && *o.own != "" {
			replaced = append(replaced, *o.own)
		}
		if o.value != "" {
			if problem := s.headerProblem(o); problem != "" {
				problems = append(problems, &FieldError{o.field, problem})
				continue
			}
			*o.own = o.value
		}
		if *o.own == "" {
			continue
		}
		if *o.index = s.names.add(*o.own); *o.index < 0 {
			problems = append(problems, &FieldError{o.field, fmt.Sprintf(
				"%s and another identity header differ only in punctuation, so servers confuse them; rename one", *o.own)})
		}
	}
	if p.mustName && c.IDHeader == "" {
		problems = append(problems, &FieldError{"IDHeader",
			fmt.Sprintf("the preset %s has no default; name the header that holds the visitor's id", p.name)})
	}
	s.listRest(replaced)
	return problems
}

// listRest lists the principal, the assertion and its companions, then what is removed unread.
func (s *Source) listRest(replaced []string) {
	s.principal, s.assertion = -1, -1
	if s.preset.principal != "" {
		s.principal = s.names.add(s.preset.principal)
	}
	if f := s.preset.signed; f != nil {
		s.assertion = s.names.add(f.header)
		for _, u := range f.unsigned {
			s.unsigned = append(s.unsigned, s.names.add(u.header))
		}
	}
	s.reads = len(s.names.listed)
	for _, name := range append(replaced, s.preset.also...) {
		s.names.add(name)
	}
	s.names.families = s.preset.families
}

func (s *Source) headerProblem(o override) string {
	switch {
	case s.preset.signed != nil && o.field != "EmailVerifiedHeader":
		return fmt.Sprintf("the preset %s reads the identity from its signed assertion; remove this header", s.preset.name)
	case !isToken(o.value):
		return fmt.Sprintf("%q is not a header name; write it as X-Remote-User, without a colon", o.value)
	case isTaken(o.value):
		return fmt.Sprintf("%s has another meaning in HTTP; let the gateway send a header of its own", o.value)
	}
	return ""
}

// isToken reports whether s is a token as in RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if foldByte(s[i]) == '-' && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// isTaken reports headers that every visitor sends, or that say how a message is framed or where it comes from: as
// identity headers they would be removed, or refused, on requests that need them.
func isTaken(name string) bool {
	switch fold(name) {
	case "host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"content-length", "content-type", "content-encoding", "cookie", "set-cookie", "authorization", "origin",
		"referer", "user-agent", "accept", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto":
		return true
	}
	return false
}

func checkPrefix(prefix string) error {
	switch {
	case cleanText(prefix) != strings.TrimSpace(prefix) || strings.ContainsFunc(prefix, isReordering):
		return &FieldError{"IDPrefix", "it holds control characters; write something like user-"}
	case tooLong("", prefix, maxID/2):
		return &FieldError{"IDPrefix", "it leaves too little of an id's 255 characters; write something like user-"}
	}
	return nil
}

// checkAssertion fills in the preset's defaults and refuses what would leave an assertion half checked.
func (s *Source) checkAssertion() (problems []error) {
	c, f := &s.config, s.preset.signed
	if c.Audience == "" {
		problems = append(problems, &FieldError{"Audience", fmt.Sprintf(
			"the preset %s needs it, or an assertion made for anybody's application would count; write %s",
			s.preset.name, f.audienceIs)})
	} else if f.alb && !strings.HasPrefix(c.Audience, "arn:") {
		problems = append(problems, &FieldError{"Audience", "write " + f.audienceIs})
	}
	if c.Issuer == "" && f.issuer != nil {
		c.Issuer = f.issuer(c.Audience)
	}
	if c.Issuer == "" && f.issuer == nil && !f.alb {
		problems = append(problems, &FieldError{"Issuer", fmt.Sprintf(
			"the preset %s needs it; write it as the assertions have it, e.g. https://team.cloudflareaccess.com", s.preset.name)})
	}
	if c.KeysURL == "" {
		c.KeysURL = f.keysURL(c.Issuer, c.Audience)
	}
	// Without audience and issuer the default has nothing to go by, and their errors say so already.
	if c.KeysURL != "" || len(problems) == 0 {
		if problem := keysURLProblem(c.KeysURL); problem != "" {
			problems = append(problems, &FieldError{"KeysURL", problem})
		}
	}
	return problems
}

// keysURLProblem says what is wrong with the address of the keys. Whoever can answer for it can be anybody, so it is
// https, or does not leave the machine.
func keysURLProblem(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "there is no default for this audience; write the https URL of the gateway's keys"
	case err != nil || u.Host == "":
		return "it is not a URL; write the https URL of the gateway's keys"
	case u.User != nil || u.Fragment != "":
		return "it must have neither a user name nor a fragment"
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "keys are fetched over https only, or over http from a loopback address"
}

func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// keyTransport fetches keys: seldom, from one host, so no connection is kept for the next time.
func keyTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: fetchTimeout}).DialContext,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}
