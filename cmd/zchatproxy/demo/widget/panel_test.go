package widget_test

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// The panel can be folded, and stays so on the next page; people on phones can read it on pages of old.
func TestPanel(t *testing.T) {
	const (
		panel = `document.querySelector('stand-in-widget').shadowRoot`
		fold  = panel + `.querySelector('header button')`
		state = `[` + fold + `.textContent,` + fold + `.getAttribute('aria-label'),` + fold + `.getAttribute('aria-expanded'),` + panel + `.querySelector('main').offsetHeight>0]`
		// share is how much of the page's width the panel takes, and whether all of it is in view.
		share = `(function(r){return [Math.round(10*r.width/innerWidth),r.left>=0,r.right<=innerWidth,r.top>=0,r.bottom<=innerHeight]})(` + panel + `.querySelector('.card').getBoundingClientRect())`
	)
	s := newSite(t)
	s.page = `<!doctype html><title>t</title><p>text<script src="/widget/messaging/snippet.js"></script>`
	tb := s.newTab()
	tb.load("/")
	for _, step := range []struct{ do, want string }{
		{`0`, `["–","Fold","true",true]`},
		{fold + `.click()`, `["+","Unfold","false",false]`},
		{`__agent.changed()`, `["+","Unfold","false",false]`},
	} {
		tb.eval(step.do)
		if got := tb.await(state, step.want); got != step.want {
			t.Errorf("after %s: %s, want %s", step.do, got, step.want)
		}
	}
	tb.load("/")
	if got, want := tb.await(state, `["+","Unfold","false",false]`), `["+","Unfold","false",false]`; got != want {
		t.Errorf("on the next page: %s, want %s", got, want)
	}
	tb.eval(fold + `.click()`)

	for _, screen := range []struct {
		width  int64
		mobile bool
		want   string
	}{
		{1280, false, `[3,true,true,true,true]`}, // the screen is narrower: the page is zoomed out
		{390, true, `[8,true,true,true,true]`},
		{320, false, `[9,true,true,true,true]`},
	} {
		err := chromedp.Do(tb.ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: screen.mobile})
			if err != nil {
				return err
			}
			_, err = cdp.Call(ctx, target, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
				Width: screen.width, Height: 800, ScreenWidth: min(screen.width, 1000), ScreenHeight: 800, DeviceScaleFactor: 1, Mobile: screen.mobile})
			return err
		}))
		if err != nil {
			t.Fatal(err)
		}
		tb.load("/")
		tb.eval(`(function(){for(var i=0;i<40;i++)__agent.say('a line of the log')})()`)
		if got := tb.await(share, screen.want); got != screen.want {
			t.Errorf("at %d pixels: %s, want %s", screen.width, got, screen.want)
		}
	}
	tb.clean()
}
