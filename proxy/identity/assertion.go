package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// leeway is what clocks may differ by, in either direction.
	leeway = 30 * time.Second
	// maxAssertion bounds an assertion in bytes. Pomerium's may list hundreds of groups; no server takes headers
	// longer than this by default.
	maxAssertion = 64 << 10
	// maxKeyID bounds a key id in bytes.
	maxKeyID = 256
)

// A refusal says why an assertion does not count. It is an error so that it can pass through the JWT parser.
type refusal struct {
	reason Reason
	detail string // no personal data
}

func (r *refusal) Error() string { return string(r.reason) + ": " + r.detail }

// A verifier checks assertions of one format against one gateway's keys. It is safe for concurrent use.
type verifier struct {
	format           assertionFormat
	issuer, audience string
	parser           *jwt.Parser
	keys             *keyring
	verdicts         verdicts
	now              func() time.Time
}

func newVerifier(f assertionFormat, c Config) *verifier {
	v := &verifier{format: f, issuer: c.Issuer, audience: c.Audience, now: c.Now}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{f.algorithm}),
		jwt.WithStrictDecoding(),
		jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(c.Now),
		jwt.WithIssuedAt(),
	}
	if f.alb {
		// The expiry is checked in checkALB: it may stand in the JOSE header alone.
		options = append(options, jwt.WithPaddingAllowed())
	} else {
		options = append(options, jwt.WithExpirationRequired(), jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Audience))
	}
	v.parser = jwt.NewParser(options...)
	v.keys = newKeyring(c, f)
	return v
}

// verify returns the claims of an assertion that can be believed, or the refusal.
func (v *verifier) verify(ctx context.Context, assertion string) (claims, *refusal) {
	if len(assertion) > maxAssertion {
		return claims{}, &refusal{ReasonBadAssertion, "the assertion is longer than 64 KiB"}
	}
	// The generation is read first: keys that change meanwhile must not vouch for what older ones verified.
	hash, now, generation := sha256.Sum256([]byte(assertion)), v.now(), v.keys.generation.Load()
	if c, ok := v.verdicts.find(hash, now, generation); ok {
		return c, nil
	}
	payload := jwt.MapClaims{}
	token, err := v.parser.ParseWithClaims(assertion, payload, func(t *jwt.Token) (any, error) {
		if r := v.checkHeader(t.Header); r != nil {
			return nil, r
		}
		return v.keys.key(ctx, t.Header["kid"].(string))
	})
	if err != nil {
		return claims{}, v.explain(token, err)
	}
	expiry, r := v.checkTimes(token.Header, payload)
	if r != nil {
		return claims{}, r
	}
	text := func(claim string) string {
		s, _ := payload[claim].(string)
		return s
	}
	c := claims{id: text(claimSubject), email: text(claimEmail), name: text(claimName)}
	v.verdicts.add(hash, c, now, expiry.Add(leeway), generation)
	return c, nil
}

// checkHeader looks at the JOSE header before a key is chosen. Nothing in it may say where a key comes from, and no
// extension is understood (RFC 7515 sections 4.1.2 to 4.1.6 and 4.1.11).
func (v *verifier) checkHeader(header map[string]any) *refusal {
	for _, never := range []string{"crit", "jku", "jwk", "x5u", "x5c"} {
		if _, ok := header[never]; ok {
			return &refusal{ReasonBadAssertion, "its header has the parameter " + never + ", which the gateway never sends"}
		}
	}
	kid, _ := header["kid"].(string)
	if kid == "" || len(kid) > maxKeyID {
		return &refusal{ReasonUnknownKey, "it names no key"}
	}
	if !v.format.alb {
		return nil
	}
	// Every load balancer of a region shares one key endpoint, an attacker's own included, and the attacker chooses
	// its issuer: the signer alone tells whose this is.
	if signer, _ := header["signer"].(string); signer != v.audience {
		return &refusal{ReasonWrongSigner, "another load balancer signed it than the configured one"}
	}
	if issuer, _ := header["iss"].(string); v.issuer != "" && issuer != v.issuer {
		return &refusal{ReasonWrongIssuer, "its issuer is not the configured one"}
	}
	return nil
}

