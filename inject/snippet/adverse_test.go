package snippet_test

import (
	"net/http"
	"strings"
	"testing"

	"zchatproxy/inject/snippet"
)

// Networks that fail, pages that stand in the way, and what a browser does besides.

// quick makes the script's time run fast on a page with these scripts.
func quick(scripts ...string) string {
	return strings.Replace(page(scripts...), "{script}", hurry+"{script}", 1)
}

// held stops the script's time; pass lets milliseconds of it pass.
const held = `<script>(function(){var now=0,n=0,due={};
window.setTimeout=function(f,ms,a,b,c){due[++n]=[now+(ms||0),function(){f(a,b,c)}];return n};
window.clearTimeout=function(i){delete due[i]};
AbortSignal.timeout=function(ms){var c=new AbortController();setTimeout(function(){c.abort()},ms);return c.signal};
window.pass=function(ms){for(var end=now+ms,next,f;;){next=0;
for(var i in due)if(due[i][0]<=end&&(!next||due[i][0]<due[next][0]))next=i;
if(!next)return now=end;now=due[next][0];f=due[next][1];delete due[next];f()}}})()</script>`

// silent is a token route that never answers, until the test ends.
func silent(t *testing.T) http.HandlerFunc {
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	}
}

// cutShort is a token route whose answers do not arrive whole. A browser does not try those again by itself.
func cutShort(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jwt")
	w.Header().Set("Content-Length", "99")
	w.Write([]byte("a.b.c"))
}

// No answer is no log-out: the chat goes on unauthenticated, and is authenticated as soon as there is a token again.
func TestNoAnswer(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	for widget, again := range map[string]string{"classic": signIn, "messaging": `"loginUser"`} {
		tb := s.newTab()
		s.setRoute(cutShort)
		jwtFn := `zESettings.webWidget.authenticate.chat.jwtFn`
		if widget == "messaging" {
			jwtFn = `calls[0][2]`
		}
		tb.open(snippet.Config{Widget: widget}, quick(stub))
		tb.expect(`typeof `+jwtFn, `"function"`)
		tb.eval(`(window.fn=` + jwtFn + `,calls.length=0)`)
		before := s.requests()
		// A widget that asks again as soon as it hears nothing good must not make a storm of it.
		tb.eval(`(window.heard=[],function again(v){v===undefined||heard.push(v);heard.length>40||v||setTimeout(function(){fn(again)},1)}(),0)`)
		tb.expect(`heard.length>40`, `true`)
		if n := s.requests() - before; n > 8 {
			t.Errorf("%s: %d questions to a token route that does not answer", widget, n)
		}
		tb.expect(`[heard.join(''),`+told+`,localStorage.__zchat_visitor]`, `["",[],"v-alice"]`)
		s.setRoute(nil)
		tb.expect(`(`+act+`,`+told+`)`, `[`+again+`]`)
		// A single failure mends itself on a page in peace.
		tb.eval(`new Promise(function(r){setTimeout(r,8e3)}).then(function(){calls.length=0})`)
		s.setRoute(func(w http.ResponseWriter, r *http.Request) { s.setRoute(nil); cutShort(w, r) })
		tb.eval(`new Promise(fn).then(function(v){window.heard=v})`)
		tb.expect(`[heard,`+told+`]`, `["",[`+again+`]]`)
		tb.clean()
	}
}

// Where a question cannot be broken off, the widget does not wait for its answer.
func TestNoAbortSignal(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	s.setRoute(silent(t))
	tb := s.newTab()
	tb.open(snippet.Config{}, strings.Replace(quick(stub), "{script}", `<script>delete AbortSignal.timeout</script>{script}`, 1))
	tb.expect(asked, `""`)
	tb.expect(told, `[]`)
	tb.clean()
}

// Leaving a page breaks off what it has asked for, and that is no log-out either.
func TestStopped(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	s.setRoute(silent(t))
	tb := s.newTab()
	tb.open(snippet.Config{}, page(stub))
	tb.eval(`(window.asking=` + ask + `.then(function(v){window.answer=v}),0)`)
	for s.requests() == 0 {
		tb.eval(`new Promise(requestIdleCallback)`)
	}
	tb.eval(`window.stop()`)
	tb.expect(`[`+asked+`,`+told+`,localStorage.__zchat_visitor]`, `["",[],"v-alice"]`)
	tb.clean()
}

