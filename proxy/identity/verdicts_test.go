package identity

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An assertion that was believed once expires like any other.
func TestVerdictsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, perKey := range []bool{false, true} {
			g := newGateway(t, "k1")
			g.perKey = perKey
			s := g.source(t)
			assertion := g.assertion(t, "k1") // for 10 minutes
			wantReason(t, s, assertion, "")
			wantReason(t, s, assertion, "")
			pass(10*time.Minute + leeway - time.Second)
			wantReason(t, s, assertion, "")
			pass(time.Second)
			wantReason(t, s, assertion, ReasonExpired)
		}
	})
}

// What was remembered still has to agree with the plain headers of each request.
func TestVerdictsDoNotSkipComparison(t *testing.T) {
	g := newGateway(t, "k1")
	s := g.source(t)
	assertion := g.assertion(t, "k1")
	wantReason(t, s, assertion, "")
	wantReason(t, s, assertion, "")
	r := ask("X-Goog-Iap-Jwt-Assertion", assertion, "X-Goog-Authenticated-User-Email", "accounts.google.com:eve@example.com")
	if got, err := s.Request(r, true); err != nil || got.Reason != ReasonDisagree {
		t.Errorf("Request = %+v, %v", got, err)
	}
}

func TestVerdictsAreBounded(t *testing.T) {
	var v verdicts
	now := time.Unix(0, 0)
	hash := func(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	for i := range 3 * maxVerdicts {
		v.add(hash(i), claims{id: fmt.Sprint(i)}, now, now.Add(time.Hour), 1)
		if len(v.good) > maxVerdicts {
			t.Fatalf("%d verdicts are remembered", len(v.good))
		}
		if c, ok := v.find(hash(i), now, 1); !ok || c.id != fmt.Sprint(i) {
			t.Fatalf("verdict %d: %+v, %v", i, c, ok)
		}
	}
	last := hash(3*maxVerdicts - 1)
	if _, ok := v.find(last, now, 2); ok {
		t.Error("a verdict outlives its keys")
	}
	if _, ok := v.find(last, now.Add(verdictFor), 1); ok {
		t.Error("a verdict outlives its minute")
	}
	v.add(last, claims{}, now, now.Add(time.Second), 1)
	if _, ok := v.find(last, now.Add(time.Second), 1); ok {
		t.Error("a verdict outlives its assertion")
	}
}

// Many visitors at once, by headers and by assertions: none is taken for another. Worth running with -race.
func TestNobodyIsMixedUp(t *testing.T) {
	g := newGateway(t, "k1", "k2")
	signed, plain := g.source(t), mustNew(t, Config{Preset: "authelia"})
	assertions := make([]string, 20)
	for i := range assertions {
		assertions[i] = g.assertionFor(t, fmt.Sprintf("k%d", 1+i%2), fmt.Sprint(i))
	}
	var wg sync.WaitGroup
	for visitor := range 50 {
		wg.Go(func() {
			id := fmt.Sprintf("visitor-%d", visitor)
			for range 200 {
				got, err := plain.Request(ask("Remote-User", id, "Remote-Email", id+"@example.com"), true)
				if err != nil || got.Identity.ID != id || got.Identity.Email != id+"@example.com" {
					t.Errorf("%s is %+v, %v", id, got, err)
					return
				}
			}
			for range 10 {
				i := rand.IntN(len(assertions))
				got, err := signed.Request(ask("X-Goog-Iap-Jwt-Assertion", assertions[i]), true)
				if err != nil || got.Identity.ID != fmt.Sprint(i) || got.Identity.Email != fmt.Sprint(i)+"@example.com" {
					t.Errorf("%d is %+v, %v", i, got, err)
				}
			}
		})
	}
	wg.Wait()
}
