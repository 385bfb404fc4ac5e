package signer

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// testSecret is long enough for every verifier.
const testSecret = "correct horse battery staple, 40 bytes!!"

var testPerson = Person{ID: "user-123456", Email: "ada@example.com", Name: "Ada Lovelace"}

func mustNew(t testing.TB, c Config) *Signer {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSign(t testing.TB, s *Signer, p Person) string {
	t.Helper()
	token, err := s.Sign(p)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// part decodes one part of a token strictly.
func part(t testing.TB, token string, i int) []byte {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q has %d parts", token, len(parts))
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
	if err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	return data
}

func rawClaims(t testing.TB, token string) map[string]any {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal(part(t, token, 1), &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// handSign makes a token of any header and claims, valid or not, with nothing of the package.
func handSign(header, claims string, secret []byte) string {
	return handSignEncoded(base64.RawURLEncoding, header, claims, secret)
}

func handSignEncoded(enc *base64.Encoding, header, claims string, secret []byte) string {
	input := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(claims))
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(input))
	return input + "." + enc.EncodeToString(h.Sum(nil))
}

// badToken is one that somebody must reject.
type badToken struct {
	name, token string
	forged      bool            // everybody must
	rejectedBy  map[string]bool // these must, by the name of the verifier
	check       string          // what Inspect reports, "" for anything
}

// tampered returns forgeries of a good token.
func tampered(t testing.TB, good string) []badToken {
	parts := strings.Split(good, ".")
	header, claims, signature := parts[0], parts[1], parts[2]
	encode := base64.RawURLEncoding.EncodeToString
	other := strings.Replace(string(part(t, good, 1)), "user-123456", "user-123457", 1)
	none := encode([]byte(`{"alg":"none","typ":"JWT"}`))
	flipped := func(s string, i int) string {
		c := byte('A')
		if s[i] == c {
			c = 'B'
		}
		return s[:i] + string(c) + s[i+1:]
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(rawClaims(t, good))).SignedString(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	hs512, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims(rawClaims(t, good))).SignedString([]byte(interopSecret))
	if err != nil {
		t.Fatal(err)
	}
	const hs = `{"alg":"HS256","typ":"JWT"}`
	list := []badToken{
		{name: "another person's claims", token: header + "." + encode([]byte(other)) + "." + signature},
		{name: "first byte of the signature", token: header + "." + claims + "." + flipped(signature, 0)},
		{name: "middle of the signature", token: header + "." + claims + "." + flipped(signature, 20)},
		{name: "signature cut short", token: header + "." + claims + "." + signature[:20]},
		{name: "no signature", token: header + "." + claims + "."},
		{name: "two parts", token: header + "." + claims},
		{name: "alg none without signature", token: none + "." + claims + "."},
		{name: "alg none with signature", token: none + "." + claims + "." + signature},
		{name: "alg NoNe", token: encode([]byte(`{"alg":"NoNe"}`)) + "." + claims + "."},
		{name: "another secret", token: handSign(hs, string(part(t, good, 1)), []byte(interopSecret+"x"))},
		{name: "the empty secret", token: handSign(hs, string(part(t, good, 1)), nil)},
		{name: "HS512", token: hs512},
		{name: "RS256", token: rs256},
		{name: "header says HS512, signature is HS256", token: handSign(`{"alg":"HS512"}`, string(part(t, good, 1)), []byte(interopSecret))},
		{name: "empty", token: "."},
	}
	for i := range list {
		list[i].forged = true
	}
	return list
}

// malformed returns tokens with a right signature that some verifier rejects all
// the same: what Zendesk's own samples' libraries refuse.
func malformed(t testing.TB, now time.Time, secret []byte) []badToken {
	const header = `{"alg":"HS256","typ":"JWT"}`
	claims := func(iat, exp, more string) string {
		return fmt.Sprintf(`{"name":"Ada","email":"ada@example.com","external_id":"1","iat":%s,"exp":%s%s}`, iat, exp, more)
	}
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	iat, exp := at(-10*time.Second), at(290*time.Second)
	sign := func(text string) string { return handSign(header, text, secret) }
	by := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, name := range names {
			m[name] = true
		}
		return m
	}
	everybody := []string{"ruby-jwt", "jsonwebtoken", "python-jose", "php-jwt", "json_web_token"}
	good := sign(claims(iat, exp, ""))
	// A name of a length that makes the claims' base64 need padding.
	padded := handSignEncoded(base64.URLEncoding, header, claims(iat, exp, `,"x":"."`), secret)
	if !strings.Contains(padded, "=") {
		t.Fatal("the token meant to be padded is not")
	}
	return []badToken{
		{name: "iat a minute in the future", token: sign(claims(at(time.Minute), exp, "")), rejectedBy: by("php-jwt"), check: "iat"},
		{name: "iat as a string", token: sign(claims(`"`+iat+`"`, exp, "")), rejectedBy: by("ruby-jwt", "jsonwebtoken"), check: "iat"},
		{name: "exp as a string", token: sign(claims(iat, `"`+exp+`"`, "")), rejectedBy: by("jsonwebtoken"), check: "exp"},
		{name: "exp in the past", token: sign(claims(at(-110*time.Second), at(-time.Second), "")), rejectedBy: by("ruby-jwt", "jsonwebtoken", "python-jose", "php-jwt"), check: "exp"},
		{name: "aud", token: sign(claims(iat, exp, `,"aud":"zendesk"`)), rejectedBy: by("python-jose"), check: "aud"},
		{name: "numeric sub", token: sign(claims(iat, exp, `,"sub":7`)), rejectedBy: by("python-jose"), check: "sub"},
		{name: "numeric jti", token: sign(claims(iat, exp, `,"jti":7`)), rejectedBy: by("python-jose"), check: "jti"},
		{name: "nbf in the future", token: sign(claims(iat, exp, `,"nbf":`+at(time.Minute))), rejectedBy: by("php-jwt"), check: "nbf"},
		{name: "base64 padding", token: padded, rejectedBy: by("jsonwebtoken"), check: "encoding"},
		{name: "trailing newline", token: good + "\n", rejectedBy: by("jsonwebtoken", "python-jose"), check: "form"}, // newer versions of ruby-jwt too
		{name: "JSON quotes", token: `"` + good + `"`, rejectedBy: by(everybody...), check: "form"},
		{name: "invalid UTF-8", token: sign(claims(iat, exp, ",\"x\":\"\xff\"")), rejectedBy: by("php-jwt", "python-jose"), check: "utf-8"},
		{name: "lone surrogate", token: sign(claims(iat, exp, `,"x":"\ud83d."`)), rejectedBy: by("php-jwt"), check: "utf-8"},
		{name: "claims that are an array", token: sign(`["ada@example.com"]`), rejectedBy: by("jsonwebtoken", "python-jose", "php-jwt", "json_web_token"), check: "json"},
		{name: "claims that are no JSON", token: sign(`{"name":`), rejectedBy: by(everybody...), check: "json"},
	}
}
