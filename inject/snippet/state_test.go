package snippet_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"zchatproxy/inject/snippet"
)

// first puts a script before ours, as a test's means to change the browser.
func first(script, html string) string {
	return strings.Replace(html, "{script}", "<script>"+script+"</script>{script}", 1)
}

const (
	noCookieStore = `Object.defineProperty(window,'cookieStore',{value:undefined})`
	signIn        = `"updateSettings","chat:reauthenticate"`
	// fresh empties the stub's list.
	fresh = `(calls.length=0)`
	// act is what a page does all the time.
	act = `fetch('/api').then(function(){})`
)

func TestSamePage(t *testing.T) {
	for name, setup := range map[string]string{"cookieStore": ``, "without cookieStore": noCookieStore} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			tb := s.newTab()
			tb.open(snippet.Config{HelpCenter: true}, first(setup, page(stub, `zE.logout=function(){calls.push([0,'help logout'])}`)))
			for _, step := range []struct{ who, told string }{
				{"alice", `[` + signIn + `]`},
				{"bob", `["logout","help logout",` + signIn + `]`},
				{"", `["logout","help logout"]`},
				{"alice", `[` + signIn + `]`},
			} {
				s.logIn(step.who)
				if setup != "" {
					tb.eval(act)
				}
				tb.expect(told, step.told)
				if step.who != "" {
					tb.expect(`Object.keys(calls[calls.length-2][2].webWidget.authenticate).sort()`, `["chat","jwtFn"]`)
					tb.eval(`delete window.asking`)
					tb.expect(asked, `"chat.`+step.who+`.x"`)
				} else {
					tb.expect(`zESettings.webWidget`, `{}`)
				}
				tb.eval(fresh)
			}
			tb.clean()
		})
	}
}

// Each of these is a page coming back into use.
func TestNoticed(t *testing.T) {
	s := newSite(t)
	tb := s.newTab()
	s.setRoute(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/jwt")
		fmt.Fprint(w, "a.b.c")
	})
	s.frames = []string{""}
	tb.open(snippet.Config{}, first(noCookieStore, page(stub)))
	for i, event := range []string{
		`dispatchEvent(new Event('focus'))`,
		`document.dispatchEvent(new Event('visibilitychange'))`,
		`dispatchEvent(new PageTransitionEvent('pageshow',{persisted:true}))`,
		`dispatchEvent(new StorageEvent('storage',{key:'__zchat_visitor'}))`,
		`new Promise(function(r){var x=new XMLHttpRequest;x.onload=r;x.open('GET','/api');x.send()}).then(function(){})`,
		`navigator.sendBeacon('/api')`,
		`document.body.appendChild(document.createElement('iframe')).src='/frame/0'`,
	} {
		tb.eval(fmt.Sprintf(`(calls.length=0,document.cookie='__zchat_visitor=%d',%s,0)`, i, event))
		want := `["logout",` + signIn + `]`
		if i == 0 {
			want = `[` + signIn + `]`
		}
		if got := tb.await(told, want); got != want {
			t.Errorf("%s: told %s", event, got)
		}
	}
}

func TestNextPage(t *testing.T) {
	const forgetful = `Object.defineProperty(window,'localStorage',{get:function(){throw new DOMException('no')}})`
	s := newSite(t)
	tb := s.newTab()
	for _, step := range []struct{ who, setup, told string }{
		{"alice", ``, `[]`}, // zESettings says it
		{"alice", ``, `[]`},
		{"bob", ``, `["logout",` + signIn + `]`},
		{"bob", ``, `[]`},
		{"", ``, `["logout"]`},
		{"", ``, `[]`},
		{"alice", ``, `[]`},
		{"", forgetful, `[]`},
		{"", ``, `["logout"]`},
	} {
		tb.load("/blank.js") // which is not ours, so that nothing is noticed there
		s.logIn(step.who)
		tb.open(snippet.Config{}, first(step.setup, page(stub, `addEventListener('load',function(){window.done=1})`)))
		want := `[` + step.told + `,1]`
		if got := tb.await(`[`+told+`,window.done]`, want); got != want {
			t.Errorf("%+v: got %s", step, got)
		}
	}
	// Pages without the widget, or not of ours, do not count as having told it.
	s.logIn("alice")
	tb.open(snippet.Config{}, page())
	s.logIn("")
	tb.open(snippet.Config{}, page())
	tb.load("/blank.js")
	tb.open(snippet.Config{}, page())
	tb.expect(`typeof window.zE`, `"undefined"`)
	tb.eval(`(window.calls=[],window.zE=function(){calls.push([].slice.call(arguments))},` + act + `)`)
	tb.expect(told, `["logout"]`)
	tb.clean()
}

func refuse(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }

