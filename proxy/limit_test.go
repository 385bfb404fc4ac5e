package proxy

import (
	"fmt"
	"testing"
	"time"
)

// TestTokenLimits: so many tokens for one visitor in an hour, and siteFactor times as many for all of a site's visitors.
func TestTokenLimits(t *testing.T) {
	const perHour = 3
	now := time.Unix(1_700_000_000, 0)
	l := newTokenLimit(perHour)
	for i := range siteFactor {
		visitor := fmt.Sprint("visitor-", i)
		for range perHour {
			if wait := l.take(visitor, now); wait > 0 {
				t.Fatalf("%s is to wait %v within the limit", visitor, wait)
			}
		}
		if wait := l.take(visitor, now); wait != time.Hour/perHour {
			t.Errorf("%s, at the limit, is to wait %v", visitor, wait)
		}
	}
	if wait := l.take("one more", now); wait != time.Hour/(perHour*siteFactor) {
		t.Errorf("with the site at its limit another visitor is to wait %v", wait)
	}
	if wait := l.take("visitor-0", now.Add(time.Hour/perHour)); wait > 0 {
		t.Errorf("whoever has waited is to wait %v more", wait)
	}
}

// TestTokenLimitsAreBounded: visitors without end cost no memory without end, and whoever keeps coming is not forgotten.
func TestTokenLimitsAreBounded(t *testing.T) {
	const perHour = 3
	now := time.Unix(1_700_000_000, 0)
	l := newTokenLimit(perHour)
	for i := range 5 * limitedVisitors {
		if i%(limitedVisitors/2) == 0 {
			l.limiterOf("regular").AllowN(now, 1)
		}
		l.limiterOf(fmt.Sprint(i))
	}
	if n := len(l.visitors) + len(l.previous); n > 2*limitedVisitors {
		t.Errorf("%d visitors are remembered", n)
	}
	if l.take("regular", now) == 0 {
		t.Error("a visitor who kept coming begins anew")
	}
}