// An answer about one visitor says nothing about the next, and a widget hears of its own question before it hears of
// somebody else.
func TestAnswerForTheLast(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	tb := s.newTab()
	tb.open(snippet.Config{}, strings.Replace(page(stub), "{script}", held+"{script}", 1))
	reached, answer := make(chan struct{}), make(chan struct{})
	s.setRoute(func(w http.ResponseWriter, r *http.Request) {
		s.setRoute(nil)
		close(reached)
		<-answer
		w.WriteHeader(401)
	})
	tb.eval(`(zESettings.webWidget.authenticate.chat.jwtFn(function(v){calls.push([0,'called back '+v])}),0)`)
	<-reached
	s.logIn("bob")
	tb.expect(told, `["logout",`+signIn+`]`)
	tb.eval(fresh)
	close(answer)
	tb.expect(told, `["called back "]`)
	tb.eval(`pass(8e3)`)
	tb.expect(`[`+told+`,`+asked+`]`, `[["called back "],"chat.bob.x"]`)

	s.setRoute(func(w http.ResponseWriter, r *http.Request) {
		s.setRoute(nil)
		http.SetCookie(w, &http.Cookie{Name: "__zchat_visitor", Value: "v-carol", Path: "/"})
		w.Header().Set("Content-Type", "application/jwt")
		w.Write([]byte("chat.carol.x"))
	})
	tb.eval(`(calls.length=0,Object.defineProperty(window,'cookieStore',{value:0}),zESettings.webWidget.authenticate.chat.jwtFn(function(v){calls.push([0,'called back '+v])}),0)`)
	tb.expect(told+`.slice().sort()`, `["called back ","chat:reauthenticate","logout","updateSettings"]`)
	tb.expect(`calls.findIndex(function(c){return c[1]==='logout'})`+"-"+`calls.findIndex(function(c){return c[1]==='chat:reauthenticate'})`, `-2`)
	tb.clean()
}

// A stub that a page puts there until the widget comes passes nothing on, and a page may take the widget away and load
// it again, as the wrappers for React do.
func TestAnotherWidget(t *testing.T) {
	const (
		nothing = `window.zE=window.zE||function(){}`
		comes   = `(window.calls=[],window.zE=function(){calls.push([].slice.call(arguments))},` + act + `)`
	)
	s := newSite(t)
	tb := s.newTab()
	for _, test := range []struct{ widget, stubbed, again string }{
		{"classic", `["logout",` + signIn + `]`, `["updateSettings",` + signIn + `]`},
		{"messaging", `["logoutUser","loginUser"]`, `["loginUser"]`},
	} {
		s.logIn("alice")
		tb.open(snippet.Config{Widget: test.widget}, page(stub))
		tb.load("/blank.js")
		s.logIn("bob")
		tb.open(snippet.Config{Widget: test.widget}, page(nothing))
		tb.eval(act)
		tb.eval(comes)
		tb.expect(told, test.stubbed)
		// The widget shows itself by asking for a token: from then on it is known to have heard.
		jwtFn := `(window.zESettings?zESettings.webWidget.authenticate.chat.jwtFn:calls[calls.length-1][2])`
		tb.expect(`(window.asking||(window.asking=new Promise(`+jwtFn+`).then(function(v){window.answer=v})),window.answer)`, `"chat.bob.x"`)
		tb.eval(`(delete window.zE,delete window.zESettings,window.zESettings={a:1},0)`)
		tb.eval(comes)
		tb.expect(told, test.again)
	}
	// The chat widget's own queue passes everything on.
	tb.open(snippet.Config{Widget: "chat"}, page(`window.calls=[];window.$zopim=function(f){$zopim._.push(f)};$zopim._=[]`))
	tb.eval(act)
	tb.eval(`(function(q){window.$zopim=function(f){f()};$zopim.livechat={authenticate:function(){calls.push('authenticate')}};q.forEach($zopim)})($zopim._)`)
	tb.eval(act)
	tb.expect(`calls`, `["authenticate"]`)
	tb.clean()
}

// Pages empty the storage on their way out, with all that is remembered of the visitor.
func TestEmptiedStorage(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	tb := s.newTab()
	tb.open(snippet.Config{}, page(stub))
	tb.eval(`localStorage.clear()`)
	tb.load("/blank.js")
	s.logIn("")
	tb.open(snippet.Config{}, page(stub))
	tb.expect(told, `["logout"]`)
	tb.clean()
}

// Nothing that a page has done to its window comes back as an error of ours.
func TestNeverThrows(t *testing.T) {
	const events = `;dispatchEvent(new Event('focus'));document.dispatchEvent(new Event('visibilitychange'));document.dispatchEvent(new Event('prerenderingchange'))`
	s := newSite(t)
	tb := s.newTab()
	for _, who := range []string{"alice", ""} {
		s.logIn(who)
		for _, script := range []string{
			`Object.defineProperty(window,'zE',{get:function(){throw new Error('zE')}});Object.defineProperty(window,'$zopim',{get:function(){throw new Error('$zopim')}})`,
			`window.clearTimeout=window.setTimeout=null`,
			`window.zESettings={get webWidget(){throw new Error('webWidget')},a:1}`,
			`var mine=window.zESettings={a:1};mine.mine=mine;Object.freeze(mine)`,
			`['fetch','AbortSignal','Date','Math','RegExp','localStorage','cookieStore','performance','Object'].forEach(function(n){Object.defineProperty(window,n,{get:function(){throw new Error(n)}})})`,
		} {
			for _, widget := range []string{"classic", "messaging", "chat"} {
				tb.open(snippet.Config{Widget: widget, Key: "k", WidgetURL: "/ours.js", Late: true, Settings: []byte(`{"b":2}`)}, page(script, `addEventListener('load',function(){`+events+`})`))
				tb.eval(`new Promise(function(done){var x=new XMLHttpRequest;x.onload=function(){done(1)};x.open('GET','/api');x.send()})`)
				if strings.Contains(script, "zESettings") {
					tb.expect(`zESettings.a`, `1`)
				}
			}
		}
	}
	s.logIn("alice")
	tb.open(snippet.Config{}, page(`window.clearTimeout=null`, `Object.prototype.method='TRACE';Object.prototype.mode='navigate';Object.prototype.body='x'`))
	tb.expect(asked, `"chat.alice.x"`)
	tb.clean()
}

