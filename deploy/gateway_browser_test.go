package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"zchatproxy/testdata/browser"
)

// tab is a tab of a browser for which the site's name leads to the gateway, and no other name anywhere.
type tab struct {
	*browser.Tab
	t *testing.T
	c *chain
}

func (c *chain) browser(t *testing.T) *tab {
	t.Helper()
	if !all() {
		t.Skip("set ZCHATPROXY_TEST_ALL=1 to walk in Chromium")
	}
	rules := fmt.Sprintf("MAP %s %s, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", hostName, c.gateway)
	b := browser.Open(t, chromedp.IgnoreCertErrors, chromedp.Flag("host-resolver-rules", rules))
	return &tab{b, t, c}
}

func (b *tab) another() *tab { return &tab{b.Another(b.t), b.t, b.c} }

// open loads a page, and returns the address where that has led.
func (b *tab) open(address string) string {
	b.t.Helper()
	if err := chromedp.Do(b.Ctx, chromedp.Navigate(address)); err != nil {
		b.t.Fatalf("%s: %v", address, err)
	}
	return eval[string](b, `location.href`)
}

// eval evaluates an expression, which may be a promise.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.Ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// logIn opens an address as nobody and presses somebody's button at the provider.
func (b *tab) logIn(who person, target string) {
	b.t.Helper()
	if at := b.open(b.c.origin + target); !strings.HasPrefix(at, b.c.provider.URL+"/authorize?") {
		b.t.Fatalf("%s does not lead nobody to the log-in, but to %s", target, at)
	}
	if _, err := chromedp.RunResponse(b.Ctx, chromedp.Click(chromedp.CSS(`button[value="`+who.id+`"]`))); err != nil {
		b.t.Fatalf("logging in: %v", err)
	}
	if at := eval[string](b, `location.href`); at != b.c.origin+target {
		b.t.Fatalf("who logged in for %s is at %s", target, at)
	}
}

// agent is what the stand-in widget knows.
type agent struct {
	Status, ID, Email, Name string
	Log                     []string
}

const readAgent = `(window.__agent ? {status: __agent.status, id: __agent.id, email: __agent.email, name: __agent.name, log: __agent.log.slice()} : null)`

// await waits until the widget has started and is authenticated as somebody, or anonymous for nil.
func (b *tab) await(who *person) *agent {
	b.t.Helper()
	status, id := "anonymous", ""
	if who != nil {
		status, id = "authenticated", who.chatID()
	}
	// A timer and not animation frames: a tab in the background gets none.
	js := fmt.Sprintf(`new Promise(function (done) { (function look() {
		if (window.__agent && __agent.status === %q && __agent.id === %q && __agent.log.indexOf('started') >= 0) done(%s);
		else if (Date.now() > %d) done(null);
		else setTimeout(look, 20);
	})(); })`, status, id, readAgent, time.Now().Add(patience).UnixMilli())
	a, err := chromedp.Run(b.Ctx, chromedp.Evaluate[*agent](js, chromedp.EvalAwaitPromise))
	if err != nil || a == nil {
		now, _ := chromedp.Run(b.Ctx, chromedp.Evaluate[*agent](readAgent))
		b.t.Fatalf("the widget never became %s %q (%v); it is %+v; console: %q", status, id, err, now, b.Errors())
	}
	if who != nil && (a.Email != who.email || a.Name != who.name) {
		b.t.Errorf("the agent sees %s, %s; want %+v", a.Email, a.Name, who)
	}
	return a
}

// look is what a visitor does who comes back to a tab.
func (b *tab) look() {
	b.t.Helper()
	eval[bool](b, `window.dispatchEvent(new Event('focus'))`)
}

// work is what a page does that polls: a request to its own site. The gateway may well refuse it.
func (b *tab) work() {
	b.t.Helper()
	eval[bool](b, `fetch('/images/bullet.gif', {cache: 'no-store'}).then(function () { return true }, function () { return true })`)
}

// mark leaves something on the page that a page load would wipe out.
func (b *tab) mark() { eval[int](b, `window.marked = 1`) }

func (b *tab) marked() {
	b.t.Helper()
	if !eval[bool](b, `window.marked === 1`) {
		b.t.Error("the page was loaded again")
	}
}

// drop takes cookies of the site away, as their end or their browser's does.
func (b *tab) drop(names ...string) {
	b.t.Helper()
	err := chromedp.Do(b.Ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, name := range names {
			if _, err := cdp.Call(ctx, target, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: b.c.origin + "/"}); err != nil {
				return err
			}
		}
		return nil
	}))
	if err != nil {
		b.t.Fatal(err)
	}
}

// dialog answers the browser's question for a password: with user and password while those are good, else it is closed.
func (b *tab) dialog(good func() bool, user, password string) {
	b.t.Helper()
	call := func(f func(ctx context.Context, target *chromedp.Target) error) {
		// The tab may be gone by then.
		_ = chromedp.Do(b.Ctx, chromedp.Func(f))
	}
	err := chromedp.Listen(b.Ctx, func(event any) { // must not wait
		switch e := event.(type) {
		case *fetch.EventRequestPaused:
			go call(func(ctx context.Context, target *chromedp.Target) error {
				_, err := cdp.Call(ctx, target, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
				return err
			})
		case *fetch.EventAuthRequired:
			go call(func(ctx context.Context, target *chromedp.Target) error {
				answer := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
				if good() {
					answer = &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: user, Password: password}
				}
				_, err := cdp.Call(ctx, target, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID, AuthChallengeResponse: answer})
				return err
			})
		}
	})
	if err == nil {
		handle := true
		err = chromedp.Do(b.Ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &handle})
			return err
		}))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// walk is the way of two people through a gateway that lets nobody in without a log-in: one logs in and out, the other
// comes in on the same page, and then the gateway ends the session by itself, without any page being loaded.
func (c *chain) walk(t *testing.T) {
	b := c.browser(t)
	b.logIn(mary, deepTarget)
	b.await(&mary)
	if cookies := eval[string](b, `document.cookie`); !strings.Contains(cookies, "__zchat_visitor=") {
		t.Errorf("the page sees the cookies %q", cookies)
	}
	b.mark()

	other := b.another()
	other.open(c.origin + c.logOut)
	b.look()
	b.await(nil)

	other.logIn(lukasz, "/catalogue.html")
	b.look()
	a := b.await(&lukasz)
	if out, in := slices.Index(a.Log, "logout"), slices.Index(a.Log, "authenticated: "+lukasz.chatID()); out < 0 || out > in {
		t.Errorf("the last person was not logged out before the next one came in: %q", a.Log)
	}

	b.drop(c.sessions...)
	b.work()
	b.await(nil)
	b.marked()

	b.logIn(mary, deepTarget)
	b.await(&mary)
}
