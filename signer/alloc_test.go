package signer

import (
	"path/filepath"
	"testing"
)

// A token costs one allocation, the string that is returned; so does a visitor's hash.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and empties pools at random")
	}
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, testSecret)
	clock := newTestClock()
	p := Person{ID: "user-123456", Email: "jose@example.com", Name: "José \"Pepe\" \xff García", EmailVerified: true}
	for kind := Chat; kind <= Messaging; kind++ {
		for source, secret := range map[string]*Secret{"value": NewSecret(testSecret), "file": secretFile(path, clock.Now)} {
			s := mustNew(t, Config{Kind: kind, KeyID: "k", Secret: secret})
			if got := testing.AllocsPerRun(1000, func() { mustSign(t, s, p) }); got > 1 {
				t.Errorf("Sign for %v from a %s: %v allocations, want 1", kind, source, got)
			}
			visitor := func() {
				if _, err := s.Visitor(p.ID, p.Email); err != nil {
					t.Fatal(err)
				}
			}
			if got := testing.AllocsPerRun(1000, visitor); got > 1 {
				t.Errorf("Visitor for %v from a %s: %v allocations, want 1", kind, source, got)
			}
		}
	}
}
