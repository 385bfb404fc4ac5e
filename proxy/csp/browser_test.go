package csp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	chrome "zchatproxy/testdata/browser"
)

// site is the one server behind all names. It serves the page that the test sets.
type site struct {
	*httptest.Server
	port string

	mu              sync.Mutex
	enforce, report []string
	body            string
	widget          string // the script that Zendesk's loaders are
}

func newSite(t *testing.T) *site {
	s := &site{}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.port = u.Port()
	return s
}

func (s *site) serve(enforce, report []string, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enforce, s.report, s.body = enforce, report, body
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-store")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.URL.Path == "/ekr/snippet.js" || r.Host == "v2.zopim.com" && r.URL.Path == "/":
		h.Set("Content-Type", "text/javascript")
		fmt.Fprint(w, s.widget)
	case r.URL.Path == "/":
		h.Set("Content-Type", "text/html; charset=utf-8")
		h["Content-Security-Policy"], h["Content-Security-Policy-Report-Only"] = s.enforce, s.report
		fmt.Fprint(w, s.body)
	case strings.HasSuffix(r.URL.Path, ".js"):
		h.Set("Content-Type", "text/javascript")
	case strings.HasSuffix(r.URL.Path, ".css"):
		h.Set("Content-Type", "text/css")
	case strings.HasSuffix(r.URL.Path, ".png"):
		h.Set("Content-Type", "image/svg+xml")
		fmt.Fprint(w, `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>`)
	}
}

func (s *site) at(host string) string { return "https://" + host + ".test:" + s.port }

// markup is the page, with element at its head.
func (s *site) markup(element string, all []probe) string {
	var b strings.Builder
	b.WriteString("<!doctype html><html><head><meta charset=utf-8>" + element)
	for _, p := range all {
		switch {
		case p.js != "":
		case p.load.URL != "":
			fmt.Fprintf(&b, "<script src=%q></script>", p.load.URL)
		case p.in.Nonce != "":
			fmt.Fprintf(&b, "<script nonce=%q>%s</script>", p.in.Nonce, p.in.Text)
		default:
			fmt.Fprintf(&b, "<script>%s</script>", p.in.Text)
		}
	}
	return b.String() + "</head><body></body></html>"
}

// visit is what one page load led to.
type visit struct {
	violations []string
	seen       map[string]int
	console    []string // what the browser says about the policies themselves
}

// browser starts Chromium with every name leading to a port of this machine.
func browser(t *testing.T, port string) context.Context {
	t.Helper()
	path := chrome.Need(t, "chromium", "chromium-browser", "google-chrome")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithAllocatorOptions(chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.IgnoreCertErrors, chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1:"+port)))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watcher})
		return err
	})); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// open loads the page and tries the probes that markup cannot hold. done is a JavaScript condition to wait for, and want
// the violations.
func (s *site) open(t *testing.T, ctx context.Context, all []probe, done string, want []string) visit {
	t.Helper()
	var v visit
	var mu sync.Mutex
	listening, stop := context.WithCancel(ctx)
	defer stop()
	if err := chromedp.Listen(listening, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok && strings.Contains(e.Entry.Text, "Content Security Policy") {
			mu.Lock()
			defer mu.Unlock()
			v.console = append(v.console, e.Entry.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	var try strings.Builder
	for _, p := range all {
		if p.js != "" {
			fmt.Fprintf(&try, "(function(){%s})();", p.js)
		}
	}
	// When what is foreseen has come, one more idle turn gives room to what is not. Waiting is over in any case after a
	// while: the comparison says what is missing.
	awaited, err := json.Marshal(append([]string{}, want...))
	if err != nil {
		t.Fatal(err)
	}
	wait := fmt.Sprintf(`new Promise(function(r){var end=Date.now()+4000,want=%s;(function f(){
if((%s)&&want.every(function(v){return violations.indexOf(v)>=0})||Date.now()>end)requestIdleCallback(function(){
setTimeout(function(){r({violations:violations,seen:seen})},20)});else setTimeout(f,5)})()})`, awaited, done)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.at("page")+"/")); err != nil {
		t.Fatal(err)
	}
	got, err := chromedp.Run(ctx, chromedp.Evaluate[struct {
		Violations []string
		Seen       map[string]int
	}](try.String()+wait, chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	v.violations, v.seen = got.Violations, got.Seen
	slices.Sort(v.violations)
	v.violations = onceEach(v.violations)
	return v
}
