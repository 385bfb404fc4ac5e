package widget_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"zchatproxy/testdata/browser"
)

// A page that the browser has prepared for one visitor, and shows to the next. With its tools attached Chromium prepares
// no pages, so here a page drives itself and sends what came of it.
func TestPrerendered(t *testing.T) {
	if os.Getenv("ZCHATPROXY_TEST_ALL") != "1" {
		t.Skip("takes a browser of its own: set ZCHATPROXY_TEST_ALL=1")
	}
	const (
		// When the other page has been prepared, and its widget has asked who is there, somebody else logs in.
		pilot = `<!doctype html><script>
fetch('/as/alice').then(function(){
var s=document.createElement('script');s.type='speculationrules';s.textContent='{"prerender":[{"urls":["/next"],"eagerness":"immediate"}]}';
document.head.appendChild(s);return fetch('/prepared')
}).then(function(){return fetch('/as/bob')}).then(function(){location.href='/next'})
</script>`
		report = `(function(){var told;(function look(){
var log=window.__agent?__agent.log:[];
if(document.prerendering){if(!told){if(log.indexOf('jwtFn called')!==-1)told=fetch('/asked')}}
else if(log.indexOf('authenticated: id-bob')!==-1){var n=performance.getEntriesByType('navigation')[0];
return fetch('/report',{method:'POST',body:(n.activationStart>0?'prerendered':'loaded')+': '+log.filter(function(l){return /^(log|auth)/.test(l)}).join()})}
setTimeout(look,20)})()})();`
	)
	s := newProxied(t, "classic", true, policies()[0])
	s.extra = report
	s.start(t)
	prepared, got := make(chan struct{}), make(chan string, 1)
	site := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/pilot":
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, pilot)
		case "/asked":
			close(prepared)
		case "/prepared":
			select {
			case <-prepared:
			case <-r.Context().Done():
			}
		case "/report":
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			got <- string(body)
		default:
			site.ServeHTTP(w, r)
		}
	})
	// The port that nobody asks keeps it from ending by itself.
	chromium := exec.Command(browser.Need(t, "chromium", "chromium-browser", "google-chrome"), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), s.URL+"/pilot")
	if err := chromium.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		chromium.Process.Kill()
		chromium.Wait()
	}()
	select {
	case now := <-got:
		if want := "prerendered: logout,authenticated: id-bob"; now != want {
			t.Errorf("the widget did: %s, want %s", now, want)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the page that was prepared did not come to anything")
	}
}
