package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeysAreCached(t *testing.T) {
	for _, perKey := range []bool{false, true} {
		g := newGateway(t, "k1")
		g.perKey = perKey
		s := g.source(t)
		for range 10 {
			wantReason(t, s, g.assertion(t, "k1"), "")
		}
		if n := g.fetches(); n != 1 {
			t.Errorf("per key %v: %d fetches, want 1", perKey, n)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	g := newGateway(t, "k1")
	s := g.source(t)
	old := g.assertion(t, "k1")
	wantReason(t, s, old, "")
	g.rotate(t, "k2")
	// The new key is fetched when it is first seen, at once; the set then no longer holds the old one.
	wantReason(t, s, g.assertion(t, "k2"), "")
	wantReason(t, s, old, ReasonUnknownKey)
}

func TestWithdrawnKeyGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, perKey := range []bool{false, true} {
			g := newGateway(t, "k1", "k2")
			g.perKey = perKey
			s := g.source(t)
			wantReason(t, s, g.assertion(t, "k1"), "")
			stolen := g.keys["k1"]
			g.rotate(t, "k2")
			pass(refreshAfter + time.Second)
			forged := func() string {
				other := &gateway{keys: map[string]*ecdsa.PrivateKey{"k1": stolen}}
				return other.assertion(t, "k1")
			}
			// This use still counts, and starts the refresh that ends it.
			wantReason(t, s, forged(), "")
			synctest.Wait()
			wantReason(t, s, forged(), ReasonUnknownKey)
		}
	})
}

func TestOutageKeepsLastGoodKeys(t *testing.T) {
	for name, fail := range map[string]func(*gateway){
		"status":    func(g *gateway) { g.set(http.StatusBadGateway, false) },
		"hanging":   func(g *gateway) { g.set(0, true) },
		"not found": func(g *gateway) { g.set(http.StatusNotFound, false) },
		"no keys":   func(g *gateway) { g.rotate(t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t, "k1")
				s := g.source(t)
				wantReason(t, s, g.assertion(t, "k1"), "")
				key := g.keys["k1"]
				fail(g)
				signer := &gateway{keys: map[string]*ecdsa.PrivateKey{"k1": key}}
				before := g.fetches()
				for range 3600 {
					pass(time.Second)
					start := time.Now()
					if _, err := s.verifier.keys.key(t.Context(), "k1"); err != nil {
						t.Fatalf("key: %v", err)
					}
					if waited := time.Since(start); waited != 0 {
						t.Fatalf("a visitor waited %v although the key is held", waited)
					}
				}
				wantReason(t, s, signer.assertion(t, "k1"), "")
				// From the first refresh on, about one fetch in each backoff.
				most := int((time.Hour-refreshAfter)/maxBackoff) + 5
				if n := g.fetches() - before; n < most/2 || n > most {
					t.Errorf("%d fetches during an hour's outage, want at most %d", n, most)
				}
				// Back again: a key of that time counts as soon as the backoff lets it be fetched.
				g.set(0, false)
				g.rotate(t, "k2")
				pass(fetchTimeout + maxBackoff + time.Second) // a fetch may be failing just now
				wantReason(t, s, g.assertion(t, "k2"), "")
			})
		})
	}
}

func TestEndpointDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "k1")
		g.set(http.StatusServiceUnavailable, false)
		s := g.source(t)
		for range 50 { // within the first second
			wantReason(t, s, g.assertion(t, "k1"), ReasonKeysUnavailable)
		}
		if n := g.fetches(); n != 1 {
			t.Errorf("%d fetches within a second, want 1", n)
		}
		g.set(0, false)
		pass(time.Second)
		wantReason(t, s, g.assertion(t, "k1"), "")
	})
}

// Attempts during an outage do not use up the fetches that are there for rotations.
func TestRecoveryAfterManyAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "k1")
		g.set(http.StatusServiceUnavailable, false)
		s := g.source(t)
		for range 10 * unknownBurst {
			wantReason(t, s, g.assertion(t, "k1"), ReasonKeysUnavailable)
			pass(maxBackoff)
		}
		g.set(0, false)
		wantReason(t, s, g.assertion(t, "k1"), "")
		for i := range unknownBurst {
			kid := fmt.Sprintf("k%d", i+2)
			g.rotate(t, kid)
			wantReason(t, s, g.assertion(t, kid), "")
		}
	})
}

// However many unknown ids wait for one fetch, only so many are remembered.
func TestAbsentIDsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "k1")
		g.set(0, true) // until the fetch gives up, all of them wait for it
		s := g.source(t)
		s.verifier.keys.fetch = func(ctx context.Context, _ string) (map[string]crypto.PublicKey, error) {
			<-ctx.Done()
			return map[string]crypto.PublicKey{"k1": g.keys["k1"].Public()}, nil
		}
		var wg sync.WaitGroup
		for i := range 2 * maxAbsent {
			wg.Go(func() {
				if _, err := s.verifier.keys.key(t.Context(), fmt.Sprintf("unknown-%d", i)); !errors.Is(err, errUnknownKey) {
					t.Errorf("key: %v", err)
				}
			})
		}
		wg.Wait()
		if n := len(s.verifier.keys.absent); n != maxAbsent {
			t.Errorf("%d absent ids are remembered, want %d", n, maxAbsent)
		}
	})
}

func TestSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "k1")
		g.set(0, true)
		s := g.source(t)
		start := time.Now()
		wantReason(t, s, g.assertion(t, "k1"), ReasonKeysUnavailable)
		if waited := time.Since(start); waited != fetchTimeout {
			t.Errorf("the visitor waited %v, want %v", waited, fetchTimeout)
		}

		// A visitor who goes away is not waited for.
		pass(maxBackoff)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		got, err := s.Request(ask("X-Goog-Iap-Jwt-Assertion", g.assertion(t, "k1")).WithContext(ctx), true)
		if err != nil || got.Reason != ReasonKeysUnavailable || time.Since(start) != time.Second {
			t.Errorf("Request = %+v, %v after %v", got, err, time.Since(start))
		}
		pass(fetchTimeout) // let the fetch end
	})
}

func TestSingleFlight(t *testing.T) {
	for _, perKey := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, "k1")
			g.perKey = perKey
			release := make(chan struct{})
			slow := roundTripper(func(r *http.Request) (*http.Response, error) {
				<-release
				return g.RoundTrip(r)
			})
			s := g.source(t)
			s.verifier.keys.fetch = newKeyFetcher(Config{KeysURL: s.config.KeysURL, Transport: slow}, *s.preset.signed)
			assertion := g.assertion(t, "k1")
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if got, err := s.Request(ask(s.preset.signed.header, assertion), true); err != nil || !got.LoggedIn {
						t.Errorf("Request = %+v, %v", got, err)
					}
				})
			}
			synctest.Wait()
			close(release)
			wg.Wait()
			if n := g.fetches(); n != 1 {
				t.Errorf("per key %v: %d fetches, want 1", perKey, n)
			}
		})
	}
}

func TestUnknownKeyIDs(t *testing.T) {
	for _, perKey := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, "k1")
			g.perKey = perKey
			s := g.source(t)
			wantReason(t, s, g.assertion(t, "k1"), "")
			// One id again and again causes one fetch in half a minute.
			for range 20 {
				wantReason(t, s, g.assertion(t, "unknown"), ReasonUnknownKey)
			}
			if n := g.fetches(); n != 2 {
				t.Errorf("per key %v: %d fetches, want 2", perKey, n)
			}
			// Ever new ids cause a burst, then one a minute.
			for i := range 500 {
				wantReason(t, s, g.assertion(t, fmt.Sprintf("unknown-%d", i)), ReasonUnknownKey)
			}
			if n := g.fetches(); n > 2*unknownBurst {
				t.Errorf("per key %v: %d fetches, want a burst of %d", perKey, n, unknownBurst)
			}
			if n := len(s.verifier.keys.absent); n > maxAbsent {
				t.Errorf("per key %v: %d absent ids are remembered", perKey, n)
			}
			wantReason(t, s, g.assertion(t, "k1"), "")
			// What was unknown may become known.
			g.rotate(t, "k1", "unknown")
			pass(2 * unknownEvery)
			wantReason(t, s, g.assertion(t, "unknown"), "")
		})
	}
}

func TestHeldKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kids []string
		for i := range maxHeld + 20 {
			kids = append(kids, fmt.Sprintf("k%d", i))
		}
		g := newGateway(t, kids...)
		g.perKey = true
		s := g.source(t)
		for _, kid := range kids {
			pass(unknownEvery)
			wantReason(t, s, g.assertion(t, kid), "")
		}
		if n := len(s.verifier.keys.held); n != maxHeld {
			t.Errorf("%d keys are held, want %d", n, maxHeld)
		}
		if _, ok := s.verifier.keys.held[kids[len(kids)-1]]; !ok {
			t.Error("the newest key was forgotten")
		}
	})
}

// A reload of the configuration makes a new Source; an outage at that moment must not log everybody out.
func TestKeepKeys(t *testing.T) {
	g := newGateway(t, "k1")
	old := g.source(t)
	wantReason(t, old, g.assertion(t, "k1"), "")
	g.set(http.StatusBadGateway, false)

	reloaded := g.source(t)
	reloaded.KeepKeys(old)
	wantReason(t, reloaded, g.assertion(t, "k1"), "")

	moved := mustNew(t, Config{Preset: "google-iap", Audience: "x", KeysURL: "https://elsewhere.example/", Transport: g})
	moved.KeepKeys(old)
	wantReason(t, moved, g.assertion(t, "k1"), ReasonKeysUnavailable)

	cloudflare := mustNew(t, Config{Preset: "cloudflare-access", Audience: "x", Issuer: "x", KeysURL: old.config.KeysURL, Transport: g})
	cloudflare.KeepKeys(old)
	if cloudflare.verifier.keys == old.verifier.keys {
		t.Error("keys for ES256 were taken over for RS256")
	}
	// Neither way round is there anything to take over, or anything to break.
	plain := mustNew(t, Config{})
	plain.KeepKeys(old)
	reloaded.KeepKeys(plain)
	wantReason(t, reloaded, g.assertion(t, "k1"), "")
}
