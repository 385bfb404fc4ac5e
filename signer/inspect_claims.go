package signer

import (
	"bytes"
	"encoding/json"
	"math/big"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// maxSkew is how far a classic token's iat may be from Zendesk's clock.
const maxSkew = 2 * time.Minute

// object is a JSON object as verifiers see it, which do not agree on which of two
// equal names counts.
type object map[string]json.RawMessage

// newObject reads raw, and reports what is no object, repeated names and lone
// surrogates. It returns nil when raw is nil or no object.
func newObject(in *inspection, part string, raw json.RawMessage) object {
	if raw == nil {
		return nil
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		in.add("json", "the %s is not a JSON object", part)
		return nil
	}
	for _, name := range repeatedNames(raw) {
		in.add(name, "stands twice in the %s: verifiers disagree on which one counts", part)
	}
	if loneSurrogate(raw) {
		in.add("utf-8", `the %s holds half of a surrogate pair as a \u escape: PHP-JWT rejects it`, part)
	}
	return o
}

// repeatedNames returns the names that stand more than once in the JSON object raw.
func repeatedNames(raw json.RawMessage) []string {
	var repeated []string
	seen := map[string]int{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.Token() // the opening brace
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			break
		}
		if seen[name]++; seen[name] == 2 {
			repeated = append(repeated, name)
		}
	}
	return repeated
}

