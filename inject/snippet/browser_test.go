package snippet_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"zchatproxy/inject/snippet"
	"zchatproxy/testdata/browser"
)

func TestMain(m *testing.M) { os.Exit(browser.Main(m)) }

// site is the site of a test as the visitor sees it: pages, and the proxy's
// token route and cookie.
type site struct {
	*httptest.Server
	t   *testing.T
	ctx context.Context // browser context, and its first tab

	tabs int

	mu     sync.Mutex
	page   string
	frames []string    // shown at /frame/0, …
	worker string      // a service worker, at /worker.js
	header http.Header // of the page
	asked  []http.Header
	route  http.HandlerFunc // the token route instead of the usual one
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, ctx: browser.Context(t), header: http.Header{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.servePage)
	mux.HandleFunc("/api", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("/as/{who}", s.serveLogIn)
	mux.HandleFunc("/__zchat/jwt", s.serveToken)
	mux.HandleFunc("/__zchat/jwt/help-center", s.serveToken)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *site) servePage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(w.Header(), s.header)
	if r.URL.Path == "/worker.js" {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, s.worker)
		return
	}
	if strings.HasSuffix(r.URL.Path, ".js") {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprintf(w, "window.loaded=(window.loaded||'')+%q;", r.URL.RequestURI())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	var frame int
	if _, err := fmt.Sscanf(r.URL.Path, "/frame/%d", &frame); err == nil {
		fmt.Fprint(w, s.frames[frame])
		return
	}
	fmt.Fprint(w, s.page)
}

// serveLogIn logs the browser in as who, out for "nobody".
func (s *site) serveLogIn(w http.ResponseWriter, r *http.Request) {
	who := r.PathValue("who")
	age := 3600
	if who == "nobody" {
		who, age = "", -1
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Value: who, Path: "/", MaxAge: age, HttpOnly: true})
	http.SetCookie(w, &http.Cookie{Name: "__zchat_visitor", Value: "v-" + who, Path: "/", MaxAge: age})
	w.WriteHeader(204)
}

func (s *site) serveToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Header)
	route := s.route
	s.mu.Unlock()
	w.Header().Set("Vary", "X-Zchat-At")
	if route != nil {
		route(w, r)
		return
	}
	session, err := r.Cookie("session")
	if err != nil {
		http.SetCookie(w, &http.Cookie{Name: "__zchat_visitor", Path: "/", MaxAge: -1})
		w.WriteHeader(401)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "__zchat_visitor", Value: "v-" + session.Value, Path: "/"})
	w.Header().Set("Content-Type", "application/jwt")
	kind := "chat"
	if strings.HasSuffix(r.URL.Path, "help-center") {
		kind = "help"
	}
	fmt.Fprintf(w, "%s.%s.x", kind, session.Value)
}

func (s *site) setRoute(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.route = h
}

// requests returns how often the token route was asked so far.
func (s *site) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// tab is one tab of the site's browser context.
type tab struct {
	s       *site
	ctx     context.Context
	console *browser.Console
}

// newTab opens a tab. The first one of a site is there already.
func (s *site) newTab() *tab {
	s.t.Helper()
	tb := &tab{s: s, ctx: s.ctx}
	if s.tabs++; s.tabs > 1 {
		var cancel context.CancelFunc
		tb.ctx, cancel = chromedp.NewContext(s.ctx)
		s.t.Cleanup(cancel)
	}
	// Else a tab has the focus when the browser gets round to it, which is a sign of use.
	err := chromedp.Do(tb.ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	// What the network answers is the test's doing.
	tb.console = browser.Listen(s.t, tb.ctx, log.EntrySourceNetwork)
	return tb
}

// clean fails the test for anything on the console.
func (tb *tab) clean() {
	tb.s.t.Helper()
	for _, line := range tb.console.Take() {
		tb.s.t.Errorf("on the console: %s", line)
	}
}

// withScript puts the rendered element in the place of {script}.
func withScript(t *testing.T, c snippet.Config, html string) string {
	t.Helper()
	if c.Widget == "" {
		c.Widget = "classic"
	}
	if c.RoutePrefix == "" {
		c.RoutePrefix = "/__zchat"
	}
	rendered, err := snippet.Render(c)
	if err != nil {
		t.Fatal(err)
	}
	nonce := ""
	if strings.Contains(html, "{nonce}") {
		nonce, html = "n", strings.Replace(html, "{nonce}", "", 1)
	}
	return strings.Replace(html, "{script}", string(rendered.Element(nonce)), 1)
}

// open shows a page: {script} stands for the rendered element, and {nonce}
// asks for it to have one.
func (tb *tab) open(c snippet.Config, html string) {
	tb.s.t.Helper()
	html = withScript(tb.s.t, c, html)
	tb.s.mu.Lock()
	tb.s.page = html
	tb.s.mu.Unlock()
	tb.load("/")
}

// openFrames shows the site's frames, all in one page.
func (tb *tab) openFrames() {
	tb.s.t.Helper()
	var html strings.Builder
	html.WriteString("<!doctype html>")
	for i := range tb.s.frames {
		fmt.Fprintf(&html, "<iframe src=/frame/%d></iframe>", i)
	}
	tb.open(snippet.Config{}, html.String())
}

func (tb *tab) load(path string) {
	tb.s.t.Helper()
	if err := chromedp.Do(tb.ctx, chromedp.Navigate(tb.s.URL+path)); err != nil {
		tb.s.t.Fatal(err)
	}
}

// eval is browser.Eval in this tab.
func (tb *tab) eval(js string) string {
	tb.s.t.Helper()
	return browser.Eval(tb.s.t, tb.ctx, js)
}

// await is browser.Await in this tab.
func (tb *tab) await(js, want string) string {
	tb.s.t.Helper()
	return browser.Await(tb.s.t, tb.ctx, js, want)
}

// expect fails the test unless js comes to be want, as JSON.
func (tb *tab) expect(js, want string) {
	tb.s.t.Helper()
	if got := tb.await(js, want); got != want {
		tb.s.t.Fatalf("%s:\n got %s\nwant %s", js, got, want)
	}
}

// forget empties the site's storage, as in a new browser.
func (tb *tab) forget() {
	tb.s.t.Helper()
	tb.load("/blank.js")
	tb.eval("localStorage.clear()")
}

// logIn changes who the browser is logged in as, "" for nobody, as another tab
// would.
func (s *site) logIn(who string) {
	s.t.Helper()
	cookies := []*network.CookieParam{
		{Name: "session", Value: who, URL: s.URL, HTTPOnly: true},
		{Name: "__zchat_visitor", Value: "v-" + who, URL: s.URL},
	}
	if who == "" {
		for _, c := range cookies {
			c.Expires = 1
		}
	}
	err := chromedp.Do(s.ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, network.SetCookies, network.SetCookiesParams{Cookies: cookies})
		return err
	}))
	if err != nil {
		s.t.Fatal(err)
	}
}
