package identity

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// What a keyring says when it has no key.
var (
	errKeysUnavailable = errors.New("the keys cannot be fetched now")
	errUnknownKey      = errors.New("no such key")
)

const (
	// refreshAfter is the age at which keys are fetched again, beside their use: a withdrawn key goes within it.
	refreshAfter = 15 * time.Minute
	// absentFor is how long a key id that the endpoint did not know is not asked for again.
	absentFor = 30 * time.Second
	// Unknown key ids may cause a burst of fetches, for rotations that follow one another, then one a minute.
	unknownBurst = 5
	unknownEvery = time.Minute
	// A failing endpoint is left alone for one second, then two, four, …, at most maxBackoff.
	maxBackoff = 15 * time.Second
	// Bounds on what the keyring remembers. A region's load balancers use a handful of keys at a time.
	maxHeld   = 64
	maxAbsent = 256
)

// A keyring holds a gateway's verification keys and fetches them as they are needed. Keys that once were good stay
// so while the endpoint cannot be reached. It is safe for concurrent use.
type keyring struct {
	fetch  keyFetcher
	perKey bool // each key is fetched by its id; otherwise a fetch replaces all of them
	now    func() time.Time
	log    *slog.Logger

	generation atomic.Uint64 // counts the changes of held

	mu       sync.Mutex
	held     map[string]heldKey   // by key id
	absent   map[string]time.Time // key id → until when it is known not to exist
	unknown  *rate.Limiter        // fetches for ids not held
	failures int                  // fetches failed in a row
	retryAt  time.Time            // no fetch before this
	flights  map[string]*flight   // fetches under way; one under "" when the keys come as a set
}

type heldKey struct {
	key     crypto.PublicKey
	fetched time.Time
}

// A flight is a fetch under way, shared by all who wait for it.
type flight struct {
	done chan struct{} // closed at its end; err is set before
	err  error
}

func newKeyring(c Config, f assertionFormat) *keyring {
	return &keyring{
		fetch:   newKeyFetcher(c, f),
		perKey:  f.alb,
		now:     c.Now,
		log:     c.Log.With("keys", c.KeysURL),
		held:    make(map[string]heldKey),
		absent:  make(map[string]time.Time),
		unknown: rate.NewLimiter(rate.Every(unknownEvery), unknownBurst),
		flights: make(map[string]*flight),
	}
}

// key returns the key called kid. It waits only where the key is not held, and never longer than ctx; a held key
// that has grown old is refreshed beside. The error is errUnknownKey or errKeysUnavailable.
func (k *keyring) key(ctx context.Context, kid string) (crypto.PublicKey, error) {
	k.mu.Lock()
	now := k.now()
	if held, ok := k.held[kid]; ok {
		if now.Sub(held.fetched) > refreshAfter && !now.Before(k.retryAt) {
			k.launchLocked(kid)
		}
		k.mu.Unlock()
		return held.key, nil
	}
	f, err := k.joinLocked(kid, now)
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, errKeysUnavailable
	}
	return k.landed(kid, f)
}

// joinLocked returns the flight to wait for, starting one where that is allowed.
func (k *keyring) joinLocked(kid string, now time.Time) (*flight, error) {
	if f := k.flights[k.route(kid)]; f != nil {
		return f, nil
	}
	switch {
	case now.Before(k.absent[kid]):
		return nil, errUnknownKey
	case now.Before(k.retryAt):
		return nil, errKeysUnavailable
	// While the endpoint fails, the backoff alone decides, so that an outage does not use up what a rotation needs.
	case k.failures == 0 && !k.unknown.AllowN(now, 1):
		return nil, errUnknownKey
	}
	return k.launchLocked(kid), nil
}

// route is the flight that brings kid.
func (k *keyring) route(kid string) string {
	if k.perKey {
		return kid
	}
	return ""
}

// launchLocked starts a fetch, or joins the one under way. The fetch belongs to nobody's request: whoever gives up
// waiting does not end it for the others.
func (k *keyring) launchLocked(kid string) *flight {
	route := k.route(kid)
	if f := k.flights[route]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	k.flights[route] = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		keys, err := k.fetch(ctx, kid)
		k.mu.Lock()
		defer k.mu.Unlock()
		f.err = k.storeLocked(kid, keys, err)
		delete(k.flights, route)
		close(f.done)
	}()
	return f
}

// storeLocked takes in what a fetch brought, and returns its error unless it was a definite answer.
func (k *keyring) storeLocked(kid string, keys map[string]crypto.PublicKey, err error) error {
	now := k.now()
	if err != nil && !(k.perKey && errors.Is(err, errNoSuchKey)) {
		k.failures++
		backoff := maxBackoff
		if k.failures < 5 {
			backoff = time.Second << (k.failures - 1)
		}
		k.retryAt = now.Add(backoff)
		k.log.Warn("the gateway's verification keys could not be fetched; those held stay good",
			"err", err, "held", len(k.held), "retry_in", backoff)
		return err
	}
	k.failures, k.retryAt = 0, time.Time{}
	k.generation.Add(1)
	if !k.perKey {
		clear(k.held)
	} else if err != nil {
		delete(k.held, kid)
		return nil
	}
	for id, key := range keys {
		k.held[id] = heldKey{key, now}
		delete(k.absent, id)
	}
	k.trimLocked()
	return nil
}

// trimLocked forgets the oldest keys that were fetched one by one; a set is bounded by its document.
func (k *keyring) trimLocked() {
	for k.perKey && len(k.held) > maxHeld {
		oldest, first := "", true
		for id, held := range k.held {
			if first || held.fetched.Before(k.held[oldest].fetched) {
				oldest, first = id, false
			}
		}
		delete(k.held, oldest)
	}
}

// landed looks for the key after a flight.
func (k *keyring) landed(kid string, f *flight) (crypto.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if held, ok := k.held[kid]; ok {
		return held.key, nil
	}
	if f.err != nil {
		return nil, errKeysUnavailable
	}
	now := k.now()
	if len(k.absent) >= maxAbsent {
		maps.DeleteFunc(k.absent, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	if len(k.absent) < maxAbsent {
		k.absent[kid] = now.Add(absentFor)
	}
	return nil, errUnknownKey
}