// loneSurrogate reports whether JSON text escapes half a surrogate pair (RFC 8259
// section 8.2). encoding/json reads it as U+FFFD, so it has to be sought in the text.
func loneSurrogate(raw []byte) bool {
	if !bytes.Contains(raw, []byte(`\u`)) {
		return false
	}
	// One match is a backslash with what it escapes, or a pair of surrogates.
	escapes := regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.`)
	for _, match := range escapes.FindAll(raw, -1) {
		if len(match) == 6 {
			return true
		}
	}
	return false
}

// text returns a member that is a JSON string.
func (o object) text(name string) (value string, isString bool) {
	raw, present := o[name]
	if !present || json.Unmarshal(raw, &value) != nil || raw[0] != '"' {
		return "", false
	}
	return value, true
}

// required reports a member that is not a string with something in it.
func (in *inspection) required(o object, name, remedy string) string {
	value, isString := o.text(name)
	switch {
	case o[name] == nil:
		in.add(name, "is missing: %s", remedy)
	case !isString:
		in.add(name, "is %s, not a string", o[name])
	case strings.TrimSpace(value) == "":
		in.add(name, "is empty: %s", remedy)
	}
	return value
}

func (in *inspection) header(o object) {
	if o == nil {
		return
	}
	if alg, _ := o.text("alg"); alg != "HS256" {
		in.add("alg", "is %s: Zendesk accepts HS256 alone", orMissing(o["alg"]))
	}
	if typ, isString := o.text("typ"); o["typ"] != nil && (!isString || !strings.EqualFold(typ, "JWT")) || o["typ"] == nil && in.kind != Chat {
		in.add("typ", "is %s: it should be JWT", orMissing(o["typ"]))
	}
	if _, isString := o.text("kid"); o["kid"] != nil && !isString {
		in.add("kid", "is %s, not a string", o["kid"])
	} else if in.kind == Messaging {
		in.required(o, "kid", "messaging finds the key by it, set the id of the signing key")
	}
	if o["crit"] != nil {
		in.add("crit", "names extensions that no verifier here knows: leave it out")
	}
}

func orMissing(raw json.RawMessage) string {
	if raw == nil {
		return "missing"
	}
	return string(raw)
}

func (in *inspection) claims(o object) {
	if o == nil {
		return
	}
	in.times(o)
	switch in.kind {
	case Chat:
		in.required(o, "name", "send a name")
		in.email(in.required(o, "email", "send the e-mail address"))
		in.required(o, "external_id", "send an id that never passes to another person")
	case HelpCenter:
		in.required(o, "name", "send a name")
		in.email(in.required(o, "email", "send the e-mail address"))
		in.required(o, "jti", "send a unique string")
		if o["external_id"] != nil {
			in.add("external_id", "does not belong in a Help Center token: leave it out")
		}
	case Messaging:
		in.messaging(o)
	}
	// python-jose checks these whatever they are for.
	if o["aud"] != nil {
		in.add("aud", "is not expected, and python-jose rejects it: leave it out")
	}
	for _, name := range []string{"sub", "jti"} {
		if _, isString := o.text(name); o[name] != nil && !isString && (name != "jti" || in.kind != HelpCenter) {
			in.add(name, "is %s: python-jose wants a string", o[name])
		}
	}
}

func (in *inspection) messaging(o object) {
	if scope := in.required(o, "scope", `set it to "user"`); scope != "" && scope != "user" {
		in.add("scope", `is %s: set it to "user"`, o["scope"])
	}
	id := in.required(o, "external_id", "send an id that never passes to another person")
	if utf8.RuneCountInString(id) > maxMessagingID {
		in.add("external_id", "is longer than %d characters", maxMessagingID)
	}
	if _, isString := o.text("name"); o["name"] != nil && !isString {
		in.add("name", "is %s, not a string", o["name"])
	}
	if o["email"] != nil {
		in.email(in.required(o, "email", "leave it out or send the address"))
		if string(o["email_verified"]) != "true" {
			in.add("email_verified", "is %s: an address counts only with the boolean true", orMissing(o["email_verified"]))
		}
	}
}

// email judges an address that was found; what is empty has been reported.
func (in *inspection) email(address string) {
	if strings.TrimSpace(address) != "" && !wellFormedEmail(address) {
		in.add("email", "is not a well-formed address: it takes one @, ASCII letters and no spaces")
	}
}

// times judges iat, nbf and exp, each against the clock of a verifier without
// leeway.
func (in *inspection) times(o object) {
	now := in.now.Unix()
	iat, hasIat := in.seconds(o, "iat")
	exp, hasExp := in.seconds(o, "exp")
	nbf, hasNbf := in.seconds(o, "nbf")
	if o["iat"] == nil && in.kind != Messaging {
		in.add("iat", "is missing: send the time of making in seconds")
	}
	if hasIat && iat > now {
		in.add("iat", "lies %d s in the future: PHP-JWT rejects one second, set the clock or date it back", iat-now)
	}
	if skew := int64(maxSkew / time.Second); hasIat && in.kind != Messaging && iat < now-skew {
		in.add("iat", "lies %d s in the past: Zendesk accepts %d, make a fresh token for each use and check the clock", now-iat, skew)
	}
	if hasNbf && nbf > now {
		in.add("nbf", "lies %d s in the future", nbf-now)
	}
	if o["exp"] == nil && in.kind == Chat {
		in.add("exp", "is missing: send a time at most %v after iat", maxTTL)
	}
	if hasExp && exp <= now {
		in.add("exp", "passed %d s ago: make a fresh token for each use and check the clock", now-exp)
	}
	if most := int64(maxTTL / time.Second); hasExp && hasIat && in.kind == Chat && exp-iat > most {
		in.add("exp", "lies %d s after iat: Zendesk accepts %d at most", exp-iat, most)
	}
}

// seconds returns a time claim (RFC 7519 section 2, NumericDate), and reports one
// that is not a plain integer: strings and fractions are rejected by ruby-jwt and
// jsonwebtoken.
func (in *inspection) seconds(o object, name string) (int64, bool) {
	raw := o[name]
	if raw == nil {
		return 0, false
	}
	n, ok := new(big.Int).SetString(string(raw), 10)
	if !ok {
		in.add(name, "is %s, not an integer: ruby-jwt and jsonwebtoken reject strings and fractions", raw)
		return 0, false
	}
	const year9999 = 253402300799
	if n.Sign() < 0 || n.Cmp(big.NewInt(year9999)) > 0 {
		in.add(name, "is %s, which is no time in seconds: milliseconds?", raw)
		return 0, false
	}
	return n.Int64(), true
}
