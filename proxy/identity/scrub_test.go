package identity

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tokenPunctuation is what may stand in a header's name besides letters and digits (RFC 9110 section 5.6.2).
const tokenPunctuation = "!#$%&'*+-.^_`|~"

// aliases are names that some legacy server takes for name.
func aliases(name string) []string {
	list := []string{strings.ToLower(name), strings.ToUpper(name)}
	for _, c := range tokenPunctuation {
		list = append(list, strings.ReplaceAll(name, "-", string(c)))
		list = append(list, strings.ToLower(strings.Replace(name, "-", string(c), 1)))
		if i := strings.LastIndexByte(name, '-'); i >= 0 {
			list = append(list, name[:i]+string(c)+name[i+1:])
		}
	}
	return list
}

// everyPreset is a source of each preset, with what its configuration needs.
func everyPreset(t testing.TB) map[string]*Source {
	t.Helper()
	sources := map[string]*Source{}
	for _, p := range presets() {
		c := Config{Preset: p.name}
		if p.mustName {
			c.IDHeader, c.EmailHeader = "X-Site-User", "X-Site-Email"
		}
		if p.signed != nil {
			c.Audience, c.Issuer, c.KeysURL = "arn:aws:x", "https://issuer.example", "https://keys.example"
		}
		sources[p.name] = mustNew(t, c)
	}
	return sources
}

func TestEveryAliasOfAnUntrustedPeerGoes(t *testing.T) {
	forwarding := []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
		"X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Tls-Client-Cert", "Forwarded", "X-Zchat-Explain"}
	for preset, s := range everyPreset(t) {
		names := slices.Clone(forwarding)
		for _, n := range s.names.listed {
			names = append(names, n.spelling)
		}
		for _, family := range s.names.families {
			names = append(names, family+"anything-else")
		}
		for _, name := range names {
			for _, alias := range aliases(name) {
				r := ask()
				r.Header = http.Header{alias: {"u1", "u2"}, http.CanonicalHeaderKey(alias): {"u1"}, "Accept": {"*/*"}}
				r.Trailer = http.Header{alias: nil, "Checksum": nil}
				got, err := s.Request(r, false)
				if err != nil || got.LoggedIn {
					t.Fatalf("%s: %s: Request = %+v, %v", preset, alias, got, err)
				}
				if len(r.Header) != 1 || len(r.Trailer) != 1 {
					t.Errorf("%s: %s is left: %v, trailer %v", preset, alias, r.Header, r.Trailer)
				}
				if !s.Guards(alias) {
					t.Errorf("%s: Guards(%q) is false", preset, alias)
				}
			}
		}
	}
}

func TestOddSpellingsOfATrustedPeerGo(t *testing.T) {
	for preset, s := range everyPreset(t) {
		names := []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Zchat-Explain"}
		for _, n := range s.names.listed {
			names = append(names, n.spelling)
		}
		for _, name := range names {
			for _, alias := range aliases(name) {
				if strings.EqualFold(alias, name) || !strings.Contains(name, "-") {
					continue
				}
				r := ask("Accept", "*/*")
				r.Header[alias] = []string{"u1"}
				if got, err := s.Request(r, true); err != nil || got.LoggedIn {
					t.Fatalf("%s: %s: Request = %+v, %v", preset, alias, got, err)
				}
				if len(r.Header) != 1 {
					t.Errorf("%s: %s is left", preset, alias)
				}
			}
		}
	}
}

