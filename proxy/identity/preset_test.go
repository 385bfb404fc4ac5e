package identity

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The header names here are written as each gateway's documentation has them, not taken from the table.
func TestHeaderPresets(t *testing.T) {
	ann := Identity{ID: "u1", Email: "ann@example.com", Name: "Ann Lee"}
	tests := []struct {
		name   string
		config Config
		header []string
		want   Identity
	}{
		{"forwarded", Config{}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com", "X-Forwarded-Preferred-Username", "Ann Lee",
			"X-Forwarded-Groups", "a,b", "X-Forwarded-Access-Token", "t",
		}, ann},
		{"auth-request", Config{Preset: "auth-request"}, []string{
			"X-Auth-Request-User", "u1", "X-Auth-Request-Email", "ann@example.com", "X-Auth-Request-Preferred-Username", "Ann Lee",
		}, ann},
		{"authelia", Config{Preset: "authelia"}, []string{
			"Remote-User", "u1", "Remote-Email", "ann@example.com", "Remote-Name", "Ann Lee", "Remote-Groups", "a",
		}, ann},
		{"authentik", Config{Preset: "authentik"}, []string{
			"X-authentik-uid", "u1", "X-authentik-email", "ann@example.com", "X-authentik-name", "Ann Lee",
			"X-authentik-username", "ann", "X-authentik-groups", "a|b", "X-authentik-jwt", "e30.e30.e30",
		}, ann},
		{"tailscale", Config{Preset: "tailscale"}, []string{
			"Tailscale-User-Login", "ann@example.com", "Tailscale-User-Name", "=?utf-8?q?Zo=C3=AB_Lee?=",
		}, Identity{ID: "ann@example.com", Email: "ann@example.com", Name: "Zoë Lee"}},
		{"azure's plain headers", Config{Preset: "azure-easyauth"}, []string{
			"X-MS-CLIENT-PRINCIPAL-ID", "u1", "X-MS-CLIENT-PRINCIPAL-NAME", "ann@example.com",
		}, Identity{ID: "u1", Email: "ann@example.com", Name: "ann@example.com"}},
		{"azure's plain headers, name is no address", Config{Preset: "azure-easyauth"}, []string{
			"X-MS-CLIENT-PRINCIPAL-ID", "u1", "X-MS-CLIENT-PRINCIPAL-NAME", "Ann Lee",
		}, Identity{ID: "u1", Name: "Ann Lee"}},
		{"custom", Config{Preset: "custom", IDHeader: "OIDC_CLAIM_sub", EmailHeader: "OIDC_CLAIM_email"}, []string{
			"OIDC_CLAIM_sub", "u1", "OIDC_CLAIM_email", "ann@example.com",
		}, Identity{ID: "u1", Email: "ann@example.com"}},
		{"custom, one header for two", Config{Preset: "custom", IDHeader: "X-Mail", EmailHeader: "x-mail"}, []string{
			"X-Mail", "ann@example.com",
		}, Identity{ID: "ann@example.com", Email: "ann@example.com"}},
		{"an override", Config{IDHeader: "X-Forwarded-Email"}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com",
		}, Identity{ID: "ann@example.com", Email: "ann@example.com"}},
		{"a prefix", Config{IDPrefix: "user-"}, []string{"X-Forwarded-User", "u1"}, Identity{ID: "user-u1"}},
		{"vouched for by configuration", Config{EmailVerified: true}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com",
		}, Identity{ID: "u1", Email: "ann@example.com", EmailVerified: true}},
		{"nothing to vouch for", Config{EmailVerified: true}, []string{"X-Forwarded-User", "u1"}, Identity{ID: "u1"}},
		{"vouched for by header", Config{EmailVerifiedHeader: "X-Verified"}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com", "X-Verified", "True",
		}, Identity{ID: "u1", Email: "ann@example.com", EmailVerified: true}},
		{"not vouched for by header", Config{EmailVerifiedHeader: "X-Verified"}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com", "X-Verified", "1",
		}, Identity{ID: "u1", Email: "ann@example.com"}},
		{"vouched for by an alias", Config{EmailVerifiedHeader: "X-Verified"}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com", "X_Verified", "true",
		}, Identity{ID: "u1", Email: "ann@example.com"}},
		{"a malformed address is the signer's to refuse", Config{}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "ann at home",
		}, Identity{ID: "u1", Email: "ann at home"}},
		{"placeholders for address and name", Config{}, []string{
			"X-Forwarded-User", "u1", "X-Forwarded-Email", "(null)", "X-Forwarded-Preferred-Username", "-",
		}, Identity{ID: "u1"}},
		{"equal duplicates", Config{}, []string{"X-Forwarded-User", "u1", "X-Forwarded-User", " u1 "}, Identity{ID: "u1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mustNew(t, tt.config)
			got, err := s.Request(ask(tt.header...), true)
			if err != nil || !got.LoggedIn || got.Reason != "" {
				t.Fatalf("Request = %+v, %v", got, err)
			}
			if diff := cmp.Diff(tt.want, got.Identity); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			r := ask(tt.header...)
			got, err = s.Request(r, false)
			if err != nil || got.LoggedIn || got.Reason != ReasonUntrustedPeer || got.Identity != (Identity{}) {
				t.Errorf("untrusted: Request = %+v, %v", got, err)
			}
			for name := range r.Header {
				if s.Owns(name) {
					t.Errorf("untrusted: %s is left", name)
				}
			}
		})
	}
}

