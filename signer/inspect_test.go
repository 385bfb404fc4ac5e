package signer

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var inspectTime = time.Unix(1_700_000_000, 0)

func checks(problems []Problem) []string {
	var names []string
	for _, p := range problems {
		if !slices.Contains(names, p.Check) {
			names = append(names, p.Check)
		}
	}
	return names
}

func TestInspectAcceptsOwnTokens(t *testing.T) {
	for kind := Chat; kind <= Messaging; kind++ {
		secret := NewSecret(testSecret)
		s := mustNew(t, Config{Kind: kind, Secret: secret, KeyID: "k", Now: func() time.Time { return inspectTime }})
		token := mustSign(t, s, Person{ID: "1", Email: "a@b.example", Name: "\xff", EmailVerified: true})
		// At once, by a verifier whose clock is 10 s behind, and just before it ends.
		last := 110 * time.Second
		for _, late := range []time.Duration{0, -10 * time.Second, last} {
			header, claims, problems := Inspect(token, kind, secret, inspectTime.Add(late))
			if problems != nil {
				t.Errorf("%v after %v: %v", kind, late, problems)
			}
			if string(header) != string(part(t, token, 0)) || string(claims) != string(part(t, token, 1)) {
				t.Errorf("%v: header %s, claims %s", kind, header, claims)
			}
		}
	}
}

