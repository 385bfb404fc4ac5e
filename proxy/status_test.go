package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"zchatproxy/proxy"
	"zchatproxy/testdata/browser"
)

// busyRig has seen a bit of everything that the status page counts.
func busyRig(t *testing.T) *rig {
	g := newRig(t, pageHandler(plainPage), func(c *proxy.Config) { c.Version = "1.2.3" })
	for range 5 {
		g.get("/", ann...)
		g.get("/__zchat/jwt", ann...)
	}
	g.get("/part", "Sec-Fetch-Dest: iframe")
	g.get("/__zchat/jwt")
	g.get("/__zchat/jwt", append([]string{"Sec-Fetch-Site: cross-site"}, ann...)...)
	g.get("/__zchat/jwt", "X-Forwarded-User: u-1", "X-Forwarded-User: u-2")
	return g
}

func TestStatusPage(t *testing.T) {
	g := busyRig(t)
	admin := httptest.NewServer(g.handler.Admin())
	t.Cleanup(admin.Close) // after the tab, which holds a stream open
	tab := browser.Open(t)
	run := func(js string) string {
		t.Helper()
		v, err := chromedp.Run(tab.Ctx, chromedp.Evaluate[string](js))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := chromedp.Do(tab.Ctx, chromedp.EmulateViewport(1100, 900), chromedp.Navigate(admin.URL+"/"),
		chromedp.WaitReady("#main[aria-busy=false]")); err != nil {
		t.Fatal(err)
	}
	text := run("document.body.innerText")
	for _, want := range []string{"zchatproxy 1.2.3", "ready", "Every host", "pages with the script", "frame", "cross-origin", "anonymous", "conflict", "fingerprint", "X-Forwarded-User"} {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	for _, personal := range []string{"ann@example.com", "u-1", testSecret} {
		if strings.Contains(run("document.documentElement.outerHTML"), personal) {
			t.Errorf("the page shows %q", personal)
		}
	}
	if got := run("String(performance.getEntriesByType('resource').filter(e => !e.name.startsWith(location.origin)).length)"); got != "0" {
		t.Errorf("the page loads %s things from elsewhere", got)
	}
	// It is live, and changes only what has changed: a reader keeps their place.
	run("document.querySelector('section h2').place = 'here'; ''")
	before := run("document.querySelector('.tile b').textContent")
	g.get("/", ann...)
	eventually(t, "the page follows", func() bool { return run("document.querySelector('.tile b').textContent") != before })
	if got := run("String(document.querySelector('section h2').place)"); got != "here" {
		t.Errorf("the heading is another one now: %s", got)
	}
	// For a screen reader: a language, one heading of the first level and none left out, and a name for each part.
	if got := run(`JSON.stringify([document.documentElement.lang, [...document.querySelectorAll('h1, h2, h3')].map(h => h.tagName).join(' '),
		document.querySelectorAll('main section:not([aria-label]), svg:not([aria-hidden=true])').length])`); !strings.HasPrefix(got, `["en","H1 H2 H3 H3 H3 H2`) || !strings.HasSuffix(got, `,0]`) {
		t.Errorf("language, headings and parts without a name: %s", got)
	}
	for _, scheme := range []string{"light", "dark"} {
		if err := chromedp.Do(tab.Ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			return err
		})); err != nil {
			t.Fatal(err)
		}
		if got := run(paleText); got != "[]" {
			t.Errorf("%s: text that does not stand out by 4.5 to 1: %s", scheme, got)
		}
		if got := run("getComputedStyle(document.body).backgroundColor"); (got == "rgb(17, 21, 27)") != (scheme == "dark") {
			t.Errorf("%s: the background is %s", scheme, got)
		}
	}
	if dir := os.Getenv("ZCHATPROXY_SCREENSHOTS"); dir != "" {
		png, err := chromedp.Run(tab.Ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/status.png", png, 0o644); err != nil {
			t.Fatal(err)
		}
		emulatePhone(t, tab)
		if png, err = chromedp.Run(tab.Ctx, chromedp.FullScreenshot(100)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/status-phone.png", png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	emulatePhone(t, tab)
	if got := run("String(innerWidth === 390 && document.documentElement.scrollWidth <= innerWidth)"); got != "true" {
		t.Error("the page scrolls sideways")
	}
	if errs := tab.Errors(); len(errs) > 0 {
		t.Errorf("console: %q", errs)
	}
}

// TestLastRefusals: the status page has the last fifty, the newest first.
func TestLastRefusals(t *testing.T) {
	g := newRig(t, http.NotFoundHandler())
	for range 55 {
		g.get("/__zchat/jwt")
	}
	for range 5 {
		g.get("/__zchat/jwt", append([]string{"Sec-Fetch-Site: cross-site"}, ann...)...)
	}
	admin := httptest.NewServer(g.handler.Admin())
	t.Cleanup(admin.Close)
	res, err := plainClient.Get(admin.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var seen struct {
		Refusals []struct{ What, Reason, Text string }
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &seen); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if len(seen.Refusals) != 50 {
		t.Fatalf("%d refusals are remembered", len(seen.Refusals))
	}
	for i, r := range seen.Refusals {
		want := "anonymous"
		if i < 5 {
			want = "cross-origin"
		}
		if r.What != "token" || r.Reason != want || r.Text == "" {
			t.Errorf("refusal %d is %+v, want %s", i, r, want)
		}
	}
}

func emulatePhone(t *testing.T, tab *browser.Tab) {
	t.Helper()
	if err := chromedp.Do(tab.Ctx, chromedp.EmulateViewport(390, 800)); err != nil {
		t.Fatal(err)
	}
}

// paleText lists elements whose text has less contrast than WCAG 2 level AA wants, 4.5 to 1.
const paleText = `JSON.stringify([...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.checkVisibility()).filter(e => {
	const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const parse = s => s.match(/[\d.]+/g).map(Number);
	let under = e, back = parse(getComputedStyle(e).backgroundColor);
	while (back.length > 3 && back[3] === 0 && (under = under.parentElement)) back = parse(getComputedStyle(under).backgroundColor);
	const [a, b] = [light(parse(getComputedStyle(e).color).slice(0, 3)), light(back.slice(0, 3))].sort((x, y) => y - x);
	return (a + .05) / (b + .05) < 4.5;
}).map(e => e.tagName + ' ' + e.textContent.slice(0, 40)))`

// TestStatusPageWithoutJavaScript has the same numbers in the page itself.
func TestStatusPageWithoutJavaScript(t *testing.T) {
	g := busyRig(t)
	page := serve(g.handler.Admin(), "/").Body.String()
	for _, want := range []string{
		"Version 1.2.3, ready", "Every host", `5</td><td>pages with the script`, `1</td><td>pages without`, "<b>frame</b>", `5</td><td>tokens signed`,
		`2</td><td>tokens refused`, "<b>anonymous</b>", "<b>cross-origin</b>", `0</td><td>upstream errors`, "fingerprint", "X-Forwarded-User",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, personal := range []string{"ann@example.com", "u-1", testSecret} {
		if strings.Contains(page, personal) {
			t.Errorf("the page shows %q", personal)
		}
	}
	g.handler.Drain()
	if page := serve(g.handler.Admin(), "/").Body.String(); !strings.Contains(page, "not ready") || !strings.Contains(page, "<li>draining") {
		t.Error("the page does not say that the proxy is draining")
	}
}

func TestHealthAndReadiness(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	admin := g.handler.Admin()
	if rec := serve(admin, "/healthz"); rec.Code != 200 || !strings.Contains(rec.Body.String(), "alive") {
		t.Errorf("healthz %d %s", rec.Code, rec.Body)
	}
	if rec := serve(admin, "/readyz"); rec.Code != 200 {
		t.Errorf("readyz %d %s", rec.Code, rec.Body)
	}
	g.handler.Drain()
	if rec := serve(admin, "/readyz"); rec.Code != 503 || !strings.Contains(rec.Body.String(), "draining") {
		t.Errorf("readyz while draining %d %s", rec.Code, rec.Body)
	}
	if rec := serve(admin, "/healthz"); rec.Code != 200 {
		t.Errorf("healthz while draining %d", rec.Code)
	}
	if rec := serve(admin, "/nothing"); rec.Code != 404 {
		t.Errorf("/nothing gives %d", rec.Code)
	}
}
