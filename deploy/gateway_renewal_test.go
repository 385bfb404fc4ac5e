package deploy

import (
	"strings"
	"testing"
)

// renewing has oauth2-proxy ask the provider anew for a session that is older than that.
const renewing = "--cookie-refresh=1s"

// renewal tests that a gateway before such an oauth2-proxy renews sessions, short or long ones.
func renewal(long bool, start func(t *testing.T) *chain) func(t *testing.T) {
	return func(t *testing.T) {
		if !all() {
			t.Skip("set ZCHATPROXY_TEST_ALL=1 to wait for sessions that age")
		}
		start(t).renews(t, long)
	}
}

// renews logs in, has the gateway renew the session on the way to a page, and stays logged in: what holds the session
// has to reach the visitor, all of it where it is too long for one cookie.
func (c *chain) renews(t *testing.T, long bool) {
	c.provider.mu.Lock()
	c.provider.long = long
	c.provider.mu.Unlock()
	v := c.visitor(t)
	v.logIn(mary, "/")
	if several := strings.Contains(v.session(), "; "); several != long {
		t.Fatalf("the session is %q", v.session())
	}
	for range 2 {
		old := v.session()
		eventually(t, "the session is renewed", func() bool {
			if p := v.get("/help.html"); p.url.Path != "/help.html" {
				t.Fatalf("the renewal of a session has ended it: %s", p.url)
			}
			return v.session() != old
		})
	}
	v.is(mary)
}

// session is what the visitor has to show to the gateway.
func (v *visitor) session() string {
	var all []string
	for _, cookie := range v.client.Jar.Cookies(v.c.url()) {
		if strings.HasPrefix(cookie.Name, v.c.sessions[0]) {
			all = append(all, cookie.String())
		}
	}
	return strings.Join(all, "; ")
}
