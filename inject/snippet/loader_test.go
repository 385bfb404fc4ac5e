package snippet_test

import (
	"strings"
	"testing"

	"zchatproxy/inject/snippet"
)

func TestLoader(t *testing.T) {
	const (
		ours  = `"/ours.js?key=k"`
		count = `document.querySelectorAll('script[src]').length`
		// late runs after all that the page and the script do by themselves.
		late = `addEventListener('load',function(){setTimeout(function(){window.done=1},50)})`
	)
	tests := []struct {
		name, widget, csp string
		page              []string
		js, want          string
	}{
		{name: "page without a widget", js: `loaded`, want: ours},
		{name: "tag", page: []string{`<script id=ze-snippet src=/page.js></script>`}, js: `loaded`, want: `"/page.js"`},
		{name: "tag without an id", page: []string{`<script src=/ekr/snippet.js?key=p></script>`}, js: `loaded`, want: `"/ekr/snippet.js?key=p"`},
		{name: "tag that is blocked", page: []string{`<script id=ze-snippet src=http://127.0.0.1:1/></script>`}, js: count, want: `1`},
		{name: "tag that waits for consent", page: []string{`<script id=ze-snippet type=text/plain data-src=/page.js></script>`}, js: count, want: `0`},
		{name: "document.write", page: []string{`document.write('<script id=ze-snippet src=/page.js><\/script>')`}, js: `loaded`, want: `"/page.js"`},
		{name: "widget by other means", page: []string{`zE=function(){}`}, js: count, want: `0`},
		{name: "chat by other means", page: []string{`$zopim=function(){}`}, js: count, want: `0`},
		{name: "onload", page: []string{`window.onload=function(){var s=document.createElement('script');s.id='ze-snippet';s.src='/page.js';document.body.appendChild(s)}`},
			js: `loaded`, want: `"/page.js"`},
		{name: "strict page", csp: `script-src 'nonce-n' 'strict-dynamic'; connect-src 'self'`, page: []string{`{nonce}`}, js: `loaded`, want: ours},
		{name: "nonce", csp: `script-src 'nonce-n'`, page: []string{`{nonce}`}, js: `loaded`, want: ours},
		{name: "trusted types", csp: `require-trusted-types-for 'script'; trusted-types ` + snippet.TrustedTypesPolicy, js: `loaded`, want: ours},
		{name: "trusted types, not for us", csp: `require-trusted-types-for 'script'; trusted-types other`, js: count, want: `0`},
		{name: "chat", widget: "chat", js: `[loaded,typeof $zopim,typeof $zopim.set,$zopim._.length,$zopim.set._.length,typeof $zopim.t]`, want: `["/ours.js?k","function","function",0,0,"number"]`},
	}
	s := newSite(t)
	tb := s.newTab()
	for _, test := range tests {
		if test.csp != "" {
			s.header.Set("Content-Security-Policy", test.csp)
		} else {
			s.header.Del("Content-Security-Policy")
			test.page = append(test.page, late)
		}
		tb.open(snippet.Config{Widget: test.widget, Key: "k", WidgetURL: "/ours.js"}, page(test.page...))
		if got := tb.await(test.js, test.want); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		if test.csp == "" {
			tb.expect(`window.done`, `1`)
			if got := tb.eval(test.js); got != test.want {
				t.Errorf("%s: in the end got %s, want %s", test.name, got, test.want)
			}
		}
	}
	// Where a policy is in the way, the browser itself says so.
	for _, line := range tb.console.Take() {
		if !strings.Contains(line, "trusted-types other") {
			t.Errorf("on the console: %s", line)
		}
	}
}

// Without TLS browsers do not say that a page is for a frame, so it has the script too. The widget is the page's around it.
func TestLoaderInFrame(t *testing.T) {
	s := newSite(t)
	tb := s.newTab()
	c := snippet.Config{Key: "k", WidgetURL: "/ours.js"}
	s.frames = []string{withScript(t, c, page())}
	tb.open(c, page()+`<iframe src=/frame/0></iframe>`)
	tb.expect(`loaded`, `"/ours.js?key=k"`)
	tb.eval(`frames[0].eval("new Promise(function(r){setTimeout(r,50)})").then(function(){})`)
	tb.expect(`[frames[0].document.readyState,frames[0].document.querySelectorAll('script[src]').length]`, `["complete",0]`)
	tb.clean()
}
