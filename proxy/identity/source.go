package identity

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// A Source reads identities as one site's gateway sends them. Make one with [New]. It is safe for concurrent use.
type Source struct {
	config Config // with defaults filled in
	preset preset // with the overrides in place

	names nameSet
	reads int // the first so many listed names are read, the rest only removed

	// Places in the list of names; -1 where the preset has no such header.
	id, email, name, verified, principal, assertion int
	unsigned                                        []int // beside preset.signed.unsigned

	verifier *verifier // nil unless the preset is signed

	warnShared   rate.Sometimes
	warnDisagree rate.Sometimes
}

// warnEvery limits warnings that a single visitor could otherwise cause with every request.
const warnEvery = time.Minute

// claims is an identity as the gateway wrote it: decoded, but not yet checked.
type claims struct {
	id, email, name string
	verified        bool
}

// Request decides who sends r, and removes from r.Header and r.Trailer what must go.
//
// From a peer that is not trusted go all identity headers, X-Forwarded-*, Forwarded and X-Zchat-*, under every
// spelling; the answer then is nobody, even if an assertion among them would verify. From a trusted one go the odd
// spellings of these. The error says that the request must be answered with 400: one identity header came with two
// values, or is named in Connection; its text is fit for the client, and Outcome has the Reason.
//
// The header must be as the server read it: nothing may have removed hop-by-hop headers yet, and X-Forwarded-* of
// trusted peers must be read from r, not from a copy stripped of what Connection names.
//
// Verification may wait for keys, at most five seconds and no longer than r's context.
func (s *Source) Request(r *http.Request, trusted bool) (Outcome, error) {
	s.scrubTrailer(r.Trailer)
	if !trusted {
		identity := s.scrubUntrusted(r.Header)
		switch {
		case s.preset.response:
			return nobody(ReasonAskUpstream, ""), nil
		case identity:
			return nobody(ReasonUntrustedPeer, "identity headers were removed: the peer is not a trusted proxy"), nil
		}
		return nobody(ReasonNoHeaders, ""), nil
	}
	f, named := s.scrubTrusted(r.Header)
	switch {
	case s.preset.response:
		return nobody(ReasonAskUpstream, ""), nil
	case named != nil:
		return nobody(named.reason, ""), named
	case !f.any:
		return nobody(ReasonNoHeaders, ""), nil
	}
	if header := s.conflict(&f); header != "" {
		err := &requestError{ReasonConflict, header, "came twice with different values"}
		return nobody(err.reason, ""), err
	}
	return s.decide(r.Context(), &f), nil
}

// KeepKeys takes over the verification keys of the Source that s replaces, if they come from the same place: a
// reload during an outage of the gateway's key endpoint then logs nobody out. Call it before s is used.
func (s *Source) KeepKeys(old *Source) {
	if s.verifier == nil || old.verifier == nil || s.config.KeysURL != old.config.KeysURL ||
		s.verifier.format.algorithm != old.verifier.format.algorithm || s.verifier.format.alb != old.verifier.format.alb {
		return
	}
	s.verifier.keys = old.verifier.keys
}

// FromUpstream reports whether the site itself says who the visitor is, in its responses: the preset upstream.
func (s *Source) FromUpstream() bool { return s.preset.response }

// Response decides who the visitor is by the headers of an upstream response, under the preset upstream; with any
// other, nobody. The same rules as in a request hold for names and values, except that a contradiction means nobody.
// It leaves h as it is: see [Source.StripResponse].
func (s *Source) Response(h http.Header) Outcome {
	if !s.preset.response {
		return nobody(ReasonNoHeaders, "")
	}
	var f found
	for name, values := range h {
		if c, i, odd := s.names.classify(name); c == classIdentity && !odd && i >= 0 {
			f.any = true
			f.add(i, values)
		}
	}
	if !f.any {
		return nobody(ReasonNoHeaders, "")
	}
	if header := s.conflict(&f); header != "" {
		return nobody(ReasonConflict, "the site sent "+header+" twice with different values")
	}
	return s.decide(context.Background(), &f)
}

// decide makes an outcome of the values found, which have no conflict.
func (s *Source) decide(ctx context.Context, f *found) Outcome {
	var c claims
	var refused Outcome
	switch {
	case s.verifier != nil:
		c, refused = s.fromAssertion(ctx, f)
	case s.principal >= 0:
		c, refused = s.fromPrincipal(f)
	default:
		c = claims{id: s.key(f, s.id), email: s.key(f, s.email), name: s.text(f, s.name)}
	}
	if refused.Reason != "" {
		return refused
	}
	verified, _ := f.single(s.verified)
	c.verified = s.config.EmailVerified || equalASCIIFold(verified, "true")
	return s.accept(c)
}

// key is the decoded id or address in listed header i, or "".
func (s *Source) key(f *found, i int) string {
	raw, _ := f.single(i)
	return decodeKey(raw)
}

// text is the decoded name in listed header i, or "".
func (s *Source) text(f *found, i int) string {
	raw, _ := f.single(i)
	return decodeValue(raw)
}

// accept checks the values of an identity and makes it one of ours.
func (s *Source) accept(c claims) Outcome {
	id, refusal := cleanID(c.id, s.config.IDPrefix)
	if refusal != "" {
		return nobody(ReasonBadID, refusal)
	}
	email, omitted := cleanEmail(c.email)
	name := cleanName(c.name)
	if id == "" {
		if email == "" && name == "" && omitted == "" && s.verifier == nil {
			return nobody(ReasonNoHeaders, "the identity headers are empty")
		}
		return nobody(ReasonNoID, "there is an identity without an id in "+s.idOrigin())
	}
	if LooksShared(id[len(s.config.IDPrefix):]) {
		s.warnShared.Do(func() {
			s.config.Log.Warn("a visitor's id reads like a shared account: a ban in Zendesk would hit everybody who uses it; "+
				"let the gateway send an id per person", "preset", s.preset.name, "from", s.idOrigin())
		})
	}
	return Outcome{
		Identity: Identity{ID: id, Email: email, Name: name, EmailVerified: c.verified && email != ""},
		LoggedIn: true,
		Detail:   omitted,
	}
}

// idOrigin names the place where the id is expected, for messages.
func (s *Source) idOrigin() string {
	switch {
	case s.verifier != nil:
		return "claim sub of " + s.preset.signed.header
	case s.principal >= 0 && s.config.IDHeader == "":
		return s.preset.principal
	}
	return s.preset.id
}

func nobody(reason Reason, detail string) Outcome { return Outcome{Reason: reason, Detail: detail} }

// Describe says in one line, for people, what is read and why it may be believed.
func (s *Source) Describe() string {
	if f := s.preset.signed; f != nil {
		audience := "audience"
		if f.alb {
			audience = "signer"
		}
		return fmt.Sprintf("%s: sub / email / name (signed %s, %s %s, keys from %s)",
			f.header, f.algorithm, audience, s.config.Audience, s.config.KeysURL)
	}
	var headers []string
	for _, h := range []string{s.preset.principal, s.preset.id, s.preset.email, s.preset.fullName} {
		if h == "" {
			h = "none"
		}
		headers = append(headers, h)
	}
	if s.principal < 0 {
		headers = headers[1:]
	}
	by := "trusted by peer"
	if s.preset.response {
		by = "in the site's responses"
	}
	return fmt.Sprintf("%s (%s)", strings.Join(headers, " / "), by)
}
