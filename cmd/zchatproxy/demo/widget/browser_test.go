package widget_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"zchatproxy/cmd/zchatproxy/demo/widget"
	"zchatproxy/inject/snippet"
	"zchatproxy/testdata/browser"
)

func TestMain(m *testing.M) { os.Exit(browser.Main(m)) }

// site is the site of a test as the visitor sees it: pages, the proxy's token
// route and cookie, and the stand-in widgets.
type site struct {
	*httptest.Server
	t   *testing.T
	ctx context.Context // browser context, and its first tab

	tabs int

	mu     sync.Mutex
	page   string
	frames []frame // shown at /frame/0, …
}

// frame is a document with its media type.
type frame struct{ kind, html string }

func newSite(t *testing.T) *site {
	t.Helper()
	mux := http.NewServeMux()
	s := startSite(t, httptest.NewUnstartedServer(mux))
	mux.HandleFunc("/", s.servePage)
	mux.HandleFunc("/frame/{n}", s.serveFrame)
	mux.HandleFunc("/blank", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", "text/plain") })
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("/as/{who}", s.serveLogIn)
	mux.HandleFunc("/for/{kind}/jwt", s.serveToken)
	mux.HandleFunc("/for/{kind}/jwt/help-center", s.serveToken)
	serveWidgets(t, mux)
	s.Start()
	return s
}

// serveWidgets puts a stand-in of each kind below /widget/.
func serveWidgets(t *testing.T, mux *http.ServeMux) {
	t.Helper()
	for _, kind := range []string{"classic", "messaging", "chat"} {
		h, err := widget.New(kind, verify)
		if err != nil {
			t.Fatal(err)
		}
		mux.Handle("/widget/"+kind+"/", h)
	}
}

// startSite opens a browser context for a server that is yet to be started.
func startSite(t *testing.T, server *httptest.Server) *site {
	t.Helper()
	s := &site{Server: server, t: t, ctx: browser.Context(t)}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *site) servePage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, s.page)
}

func (s *site) serveFrame(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("n"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || n >= len(s.frames) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", s.frames[n].kind)
	fmt.Fprint(w, s.frames[n].html)
}

// serveLogIn logs the browser in as who, out for "nobody".
func (s *site) serveLogIn(w http.ResponseWriter, r *http.Request) {
	who := r.PathValue("who")
	setSession(w, who)
	age := 3600
	if who == "nobody" {
		who, age = "", -1
	}
	http.SetCookie(w, &http.Cookie{Name: "__zchat_visitor", Value: "v-" + who, Path: "/", MaxAge: age})
	w.WriteHeader(204)
}

// serveToken is the token route of one kind of widget.
func (s *site) serveToken(w http.ResponseWriter, r *http.Request) {
	session, err := r.Cookie("session")
	if err != nil {
		http.SetCookie(w, &http.Cookie{Name: "__zchat_visitor", Path: "/", MaxAge: -1})
		w.WriteHeader(401)
		return
	}
	kind := r.PathValue("kind")
	if strings.HasSuffix(r.URL.Path, "help-center") {
		kind = "help-center"
	}
	w.Header().Set("Content-Type", "application/jwt")
	fmt.Fprint(w, sign(kind, session.Value))
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
	tb.console = browser.Listen(s.t, tb.ctx)
	return tb
}

// clean fails the test for anything on the console.
func (tb *tab) clean() {
	tb.s.t.Helper()
	for _, line := range tb.console.Take() {
		tb.s.t.Errorf("on the console: %s", line)
	}
}

// element renders the script for a widget.
func element(t *testing.T, c snippet.Config) string {
	t.Helper()
	c.RoutePrefix = "/for/" + c.Widget
	rendered, err := snippet.Render(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(rendered.Element(""))
}

// load opens a page of the site.
func (tb *tab) load(path string) {
	tb.s.t.Helper()
	tb.open(tb.s.URL + path)
}

func (tb *tab) open(address string) {
	tb.s.t.Helper()
	if err := chromedp.Do(tb.ctx, chromedp.Navigate(address)); err != nil {
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

// as logs the browser in as who, "nobody" for out, by a request of the tab's page.
func (tb *tab) as(who string) {
	tb.s.t.Helper()
	tb.eval("fetch('/as/" + who + "').then(function(){})")
}
