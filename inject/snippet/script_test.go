package snippet_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"zchatproxy/inject/snippet"
)

const (
	// stub stands for a widget that has loaded: it keeps what it is told.
	stub = `<script>window.calls=[];window.zE=function(){calls.push([].slice.call(arguments))}</script>`
	// told lists what the stub was told, without the name of the widget.
	told = `calls.map(function(c){return c[1]})`
	// hurry makes the script's time run twenty times as fast.
	hurry = `<script>(function(s){window.setTimeout=function(f,ms){return s.call(window,f,ms/20)};
var a=AbortSignal.timeout;AbortSignal.timeout=function(ms){return a.call(AbortSignal,ms/20)}})(setTimeout)</script>`
	// ask is what a widget does for a token, first and last.
	ask = `new Promise(function(r){zESettings.webWidget.authenticate.chat.jwtFn(r)})`
	// asked is the outcome of ask; to be evaluated again and again.
	asked = `(window.asking||(window.asking=` + ask + `.then(function(v){window.answer=v})),window.answer)`
	// read shows zESettings with functions in it.
	read = `JSON.stringify(window.zESettings,function(k,v){return typeof v==='function'?'fn':v})`
)

// page is a document with the script first in its head and scripts after it.
func page(scripts ...string) string {
	var b strings.Builder
	b.WriteString("<!doctype html><head>{script}<title>t</title>")
	for _, s := range scripts {
		if !strings.HasPrefix(s, "<") {
			s = "<script>" + s + "</script>"
		}
		b.WriteString(s)
	}
	b.WriteString("</head><p>text")
	return b.String()
}

