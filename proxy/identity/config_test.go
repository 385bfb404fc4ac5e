package identity

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// fields lists the fields that an error of New complains about.
func fields(t *testing.T, err error) (names []string) {
	t.Helper()
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			names = append(names, fields(t, e)...)
		}
		return names
	}
	var field *FieldError
	if !errors.As(err, &field) || field.Problem == "" {
		t.Fatalf("%v (%T) is not a FieldError with a problem", err, err)
	}
	return []string{field.Field}
}

func TestConfigProblems(t *testing.T) {
	iap := Config{Preset: "google-iap", Audience: "/projects/1/apps/x"}
	with := func(c Config, change func(*Config)) Config { change(&c); return c }
	tests := []struct {
		name   string
		config Config
		want   string // fields, in order
	}{
		{"unknown preset", Config{Preset: "authentic"}, "Preset"},
		{"custom without a header", Config{Preset: "custom", EmailHeader: "X-Mail"}, "IDHeader"},
		{"upstream without a header", Config{Preset: "upstream"}, "IDHeader"},
		{"not a name", Config{IDHeader: "X User", EmailHeader: "X-Mail:", NameHeader: "Näme"}, "IDHeader EmailHeader NameHeader"},
		{"taken", Config{IDHeader: "cookie", EmailHeader: "Content_Length", NameHeader: "X-Forwarded-For"}, "IDHeader EmailHeader NameHeader"},
		{"alike", Config{Preset: "custom", IDHeader: "X-User", EmailHeader: "X_User"}, "EmailHeader"},
		{"control in the prefix", Config{IDPrefix: "a\x00"}, "IDPrefix"},
		{"bidi in the prefix", Config{IDPrefix: "a\u202e"}, "IDPrefix"},
		{"long prefix", Config{IDPrefix: strings.Repeat("a", 200)}, "IDPrefix"},
		{"IAP without audience", Config{Preset: "google-iap"}, "Audience"},
		{"Pomerium without audience", Config{Preset: "pomerium"}, "Audience"},
		{"Pomerium without audience, with the rest", Config{Preset: "pomerium", Issuer: "x", KeysURL: "https://x/"}, "Audience"},
		{"Pomerium, audience is no host", Config{Preset: "pomerium", Audience: "https://shop.example.com"}, "KeysURL"},
		{"Cloudflare without anything", Config{Preset: "cloudflare-access"}, "Audience Issuer"},
		{"Cloudflare without audience", Config{Preset: "cloudflare-access", Issuer: "https://team.cloudflareaccess.com"}, "Audience"},
		{"Cloudflare without issuer", Config{Preset: "cloudflare-access", Audience: "x"}, "Issuer"},
		{"Cloudflare, issuer is no URL", Config{Preset: "cloudflare-access", Audience: "x", Issuer: "team"}, "KeysURL"},
		{"ALB without ARN", Config{Preset: "aws-alb", KeysURL: "https://x/"}, "Audience"},
		{"ALB, not an ARN", Config{Preset: "aws-alb", Audience: "client-id", KeysURL: "https://x/"}, "Audience"},
		{"ALB, other partition", Config{Preset: "aws-alb", Audience: "arn:aws-cn:elasticloadbalancing:cn-north-1:1:loadbalancer/app/a/b"}, "KeysURL"},
		{"ALB, region that leads elsewhere", Config{Preset: "aws-alb", Audience: "arn:aws:elasticloadbalancing:evil.example/:1:loadbalancer/app/a/b"}, "KeysURL"},
		{"keys over http", with(iap, func(c *Config) { c.KeysURL = "http://keys.example/" }), "KeysURL"},
		{"keys over http, almost loopback", with(iap, func(c *Config) { c.KeysURL = "http://127.0.0.1.example/" }), "KeysURL"},
		{"keys with a user", with(iap, func(c *Config) { c.KeysURL = "https://u:p@keys.example/" }), "KeysURL"},
		{"keys in a file", with(iap, func(c *Config) { c.KeysURL = "file:///etc/keys" }), "KeysURL"},
		{"keys without a host", with(iap, func(c *Config) { c.KeysURL = "https:///keys" }), "KeysURL"},
		{"keys that are no URL", with(iap, func(c *Config) { c.KeysURL = "%" }), "KeysURL"},
		{"unsigned id beside an assertion", with(iap, func(c *Config) { c.IDHeader = "X-User" }), "IDHeader"},
		{"unsigned everything beside an assertion", with(iap, func(c *Config) {
			c.IDHeader, c.EmailHeader, c.NameHeader = "X-User", "X-Mail", "X-Name"
		}), "IDHeader EmailHeader NameHeader"},
		{"all at once", Config{Preset: "cloudflare-access", IDHeader: "X-User", IDPrefix: "\x01"}, "IDHeader Audience Issuer IDPrefix"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.config)
			if err == nil {
				t.Fatalf("New gives %s, want an error", s.Describe())
			}
			if got := strings.Join(fields(t, err), " "); got != tt.want {
				t.Errorf("fields %q, want %q: %v", got, tt.want, err)
			}
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	const arn = "arn:aws:elasticloadbalancing:us-east-2:1:loadbalancer/app/a/b"
	tests := []struct {
		config       Config
		keys, issuer string
	}{
		{Config{Preset: "google-iap", Audience: "/projects/1/apps/x"}, "https://www.gstatic.com/iap/verify/public_key-jwk", "https://cloud.google.com/iap"},
		{Config{Preset: "pomerium", Audience: "shop.example.com"}, "https://shop.example.com/.well-known/pomerium/jwks.json", "shop.example.com"},
		{Config{Preset: "pomerium", Audience: "a", Issuer: "https://a/", KeysURL: "https://b/k"}, "https://b/k", "https://a/"},
		{Config{Preset: "cloudflare-access", Audience: "x", Issuer: "https://t.cloudflareaccess.com"}, "https://t.cloudflareaccess.com/cdn-cgi/access/certs", "https://t.cloudflareaccess.com"},
		{Config{Preset: "aws-alb", Audience: arn}, "https://public-keys.auth.elb.us-east-2.amazonaws.com", ""},
		{Config{Preset: "aws-alb", Audience: "arn:aws-us-gov:x", KeysURL: "http://127.0.0.1:1/k"}, "http://127.0.0.1:1/k", ""},
		{Config{Preset: "google-iap", Audience: "x", KeysURL: "http://[::1]:8/k"}, "http://[::1]:8/k", "https://cloud.google.com/iap"},
		{Config{Preset: "google-iap", Audience: "x", KeysURL: "http://localhost/k"}, "http://localhost/k", "https://cloud.google.com/iap"},
	}
	for _, tt := range tests {
		s := mustNew(t, tt.config)
		if s.config.KeysURL != tt.keys || s.config.Issuer != tt.issuer {
			t.Errorf("%s: keys %s, issuer %s; want %s, %s", tt.config.Preset, s.config.KeysURL, s.config.Issuer, tt.keys, tt.issuer)
		}
	}
}

// The table must stay within what the code takes for granted.
func TestPresetTable(t *testing.T) {
	var names []string
	for _, p := range presets() {
		names = append(names, p.name)
		if p.signed != nil && (p.signed.maxLifetime <= 0 || p.signed.keysURL == nil || p.signed.audienceIs == "") {
			t.Errorf("%s lacks a part of its format", p.name)
		}
		for _, family := range p.families {
			if fold(family) != family {
				t.Errorf("%s: family %q is not folded", p.name, family)
			}
		}
	}
	want := []string{"forwarded", "auth-request", "authelia", "authentik", "pomerium", "cloudflare-access", "aws-alb", "google-iap",
		"azure-easyauth", "tailscale", "custom", "upstream"}
	if !slices.Equal(names, want) {
		t.Errorf("presets %v, want %v", names, want)
	}
	for preset, s := range everyPreset(t) {
		// Four overrides at most come on top.
		if n := len(s.names.listed); n+4 > maxNames {
			t.Errorf("%s lists %d names, too many for overrides beside them", preset, n)
		}
		if d := s.Describe(); d == "" || strings.Contains(d, "\n") || strings.Contains(d, "%!") {
			t.Errorf("%s is described as %q", preset, d)
		}
	}
}

func TestOwns(t *testing.T) {
	s := mustNew(t, Config{Preset: "authentik", IDHeader: "X-Site-Id"})
	for name, want := range map[string][2]bool{ // Owns, Guards
		"X-Site-Id": {true, true}, "x_site_id": {true, true}, "X-Authentik-Uid": {true, true}, "x.authentik.meta.jwks": {true, true},
		"X-Forwarded-For": {false, true}, "x_forwarded_user": {false, true}, "FORWARDED": {false, true}, "X-Zchat-Anything": {false, true},
		"X-Site-Idx": {}, "Site-Id": {}, "X-Authentik": {}, "Cookie": {}, "": {}, "X-": {}, "Connection": {},
	} {
		if got := [2]bool{s.Owns(name), s.Guards(name)}; got != want {
			t.Errorf("%q: Owns, Guards = %v, want %v", name, got, want)
		}
	}
}

// A new Source does not touch the network until it must.
func TestNewFetchesNothing(t *testing.T) {
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		t.Errorf("New fetched %s", r.URL)
		return nil, errors.New("no")
	})
	s := mustNew(t, Config{Preset: "google-iap", Audience: "x", Transport: transport})
	if _, err := s.Request(ask("X-Goog-Iap-Jwt-Assertion", "e30.e30.e30"), true); err != nil {
		t.Fatal(err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