// Every row of what verifiers reject is found, alone and by name.
func TestInspectMalformed(t *testing.T) {
	for _, tt := range malformed(t, inspectTime, []byte(testSecret)) {
		t.Run(tt.name, func(t *testing.T) {
			_, _, problems := Inspect(tt.token, Chat, NewSecret(testSecret), inspectTime)
			got := checks(problems)
			want := []string{tt.check}
			if tt.name == "base64 padding" {
				// Two parts of three are padded; the signature still holds.
				want = []string{"encoding"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("checks = %q, want %q: %v", got, want, problems)
			}
		})
	}
}

func TestInspectTampered(t *testing.T) {
	secret := NewSecret(interopSecret)
	good := mustSign(t, mustNew(t, Config{Secret: secret, Now: func() time.Time { return inspectTime }}), testPerson)
	for _, tt := range tampered(t, good) {
		t.Run(tt.name, func(t *testing.T) {
			_, _, problems := Inspect(tt.token, Chat, secret, inspectTime)
			got := checks(problems)
			if !slices.Contains(got, "signature") && !slices.Contains(got, "form") {
				t.Errorf("checks = %q, want signature or form", got)
			}
			for _, p := range problems {
				if strings.Contains(p.String(), interopSecret) {
					t.Errorf("the secret stands in %q", p)
				}
			}
		})
	}
}

func TestInspectClaims(t *testing.T) {
	const now = 1_700_000_000
	header := map[Kind]string{
		Chat:       `{"alg":"HS256","typ":"JWT"}`,
		HelpCenter: `{"alg":"HS256","typ":"JWT"}`,
		Messaging:  `{"alg":"HS256","typ":"JWT","kid":"k"}`,
	}
	times := func(iat, exp int64) string { return fmt.Sprintf(`"iat":%d,"exp":%d`, now+iat, now+exp) }
	chat := func(more string) string {
		return `{"name":"Ada","email":"a@b.example","external_id":"1",` + more + `}`
	}
	tests := []struct {
		name   string
		kind   Kind
		header string // "" for the kind's usual one
		claims string
		want   []string
	}{
		{"chat", Chat, "", chat(times(0, 420)), nil},
		{"chat with a key id", Chat, `{"alg":"HS256","kid":"k"}`, chat(times(0, 300)), nil},
		{"one second in the future", Chat, "", chat(times(1, 300)), []string{"iat"}},
		{"two minutes old", Chat, "", chat(times(-120, 300)), nil},
		{"older", Chat, "", chat(times(-121, 299)), []string{"iat"}},
		{"expires now", Chat, "", chat(times(-10, 0)), []string{"exp"}},
		{"lives too long", Chat, "", chat(times(0, 421)), []string{"exp"}},
		{"no times", Chat, "", chat(`"x":1`), []string{"iat", "exp"}},
		{"fractions", Chat, "", chat(`"iat":1.7e9,"exp":1700000300.5`), []string{"iat", "exp"}},
		{"milliseconds", Chat, "", chat(times(0, 300)[:0] + `"iat":1700000000000,"exp":1700000300`), []string{"iat"}},
		{"null time", Chat, "", chat(`"iat":null,"exp":1700000300`), []string{"iat"}},
		{"numeric id", Chat, "", `{"name":"Ada","email":"a@b.example","external_id":1,` + times(0, 300) + `}`, []string{"external_id"}},
		{"nothing there", Chat, "", `{}`, []string{"iat", "exp", "name", "email", "external_id"}},
		{"blank name", Chat, "", `{"name":" ","email":"a@b.example","external_id":"1",` + times(0, 300) + `}`, []string{"name"}},
		{"accented address", Chat, "", `{"name":"Ada","email":"josé@b.example","external_id":"1",` + times(0, 300) + `}`, []string{"email"}},
		{"repeated name", Chat, "", chat(`"email":"x@b.example",` + times(0, 300)), []string{"email"}},
		{"typ of something else", Chat, `{"alg":"HS256","typ":"JOSE"}`, chat(times(0, 300)), []string{"typ"}},
		{"no alg", Chat, `{"typ":"JWT"}`, chat(times(0, 300)), []string{"alg", "signature"}},
		{"numeric kid", Chat, `{"alg":"HS256","kid":7}`, chat(times(0, 300)), []string{"kid"}},
		{"crit", Chat, `{"alg":"HS256","crit":["x"]}`, chat(times(0, 300)), []string{"crit"}},
		{"string sub", Chat, "", chat(`"sub":"x",` + times(0, 300)), nil},
		{"surrogate pair", Chat, "", chat(`"x":"\ud83d\ude00 \\ud83d \u00e9",` + times(0, 300)), nil},
		{"surrogates in the wrong order", Chat, "", chat(`"x":"\ude00\ud83d",` + times(0, 300)), []string{"utf-8"}},

		{"help center", HelpCenter, "", `{"name":"Ada","email":"a@b.example","iat":1700000000,"jti":"x"}`, nil},
		{"help center without jti", HelpCenter, "", `{"name":"Ada","email":"a@b.example","iat":1700000000}`, []string{"jti"}},
		{"help center with numeric jti", HelpCenter, "", `{"name":"Ada","email":"a@b.example","iat":1700000000,"jti":1}`, []string{"jti"}},
		{"help center with id", HelpCenter, "", `{"name":"Ada","email":"a@b.example","iat":1700000000,"jti":"x","external_id":"1"}`, []string{"external_id"}},
		{"help center without typ", HelpCenter, `{"alg":"HS256"}`, `{"name":"Ada","email":"a@b.example","iat":1700000000,"jti":"x"}`, []string{"typ"}},

		{"messaging", Messaging, "", `{"scope":"user","external_id":"1"}`, nil},
		{"messaging without key id", Messaging, `{"alg":"HS256","typ":"JWT"}`, `{"scope":"user","external_id":"1"}`, []string{"kid"}},
		{"messaging without scope", Messaging, "", `{"external_id":"1"}`, []string{"scope"}},
		{"messaging of another scope", Messaging, "", `{"scope":"app","external_id":"1"}`, []string{"scope"}},
		{"messaging with a past exp", Messaging, "", `{"scope":"user","external_id":"1","exp":1699999999}`, []string{"exp"}},
		{"messaging with a long id", Messaging, "", `{"scope":"user","external_id":"` + strings.Repeat("x", 256) + `"}`, []string{"external_id"}},
		{"messaging with an unverified address", Messaging, "", `{"scope":"user","external_id":"1","email":"a@b.example"}`, []string{"email_verified"}},
		{"messaging with a string for true", Messaging, "", `{"scope":"user","external_id":"1","email":"a@b.example","email_verified":"true"}`, []string{"email_verified"}},
		{"messaging with a numeric name", Messaging, "", `{"scope":"user","external_id":"1","name":7}`, []string{"name"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head := tt.header
			if head == "" {
				head = header[tt.kind]
			}
			_, _, problems := Inspect(handSign(head, tt.claims, []byte(testSecret)), tt.kind, NewSecret(testSecret), time.Unix(now, 0))
			if got := checks(problems); !slices.Equal(got, tt.want) {
				t.Errorf("checks = %q, want %q: %v", got, tt.want, problems)
			}
		})
	}
}

func TestInspectSecrets(t *testing.T) {
	const short = "31 bytes are one byte too short"
	token := func(secret string) string {
		return mustSign(t, mustNew(t, Config{Secret: NewSecret(secret), Now: func() time.Time { return inspectTime }}), testPerson)
	}
	tests := []struct {
		name   string
		secret *Secret
		want   []string
	}{
		{"none", nil, []string{"signature"}},
		{"missing file", SecretFile(filepath.Join(t.TempDir(), "none")), []string{"secret"}},
		{"short", NewSecret(short), []string{"secret"}},
		{"wrong and short", NewSecret("x"), []string{"secret", "signature"}},
	}
	for _, tt := range tests {
		_, claims, problems := Inspect(token(short), Chat, tt.secret, inspectTime)
		if got := checks(problems); !slices.Equal(got, tt.want) || claims == nil {
			t.Errorf("%s: checks = %q, want %q; claims = %s", tt.name, got, tt.want, claims)
		}
	}
}

func TestInspectReportsAllAtOnce(t *testing.T) {
	token := "\"" + handSignEncoded(base64.URLEncoding, `{"alg":"HS256","typ":"JWT"}`, `{"iat":"1","aud":"x","sub":1}`, []byte("short")) + "\"\n"
	_, _, problems := Inspect(token, Chat, NewSecret("short"), inspectTime)
	want := []string{"form", "encoding", "iat", "exp", "name", "email", "external_id", "aud", "sub", "secret"}
	if got := checks(problems); !slices.Equal(got, want) {
		t.Errorf("checks = %q, want %q: %v", got, want, problems)
	}
}

func TestInspectGarbage(t *testing.T) {
	for _, token := range []string{"", ".", "..", "...", "a.b.c", "=.=.=", "\x00.\xff.\n", `"`, "e30.e30.", "bnVsbA.bnVsbA.AA", "WzFd.MQ.AA"} {
		header, claims, problems := Inspect(token, Chat, NewSecret(testSecret), inspectTime)
		if len(problems) == 0 {
			t.Errorf("%q passes: header %s, claims %s", token, header, claims)
		}
	}
}
