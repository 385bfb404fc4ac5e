package signer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// Problem is one reason why a verifier would reject a token.
type Problem struct {
	// Check names what was looked at: a claim or header field by its name, or
	// one of "form", "encoding", "json", "utf-8", "secret", "signature".
	Check string
	// Detail says what is wrong and what to do, without the secret or the
	// token's signature. It may repeat claims.
	Detail string
}

// String returns the check and the detail, for people.
func (p Problem) String() string { return p.Check + ": " + p.Detail }

// minSecret is the least key length for HS256 (RFC 7518 section 3.2).
const minSecret = 32

// Inspect judges a token at the time now as Zendesk and the strictest of the
// libraries in use would (ruby-jwt, Node's jsonwebtoken, python-jose, PHP-JWT,
// Elixir's json_web_token), and returns the header and the claims as far as they
// can be read (nil where they are no JSON) with everything that one of these would
// reject; no problems means that all accept it. It goes on after a problem, so that
// all are reported at once. With a nil secret the signature is reported as unchecked.
func Inspect(token string, kind Kind, secret *Secret, now time.Time) (header, claims json.RawMessage, problems []Problem) {
	in := &inspection{kind: kind, now: now}
	token = in.form(token)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		in.add("form", "has %d parts where a signed token has 3, separated by dots", len(parts))
		return nil, nil, in.problems
	}
	header = in.decode("header", parts[0])
	claims = in.decode("payload", parts[1])
	in.encoding("signature", parts[2])
	in.header(newObject(in, "header", header))
	in.claims(newObject(in, "payload", claims))
	in.signature(token, secret)
	return header, claims, in.problems
}

// inspection collects what one call of Inspect finds.
type inspection struct {
	kind     Kind
	now      time.Time
	problems []Problem
}

func (in *inspection) add(check, format string, args ...any) {
	in.problems = append(in.problems, Problem{check, fmt.Sprintf(format, args...)})
}

// form reports and takes off what surrounds the token.
func (in *inspection) form(token string) string {
	bare := strings.TrimSpace(token)
	if bare != token {
		in.add("form", "has white space or a newline around it: answer with the token alone")
	}
	if trimmed := strings.Trim(bare, `"'`); trimmed != bare {
		in.add("form", "stands in quotes: answer with the token as text, not as JSON")
		bare = trimmed
	}
	return bare
}

// decode returns the JSON of one part, nil when there is none.
func (in *inspection) decode(part, text string) json.RawMessage {
	data, ok := in.encoding(part, text)
	if !ok {
		return nil
	}
	if !utf8.Valid(data) {
		in.add("utf-8", "the %s is not valid UTF-8: PHP-JWT and python-jose reject it", part)
	}
	if !json.Valid(data) {
		in.add("json", "the %s is not JSON", part)
		return nil
	}
	return data
}

// encoding checks one part's base64url (RFC 7515 section 2) and decodes what can
// be decoded.
func (in *inspection) encoding(part, text string) ([]byte, bool) {
	bare := strings.TrimRight(text, "=")
	if bare != text {
		in.add("encoding", "the %s ends in base64 padding: leave out the = signs, jsonwebtoken rejects them", part)
	}
	if data, err := base64.RawURLEncoding.Strict().DecodeString(bare); err == nil && !strings.ContainsAny(bare, "\r\n") {
		return data, true
	}
	in.add("encoding", "the %s is not base64url", part)
	lenient := strings.NewReplacer("+", "-", "/", "_", "\r", "", "\n", "").Replace(bare)
	data, err := base64.RawURLEncoding.DecodeString(lenient)
	return data, err == nil
}

// signature verifies with golang-jwt, by HS256 alone whatever the header says.
// The claims are judged elsewhere.
func (in *inspection) signature(token string, secret *Secret) {
	if secret == nil {
		in.add("signature", "was not checked: there is no secret to check it with")
		return
	}
	k, err := secret.current()
	if err != nil {
		in.add("secret", "%v", err)
		return
	}
	if len(k.value()) < minSecret {
		in.add("secret", "has %d bytes: PHP-JWT 7 and json_web_token want at least %d, make a new one", len(k.value()), minSecret)
	}
	err = verify(token, k)
	if errors.Is(err, jwt.ErrTokenMalformed) && len(in.problems) > 0 {
		return // it never came to the signature, and what is malformed has been reported
	}
	if err != nil {
		in.add("signature", "does not verify: it is not by HS256 under this secret (fingerprint %s), or the token was changed", k.fingerprint())
	}
}

// verify checks the signature alone.
func verify(token string, k *key) error {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithPaddingAllowed(), // it is reported as what it is, elsewhere
		jwt.WithoutClaimsValidation(),
	)
	parsed, err := parser.Parse(token, func(*jwt.Token) (any, error) { return k.value(), nil })
	if err != nil {
		return err
	}
	if !parsed.Valid {
		return errors.New("not valid")
	}
	return nil
}