// A configured name with underscores is the plain one, and the one with hyphens the alias.
func TestUnderscoresThatAreConfigured(t *testing.T) {
	s := mustNew(t, Config{Preset: "custom", IDHeader: "SM_USER"})
	r := ask("SM_USER", "u1", "SM-USER", "victim")
	got, err := s.Request(r, true)
	if err != nil || got.Identity.ID != "u1" {
		t.Errorf("Request = %+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"Sm_user"}, slices.Sorted(maps.Keys(r.Header))); diff != "" {
		t.Errorf("left of the header (-want +got):\n%s", diff)
	}
}

func TestForwardingHeadersOfATrustedPeerStay(t *testing.T) {
	s := mustNew(t, Config{Preset: "authelia"})
	r := ask("X-Forwarded-For", "10.0.0.1", "X-Forwarded-For", "10.0.0.2", "Forwarded", "for=10.0.0.1", "X-Forwarded-User", "x",
		"X-Zchat-Explain", "1", "Connection", "X-Forwarded-For, close")
	before := maps.Clone(r.Header)
	if _, err := s.Request(r, true); err != nil {
		t.Fatalf("Request: %v", err)
	}
	if diff := cmp.Diff(before, r.Header); diff != "" {
		t.Errorf("header changed (-before +after):\n%s", diff)
	}
}

func TestConflictsAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		want   Reason // "": not refused
	}{
		{"two ids", []string{"X-Forwarded-User", "u1", "X-Forwarded-User", "u2"}, ReasonConflict},
		{"id and nothing", []string{"X-Forwarded-User", "u1", "X-Forwarded-User", ""}, ReasonConflict},
		{"letter case of the value", []string{"X-Forwarded-User", "u1", "X-Forwarded-User", "U1"}, ReasonConflict},
		{"two addresses", []string{"X-Forwarded-User", "u1", "X-Forwarded-Email", "a@x", "X-Forwarded-Email", "b@x"}, ReasonConflict},
		{"two names", []string{"X-Forwarded-User", "u1", "X-Forwarded-Preferred-Username", "a", "X-Forwarded-Preferred-Username", "b"}, ReasonConflict},
		{"verified and not", []string{"X-Forwarded-User", "u1", "X-Verified", "true", "X-Verified", "false"}, ReasonConflict},
		{"three, the last differs", []string{"X-Forwarded-User", "u1", "X-Forwarded-User", "u1", "X-Forwarded-User", "u2"}, ReasonConflict},
		{"an alias beside", []string{"X-Forwarded-User", "u1", "X_Forwarded_User", "u2"}, ""},
		{"groups, which are not read", []string{"X-Forwarded-User", "u1", "X-Forwarded-Groups", "a", "X-Forwarded-Groups", "b"}, ""},
		{"named", []string{"X-Forwarded-User", "u1", "Connection", "X-Forwarded-User"}, ReasonConnection},
		{"named without being there", []string{"Connection", "X-Forwarded-User"}, ReasonConnection},
		{"named in lower case", []string{"Connection", "close, x-forwarded-email"}, ReasonConnection},
		{"named by an alias", []string{"Connection", "x_forwarded_user"}, ReasonConnection},
		{"named in a second field", []string{"Connection", "keep-alive", "Connection", "te,\tx-forwarded-user ,"}, ReasonConnection},
		{"named in quotes", []string{"Connection", `"X-Forwarded-User"`}, ReasonConnection},
		{"named with a parameter", []string{"Connection", "X-Forwarded-User;q=1"}, ReasonConnection},
		{"named, only removed", []string{"Connection", "X-Forwarded-Access-Token"}, ReasonConnection},
		{"connection as usual", []string{"X-Forwarded-User", "u1", "Connection", "keep-alive, Upgrade, HTTP2-Settings"}, ""},
		{"a part of the name", []string{"X-Forwarded-User", "u1", "Connection", "X-Forwarded-User-Agent, User"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mustNew(t, Config{EmailVerifiedHeader: "X-Verified"})
			got, err := s.Request(ask(tt.header...), true)
			if tt.want == "" {
				if err != nil || got.Identity.ID != "u1" {
					t.Errorf("Request = %+v, %v; want u1", got, err)
				}
				return
			}
			if err == nil || got.LoggedIn || got.Reason != tt.want {
				t.Fatalf("Request = %+v, %v; want an error, %s", got, err, tt.want)
			}
			if strings.Contains(err.Error(), "u2") || strings.Contains(err.Error(), "b@x") {
				t.Errorf("the error tells a value: %v", err)
			}
			// From anyone else the same request is just an anonymous one.
			if got, err := s.Request(ask(tt.header...), false); err != nil || got.LoggedIn {
				t.Errorf("untrusted: Request = %+v, %v", got, err)
			}
		})
	}
}

