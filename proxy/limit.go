package proxy

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// tokenLimit bounds how many tokens one visitor, and one site in all, may take. Its purpose is to stop
// a runaway script; a widget asks a few times in a session.
type tokenLimit struct {
	perHour int // for one visitor; ≤ 0 means no limit
	site    *rate.Limiter

	mu       sync.Mutex
	visitors map[string]*rate.Limiter
	previous map[string]*rate.Limiter // the generation before: forgotten when visitors is full
}

const (
	limitedVisitors = 20_000 // in one generation, about 2 MB
	siteFactor      = 20     // a site may take as much as this many visitors at their limit
)

func newTokenLimit(perHour int) *tokenLimit {
	if perHour == 0 {
		perHour = defaultTokenLimit
	}
	l := &tokenLimit{perHour: perHour}
	if perHour > 0 {
		l.site = newHourly(perHour * siteFactor)
		l.visitors = make(map[string]*rate.Limiter)
	}
	return l
}

func newHourly(n int) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(n)/time.Hour.Seconds()), n)
}

// take takes one token for a visitor, or says how long to wait for the next.
func (l *tokenLimit) take(visitor string, now time.Time) time.Duration {
	if l.perHour <= 0 {
		return 0
	}
	if wait := takeFrom(l.limiterOf(visitor), now); wait > 0 {
		return wait
	}
	return takeFrom(l.site, now)
}

func takeFrom(l *rate.Limiter, now time.Time) time.Duration {
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// limiterOf finds a visitor's limiter. Two generations make a cheap approximation of least recently
// used: whoever has not come back for a whole generation begins anew.
func (l *tokenLimit) limiterOf(visitor string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lim := l.visitors[visitor]; lim != nil {
		return lim
	}
	lim := l.previous[visitor]
	if lim == nil {
		lim = newHourly(l.perHour)
	}
	if len(l.visitors) >= limitedVisitors {
		l.previous, l.visitors = l.visitors, make(map[string]*rate.Limiter)
	}
	l.visitors[visitor] = lim
	return lim
}
