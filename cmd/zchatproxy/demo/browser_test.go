package demo

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"zchatproxy/testdata/browser"
)

// missing skips the test, or fails it where all tests are to run.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("ZCHATPROXY_TEST_ALL") == "1" {
		t.Fatalf("%s is missing, and ZCHATPROXY_TEST_ALL says that nothing may be skipped", what)
	}
	t.Skipf("%s is missing", what)
}

func TestMain(m *testing.M) { os.Exit(browser.Main(m)) }

// tab is a browser tab that keeps what its console complains about.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

// newVisitor opens a tab with cookies and storage of its own.
func newVisitor(t *testing.T) *tab {
	t.Helper()
	return listen(t, browser.Context(t))
}

// another opens a tab that shares cookies and storage with b.
func (b *tab) another() *tab {
	b.t.Helper()
	return openTab(b.t, b.ctx)
}

func openTab(t *testing.T, parent context.Context, o ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, o...)
	t.Cleanup(cancel)
	return listen(t, ctx)
}

// listen makes a tab of its context.
func listen(t *testing.T, ctx context.Context) *tab {
	t.Helper()
	b := &tab{t: t, ctx: ctx}
	err := chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
		return err
	}))
	if err == nil {
		err = chromedp.Listen(ctx, b.hear)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hear keeps errors: exceptions, console.error, and what the browser itself reports, such as a refused script.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		b.errors = append(b.errors, text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "assert" {
			var text []string
			for _, a := range e.Args {
				text = append(text, fmt.Sprint(string(a.Value), a.Description))
			}
			b.errors = append(b.errors, strings.Join(text, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// complaints returns the errors since the last call, without what differs from run to run.
func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.errors
	b.errors = nil
	for i, text := range out {
		out[i] = varying.ReplaceAllString(text, "…")
	}
	return out
}

// varying are addresses, nonces and hashes.
var varying = regexp.MustCompile(`https?://(127\.0\.0\.1|staging\.localhost):\d+|'nonce-[^']*'|'sha256-[^']*'`)

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// open loads a page to its end.
func (b *tab) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address))
}

// follow clicks what a selector finds, and waits for the page that it leads to.
func (b *tab) follow(selector string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		b.t.Fatalf("clicking %s: %v", selector, err)
	}
}

// settle gives whatever the page's scripts have started an idle moment to fail in.
func (b *tab) settle() {
	b.t.Helper()
	eval[bool](b, `new Promise(function (done) { requestIdleCallback(function () { setTimeout(function () { done(true) }, 50) }) })`)
}

// eval evaluates an expression, which may be a promise.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// agent is what the stand-in widget knows.
type agent struct {
	Status, ID, Email, Name, HelpCenter string
	Log                                 []string
}

const readAgent = `(window.__agent ? {status: __agent.status, id: __agent.id, email: __agent.email, name: __agent.name,
	helpCenter: __agent.helpCenter, log: __agent.log.slice()} : null)`

// await waits until the widget has started and is authenticated as id, or anonymous where id is empty.
func (b *tab) await(id string) *agent {
	b.t.Helper()
	status := "authenticated"
	if id == "" {
		status = "anonymous"
	}
	// A timer and not animation frames: a tab in the background gets none.
	js := fmt.Sprintf(`new Promise(function (done) { (function look() {
		if (window.__agent && __agent.status === %q && __agent.id === %q && __agent.log.indexOf('started') >= 0) done(%s);
		else if (Date.now() > %d) done(null);
		else setTimeout(look, 20);
	})(); })`, status, id, readAgent, time.Now().Add(90*time.Second).UnixMilli())
	a, err := chromedp.Run(b.ctx, chromedp.Evaluate[*agent](js, chromedp.EvalAwaitPromise))
	if err != nil || a == nil {
		now, _ := chromedp.Run(b.ctx, chromedp.Evaluate[*agent](readAgent))
		b.t.Fatalf("the widget never became %s %q (%v); it is %+v; console: %q", status, id, err, now, b.complaints())
	}
	return a
}

// panel is what the widget shows to people.
func (b *tab) panel() string {
	b.t.Helper()
	return eval[string](b, `document.querySelector('stand-in-widget').shadowRoot.textContent`)
}

// look is what a visitor does who comes back to a tab.
func (b *tab) look() {
	b.t.Helper()
	eval[bool](b, `window.dispatchEvent(new Event('focus'))`)
}
