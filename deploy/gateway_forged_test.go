package deploy

import (
	"net/http"
	"strings"
	"testing"
)

// mallory is in every forged value, so that none can hide.
const mallory = "mallory@evil.example"

// forge sends identity headers of the visitor's own making, under every alias that something behind might take for
// the real one, over HTTP/1.1 and HTTP/2. Whoever the visitor is, or nobody: it must be no one else, not for
// zchatproxy and not for the site.
func (v *visitor) forge(who *person) {
	v.t.Helper()
	for _, lines := range forgeries(v.c.identity) {
		v.c.site.forget()
		res, body := v.raw(nil, append([]string{"GET /__zchat/jwt HTTP/1.1", "Host: " + v.c.host()}, lines...)...)
		v.isStill(who, lines, page{status: res.StatusCode, header: res.Header, body: body})
		v.raw(nil, append([]string{"GET /_site/header HTTP/1.1", "Host: " + v.c.host()}, lines...)...)

		header := http.Header{}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			header[name] = append(header[name], value) // not Add, which would respell the name
		}
		if header["Connection"] == nil { // HTTP/2 has no such header
			v.isStill(who, lines, v.token(header))
		}
		for name, values := range v.c.site.saw() {
			if strings.Contains(strings.Join(values, " "), mallory) {
				v.t.Errorf("%q reaches the site as %s: %q", lines, name, values)
			}
		}
	}
}

// isStill judges the answer to a forged request for a token.
func (v *visitor) isStill(who *person, lines []string, p page) {
	v.t.Helper()
	if set := strings.Join(p.header["Set-Cookie"], "\n"); who == nil && strings.Contains(set, "__zchat_visitor=") {
		v.t.Errorf("%q makes nobody somebody: %s", lines, set)
	}
	switch p.status {
	case http.StatusOK:
		agent, err := v.c.site.judge("chat", string(p.body))
		// A visitor who names headers in Connection may lose part of the own identity on the way.
		if who == nil || err != nil || agent.ID != who.chatID() || agent.Email != who.email || agent.Name != who.name && agent.Name != emailName(who.email) {
			v.t.Errorf("%q gives a token for %+v (%v)", lines, agent, err)
		}
	case http.StatusBadRequest, http.StatusUnauthorized:
	default:
		v.t.Errorf("%q gives %d %s", lines, p.status, p.body)
	}
}

// emailName is what stands for a name that is missing.
func emailName(email string) string {
	name, _, _ := strings.Cut(email, "@")
	return name
}

// forgeries are header lines: identity headers in several spellings, and named in Connection.
func forgeries(names []string) (all [][]string) {
	spell := []func(string) string{
		func(s string) string { return s },
		strings.ToLower,
		strings.ToUpper,
		func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		func(s string) string { return strings.Replace(s, "-", "_", 1) },
		func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", ".")) },
	}
	for _, alias := range spell {
		var together []string
		for _, name := range names {
			together = append(together, alias(name)+": "+mallory)
		}
		all = append(all, together)
	}
	for _, name := range names {
		for _, alias := range spell[:4] {
			all = append(all, []string{alias(name) + ": " + mallory})
		}
		all = append(all,
			[]string{"Connection: " + name},
			[]string{"Connection: keep-alive, " + strings.ToLower(name), name + ": " + mallory},
			[]string{name + ": " + mallory, "Connection: close, " + name, strings.ReplaceAll(name, "-", "_") + ": " + mallory},
			[]string{name + ": ", name + ": " + mallory})
	}
	return all
}

// forgedRequests forges as nobody and as somebody.
func (c *chain) forgedRequests(t *testing.T) {
	nobody, somebody := c.visitor(t), c.visitor(t)
	nobody.forge(nil)
	somebody.logIn(mary, "/")
	somebody.forge(&mary)
}
