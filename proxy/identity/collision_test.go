package identity

import (
	"encoding/json"
	"testing"
)

// disguises are ids that are not "ann", and that decoding or cleaning could turn into it. A gateway where people choose
// their own names may let any of them through.
var disguises = []string{
	"=?utf-8?q?ann?=", "=?UTF-8?B?YW5u?=", "=?us-ascii?q?ann?=", "=?utf-8*en?q?ann?=", "=?iso-8859-1?q?=61nn?=",
	"=?utf-8?q?a?= =?utf-8?q?nn?=", "=?utf-16le?b?YQBuAG4A?=", "=?iso-2022-jp?b?YW5u?=", "=?utf-8?q?=00ann?=",
	"an\u0085n", "\u0080ann", "ann\u009f", "an\u2028n", "ann\u2029", "an\x85n",
	"ann\u00a0", "\u00a0ann", "\u3000ann", "ann\u2003", "ann\u0085",
}

// TestNobodyPassesForAnotherByDisguise: two people whom the gateway keeps apart never become one.
func TestNobodyPassesForAnotherByDisguise(t *testing.T) {
	headers := mustNew(t, Config{})
	tailscale := mustNew(t, Config{Preset: "tailscale"})
	upstream := mustNew(t, Config{Preset: "upstream", IDHeader: "X-User"})
	for _, id := range disguises {
		forwarded, err := headers.Request(ask("X-Forwarded-User", id, "X-Forwarded-Email", "eve@example.com"), true)
		if err != nil {
			t.Errorf("%q: %v", id, err)
		}
		login, err := tailscale.Request(ask("Tailscale-User-Login", id), true)
		if err != nil {
			t.Errorf("%q: %v", id, err)
		}
		for from, got := range map[string]Outcome{
			"a header": forwarded, "Tailscale": login, "the site": upstream.Response(ask("X-User", id).Header),
		} {
			if got.Identity.ID == "ann" {
				t.Errorf("%q from %s became ann", id, from)
			}
			if !got.LoggedIn && got.Reason != ReasonBadID {
				t.Errorf("%q from %s: %s, want an id as it came or %s", id, from, got.Reason, ReasonBadID)
			}
		}
	}
}

// TestNobodyGetsAnothersAddressByDisguise: an address is the one that the gateway vouches for, or none.
func TestNobodyGetsAnothersAddressByDisguise(t *testing.T) {
	s := mustNew(t, Config{})
	for _, address := range []string{
		"=?utf-8?q?ann=40example.com?=", "=?utf-8?b?YW5uQGV4YW1wbGUuY29t?=", "=?utf-8?q?ann@example.com?=",
		"an\u0085n@example.com", "ann@exam\u0090ple.com", "ann\u2028@example.com", "an\x85n@example.com",
	} {
		got, err := s.Request(ask("X-Forwarded-User", "eve", "X-Forwarded-Email", address), true)
		if err != nil || !got.LoggedIn {
			t.Errorf("%q: %+v, %v", address, got, err)
		}
		if got.Identity.Email == "ann@example.com" {
			t.Errorf("%q became ann@example.com", address)
		}
	}
}

// TestClaimsAreNotDisguises: what holds for headers holds for the claims of assertions and principals.
func TestClaimsAreNotDisguises(t *testing.T) {
	s := mustNew(t, Config{Preset: "azure-easyauth"})
	for _, id := range append([]string{" ann", "ann ", "ann\n", "a\x00nn", "an\x7fn", "a\x1bnn"}, disguises...) {
		if got, refusal := cleanID(id, ""); got == "ann" || got != id && refusal == "" {
			t.Errorf("claim %q became %q, refusal %q", id, got, refusal)
		}
		p, err := json.Marshal(map[string]any{"claims": []any{map[string]string{"typ": "sub", "val": id}}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Request(ask(easyAuth(string(p))...), true); err != nil || got.Identity.ID == "ann" {
			t.Errorf("principal with %q became %+v, %v", id, got, err)
		}
	}
}

// TestEncodedIDsStillDecode: an id that needs an encoded word is decoded, as names are.
func TestEncodedIDsStillDecode(t *testing.T) {
	s := mustNew(t, Config{Preset: "tailscale"})
	for raw, want := range map[string]string{
		"=?utf-8?q?j=C3=B6rg@example.com?=":    "j\u00f6rg@example.com",
		"=?utf-8?q?ann?= =?utf-8?q?_l=C3=A9?=": "ann l\u00e9",
		"j\xf6rg":                              "j\u00f6rg",
		"who=?":                                "who=?",
	} {
		if got, err := s.Request(ask("Tailscale-User-Login", raw), true); err != nil || got.Identity.ID != want {
			t.Errorf("%q became %+v, %v; want %q", raw, got, err, want)
		}
	}
}
