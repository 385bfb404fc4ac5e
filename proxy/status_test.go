package proxy_test

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

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
	if dir := os.Getenv("ZCHATPROXY_SCREENSHOTS"); dir != "" {
		png, err := chromedp.Run(tab.Ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/status.png", png, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := chromedp.Do(tab.Ctx, chromedp.EmulateViewport(390, 800)); err != nil {
			t.Fatal(err)
		}
		if png, err = chromedp.Run(tab.Ctx, chromedp.FullScreenshot(100)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/status-phone.png", png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := run("String(document.documentElement.scrollWidth <= window.innerWidth)"); got != "true" {
		t.Error("the page scrolls sideways")
	}
	if errs := tab.Errors(); len(errs) > 0 {
		t.Errorf("console: %q", errs)
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
