package identity

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

const (
	// verdictFor is how long an assertion that was verified is not verified again. A browser sends the same one with
	// every request of a page, and each verification costs more than passing a small file on.
	verdictFor = time.Minute
	// maxVerdicts bounds the memory: an entry holds three short strings.
	maxVerdicts = 4096
)

// verdicts remembers assertions that were verified. The zero value is ready, and safe for concurrent use.
//
// Only good ones are remembered, under their hash, while they have not expired and the keys are the same that they
// were verified with: a withdrawn key ends its assertions at once.
type verdicts struct {
	mu   sync.Mutex
	good map[[sha256.Size]byte]verdict
}

type verdict struct {
	claims     claims
	until      time.Time
	generation uint64 // of the keyring
}

// find returns the claims of an assertion with this hash, if it still stands.
func (v *verdicts) find(hash [sha256.Size]byte, now time.Time, generation uint64) (claims, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, ok := v.good[hash]
	if !ok || found.generation != generation || !now.Before(found.until) {
		return claims{}, false
	}
	return found.claims, true
}

// add remembers an assertion that expires at expiry, leeway included.
func (v *verdicts) add(hash [sha256.Size]byte, c claims, now, expiry time.Time, generation uint64) {
	until := now.Add(verdictFor)
	if expiry.Before(until) {
		until = expiry
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.good == nil {
		v.good = make(map[[sha256.Size]byte]verdict)
	}
	if len(v.good) >= maxVerdicts {
		maps.DeleteFunc(v.good, func(_ [sha256.Size]byte, old verdict) bool { return !now.Before(old.until) })
	}
	if len(v.good) >= maxVerdicts {
		clear(v.good) // more visitors at once than that: they are verified again, and the busy ones come back
	}
	v.good[hash] = verdict{c, until, generation}
}