func TestNobody(t *testing.T) {
	tests := []struct {
		name   string
		config Config
		header []string
		want   Reason
	}{
		{"no headers", Config{}, nil, ReasonNoHeaders},
		{"other headers", Config{}, []string{"Remote-User", "u1", "X-Forwarded-For", "10.0.0.1"}, ReasonNoHeaders},
		{"empty", Config{}, []string{"X-Forwarded-User", "", "X-Forwarded-Email", " "}, ReasonNoHeaders},
		{"Apache without a user", Config{}, []string{"X-Forwarded-User", "(null)"}, ReasonNoHeaders},
		{"a dash", Config{}, []string{"X-Forwarded-User", "-", "X-Forwarded-Email", "-"}, ReasonNoHeaders},
		{"control characters alone", Config{}, []string{"X-Forwarded-User", "\u0085\t"}, ReasonNoHeaders},
		{"address without an id", Config{}, []string{"X-Forwarded-Email", "ann@example.com"}, ReasonNoID},
		{"name without an id", Config{}, []string{"X-Forwarded-Preferred-Username", "Ann"}, ReasonNoID},
		{"family alone", Config{Preset: "authentik"}, []string{"X-authentik-username", "ann"}, ReasonNoHeaders},
		{"long id", Config{}, []string{"X-Forwarded-User", strings.Repeat("é", 256)}, ReasonBadID},
		{"long id with prefix", Config{IDPrefix: "user-"}, []string{"X-Forwarded-User", strings.Repeat("u", 251)}, ReasonBadID},
		{"reordered id", Config{}, []string{"X-Forwarded-User", "\u202euser"}, ReasonBadID},
		{"isolated id", Config{}, []string{"X-Forwarded-User", "us\u2066er"}, ReasonBadID},
		{"override's original", Config{IDHeader: "X-Id"}, []string{"X-Forwarded-User", "u1"}, ReasonNoHeaders},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mustNew(t, tt.config)
			got, err := s.Request(ask(tt.header...), true)
			if err != nil || got.LoggedIn || got.Reason != tt.want || got.Identity != (Identity{}) {
				t.Errorf("Request = %+v, %v; want nobody, %s", got, err, tt.want)
			}
		})
	}
}

func TestLongestID(t *testing.T) {
	s := mustNew(t, Config{IDPrefix: "é-"})
	id := strings.Repeat("é", 253)
	if got, err := s.Request(ask("X-Forwarded-User", id), true); err != nil || got.Identity.ID != "é-"+id {
		t.Errorf("255 characters are refused: %+v, %v", got, err)
	}
}

// What the interface lists is read; what it does not list stays as it came, whoever sends it.
func TestOtherHeadersStay(t *testing.T) {
	others := []string{
		"Remote-Groups", "a", "X-Auth-Request-User", "b", "X-Ms-Client-Principal-Idp", "c", "Tailscale-User-Profile-Pic", "d",
		"Cf-Access-Jwt-Assertion", "e", "Cookie", "f=g", "Authorization", "Basic eDp5", "X-Real-Ip", "10.0.0.1", "Via", "1.1 x",
		"X_Custom_Thing", "h", "X-Forwarded", "i", "Xforwardedfor", "j", "Forwarded-For", "k",
	}
	for _, trusted := range []bool{true, false} {
		s := mustNew(t, Config{Preset: "forwarded"})
		r := ask(others...)
		before := maps.Clone(r.Header)
		if _, err := s.Request(r, trusted); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, r.Header); diff != "" {
			t.Errorf("trusted %v: header changed (-before +after):\n%s", trusted, diff)
		}
	}
}

func TestSharedIDIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	s := mustNew(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil)), IDPrefix: "user-"})
	for range 3 {
		got, err := s.Request(ask("X-Forwarded-User", "Guest", "X-Forwarded-Email", "kiosk-7@example.com"), true)
		if err != nil || !got.LoggedIn {
			t.Fatalf("Request = %+v, %v; a shared id is still somebody", got, err)
		}
	}
	if n := strings.Count(log.String(), "shared account"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, log.String())
	}
	if strings.Contains(log.String(), "kiosk-7") || strings.Contains(log.String(), "Guest") {
		t.Errorf("the log names the visitor:\n%s", log.String())
	}
}

func TestLooksShared(t *testing.T) {
	for _, id := range []string{"admin", "Guest", " anonymous ", "info@example.com", "0", "null"} {
		if !LooksShared(id) {
			t.Errorf("%q does not look shared", id)
		}
	}
	for _, id := range []string{"", "ann", "administrata", "9f2a", "1", "ann.guest@example.com", "admin-ann"} {
		if LooksShared(id) {
			t.Errorf("%q looks shared", id)
		}
	}
}

func TestUpstream(t *testing.T) {
	s := mustNew(t, Config{Preset: "upstream", IDHeader: "X-User-Id", EmailHeader: "X-User-Email", NameHeader: "X-User-Name",
		EmailVerifiedHeader: "X-User-Verified", IDPrefix: "p-"})
	if !s.FromUpstream() {
		t.Error("FromUpstream is false")
	}
	header := func(pairs ...string) http.Header { return ask(pairs...).Header }

	got := s.Response(header("X-User-Id", "7", "X-User-Email", "ann@example.com", "X-User-Name", "J\xf6rg", "X-User-Verified", "true"))
	want := Outcome{LoggedIn: true, Identity: Identity{ID: "p-7", Email: "ann@example.com", Name: "Jörg", EmailVerified: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	for reason, h := range map[Reason]http.Header{
		ReasonNoHeaders: header("Content-Type", "text/html", "X_User_Id", "7"),
		ReasonNoID:      header("X-User-Email", "ann@example.com"),
		ReasonConflict:  header("X-User-Id", "7", "X-User-Id", "8"),
		ReasonBadID:     header("X-User-Id", "\u202e7"),
	} {
		if got := s.Response(h); got.LoggedIn || got.Reason != reason {
			t.Errorf("Response(%v) = %+v, want %s", h, got, reason)
		}
	}

	// A visitor who sends these headers, even through a trusted peer, is nobody by them.
	for _, trusted := range []bool{true, false} {
		r := ask("X-User-Id", "7", "X-User-Id", "8", "X.User.Id", "9", "Connection", "X-User-Id")
		got, err := s.Request(r, trusted)
		if err != nil || got.LoggedIn || got.Reason != ReasonAskUpstream {
			t.Errorf("trusted %v: Request = %+v, %v", trusted, got, err)
		}
		if left := len(r.Header["X-User-Id"]); trusted != (left == 2) || len(r.Header["X.user.id"]) != 0 {
			t.Errorf("trusted %v: left of the header: %v", trusted, r.Header)
		}
	}

	h := header("X-User-Id", "7", "X_user_name", "x", "X-Powered-By", "y", "X-Forwarded-Host", "z")
	h["x-user.EMAIL"] = []string{"raw"}
	s.StripResponse(h)
	left := slices.Sorted(maps.Keys(h))
	if diff := cmp.Diff([]string{"X-Forwarded-Host", "X-Powered-By"}, left); diff != "" {
		t.Errorf("left after StripResponse (-want +got):\n%s", diff)
	}
}

// With other presets a response's headers mean nothing and are the site's own.
func TestResponseOfOtherPresets(t *testing.T) {
	s := mustNew(t, Config{})
	h := ask("X-Forwarded-User", "u1").Header
	if got := s.Response(h); got.LoggedIn || got.Reason != ReasonNoHeaders || s.FromUpstream() {
		t.Errorf("Response = %+v", got)
	}
	if s.StripResponse(h); len(h) != 1 {
		t.Error("StripResponse removed a header of the site's")
	}
}
