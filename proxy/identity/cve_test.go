package identity

import (
	"net/http"
	"strings"
	"testing"
)

// The tests of this file are named for advisories about other gateways and proxies whose mistakes must not be made
// here. Each says what went wrong there.

// oauth2-proxy removed X-Forwarded-User, but not X_Forwarded_User, which a WSGI server takes for the same.
func TestCVE2025_64484_UnderscoreAlias(t *testing.T) {
	s := mustNew(t, Config{})
	for _, name := range []string{"X_Forwarded_User", "X-Forwarded_User", "x_forwarded-user", "X_Forwarded_Email"} {
		for _, trusted := range []bool{true, false} {
			r := ask(name, "victim")
			if got, err := s.Request(r, trusted); err != nil || got.LoggedIn || len(r.Header) != 0 {
				t.Errorf("%s, trusted %v: %+v, %v, left %v", name, trusted, got, err, r.Header)
			}
		}
	}
}

// oauth2-proxy took addresses with several at signs, whose domain is the attacker's for one reader and not for another.
func TestCVE2026_40574_SeveralAtSigns(t *testing.T) {
	s := mustNew(t, Config{EmailVerified: true})
	for _, email := range []string{"eve@evil.example@example.com", `"ann@example.com"@evil.example`, "ann@example.com, eve@evil.example", "@@"} {
		got, err := s.Request(ask("X-Forwarded-User", "u1", "X-Forwarded-Email", email), true)
		if err != nil || !got.LoggedIn || got.Identity.Email != "" || got.Identity.EmailVerified || got.Detail == "" {
			t.Errorf("%s: %+v, %v; want the address left out, with a detail", email, got, err)
		}
	}
}

// oauth2-proxy believed X-Forwarded-Uri of anyone.
func TestCVE2026_40575_ForwardedURI(t *testing.T) {
	removedFromUntrusted(t, "X-Forwarded-Uri", "X_Forwarded_Uri", "X-Forwarded-Method")
}

// Caddy's copy_headers kept the client's copy where the gateway's answer had no such header.
func TestCVE2026_30851_ClientCopySurvives(t *testing.T) {
	s := mustNew(t, Config{Preset: "authelia"})
	r := ask("Remote-Name", "Victim", "Remote-Email", "victim@example.com")
	got, err := s.Request(r, false)
	if err != nil || got.LoggedIn || len(r.Header) != 0 {
		t.Errorf("Request = %+v, %v, left %v", got, err, r.Header)
	}
	// A gateway that names a person without an address must not be given one by somebody else's alias.
	r = ask("Remote-User", "u1", "Remote_Email", "victim@example.com", "remote.email", "victim@example.com")
	if got, err := s.Request(r, true); err != nil || got.Identity != (Identity{ID: "u1"}) || len(r.Header) != 1 {
		t.Errorf("Request = %+v, %v, left %v", got, err, r.Header)
	}
}

// Caddy removed the header, but FastCGI's folding of names let its alias through.
func TestCVE2026_52845_FastCGINames(t *testing.T) {
	removedFromUntrusted(t, "X_FORWARDED_USER", "X.Forwarded.User", "X-Forwarded~User", "X`Forwarded|User")
}

// Traefik let clients remove its headers by naming them in Connection; lower case still worked after the first fix.
func TestCVE2024_45410_CVE2026_29054_Connection(t *testing.T) {
	s := mustNew(t, Config{})
	for _, connection := range []string{"X-Forwarded-Email", "x-forwarded-email", "close,X-FORWARDED-EMAIL", "X_Forwarded_Email"} {
		r := ask("X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com", "Connection", connection)
		if got, err := s.Request(r, true); err == nil || got.Reason != ReasonConnection {
			t.Errorf("Connection: %s: %+v, %v; want an error", connection, got, err)
		}
	}
}

// Traefik removed X-Forwarded-* but not their aliases with underscores.
func TestCVE2026_39858_ForwardingAliases(t *testing.T) {
	removedFromUntrusted(t, "X_Forwarded_For", "X-Forwarded_Proto", "x_forwarded_host")
}

// Traefik believed X-Forwarded-Prefix and -Port where it distrusted the others.
func TestCVE2026_35051_CVE2026_54764_PrefixAndPort(t *testing.T) {
	removedFromUntrusted(t, "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Anything")
}

// Traefik set its own header under the canonical name, and the client's stayed beside it under another spelling.
func TestCVE2026_33433_NonCanonicalKey(t *testing.T) {
	s := mustNew(t, Config{Preset: "custom", IDHeader: "x-site-USER"})
	r := ask("X-Site-User", "u1")
	r.Header["x-site-user"] = []string{"victim"}
	if got, err := s.Request(r, true); err == nil {
		t.Errorf("Request = %+v; want an error for two values", got)
	}
	if _, err := s.Request(r, false); err != nil || len(r.Header) != 0 {
		t.Errorf("left of the untrusted header: %v, %v", r.Header, err)
	}
}

// Go's own reverse proxy dropped headers that were named in Connection, empty elements before them included.
func TestCVE2021_33197_EmptyConnectionElements(t *testing.T) {
	s := mustNew(t, Config{})
	r := ask("X-Forwarded-User", "u1", "Connection", "", "Connection", ", ,X-Forwarded-User")
	if got, err := s.Request(r, true); err == nil {
		t.Errorf("Request = %+v; want an error", got)
	}
}

// ALBeast: applications took an assertion signed by any load balancer of the region.
func TestALBeast_ForeignSigner(t *testing.T) {
	for _, g := range readGoldens(t) {
		if g.Preset != "aws-alb" {
			continue
		}
		foreign := g.config()
		foreign.Audience = "arn:aws:elasticloadbalancing:eu-central-1:999999999999:loadbalancer/app/mine/1"
		got, err := mustNew(t, foreign).Request(ask("X-Amzn-Oidc-Data", g.Vectors[0].Assertion), true)
		if err != nil || got.LoggedIn || got.Reason != ReasonWrongSigner {
			t.Errorf("Request = %+v, %v", got, err)
		}
		return
	}
	t.Fatal("no golden assertions of aws-alb")
}

// Pomerium itself, and caddy-security, once read claims without verifying the signature.
func TestCVE2021_29652_CVE2024_21494_UnverifiedClaims(t *testing.T) {
	for _, g := range readGoldens(t) {
		s := mustNew(t, g.config())
		unsigned := signingInput(g.Vectors[0].Assertion) + "."
		for _, assertion := range []string{unsigned, unsigned + "AAAA", unsigned + strings.Repeat("A", 86)} {
			if got, err := s.Request(ask(s.preset.signed.header, assertion), true); err != nil || got.LoggedIn {
				t.Errorf("%s: Request = %+v, %v", g.Preset, got, err)
			}
		}
	}
}

func removedFromUntrusted(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		for preset, s := range everyPreset(t) {
			if !s.Guards(name) {
				t.Errorf("%s: Guards(%q) is false", preset, name)
			}
			r := ask()
			r.Header = http.Header{name: {"x"}, http.CanonicalHeaderKey(name): {"x"}}
			if _, err := s.Request(r, false); err != nil || len(r.Header) != 0 {
				t.Errorf("%s: %s is left: %v, %v", preset, name, r.Header, err)
			}
		}
	}
}
