package widget_test

import (
	"fmt"
	"os"
	"testing"

	"zchatproxy/inject/snippet"
)

// The whole life of a visitor with each widget: what an agent sees when
// somebody logs in, becomes somebody else and logs out, with page loads, on
// one page, and from another tab.

// cell is one combination of widget and who loads it.
type cell struct {
	*site
	widget string
}

// seen is what the agent sees: who, whose chat, and whether Help Center
// articles show.
const seen = `[__agent.status,__agent.name,__agent.email,__agent.messages,__agent.helpCenter]`

// view is seen as JSON. An empty who is an anonymous visitor, empty text no chat.
func (c *cell) view(who, text string) string {
	status, email, help, messages := "authenticated", who+"@example.org", "", "[]"
	if who == "" {
		status, email = "anonymous", ""
	} else if c.widget == "classic" {
		help = email
	}
	if text != "" {
		messages = fmt.Sprintf("[%q]", text)
	}
	return fmt.Sprintf("[%q,%q,%q,%s,%q]", status, who, email, messages, help)
}

// see fails the test unless the agent comes to see who, and text.
func (c *cell) see(tb *tab, who, text string) {
	c.t.Helper()
	want := c.view(who, text)
	if got := tb.await(seen, want); got != want {
		c.t.Errorf("an agent sees %s, want %s; log %s", got, want, tb.eval(`__agent.log`))
	}
}

// orderly fails the test unless the last visitor was logged out before who was
// let in.
func (c *cell) orderly(tb *tab, who string) {
	c.t.Helper()
	js := fmt.Sprintf(`(function(l){var out=l.findLastIndex(function(s){return /^(logout|logoutUser|clearAll)$/.test(s)}),
first=l.indexOf('authenticated: id-%s');return out!==-1?first===-1||first>out:'no log-out'})(__agent.log)`, who)
	if got := tb.eval(js); got != "true" {
		c.t.Errorf("%s was let in before the log-out: %s, log %s", who, got, tb.eval(`__agent.log`))
	}
}

// away leaves for a page that is not the proxy's, as sign-in pages are, and
// logs in there.
func (c *cell) away(tb *tab, who string) {
	c.t.Helper()
	tb.load("/blank")
	tb.as(who)
}

func (c *cell) pageLoads(tb *tab) {
	tb.load("/")
	c.see(tb, "", "")
	c.away(tb, "alice")
	tb.load("/")
	c.see(tb, "alice", "")
	tb.eval(`__agent.send('from alice')`)
	tb.load("/")
	c.see(tb, "alice", "from alice")

	c.away(tb, "bob")
	tb.load("/")
	if c.widget == "chat" { // after clearAll a log-in needs a page load
		c.see(tb, "", "")
		tb.load("/")
	} else {
		c.see(tb, "bob", "")
		c.orderly(tb, "bob")
	}
	c.see(tb, "bob", "")

	tb.eval(`__agent.send('from bob')`)
	c.away(tb, "nobody")
	tb.load("/")
	c.see(tb, "", "")
}

func (c *cell) samePage(tb *tab) {
	tb.load("/")
	c.see(tb, "", "")
	tb.as("alice")
	c.see(tb, "alice", "")
	tb.eval(`__agent.send('from alice')`)
	tb.as("bob")
	if c.widget == "chat" {
		c.see(tb, "", "")
		tb.load("/")
	} else {
		c.see(tb, "bob", "")
		c.orderly(tb, "bob")
	}
	c.see(tb, "bob", "")
	tb.as("nobody")
	c.see(tb, "", "")
}

func (c *cell) otherTab(tb *tab) {
	other := c.newTab()
	tb.load("/")
	c.see(tb, "", "")
	c.away(other, "alice")
	other.load("/")
	c.see(other, "alice", "")
	c.see(tb, "alice", "")
	c.away(other, "bob")
	other.load("/")
	if c.widget == "chat" {
		c.see(tb, "", "")
		tb.load("/")
		other.load("/")
	}
	c.see(other, "bob", "")
	c.see(tb, "bob", "")
	c.away(other, "nobody")
	c.see(tb, "", "")
	other.load("/")
	c.see(other, "", "")
	other.clean()
}

func TestMatrix(t *testing.T) {
	all := os.Getenv("ZCHATPROXY_TEST_ALL") == "1"
	for _, widget := range []string{"classic", "messaging", "chat"} {
		for _, brings := range []string{"page", "proxy"} {
			if !all && (brings == "proxy") != (widget == "messaging") {
				continue // each widget once takes long enough
			}
			t.Run(widget+"/"+brings, func(t *testing.T) {
				t.Parallel()
				c := &cell{site: newSite(t), widget: widget}
				config := snippet.Config{Widget: widget, HelpCenter: widget == "classic"}
				tag := ""
				if brings == "page" {
					tag = pageTag(widget)
				} else {
					config.Key, config.WidgetURL = "key", "/widget/"+widget+"/snippet.js"
				}
				c.site.page = "<!doctype html><head>" + element(t, config) + "<title>t</title>" + tag + "</head><p>text"
				tb := c.newTab()
				c.pageLoads(tb)
				c.samePage(tb)
				c.otherTab(tb)
				tb.clean()
			})
		}
	}
}

// pageTag is what a page has in it to load the widget.
func pageTag(widget string) string {
	src := "/widget/" + widget + "/snippet.js?key=page"
	if widget != "chat" {
		return `<script id="ze-snippet" src="` + src + `"></script>`
	}
	return `<script>window.$zopim||(function(d,n){var z=$zopim=function(c){z._.push(c)},e=z.s=d.createElement(n);
z.set=function(o){z.set._.push(o)};z._=[];z.set._=[];e.async=true;e.src='` + src + `';d.head.appendChild(e)})(document,'script')</script>`
}
