package gateway

import (
	"crypto/rand"
	"sync"
	"time"
)

// Limits of the session store. Sessions live in memory only, and whoever reaches the demonstration can start as
// many as they like, so their number is bounded.
const (
	sessionLifetime = 8 * time.Hour
	maxSessions     = 1000
)

// sessions remembers who is logged in. It is safe for concurrent use.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	byID map[string]session
}

type session struct {
	person Person
	ends   time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, byID: make(map[string]session)}
}

// start opens a session for p under an id that cannot be guessed.
func (s *sessions) start(p Person) (id string) {
	id = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= maxSessions {
		s.dropOneLocked()
	}
	s.byID[id] = session{person: p, ends: s.now().Add(sessionLifetime)}
	return id
}

// dropOneLocked makes room: the session that would end first goes.
func (s *sessions) dropOneLocked() {
	var first string
	for id, c := range s.byID {
		if first == "" || c.ends.Before(s.byID[first].ends) {
			first = id
		}
	}
	delete(s.byID, first)
}

// person returns whose session id is, and false where there is no such session or it has run out.
func (s *sessions) person(id string) (Person, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.byID[id]
	if !ok {
		return Person{}, false
	}
	if !s.now().Before(c.ends) {
		delete(s.byID, id)
		return Person{}, false
	}
	return c.person, true
}

// end forgets a session. The visitor's cookie is none of its business: see Gateway.expire.
func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}