// checkTimes checks what the parser does not: a lifetime that no gateway gives, and the expiry in ALB's header. It
// returns the expiry that counts.
func (v *verifier) checkTimes(header map[string]any, payload jwt.MapClaims) (expiry time.Time, r *refusal) {
	now := v.now()
	if exp, _ := payload.GetExpirationTime(); exp != nil {
		expiry = exp.Time
	}
	if v.format.alb {
		exp, err := jwt.MapClaims(header).GetExpirationTime()
		if err != nil || exp == nil && expiry.IsZero() {
			return expiry, &refusal{ReasonBadLifetime, "it has no expiry"}
		}
		if exp != nil && (expiry.IsZero() || exp.Before(expiry)) {
			expiry = exp.Time
		}
		if !now.Before(expiry.Add(leeway)) {
			return expiry, &refusal{ReasonExpired, "it has expired"}
		}
	}
	start := now
	if iat, _ := payload.GetIssuedAt(); iat != nil {
		start = iat.Time
	}
	if expiry.Sub(start) > v.format.maxLifetime+2*leeway {
		return expiry, &refusal{ReasonBadLifetime, "it is valid for longer than the gateway makes them"}
	}
	return expiry, nil
}

// explain turns the parser's error into a refusal. The parser may report several; the one that an operator must fix
// first comes first.
func (v *verifier) explain(token *jwt.Token, err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	if token != nil && token.Header != nil && token.Header["alg"] != any(v.format.algorithm) {
		return &refusal{ReasonWrongAlgorithm, "it is not signed with " + v.format.algorithm}
	}
	for _, e := range []struct {
		is     error
		reason Reason
		detail string
	}{
		{errKeysUnavailable, ReasonKeysUnavailable, "the gateway's keys could not be fetched; see the log"},
		{errUnknownKey, ReasonUnknownKey, "its key is not among those the gateway publishes"},
		{jwt.ErrTokenSignatureInvalid, ReasonBadSignature, "its signature is wrong"},
		{jwt.ErrTokenInvalidIssuer, ReasonWrongIssuer, "its issuer is not the configured one"},
		{jwt.ErrTokenInvalidAudience, ReasonWrongAudience, "it was made for another audience than the configured one"},
		{jwt.ErrTokenExpired, ReasonExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, ReasonNotYetValid, "it is not valid yet; compare the clocks"},
		{jwt.ErrTokenUsedBeforeIssued, ReasonNotYetValid, "it comes from the future; compare the clocks"},
	} {
		if errors.Is(err, e.is) {
			return &refusal{e.reason, e.detail}
		}
	}
	if errors.Is(err, jwt.ErrTokenRequiredClaimMissing) {
		return v.explainMissing(token)
	}
	return &refusal{ReasonBadAssertion, "it is not a JWT of this gateway"}
}

// explainMissing finds which of the required claims is not there.
func (v *verifier) explainMissing(token *jwt.Token) *refusal {
	if iss, _ := token.Claims.GetIssuer(); iss == "" {
		return &refusal{ReasonWrongIssuer, "it has no issuer"}
	}
	if exp, _ := token.Claims.GetExpirationTime(); exp == nil {
		return &refusal{ReasonBadLifetime, "it has no expiry"}
	}
	return &refusal{ReasonWrongAudience, "it has no audience"}
}

// fromAssertion reads the identity of a signed preset.
func (s *Source) fromAssertion(ctx context.Context, f *found) (claims, Outcome) {
	format := s.preset.signed
	assertion, _ := f.single(s.assertion)
	if assertion == "" {
		return claims{}, nobody(ReasonNoHeaders, format.header+" is missing or empty")
	}
	c, refused := s.verifier.verify(ctx, assertion)
	if refused != nil {
		return claims{}, nobody(refused.reason, format.header+": "+refused.detail)
	}
	for i, u := range format.unsigned {
		signed := c.id
		if u.claim == claimEmail {
			signed = c.email
		}
		plain := s.key(f, s.unsigned[i])
		if plain == "" || agrees(plain, signed) {
			continue
		}
		detail := u.header + " names someone else than the claim " + u.claim + " of " + format.header
		s.warnDisagree.Do(func() {
			s.config.Log.Warn("two identities in one request: nobody is logged in; "+
				"see that the gateway overwrites its plain headers", "preset", s.preset.name, "detail", detail)
		})
		return claims{}, nobody(ReasonDisagree, detail)
	}
	if c.name == "" && format.nameIsEmail {
		c.name = c.email
	}
	return c, Outcome{}
}

// agrees reports whether a plain header repeats a claim: letter case aside, since addresses are compared, and with or
// without the "accounts.google.com:" that Identity-Aware Proxy puts before either.
func agrees(plain, claim string) bool {
	return claim != "" && strings.EqualFold(afterRealm(plain), afterRealm(claim))
}

func afterRealm(s string) string {
	return strings.TrimPrefix(s, "accounts.google.com:")
}
