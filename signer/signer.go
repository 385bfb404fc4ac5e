package signer

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind says which widget a token is for.
type Kind int

const (
	// Chat is for Web Widget (Classic)'s chat and for the standalone Chat widget.
	Chat Kind = iota
	// HelpCenter is for Web Widget (Classic)'s Help Center content and contact form.
	HelpCenter
	// Messaging is for the messaging Web Widget.
	Messaging
)

// String returns "chat", "help-center" or "messaging".
func (k Kind) String() string {
	switch k {
	case Chat:
		return "chat"
	case HelpCenter:
		return "help-center"
	case Messaging:
		return "messaging"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// What a person may lack. Errors that wrap these say more; none repeats the
// person's data.
var (
	ErrNoID     = errors.New("no usable id")
	ErrNoEmail  = errors.New("no e-mail address")
	ErrBadEmail = errors.New("the e-mail address is not well-formed: it takes one @, ASCII letters and no spaces")
)

const (
	defaultTTL = 5 * time.Minute
	maxTTL     = 7 * time.Minute // what Zendesk accepts between iat and exp

	// backdate is how far in the past iat lies. Some verifiers allow no leeway
	// at all, and a clock that runs fast must not make a token from the future.
	backdate = 10 * time.Second
)

// Config says what a Signer makes.
type Config struct {
	// Kind of the tokens.
	Kind Kind
	// Secret signs them; required.
	Secret *Secret
	// KeyID is the kid of the header: required for Messaging, "" for none otherwise.
	KeyID string
	// TTL is exp - iat, in whole seconds; 0 means 5 minutes. It must be longer
	// than the 10 seconds by which iat is dated back and at most 7 minutes.
	// HelpCenter tokens have no exp.
	TTL time.Duration
	// OmitEmail leaves the address out of Messaging tokens.
	OmitEmail bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Signer makes tokens of one kind. It is safe for concurrent use.
type Signer struct {
	kind      Kind
	secret    *Secret
	ttl       int64 // seconds
	omitEmail bool
	now       func() time.Time
	// prefix is the encoded header with its dot. It is fixed together with the
	// secret's source, and a Sign takes one key from that source once: a token
	// cannot carry one key's id and another key's signature.
	prefix  []byte
	scratch sync.Pool // *scratch
}

// scratch is the working memory of one call.
type scratch struct {
	claims []byte
	token  []byte
	sum    [32]byte
	random [16]byte
}

// maxScratch is the largest working memory that is kept for the next call.
const maxScratch = 16 << 10

// New returns a Signer, or an error that names every field that is wrong.
func New(c Config) (*Signer, error) {
	var errs []error
	if c.Kind < Chat || c.Kind > Messaging {
		errs = append(errs, fmt.Errorf("Kind: %v is unknown: use Chat, HelpCenter or Messaging", c.Kind))
	}
	if c.Secret == nil {
		errs = append(errs, errors.New("Secret: missing: set the shared secret"))
	}
	keyID := strings.TrimSpace(c.KeyID)
	if keyID == "" && c.Kind == Messaging {
		errs = append(errs, errors.New("KeyID: missing: messaging needs the id of the signing key"))
	}
	if !utf8.ValidString(keyID) || strings.ContainsFunc(keyID, unicode.IsControl) {
		errs = append(errs, errors.New("KeyID: holds bytes that are no text: copy it from Zendesk's admin pages again"))
	}
	ttl := c.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	if ttl.Truncate(time.Second) <= backdate {
		errs = append(errs, fmt.Errorf("TTL: %v is too short: tokens are dated back by %v, set a longer time, such as %v", c.TTL, backdate, defaultTTL))
	}
	if ttl > maxTTL {
		errs = append(errs, fmt.Errorf("TTL: %v is too long: Zendesk accepts %v at most", c.TTL, maxTTL))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := &Signer{
		kind:      c.Kind,
		secret:    c.Secret,
		ttl:       int64(ttl / time.Second),
		omitEmail: c.OmitEmail,
		now:       c.Now,
		prefix:    encodedHeader(keyID),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.scratch.New = func() any { return &scratch{} }
	return s, nil
}

// Sign returns a fresh token for p in JWS compact serialization (RFC 7515 section
// 7.1): no padding, no newline. Its errors wrap ErrNoSecret, ErrNoID, ErrNoEmail or
// ErrBadEmail; messaging tokens need no address and leave out a malformed one, and
// Help Center tokens need no id.
func (s *Signer) Sign(p Person) (string, error) {
	if err := s.check(&p); err != nil {
		return "", err
	}
	k, err := s.secret.current()
	if err != nil {
		return "", err
	}
	w := s.scratch.Get().(*scratch)
	w.claims = s.appendClaims(w.claims[:0], &p, w)
	w.token = append(w.token[:0], s.prefix...)
	w.token = base64.RawURLEncoding.AppendEncode(w.token, w.claims)
	h := k.token.get()
	h.Write(w.token)
	sum := h.Sum(w.sum[:0])
	k.token.put(h)
	w.token = append(w.token, '.')
	w.token = base64.RawURLEncoding.AppendEncode(w.token, sum)
	token := string(w.token)
	s.release(w)
	return token, nil
}

// check says what p lacks for a token of this kind.
func (s *Signer) check(p *Person) error {
	if s.kind != HelpCenter {
		if err := checkID(p.ID, s.kind); err != nil {
			return err
		}
	}
	if s.kind != Messaging {
		return checkEmail(p.Email)
	}
	return nil
}

// Visitor returns 22 characters, fit for a cookie's value, that are the same for
// the same id and address wherever the same secret is in use, and tell nothing
// about either: the first 128 bits of an HMAC under a key derived from the secret
// for this use alone. Its errors wrap ErrNoSecret or ErrNoID.
func (s *Signer) Visitor(id, email string) (string, error) {
	if strings.TrimSpace(id) == "" {
		return "", ErrNoID
	}
	k, err := s.secret.current()
	if err != nil {
		return "", err
	}
	w := s.scratch.Get().(*scratch)
	// The length keeps ("ab", "c") and ("a", "bc") apart.
	w.claims = binary.BigEndian.AppendUint64(w.claims[:0], uint64(len(id)))
	w.claims = append(w.claims, id...)
	w.claims = append(w.claims, email...)
	h := k.visitor.get()
	h.Write(w.claims)
	sum := h.Sum(w.sum[:0])
	k.visitor.put(h)
	w.token = base64.RawURLEncoding.AppendEncode(w.token[:0], sum[:16])
	visitor := string(w.token)
	s.release(w)
	return visitor, nil
}

// release keeps w for another call, unless an over-long name has made it large.
func (s *Signer) release(w *scratch) {
	if cap(w.claims)+cap(w.token) <= maxScratch {
		s.scratch.Put(w)
	}
}