func TestFamilyNamedInConnection(t *testing.T) {
	s := mustNew(t, Config{Preset: "authentik"})
	if _, err := s.Request(ask("Connection", "x-authentik-groups"), true); err == nil {
		t.Error("no error for a header of the family in Connection")
	}
}

// Keys that differ by letter case alone are one header, however they came into the map.
func TestRawKeys(t *testing.T) {
	s := mustNew(t, Config{})
	r := ask()
	r.Header["x-forwarded-user"] = []string{"u1"}
	if got, err := s.Request(r, true); err != nil || got.Identity.ID != "u1" {
		t.Errorf("Request = %+v, %v", got, err)
	}
	r.Header["X-Forwarded-User"] = []string{"u2"}
	if got, err := s.Request(r, true); err == nil {
		t.Errorf("Request = %+v, want an error", got)
	}
}

func TestTrailersAreNoIdentity(t *testing.T) {
	s := mustNew(t, Config{})
	for _, trusted := range []bool{true, false} {
		r := ask()
		r.Trailer = http.Header{"X-Forwarded-User": nil, "X_forwarded_email": nil, "X-Forwarded-Proto": nil, "Checksum": nil}
		if got, err := s.Request(r, trusted); err != nil || got.LoggedIn {
			t.Errorf("Request = %+v, %v", got, err)
		}
		if diff := cmp.Diff([]string{"Checksum"}, keysOf(r.Trailer)); diff != "" {
			t.Errorf("trusted %v: trailers (-want +got):\n%s", trusted, diff)
		}
	}
}

// naiveFold is the folding said in another way: what CGI makes of a name, whatever it makes of punctuation.
func naiveFold(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}

// FuzzScrub sends two headers with any names. After scrubbing, none is left that could be taken for a guarded one.
func FuzzScrub(f *testing.F) {
	for _, name := range append(aliases("X-Forwarded-User"), "x.authentik.jwt", "Remote_User", "FORWARDED", "x-zchat`explain") {
		f.Add(name, "Connection", name)
	}
	f.Add("X-Forwarded-User", "x-forwarded-user", "u2")
	f.Fuzz(func(t *testing.T, one, two, value string) {
		for preset, s := range everyPreset(t) {
			for _, trusted := range []bool{true, false} {
				r := ask()
				r.Header = http.Header{one: {"u1"}, two: {value}}
				r.Trailer = http.Header{one: nil, two: nil}
				got, err := s.Request(r, trusted)
				if err != nil {
					if !trusted || got.Reason != ReasonConflict && got.Reason != ReasonConnection {
						t.Fatalf("%s: trusted %v: %+v, %v", preset, trusted, got, err)
					}
					continue
				}
				if !trusted && got.LoggedIn {
					t.Fatalf("%s: an untrusted peer is %+v", preset, got)
				}
				for name := range r.Trailer {
					if !trusted && guardedNaively(s, name) {
						t.Fatalf("%s: %q is left in the trailer", preset, name)
					}
				}
				for name := range r.Header {
					if guardedNaively(s, name) && (!trusted || !plainlySpelled(name)) {
						t.Fatalf("%s: trusted %v: %q is left", preset, trusted, name)
					}
				}
			}
		}
	})
}

func guardedNaively(s *Source, name string) bool {
	folded := naiveFold(name)
	for _, n := range s.names.listed {
		if folded == naiveFold(n.spelling) {
			return true
		}
	}
	for _, family := range append([]string{"x-forwarded-", "x-zchat-"}, s.names.families...) {
		if strings.HasPrefix(folded, naiveFold(family)) {
			return true
		}
	}
	return folded == "FORWARDED"
}