func TestSettings(t *testing.T) {
	const (
		auth   = `"authenticate":{"chat":{"jwtFn":"fn"}}`
		blue   = `{"webWidget":{"color":{"theme":"blue"},"position":"left"},"list":[1,2],"n":0}`
		sorted = `{"list":[1,2],"n":0,"webWidget":{"color":{"theme":"blue"},"position":"left"}}`
		freeze = `function deep(o){for(var k in o)if(typeof o[k]=='object')deep(o[k]);return Object.freeze(o)}`
	)
	tests := []struct {
		name     string
		settings string
		who      string
		page     []string
		js       string // default: read
		want     string
	}{
		{name: "anonymous", want: `undefined`},
		{name: "anonymous, settings", settings: blue, want: sorted},
		{name: "anonymous, page's own", page: []string{`zESettings={a:1,webWidget:{b:2}}`}, want: `{"a":1,"webWidget":{"b":2}}`},
		{name: "anonymous, page's own authentication", page: []string{`zESettings={webWidget:{b:2,authenticate:{chat:{jwtFn:function(){}}}}}`}, want: `{"webWidget":{"b":2}}`},
		{name: "anonymous, frozen page's own authentication", page: []string{`zESettings=Object.freeze({webWidget:Object.freeze({b:2,authenticate:{}})})`}, want: `{"webWidget":{"b":2}}`},
		{name: "page sets nothing", who: "alice", want: `{"webWidget":{` + auth + `}}`},
		{name: "settings", who: "alice", settings: blue,
			want: `{"list":[1,2],"n":0,"webWidget":{"color":{"theme":"blue"},"position":"left",` + auth + `}}`},
		{name: "whole, by assignment", who: "alice", page: []string{`window.zESettings={a:1}`}, want: `{"a":1,"webWidget":{` + auth + `}}`},
		{name: "whole, by var", who: "alice", page: []string{`var zESettings={a:1}`}, want: `{"a":1,"webWidget":{` + auth + `}}`},
		{name: "var without a value", who: "alice", page: []string{`var zESettings`}, want: `{"webWidget":{` + auth + `}}`},
		{name: "or itself", who: "alice", page: []string{`var zESettings=zESettings||{};zESettings.a=1`}, want: `{"webWidget":{` + auth + `},"a":1}`},
		{name: "twice", who: "alice", page: []string{`zESettings={a:1}`, `zESettings={b:1}`}, want: `{"b":1,"webWidget":{` + auth + `}}`},
		{name: "key by key", who: "alice", settings: blue,
			page: []string{`window.zESettings=window.zESettings||{}`, `zESettings.webWidget=zESettings.webWidget||{};zESettings.webWidget.position='right'`, `zESettings.webWidget.color={theme:'red'}`},
			js:   `[zESettings.webWidget.position,zESettings.webWidget.color,typeof zESettings.webWidget.authenticate.chat.jwtFn]`,
			want: `["right",{"theme":"red"},"function"]`},
		{name: "a part replaced after a read", who: "alice", page: []string{`zESettings={};zESettings.x;zESettings.webWidget={c:1}`}, want: `{"webWidget":{"c":1,` + auth + `}}`},
		{name: "settings under the page's wishes", who: "alice", settings: blue,
			page: []string{`zESettings={webWidget:{color:{theme:'red'},position:false},list:[],n:null}`},
			want: `{"webWidget":{"color":{"theme":"red"},"position":false,` + auth + `},"list":[],"n":null}`},
		{name: "settings beside the page's wishes", who: "alice", settings: blue,
			page: []string{`zESettings={webWidget:{color:{button:'red'}}}`},
			want: `{"webWidget":{"color":{"button":"red","theme":"blue"},"position":"left",` + auth + `},"list":[1,2],"n":0}`},
		{name: "read back", who: "alice", page: []string{`var mine={a:1};window.zESettings=mine`},
			js: `[zESettings===mine,zESettings===zESettings,mine.a]`, want: `[true,true,1]`},
		{name: "changed through the page's own name for it", who: "alice", page: []string{`var mine={};zESettings=mine;zESettings.x;mine.late=1`}, js: `zESettings.late`, want: `1`},
		{name: "frozen", who: "alice", page: []string{freeze, `zESettings=deep({a:1,webWidget:{c:[1]}})`}, want: `{"a":1,"webWidget":{"c":[1],` + auth + `}}`},
		{name: "frozen stays as it was", who: "alice", page: []string{freeze, `var mine=deep({webWidget:{c:1}});zESettings=mine;zESettings.x`},
			js: `[mine,Object.isFrozen(mine.webWidget),zESettings===zESettings]`, want: `[{"webWidget":{"c":1}},true,true]`},
		{name: "sealed", who: "alice", settings: blue, page: []string{`zESettings=Object.seal({a:1})`},
			js: `[zESettings.a,zESettings.n,typeof zESettings.webWidget.authenticate.chat.jwtFn]`, want: `[1,0,"function"]`},
		{name: "read-only member", who: "alice", page: []string{`zESettings=Object.defineProperty({},'webWidget',{value:{c:1},enumerable:true})`},
			want: `{"webWidget":{"c":1,` + auth + `}}`},
		{name: "without a prototype", who: "alice", page: []string{`var o=Object.create(null);o.a=1;zESettings=o`}, want: `{"a":1,"webWidget":{` + auth + `}}`},
		{name: "the page's own authentication", who: "alice", page: []string{`zESettings={webWidget:{authenticate:{chat:{jwtFn:function(r){r('page.s.own')}}}}}`}, js: asked, want: `"chat.alice.x"`},
		{name: "the page's own Help Center token", who: "alice", page: []string{`zESettings={webWidget:{authenticate:{jwtFn:function(r){r('own')}}}}`},
			js: `(zESettings.webWidget.authenticate.jwtFn(function(v){window.v=v}),window.v)`, want: `"own"`},
		{name: "no object: null", who: "alice", page: []string{`zESettings=null`}, want: `{"webWidget":{` + auth + `}}`},
		{name: "no object: text", who: "alice", page: []string{`zESettings='x'`}, want: `{"webWidget":{` + auth + `}}`},
		{name: "before", who: "alice", page: []string{`zESettings={a:1}`, `{script}`}, want: `{"a":1,"webWidget":{` + auth + `}}`},
		{name: "strict", who: "alice", page: []string{`'use strict';window.zESettings={a:1};window.zESettings.b=2`}, want: `{"a":1,"webWidget":{` + auth + `},"b":2}`},
		{name: "Object.prototype extended", who: "alice", page: []string{`Object.prototype.settings={a:1};Object.prototype.help=Object.prototype.late=1;Object.prototype.url='/x.js'`}, want: `{"webWidget":{` + auth + `}}`},
		{name: "module", who: "alice", page: []string{`<script type=module>window.zESettings={a:1}</script>`}, want: `{"a":1,"webWidget":{` + auth + `}}`},
		{name: "deleted", who: "alice", page: []string{`zESettings={a:1};delete window.zESettings`}, want: `undefined`},
		// What a page hides from us goes to the widget by command, after it has loaded.
		{name: "let", who: "alice", settings: blue, page: []string{`let zESettings={webWidget:{position:'right'}};zESettings.a=1`, stub}, js: `[` + told + `,calls[0][2],zESettings]`,
			want: `[["updateSettings","updateSettings","chat:reauthenticate"],{"webWidget":{"position":"right","color":{"theme":"blue"},"authenticate":{"chat":{}}},"a":1,"list":[1,2],"n":0},{"webWidget":{"position":"right"},"a":1}]`},
		{name: "const that failed", who: "alice", page: []string{`const zESettings=nowhere()`, stub}, js: told, want: `["updateSettings","updateSettings","chat:reauthenticate"]`},
		{name: "defineProperty", who: "alice", page: []string{`Object.defineProperty(window,'zESettings',{value:{a:1},writable:false,configurable:false})`, stub}, js: `[` + told + `,zESettings]`,
			want: `[["updateSettings","updateSettings","chat:reauthenticate"],{"a":1}]`},
		{name: "nothing hidden", who: "alice", page: []string{`zESettings={a:1}`, stub}, js: told, want: `[]`},
	}
	s := newSite(t)
	tb := s.newTab()
	for _, who := range []string{"", "alice"} {
		if who != "" {
			s.logIn(who)
		}
		// Each row is a frame, which costs less than a page.
		var names, js, wants []string
		s.frames = nil
		for _, test := range tests {
			if test.who != who {
				continue
			}
			html := page(test.page...)
			if strings.Count(html, "{script}") > 1 {
				html = strings.Replace(strings.Replace(html, "{script}", "", 1), "<script>{script}</script>", "{script}", 1)
			}
			s.frames = append(s.frames, withScript(t, snippet.Config{Settings: []byte(test.settings)}, html))
			if test.js == "" {
				test.js = `JSON.parse(` + read + `||null)`
				if test.want == "undefined" {
					test.js, test.want = `typeof zESettings`, `"undefined"`
				}
			}
			names, js, wants = append(names, test.name), append(js, test.js), append(wants, test.want)
		}
		tb.openFrames()
		for i, name := range names {
			if got := tb.await(fmt.Sprintf(`frames[%d].eval(%q)`, i, `(`+js[i]+`)`), wants[i]); got != wants[i] {
				t.Errorf("%s:\n got %s\nwant %s", name, got, wants[i])
			}
		}
	}
}