// A gateway that ends a session leaves the cookie alone.
func TestSessionEnds(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	tb := s.newTab()
	tb.open(snippet.Config{}, strings.Replace(page(stub), "{script}", hurry+"{script}", 1))
	tb.eval(`new Promise(function(r){setTimeout(r,8e3)}).then(function(){})`) // 400 ms
	if n := s.requests(); n != 0 {
		t.Errorf("%d questions to the token route of a page in peace", n)
	}
	tb.eval(act)
	tb.expect(`performance.getEntriesByName(location.origin+'/__zchat/jwt').length`, `1`)
	tb.expect(told, `[]`)

	s.setRoute(refuse)
	tb.eval(`(Object.defineProperty(document,'hidden',{value:true,configurable:true}),` + act + `)`)
	tb.eval(`new Promise(function(r){setTimeout(r,8e3)}).then(function(){})`)
	if n := s.requests(); n != 1 {
		t.Errorf("%d questions to the token route, also of a page that nobody sees", n)
	}
	tb.eval(`(delete document.hidden,document.dispatchEvent(new Event('visibilitychange')))`)
	tb.expect(told, `["logout"]`)
	if got := tb.eval(ask + `.catch(function(e){return 'none'})`); got != `"none"` {
		t.Errorf("zESettings still has a jwtFn, which gives %s", got)
	}

	// A second of use is 20 s of the script's time: not more questions than at 6, 12 s and so on.
	before := s.requests()
	tb.eval(`new Promise(function(r){var end=performance.now()+1000;(function f(){
fetch('/api').then(function(){performance.now()>end?r(0):setTimeout(f,200)})})()})`)
	if n := s.requests() - before; n > 3 {
		t.Errorf("%d questions in 20 s to a token route that refuses", n)
	}
	s.setRoute(nil)
	tb.eval(fresh)
	tb.expect(`(`+act+`,`+told+`)`, `[`+signIn+`]`)
	tb.clean()
}

// A token that comes after somebody else has is not given away.
func TestOvertaken(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	tb := s.newTab()
	tb.open(snippet.Config{}, page(stub))
	s.setRoute(func(w http.ResponseWriter, r *http.Request) {
		s.setRoute(nil)
		http.SetCookie(w, &http.Cookie{Name: "__zchat_visitor", Value: "v-bob", Path: "/"})
		w.Header().Set("Content-Type", "application/jwt")
		fmt.Fprint(w, "chat.bob.x")
	})
	tb.expect(asked, `""`)
	tb.expect(told, `["logout",`+signIn+`]`)
	tb.clean()
}

func TestLate(t *testing.T) {
	s := newSite(t)
	tb := s.newTab()
	tb.open(snippet.Config{Late: true}, page(stub, `addEventListener('load',function(){setTimeout(function(){window.done=1},500)})`))
	tb.expect(`window.done`, `1`)
	if n := s.requests(); n != 1 {
		t.Errorf("%d questions about an anonymous visitor, want 1", n)
	}
	tb.expect(told, `[]`)
	// The site knows the visitor, but the page could not tell.
	s.logIn("alice")
	tb.eval(`(document.cookie='__zchat_visitor=;max-age=0')`)
	tb.forget()
	tb.open(snippet.Config{Late: true}, page(stub))
	tb.expect(told, `[`+signIn+`]`)
	tb.clean()
}

func TestPrerender(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	tb := s.newTab()
	tb.open(snippet.Config{}, first(`Object.defineProperty(document,'prerendering',{value:true,configurable:true})`, page(stub)))
	s.logIn("bob")
	tb.eval(`(document.dispatchEvent(new Event('visibilitychange')),window.asking=` + ask + `.then(function(v){window.answer=v}),0)`)
	tb.expect(`[`+told+`,localStorage.length,typeof answer]`, `[[],0,"undefined"]`)
	if n := s.requests(); n != 0 {
		t.Errorf("%d questions to the token route from a page that is not shown", n)
	}
	tb.eval(`(delete document.prerendering,document.dispatchEvent(new Event('prerenderingchange')),document.dispatchEvent(new Event('visibilitychange')))`)
	tb.expect(`window.answer`, `"chat.bob.x"`)
	tb.clean()
}

// The script gets by in a browser that lacks or forbids what it likes to use.
func TestPoorBrowser(t *testing.T) {
	const poor = `['PerformanceObserver','cookieStore','AbortSignal','fetch','Event','trustedTypes'].forEach(function(n){
Object.defineProperty(window,n,{value:undefined})});
['localStorage','sessionStorage'].forEach(function(n){Object.defineProperty(window,n,{get:function(){throw new DOMException(n)}})});`
	const noCookies = `Object.defineProperty(document,'cookie',{get:function(){throw new DOMException('cookie')}})`
	s := newSite(t)
	s.logIn("alice")
	tb := s.newTab()
	tb.open(snippet.Config{}, first(poor, page(stub, `zESettings={a:1}`)))
	tb.expect(asked, `""`)
	tb.expect(told, `[]`)
	tb.open(snippet.Config{Settings: []byte(`{"b":2}`)}, first(poor+noCookies, page(stub, `zESettings={a:1}`)))
	tb.expect(`zESettings`, `{"a":1,"b":2}`)
	tb.clean()
}

func TestGlobals(t *testing.T) {
	s := newSite(t)
	tb := s.newTab()
	names := `(window.after=window.before,window.before=Object.getOwnPropertyNames(window).concat(Object.getOwnPropertyNames(document)),0)`
	tb.open(snippet.Config{Key: "k"}, `<!doctype html><script>`+names+`</script>{script}<script>`+names+`</script><title>t</title>`)
	tb.expect(`before.filter(function(n){return after.indexOf(n)===-1})`, `["before","zESettings"]`)
}