// A document without an origin has nobody to ask for.
func TestSandboxedDocument(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	s.header.Set("Content-Security-Policy", "sandbox allow-scripts")
	tb := s.newTab()
	tb.open(snippet.Config{Late: true}, page(stub, `addEventListener('load',function(){dispatchEvent(new Event('focus'));window.done=1})`))
	tb.expect(`[window.done,`+told+`]`, `[1,[]]`)
	tb.eval(`new Promise(requestIdleCallback).then(function(){})`)
	if n := s.requests(); n != 0 {
		t.Errorf("%d questions of a document in a sandbox", n)
	}
	tb.clean()
}

// What the frames of a page show next is no resource of the page; for portals and framesets it is all that happens.
func TestFramesInUse(t *testing.T) {
	s := newSite(t)
	tb := s.newTab()
	s.frames = []string{"<a id=a href=/frame/1>next</a>", "second"}
	for name, html := range map[string]string{
		"iframe":   quick(stub) + `<iframe src=/frame/0></iframe>`,
		"frameset": `<html><head>` + hurry + `{script}` + stub + `</head><frameset cols="*"><frame src=/frame/0></frameset></html>`,
	} {
		s.setRoute(nil)
		s.logIn("alice")
		tb.open(snippet.Config{}, html)
		tb.expect(`frames[0].document.body.textContent`, `"next"`)
		s.setRoute(refuse)
		tb.eval(`frames[0].document.getElementById('a').click()`)
		if got := tb.await(told, `["logout"]`); got != `["logout"]` {
			t.Errorf("%s: told %s", name, got)
		}
	}
	// Frames from elsewhere, and those that scripts make for themselves, are no use of the site.
	s.setRoute(nil)
	tb.load("/blank.js") // or the last page asks once more
	before := s.requests()
	tb.open(snippet.Config{}, quick(stub)+`<iframe></iframe><iframe srcdoc=x></iframe><iframe src="data:text/html,x"></iframe>`)
	tb.eval(`new Promise(function(r){setTimeout(r,8e3)}).then(function(){})`)
	if n := s.requests() - before; n != 0 {
		t.Errorf("%d questions for frames that are not the site's", n)
	}
	tb.clean()
}

// Many service workers keep whatever a page fetches: a token of the last visitor is not for the next.
func TestServiceWorker(t *testing.T) {
	s := newSite(t)
	s.worker = `addEventListener('install',function(){skipWaiting()});addEventListener('activate',function(e){e.waitUntil(clients.claim())});
addEventListener('fetch',function(e){e.request.mode==='navigate'||e.respondWith(caches.open('all').then(function(all){return all.match(e.request).then(function(hit){
return hit||fetch(e.request).then(function(r){all.put(e.request,r.clone());return r})})}))})`
	s.logIn("alice")
	tb := s.newTab()
	tb.load("/blank.js")
	tb.eval(`navigator.serviceWorker.register('/worker.js').then(function(){return navigator.serviceWorker.ready}).then(function(){})`)
	for _, who := range []string{"alice", "bob"} {
		s.logIn(who)
		tb.open(snippet.Config{}, page(stub))
		tb.expect(`!!navigator.serviceWorker.controller`, `true`)
		tb.expect(asked, `"chat.`+who+`.x"`)
	}
	tb.clean()
}

// A page that comes back from the back-forward cache may belong to somebody else by now.
func TestBackForwardCache(t *testing.T) {
	s := newSite(t)
	tb := s.newTab()
	for _, step := range []struct{ who, told string }{
		{"bob", `["logout",` + signIn + `]`},
		{"", `["logout"]`},
	} {
		s.logIn("alice")
		tb.open(snippet.Config{}, page(stub, noCookieStore, `addEventListener('pageshow',function(e){window.restored=e.persisted})`))
		tb.eval(`(calls.length=0,` + act + `)`)
		tb.load("/blank.js")
		s.logIn(step.who)
		tb.eval(`(history.back(),0)`)
		tb.expect(`window.restored`, `true`)
		tb.expect(told, step.told)
	}
	tb.clean()
}
