// Package signer makes the tokens by which Zendesk's widgets know who a visitor is.
package signer

import (
	"encoding/json"
	"errors"
	"time"
)

// Kind says which widget a token is for.
type Kind int

// The three kinds of token.
const (
	Chat Kind = iota
	HelpCenter
	Messaging
)

// Person is whom a token vouches for.
type Person struct {
	ID, Email, Name string
	EmailVerified   bool
}

// Errors.
var (
	ErrNoSecret = errors.New("no usable secret")
	ErrNoID     = errors.New("no usable id")
	ErrNoEmail  = errors.New("no e-mail address")
	ErrBadEmail = errors.New("the e-mail address is not well-formed")
)

// Secret is a source of the shared secret.
type Secret struct{}

// NewSecret is a fixed value.
func NewSecret(value string) *Secret { return &Secret{} }

// SecretFile is a file.
func SecretFile(path string) *Secret { return &Secret{} }

func (s *Secret) Err() error          { return ErrNoSecret }
func (s *Secret) Reload() error       { return ErrNoSecret }
func (s *Secret) Fingerprint() string { return "" }
func (s *Secret) Len() int            { return 0 }
func (s *Secret) Since() time.Time    { return time.Time{} }

// Config configures a Signer.
type Config struct {
	Kind      Kind
	Secret    *Secret
	KeyID     string
	TTL       time.Duration
	OmitEmail bool
	Now       func() time.Time
}

// Signer signs.
type Signer struct{}

func New(Config) (*Signer, error)                          { return &Signer{}, nil }
func (s *Signer) Sign(Person) (string, error)              { return "", ErrNoSecret }
func (s *Signer) Visitor(id, email string) (string, error) { return "", ErrNoSecret }

// Problem is one finding of Inspect.
type Problem struct{ Check, Detail string }

// Inspect judges a token.
func Inspect(token string, kind Kind, secret *Secret, now time.Time) (header, claims json.RawMessage, problems []Problem) {
	return nil, nil, nil
}
