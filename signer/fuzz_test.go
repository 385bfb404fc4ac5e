package signer

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzRoundTrip: whatever a person's data are, Sign refuses, or makes a token that
// Inspect accepts and that says of the person what was put in, as encoding/json and
// golang-jwt read it.
func FuzzRoundTrip(f *testing.F) {
	for _, p := range interopPeople {
		f.Add(p.ID, p.Email, p.Name, true, byte(Chat))
		f.Add(p.ID, p.Email, p.Name, p.ID == "42", byte(Messaging))
	}
	f.Add("", "@", "\xed\xa0\x80", false, byte(HelpCenter))
	f.Add("a\x00", "a@b", "\u2028\\u0022", true, byte(HelpCenter))
	secret := NewSecret(testSecret)
	var signers []*Signer
	for kind := Chat; kind <= Messaging; kind++ {
		signers = append(signers, mustNew(f, Config{Kind: kind, Secret: secret, KeyID: "k", Now: func() time.Time { return inspectTime }}))
	}
	f.Fuzz(func(t *testing.T, id, email, name string, verified bool, k byte) {
		kind := Kind(k) % (Messaging + 1)
		p := Person{ID: id, Email: email, Name: name, EmailVerified: verified}
		token, err := signers[kind].Sign(p)
		if err != nil {
			if token != "" {
				t.Errorf("a token and an error: %v", err)
			}
			return
		}
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Errorf("%q is not compact", token)
		}
		if _, _, problems := Inspect(token, kind, secret, inspectTime); problems != nil {
			t.Errorf("%+v: %v", p, problems)
		}
		raw := part(t, token, 1)
		claims := rawClaims(t, token)
		if !utf8.Valid(raw) {
			t.Errorf("%q is not UTF-8", raw)
		}
		if want := valid(p.displayName()); claims["name"] != want {
			t.Errorf("name = %q, want %q", claims["name"], want)
		}
		if kind != HelpCenter && claims["external_id"] != id {
			t.Errorf("external_id = %q, want %q", claims["external_id"], id)
		}
		if got, present := claims["email"]; present && got != email || !present && kind != Messaging {
			t.Errorf("email = %q, want %q", got, email)
		}
		if kind == Messaging && (claims["email"] != nil) != (claims["email_verified"] == true) {
			t.Errorf("an address without email_verified: %s", raw)
		}
	})
}

// valid is what encoding/json makes of a string, as an independent reference.
func valid(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	var back string
	if err := json.Unmarshal(text, &back); err != nil {
		return err.Error()
	}
	return back
}

// FuzzForgery: no header, claims and signature but the ones that Sign would make verify
// under the secret, whatever algorithm and key made them.
func FuzzForgery(f *testing.F) {
	good, err := mustNew(f, Config{Secret: NewSecret(interopSecret)}).Sign(testPerson)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte(interopSecret+"x"))
	for _, bad := range tampered(f, good) {
		f.Add(bad.token, []byte("another key"))
	}
	for _, alg := range []string{"none", "None", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "", "hs256"} {
		f.Add(handSign(`{"alg":"`+alg+`"}`, `{}`, []byte(interopSecret)), []byte{})
	}
	right := newKey([]byte(interopSecret), time.Time{})
	f.Fuzz(func(t *testing.T, token string, other []byte) {
		if verify(token, right) == nil && !byHand(token) {
			t.Errorf("%q verifies, and is not HS256 under the secret", token)
		}
		// The same signed under another key never does; HMAC pads keys with zeros, which
		// makes these two the same.
		if strings.TrimRight(string(other), "\x00") == interopSecret {
			return
		}
		parts := strings.Split(token, ".")
		forged := handSign(`{"alg":"HS256","typ":"JWT"}`, parts[0], other)
		if verify(forged, right) == nil {
			t.Errorf("%q verifies under a key that did not make it", forged)
		}
	})
}

// byHand says whether a token is HS256 under the secret, by other means than verify.
func byHand(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	decode := func(s string) string {
		data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
		if err != nil {
			return ""
		}
		return string(data)
	}
	var header struct{ Alg string }
	if json.Unmarshal([]byte(decode(parts[0])), &header) != nil || header.Alg != "HS256" {
		return false
	}
	h := newMAC([]byte(interopSecret)).get()
	h.Write([]byte(parts[0] + "." + parts[1]))
	return decode(parts[2]) == string(h.Sum(nil))
}
