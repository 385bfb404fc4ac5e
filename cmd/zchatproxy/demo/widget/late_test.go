package widget_test

import "testing"

// Where only the token route can tell who is there, it is asked once for each page of an anonymous visitor, without a
// word on the console, and whoever turns out to be logged in is signed in late.
func TestLate(t *testing.T) {
	for _, widget := range []string{"classic", "messaging", "chat"} {
		s := newProxied(t, widget, true, policies()[1])
		s.itself = true
		s.start(t)
		tb := s.newTab()
		for range 2 {
			before := s.asked.Load()
			tb.load("/")
			s.see(tb, "", "")
			tb.eval(`new Promise(function(r){setTimeout(r,300)}).then(function(){})`)
			if n := s.asked.Load() - before; n != 1 {
				t.Errorf("%s: %d questions for an anonymous visitor's page, want 1", widget, n)
			}
		}
		s.away(tb, "alice")
		tb.load("/")
		s.see(tb, "alice", "")
		tb.load("/")
		s.see(tb, "alice", "")
		tb.clean()
	}
}
