package widget_test

import (
	"fmt"
	"os"
	"testing"
)

// The whole life of a visitor with each widget, behind the proxy and a
// gateway: what an agent sees when somebody logs in, becomes somebody else and
// logs out, with page loads, on one page, and from another tab; whoever loads
// the widget, and whatever the page's policy.

// seen is whether the page's own script has run, how many widgets there are,
// and what the agent sees: who, whose chat, and whether Help Center articles
// show.
const seen = `[window.own,document.querySelectorAll('script[src*="/snippet.js"]').length,
__agent.status,__agent.name,__agent.email,__agent.messages,__agent.helpCenter]`

// view is seen as JSON. An empty who is an anonymous visitor, empty text no chat.
func (s *proxied) view(who, text string) string {
	status, email, help, messages := "authenticated", who+"@example.org", "", "[]"
	if who == "" {
		status, email = "anonymous", ""
	} else if s.widget == "classic" {
		help = email
	}
	if text != "" {
		messages = fmt.Sprintf("[%q]", text)
	}
	return fmt.Sprintf("[1,1,%q,%q,%q,%s,%q]", status, who, email, messages, help)
}

// see fails the test unless the agent comes to see who, and text.
func (s *proxied) see(tb *tab, who, text string) {
	s.t.Helper()
	want := s.view(who, text)
	if got := tb.await(seen, want); got != want {
		s.t.Errorf("an agent sees %s, want %s; log %s", got, want, tb.eval(`__agent.log`))
	}
}

// orderly fails the test unless the last visitor was logged out before who was
// let in.
func (s *proxied) orderly(tb *tab, who string) {
	s.t.Helper()
	js := fmt.Sprintf(`(function(l){var out=l.findLastIndex(function(s){return /^(logout|logoutUser|clearAll)$/.test(s)}),
first=l.indexOf('authenticated: id-%s');return out!==-1?first===-1||first>out:'no log-out'})(__agent.log)`, who)
	if got := tb.eval(js); got != "true" {
		s.t.Errorf("%s was let in before the log-out: %s, log %s", who, got, tb.eval(`__agent.log`))
	}
}

// away leaves for a page that is not the proxy's, as sign-in pages are, and
// logs in there.
func (s *proxied) away(tb *tab, who string) {
	s.t.Helper()
	tb.load("/blank")
	tb.eval("fetch('/sso/" + who + "').then(function(){})")
}

func (s *proxied) pageLoads(tb *tab) {
	tb.load("/")
	s.see(tb, "", "")
	s.away(tb, "alice")
	tb.load("/")
	s.see(tb, "alice", "")
	tb.eval(`__agent.send('from alice')`)
	tb.load("/")
	s.see(tb, "alice", "from alice")

	s.away(tb, "bob")
	tb.load("/")
	if s.widget == "chat" { // after clearAll a log-in needs a page load
		s.see(tb, "", "")
		tb.load("/")
	} else {
		s.see(tb, "bob", "")
		s.orderly(tb, "bob")
	}
	s.see(tb, "bob", "")

	tb.eval(`__agent.send('from bob')`)
	s.away(tb, "nobody")
	tb.load("/")
	s.see(tb, "", "")
}

func (s *proxied) samePage(tb *tab) {
	tb.load("/")
	s.see(tb, "", "")
	tb.as("alice")
	s.see(tb, "alice", "")
	tb.eval(`__agent.send('from alice')`)
	tb.as("bob")
	if s.widget == "chat" {
		s.see(tb, "", "")
		tb.load("/")
	} else {
		s.see(tb, "bob", "")
		s.orderly(tb, "bob")
	}
	s.see(tb, "bob", "")
	tb.as("nobody")
	s.see(tb, "", "")
}

func (s *proxied) otherTab(tb *tab) {
	other := s.newTab()
	tb.load("/")
	s.see(tb, "", "")
	s.away(other, "alice")
	other.load("/")
	s.see(other, "alice", "")
	s.see(tb, "alice", "")
	s.away(other, "bob")
	other.load("/")
	if s.widget == "chat" {
		s.see(tb, "", "")
		tb.load("/")
		other.load("/")
	}
	s.see(other, "bob", "")
	s.see(tb, "bob", "")
	s.away(other, "nobody")
	other.load("/")
	s.see(other, "", "")
	s.see(tb, "", "")
	other.clean()
}

func TestMatrix(t *testing.T) {
	all := os.Getenv("ZCHATPROXY_TEST_ALL") == "1"
	n := 0
	for _, widget := range []string{"classic", "messaging", "chat"} {
		for _, tag := range []bool{true, false} {
			for _, policy := range policies() {
				if n++; !all && n%11 != 4 {
					continue // each widget once takes long enough
				}
				brings := "page"
				if !tag {
					brings = "proxy"
				}
				t.Run(widget+"/"+brings+"/"+policy.name, func(t *testing.T) {
					t.Parallel()
					c := newProxied(t, widget, tag, policy)
					c.start(t)
					tb := c.newTab()
					c.pageLoads(tb)
					c.samePage(tb)
					c.otherTab(tb)
					tb.clean()
				})
			}
		}
	}
}
