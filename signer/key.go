package signer

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
	"time"
)

// Labels that separate the uses of one secret. Zendesk holds the same secret and
// signs tokens under it, so nothing that leaves this process may be an HMAC under
// the bare secret unless it is a token.
const (
	visitorLabel     = "zchatproxy visitor cookie, version 1"
	fingerprintLabel = "zchatproxy secret fingerprint, version 1"
)

// fingerprintRounds makes a fingerprint cost about 10 ms. A secret made by
// Zendesk cannot be guessed at any price; one that a person made up can, and the
// price is then all that stands between a log line and the secret.
const fingerprintRounds = 1 << 16

// key is one value of a secret with everything derived from it. It never
// changes: whoever holds a *key signs wholly under that value, whatever the
// file says meanwhile. It is safe for concurrent use.
type key struct {
	value       func() []byte // a function, since whatever prints a key walks through its fields
	since       time.Time
	token       *mac
	visitor     *mac
	fingerprint func() string // computed at the first call: it is slow on purpose
}

func newKey(value []byte, since time.Time) *key {
	token := newMAC(value)
	var sub [sha256.Size]byte
	h := token.get()
	h.Write([]byte(visitorLabel))
	visitor := newMAC(h.Sum(sub[:0]))
	token.put(h)
	return &key{
		value:   func() []byte { return value },
		since:   since,
		token:   token,
		visitor: visitor,
		fingerprint: sync.OnceValue(func() string {
			sum, err := pbkdf2.Key(sha256.New, string(value), []byte(fingerprintLabel), fingerprintRounds, sha256.Size)
			if err != nil {
				return "" // only a build restricted to FIPS 140 refuses, for secrets under 14 bytes
			}
			return hex.EncodeToString(sum[:4])
		}),
	}
}

// mac hands out HMAC-SHA-256 states in which the key is already absorbed: both
// padded blocks of the key are hashed once, for the prototype, and every state
// is a copy of it.
type mac struct{ pool sync.Pool }

func newMAC(secret []byte) *mac {
	prototype := hmac.New(sha256.New, secret)
	// From its first Reset on, crypto/hmac keeps the state that follows the
	// key's block, and clones share it.
	prototype.Reset()
	m := &mac{}
	m.pool.New = func() any {
		if c, ok := prototype.(hash.Cloner); ok {
			if h, err := c.Clone(); err == nil {
				return hash.Hash(h)
			}
		}
		return hmac.New(sha256.New, secret)
	}
	return m
}

// get returns a state that has absorbed the key and nothing else. Give it back with put.
func (m *mac) get() hash.Hash {
	h := m.pool.Get().(hash.Hash)
	h.Reset()
	return h
}

func (m *mac) put(h hash.Hash) { m.pool.Put(h) }