// What is asked of the token route, and nothing else.
func TestTokenRequest(t *testing.T) {
	s := newSite(t)
	s.logIn("alice")
	tb := s.newTab()
	tb.open(snippet.Config{HelpCenter: true}, page(`<base href="https://elsewhere.invalid/">`))
	tb.expect(asked, `"chat.alice.x"`)
	tb.expect(`window.help||(zESettings.webWidget.authenticate.jwtFn(function(v){window.help=v}),0)`, `"help.alice.x"`)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.asked {
		for name, want := range map[string]string{
			"Accept":         "application/jwt, application/json",
			"Cache-Control":  "no-cache",
			"Sec-Fetch-Mode": "cors",
			"Sec-Fetch-Site": "same-origin",
			"Sec-Fetch-Dest": "empty",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if !strings.Contains(h.Get("Cookie"), "session=alice") {
			t.Errorf("no credentials in %v", h)
		}
	}
	tb.clean()
}

// Whatever the token route answers, the widget is called back, and a chat
// that is not authenticated goes on.
func TestNoToken(t *testing.T) {
	reply := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	released := make(chan struct{})
	defer close(released)
	tests := map[string]http.HandlerFunc{
		"401":         reply(401, "application/problem+json", `{}`),
		"503":         reply(503, "application/jwt", "a.b.c"),
		"201":         reply(201, "application/jwt", "a.b.c"),
		"log-in page": reply(200, "text/html; charset=utf-8", "<!doctype html>"),
		"json":        reply(200, "application/json", `"a.b.c"`),
		"other jwt":   reply(200, "application/jwtx", "a.b.c"),
		"no type":     func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, "a.b.c") },
		"empty":       reply(200, "application/jwt", ""),
		"page as jwt": reply(200, "application/jwt", "<!doctype html>"),
		"quotes":      reply(200, "application/jwt", `"a.b.c"`),
		"newline":     reply(200, "application/jwt", "a.b.c\n"),
		"four parts":  reply(200, "application/jwt", "a.b.c.d"),
		"no content":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"far redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		},
		"redirect to a token": func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "help-center") {
				reply(200, "application/jwt", "a.b.c")(w, r)
				return
			}
			http.Redirect(w, r, "/__zchat/jwt/help-center", http.StatusFound)
		},
		"closed":    func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"cut short": cutShort,
		"silence": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-released:
			case <-r.Context().Done():
			}
		},
		"half an answer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/jwt")
			fmt.Fprint(w, "a.b.")
			http.NewResponseController(w).Flush()
			select {
			case <-released:
			case <-r.Context().Done():
			}
		},
	}
	// Where there is no answer at all, nobody is logged out for that.
	none := map[string]bool{"closed": true, "cut short": true, "silence": true, "half an answer": true}
	s := newSite(t)
	tb := s.newTab()
	tb.open(snippet.Config{}, quick(stub))
	for name, route := range tests {
		s.setRoute(route)
		// A new visitor each time, since the last one's session may count as over.
		tb.eval(`document.cookie=` + strconv.Quote("__zchat_visitor="+url.QueryEscape(name)))
		tb.expect(told+`.pop()`, `"chat:reauthenticate"`)
		tb.eval(`(calls.length=0,delete window.asking,delete window.answer)`)
		want := `["",["logout"],"undefined"]`
		if none[name] {
			want = `["",[],"object"]`
		}
		if got := tb.await(`[`+asked+`,`+told+`,typeof (zESettings.webWidget||{}).authenticate]`, want); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	tb.clean()
}
