package demo

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// stagingSite is what there is to do at software that goes by another name than the visitor's.
type stagingSite struct {
	use func(s *realSite, p *person, page string) // logs in, works and logs out

	// The log-in for a browser: the form's page, selectors of its parts, what to fill in, and the name that pages show
	// from then on.
	login, user, password, submit string
	id, secret, name              string

	paths []string // to look at in the browser, logged in

	// Elements whose absolute links lead out of the staging name, to the one that the software goes by: bodies are passed
	// on to the byte. A site that shall not have them is configured not to, or to go by X-Forwarded-Host.
	leaving map[string][]string
}

// staging visits software under a staging name: once while it goes by the address that the proxy has for it, and once
// while it is configured with a name of its own.
func staging(t *testing.T, sw software, what stagingSite) {
	for _, c := range []struct{ name, upstreamHost, page string }{
		{"staging, by its address", "upstream", "splices"},
		{"staging, by a name", legacyName, "whippings"},
	} {
		if c.upstreamHost != "upstream" && !thorough() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			// A name that is not one of this machine's: neither this client nor browsers take it for a secure one.
			s := sw.behindName(t, "staging.solvi.example", c.upstreamHost)
			s.crawl(70)
			leaving := slices.Sorted(maps.Keys(s.leaving))
			want := what.leaving[c.upstreamHost]
			if others := slices.DeleteFunc(slices.Clone(leaving), func(kind string) bool { return slices.Contains(want, kind) }); len(others) > 0 {
				t.Errorf("absolute links lead to %s from %q", s.name, others)
			}
			if thorough() && len(leaving) < len(want) {
				t.Errorf("absolute links lead to %s from %q only, no longer from %q", s.name, leaving, want)
			}

			s.tap.reset()
			p := newPerson(t, s.front)
			p.old = true
			what.use(s, p, c.page)
			if own := s.tap.redirects(s.own()); own == 0 && len(leaving) > 0 {
				t.Error("the site has never named itself in a redirect")
			}
			if posts := s.stayed(); posts < 3 {
				t.Errorf("the site has seen %d POST requests, want a log-in, a page and an upload", posts)
			}

			s.tap.reset()
			s.enterBy("staging.localhost") // which browsers find by themselves
			s.browseStaging(what)
			if posts := s.stayed(); posts < 1 {
				t.Error("the site has seen no log-in of the browser's")
			}
		})
	}
}

// stayed checks what has reached the software since the last reset: it has seen its own name only. It returns how many
// of the requests were POSTs.
func (s *realSite) stayed() (posts int) {
	s.t.Helper()
	for _, r := range s.tap.requests(s.t) {
		if r.Host != s.name {
			s.t.Errorf("%s %s was asked of %s, want %s", r.Method, r.RequestURI, r.Host, s.name)
		}
		for _, name := range []string{"Origin", "Referer"} {
			if v := r.Header.Get(name); v != "" && v != s.own() && !strings.HasPrefix(v, s.own()+"/") {
				s.t.Errorf("%s %s came with %s: %s, want it under %s", r.Method, r.RequestURI, name, v, s.own())
			}
		}
		if r.Method == http.MethodPost {
			posts++
			if r.Header.Get("Origin") != s.own() {
				s.t.Errorf("POST %s came with Origin %q, want %s", r.RequestURI, r.Header.Get("Origin"), s.own())
			}
		}
	}
	return posts
}

// browseStaging logs in to the software in a browser, and then at the gateway, and looks around.
func (s *realSite) browseStaging(what stagingSite) {
	s.t.Helper()
	b := newVisitor(s.t)
	under := func() {
		s.t.Helper()
		if origin := eval[string](b, `location.origin`); origin != s.front {
			s.t.Errorf("the browser is at %s, want %s", origin, s.front)
		}
	}
	b.open(s.at(what.login))
	b.await("")
	b.do(chromedp.SendKeys(chromedp.CSS(what.user), what.id), chromedp.SendKeys(chromedp.CSS(what.password), what.secret))
	b.follow(what.submit)
	under()

	w := walk{t: s.t, d: s.d, b: b}
	w.logIn(b, "c-1003")
	under()
	b.complaints()
	alone := newVisitor(s.t)
	paths := some(what.paths)
	for _, path := range paths {
		alone.open(s.direct + path)
		alone.settle()
	}
	before := alone.complaints()
	for _, path := range paths {
		b.open(s.at(path))
		w.is(b.await("c-1003"), "c-1003", "Łukasz Żuraw", "lukasz.zuraw@zagle-gdynia.example")
		under()
		if !strings.Contains(eval[string](b, `document.body.textContent`), what.name) {
			s.t.Errorf("%s: %s is not logged in to the site", path, what.name)
		}
		b.settle()
		for _, complaint := range b.complaints() {
			if !slices.Contains(before, complaint) {
				s.t.Errorf("%s: new in the console: %s", path, complaint)
			}
		}
	}
	cookies := b.cookies()
	if len(cookies) < 3 { // the site's, the gateway's and the proxy's
		s.t.Errorf("the browser has %d cookies", len(cookies))
	}
	for _, c := range cookies {
		if c.Domain != "staging.localhost" && c.Domain != ".staging.localhost" {
			s.t.Errorf("the browser has a cookie %s of %s", c.Name, c.Domain)
		}
	}
}

// cookies are all that the visitor's browser has.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	res, err := chromedp.CallBrowser(b.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID})
	if err != nil {
		b.t.Fatal(err)
	}
	return res.Cookies
}
