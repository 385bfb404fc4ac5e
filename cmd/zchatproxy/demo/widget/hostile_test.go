package widget_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"zchatproxy/inject/snippet"
)

// Pages with habits. Each is shown as it is and with the script: the page
// must notice no difference, and the agent must see the visitor.

// watch keeps what a page says on its console and throws, from its first
// script on.
const watch = `<script>window.said=[];['log','warn','error'].forEach(function(n){console[n]=function(){said.push(n+': '+[].join.call(arguments,' '))}});
addEventListener('error',function(e){said.push('threw: '+e.message)});addEventListener('unhandledrejection',function(e){said.push('rejected: '+e.reason)})</script>`

// prototypeJS does to a page what Prototype.js 1.6 does.
const prototypeJS = `<script>
Array.prototype.each=function(f){for(var i=0;i<this.length;i++)f(this[i],i);return this};
Array.prototype.toJSON=function(){return '['+this.join(', ')+']'};
String.prototype.toJSON=function(){return '"'+this+'"'};
Array.prototype.map=Array.prototype.collect=function(f){var r=[];this.each(function(v,i){r.push((f||function(x){return x})(v,i))});return r};
Array.prototype.reduce=function(){return this.length>1?this:this[0]};
Array.prototype.entries=Array.prototype.toArray=function(){return [].concat(this)};
String.prototype.split=(function(s){return function(){return s.apply(this,arguments)}})(String.prototype.split);
Function.prototype.bind=function(){var f=this,a=[].slice.call(arguments),o=a.shift();return function(){return f.apply(o,a.concat([].slice.call(arguments)))}};
Object.keys=function(o){var k=[];for(var p in o)k.push(p);return k};
Element.prototype.remove=function(){this.parentNode.removeChild(this);return this};
window.Event={observe:function(e,n,f){e.addEventListener(n,f,false)}};window.$=function(i){return document.getElementById(i)};
window.$A=function(a){return [].slice.call(a)};
Event.observe(window,'load',function(){console.log('loaded',JSON.stringify({a:'b'}),[1,2].toJSON())});
</script>`

// mooTools does to a page what MooTools 1.2 does.
const mooTools = `<script>
Function.prototype.extend=function(p){for(var k in p)this[k]=p[k];return this};
Function.prototype.bind=function(b,a){var f=this;return function(){return f.apply(b,a!=null?[].concat(a):arguments)}};
Function.prototype.delay=function(n){return setTimeout(this,n)};
Array.from=function(a){return a==null?[]:[].slice.call(a)};
String.prototype.contains=function(s){return this.indexOf(s)!==-1};
Number.prototype.times=function(f){for(var i=0;i<this;i++)f(i)};
Date.now=function(){return +new Date()};
Array.prototype.contains=function(v){return this.indexOf(v)!==-1};Array.prototype.associate=function(){};
window.Event=new Function('e','return e');window.Hash=function(){};window.Browser={Engine:{}};window.JSON.encode=JSON.stringify;
document.id=function(i){return document.getElementById(i)};window.addEvent=function(n,f){this.addEventListener(n,f,false)};
addEvent('load',function(){console.log('loaded','abc'.contains('b'))});
</script>`

// swap does what Turbolinks and Turbo do for a visit: it fetches a page, adds
// the scripts that its head has and ours has not, swaps the body, and pushes.
const swap = `<script>function visit(url){return fetch(url,{headers:{'Turbolinks-Referrer':location.href}}).then(function(r){return r.text()}).then(function(t){
var d=new DOMParser().parseFromString(t,'text/html'),have=[].map.call(document.head.querySelectorAll('script'),function(s){return s.outerHTML});
[].forEach.call(d.head.querySelectorAll('script'),function(s){if(have.indexOf(s.outerHTML)===-1){var c=document.createElement('script');
[].forEach.call(s.attributes,function(a){c.setAttribute(a.name,a.value)});c.textContent=s.textContent;document.head.appendChild(c)}});
document.title=d.title;history.pushState({},'',url);document.documentElement.replaceChild(document.adoptNode(d.body),document.body);
document.dispatchEvent(new CustomEvent('turbo:load'))})}
document.addEventListener('turbo:load',function(){console.log('visited')})</script>`

type habit struct {
	name string
	kind string // media type; empty: HTML
	head string // after the script
	body string
	// settings are the site's.
	settings string
	// widget is the kind that comes, when that is not classic; "" for none.
	widget string
	noTag  bool
	// do is what the visitor does, when the page has loaded.
	do string
	// said is what the page says; "" for nothing.
	said string
	// agent is the state that the agent comes to see; empty: alice, authenticated. "-": there is no widget.
	agent string
}

func habits() []habit {
	return []habit{
		{name: "plain"},
		{name: "Prototype.js", head: prototypeJS, said: `log: loaded {"a":"b"} [1, 2]`},
		{name: "MooTools", head: mooTools, said: `log: loaded true`},
		{name: "Object.prototype extended", head: `<script>Object.prototype.extra=function(){};Object.prototype.settings={a:1};Object.prototype.help=1;var n=0;for(var k in {})n++;console.log(n)</script>`, said: `log: 3`},
		{name: "frozen primordials", head: `<script>[Object,Array,Function,String,RegExp,Promise].forEach(function(c){Object.freeze(c.prototype);Object.freeze(c)})</script>`},
		{name: "use strict", head: `<script>'use strict';window.zESettings=window.zESettings||{};window.zESettings.webWidget={color:{theme:'#123456'}};console.log(window.zESettings.webWidget.color.theme)</script>`, said: `log: #123456`},
		{name: "frozen zESettings", head: `<script>var cfg=Object.freeze({webWidget:Object.freeze({color:'red'})});window.zESettings=cfg;
try{(function(){'use strict';cfg.webWidget.color='blue'})()}catch(e){console.log(e.name)}console.log(JSON.stringify(cfg),zESettings.webWidget.color)</script>`,
			said: `log: TypeError|log: {"webWidget":{"color":"red"}} red`},
		{name: "let zESettings", head: `<script>let zESettings={webWidget:{color:'red'}};console.log(zESettings.webWidget.color)</script><script>console.log(zESettings.webWidget.color)</script>`, said: `log: red|log: red`},
		{name: "let zESettings and settings", settings: `{"webWidget":{"color":"blue"}}`, head: `<script>let zESettings={webWidget:{}};console.log(JSON.stringify(zESettings))</script>`, said: `log: {"webWidget":{}}`},
		{name: "var zESettings", head: `<script>var zESettings={webWidget:{color:'red'}};console.log(zESettings.webWidget.color,window.zESettings===zESettings)</script>`, said: `log: red true`},
		{name: "reads its settings back", head: `<script>window.zESettings={webWidget:{color:'red',list:[1]}};var mine=zESettings;</script><script>
mine.webWidget.list.push(2);console.log(mine===zESettings,zESettings.webWidget.list.join(),zESettings.webWidget.color)</script>`, said: `log: true 1,2 red`},
		{name: "document.write", head: `<script>document.write('<meta name=a content=b>')</script>`, body: `<script>document.write('<p id=w>written<script>console.log(document.getElementById("w").firstChild.data)<\/script>')</script>`, said: `log: written`},
		{name: "document.write of the tag", noTag: true, head: `<script>document.write('<script id=ze-snippet src=/widget/classic/snippet.js><\/script>')</script>`},
		{name: "document.open", noTag: true, do: `(document.open(),document.write('<!doctype html><title>new</title><script id=ze-snippet src=/widget/classic/snippet.js><\/script><p>new'),document.close())`},
		{name: "Turbo", head: swap, do: `visit('/frame/0').then(function(){return visit('/frame/0?2')})`, said: `log: visited|log: visited`},
		{name: "router", do: `(history.pushState({},'','/frame/x?a=1#b'),history.replaceState({},'','/frame/y'),fetch('/as/alice').then(function(){}))`},
		{name: "base", head: `<base href="http://127.0.0.1:1/">`, noTag: true, body: `<script>document.write('<script src="'+location.origin+'/widget/classic/snippet.js"><\/script>')</script>`},
		{name: "fetch replaced", head: `<script>window.fetch=function(){throw new Error('not here')};window.XMLHttpRequest=null;window.Promise=function(){throw new Error('nor this')}</script>`, noTag: true,
			body: `<iframe hidden></iframe>`, agent: `-`},
		{name: "timers replaced", head: `<script>window.setTimeout=(function(s){return function(f,n){return s(f,n)}})(window.setTimeout);window.clearTimeout=function(){}</script>`},
		{name: "listeners replaced", head: `<script>EventTarget.prototype.addEventListener=(function(a){return function(n,f,c){console.log(n);return a.call(this,n,f,c)}})(EventTarget.prototype.addEventListener)</script>`, noTag: true,
			body: `<script>addEventListener('x',function(){})</script>`, said: `log: x`, agent: `-`},
		{name: "no widget", noTag: true, agent: `-`},
		{name: "widget blocked", noTag: true, body: `<script id=ze-snippet src=/frame/none></script>`, agent: `-`},
		{name: "widget switched to messaging", widget: "messaging", agent: `anonymous`},
		{name: "widget that throws", noTag: true, body: `<script>window.zE=function(){throw new Error('zE')}</script>`, do: `fetch('/as/alice').then(function(){})`, agent: `-`},
		{name: "zE is an element", noTag: true, body: `<i id=zE></i><i id=$zopim></i>`, agent: `-`},
		{name: "tag manager", noTag: true, body: `<script>addEventListener('load',function(){setTimeout(function(){var s=document.createElement('script');s.src='/widget/classic/snippet.js';document.body.appendChild(s)},50)})</script>`},
		{name: "loaded twice", body: `<script src="/widget/classic/snippet.js?again"></script>`},
		{name: "stub in its place", noTag: true, head: `<script>window.zE=window.zE||function(){}</script>`, body: `<script>addEventListener('load',function(){setTimeout(function(){var s=document.createElement('script');s.src='/widget/classic/snippet.js';document.body.appendChild(s)},50)})</script>`},
		{name: "component that comes and goes", noTag: true, head: `<script>function mount(){window.zESettings={webWidget:{color:'red'}};var s=document.createElement('script');s.id='ze-snippet';s.src='/widget/classic/snippet.js';
return new Promise(function(r){s.onload=r;document.head.appendChild(s)})}
function unmount(){delete window.zE;delete window.zESettings;var s=document.getElementById('ze-snippet');s.parentNode.removeChild(s)}</script>`,
			do: `mount().then(function(){unmount();return mount()}).then(function(){console.log(zESettings.webWidget.color)})`, said: `log: red`},
		{name: "module", noTag: true, body: `<script type=module>await 0;window.zESettings={webWidget:{color:'red'}};const s=document.createElement('script');s.src='/widget/classic/snippet.js';document.body.append(s)</script>`},
		{name: "onerror", head: `<script>window.onerror=function(m){console.log('onerror '+m);return true}</script>`, body: `<script>nowhere()</script>`,
			said: `threw: Uncaught ReferenceError: nowhere is not defined|log: onerror Uncaught ReferenceError: nowhere is not defined`},
		{name: "frameset", noTag: true, head: `<frameset cols="*"><frame src="about:blank"></frameset>`, agent: `-`},
		{name: "XHTML", kind: "application/xhtml+xml", agent: ``},
	}
}

// document is the page with a habit; script is "" for the page as it is.
func (h habit) document(script string) frame {
	tag := ""
	if !h.noTag {
		widget := h.widget
		if widget == "" {
			widget = "classic"
		}
		tag = `<script id="ze-snippet" src="/widget/` + widget + `/snippet.js"></script>`
	}
	if h.kind != "" {
		escape := strings.NewReplacer("&", "&amp;", "<", "&lt;")
		plain := strings.TrimSuffix(strings.TrimPrefix(watch, "<script>"), "</script>")
		return frame{h.kind, `<html xmlns="http://www.w3.org/1999/xhtml"><head><script>` + escape.Replace(plain) + `</script>` + script + `<title>t</title>` + tag + `</head><body><p>text</p></body></html>`}
	}
	return frame{"text/html; charset=utf-8", "<!doctype html><html><head>" + watch + script + "<title>t</title>" + h.head + "</head><body><p>text</p>" + h.body + tag + "</body></html>"}
}

// shape is a page's document without what the proxy and the widget add.
const shape = `(function(d){var c=d.documentElement.cloneNode(true);
[].forEach.call(c.querySelectorAll('script[data-zchatproxy],stand-in-widget'),function(e){e.parentNode.removeChild(e)});
return location.pathname.replace(/\d+/,'N')+' '+d.title+' '+d.compatMode+' '+c.outerHTML})(document)`

// show loads all habits, each in a frame, does what the visitors do, and
// returns what each page says and its shape.
func show(tb *tab, all []habit, script func(habit) string) (said, shapes []string) {
	var top strings.Builder
	top.WriteString("<!doctype html>")
	tb.s.frames = nil
	for i, h := range all {
		tb.s.frames = append(tb.s.frames, h.document(script(h)))
		fmt.Fprintf(&top, "<iframe src=/frame/%d></iframe>", i)
	}
	tb.s.page = top.String()
	tb.load("/")
	for i, h := range all {
		if h.do != "" {
			tb.eval(fmt.Sprintf("frames[%d].eval(%q)", i, h.do))
		}
		want, _ := json.Marshal(h.said)
		said = append(said, tb.await(fmt.Sprintf("frames[%d].said.join('|')", i), string(want)))
	}
	for i, h := range all {
		if h.agent != "-" && script(h) != "" {
			js := fmt.Sprintf("[frames[%d].__agent.status,frames[%[1]d].__agent.name]", i)
			want := `["authenticated","alice"]`
			if h.agent != "" {
				want = `["` + h.agent + `",""]`
			}
			if got := tb.await(js, want); got != want {
				tb.s.t.Errorf("%s: an agent sees %s; log %s", h.name, got, tb.eval(fmt.Sprintf("frames[%d].__agent.log", i)))
			}
		}
		shapes = append(shapes, tb.eval(fmt.Sprintf("frames[%d].eval(%q)", i, shape)))
	}
	return said, shapes
}

func TestHostilePages(t *testing.T) {
	s := newSite(t)
	tb := s.newTab()
	tb.load("/blank")
	tb.as("alice")
	all := habits()
	saidBefore, before := show(tb, all, func(habit) string { return "" })
	tb.eval(`localStorage.clear()`)
	said, after := show(tb, all, func(h habit) string {
		return element(t, snippet.Config{Widget: "classic", Settings: []byte(h.settings)})
	})
	for i, h := range all {
		if want, _ := json.Marshal(h.said); saidBefore[i] != string(want) {
			t.Errorf("%s: without the script the page says %s, want %s", h.name, saidBefore[i], want)
		}
		h.compare(t, [2]string{saidBefore[i], before[i]}, [2]string{said[i], after[i]})
	}
}

// compare fails the test where the page, or its document, is another with the script.
func (h habit) compare(t *testing.T, without, with [2]string) {
	t.Helper()
	for i, what := range [...]string{"page says", "document is"} {
		if with[i] != without[i] {
			t.Errorf("%s: the %s\n%s, without the script\n%s", h.name, what, with[i], without[i])
		}
	}
}

// The same pages as documents of their own, from the site itself and through the proxy, with consoles compared.
func TestHostilePagesProxied(t *testing.T) {
	if os.Getenv("ZCHATPROXY_TEST_ALL") != "1" {
		t.Skip("loads some seventy pages: set ZCHATPROXY_TEST_ALL=1")
	}
	all := habits()
	for _, settings := range []string{"", `{"webWidget":{"color":"blue"}}`} {
		s := newProxied(t, "classic", true, policies()[0])
		s.settings = settings
		s.start(t)
		for _, h := range all {
			s.frames = append(s.frames, h.document(""))
		}
		direct, through := s.newTab(), s.newTab()
		through.load("/blank")
		through.eval("fetch('/sso/alice').then(function(){})")
		for i, h := range all {
			if h.settings != settings {
				continue
			}
			path := fmt.Sprintf("/frame/%d", i)
			h.compare(t, h.visit(direct, s.behind+path, ""), h.visit(through, s.URL+path, "alice"))
			without, with := plainly(direct.console.Take()...), plainly(through.console.Take()...)
			if !slices.Equal(with, without) {
				t.Errorf("%s: the console has\n%q, without the proxy\n%q", h.name, with, without)
			}
		}
	}
}

// visit opens a page with the habit, does what visitors do, and returns what the page says and its document. The agent
// must come to see who, if that is somebody.
func (h habit) visit(tb *tab, address, who string) [2]string {
	tb.s.t.Helper()
	tb.open(address)
	if h.do != "" {
		tb.value(`(` + h.do + `)`)
	}
	said := tb.become(`said.join('|')`, h.said)
	if h.agent != "-" {
		want := "authenticated " + who
		if h.agent != "" || who == "" {
			want = "anonymous "
		}
		if got := tb.become(`__agent.status+' '+__agent.name`, want); got != want {
			tb.s.t.Errorf("%s: an agent sees %s; log %s", h.name, got, tb.value(`__agent.log.join()`))
		}
	}
	return [2]string{said, plainly(tb.value(shape))[0]}
}

// become returns a text as soon as it is want, or what it is after a while. Unlike await it needs nothing that a page
// may have replaced.
func (tb *tab) become(js, want string) (got string) {
	tb.s.t.Helper()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		if got = tb.value(`(function(){try{return String(` + js + `)}catch(e){return String(e)}})()`); got == want {
			break
		}
	}
	return got
}

// value is a text as the browser hands it over, or of a promise what it comes to.
func (tb *tab) value(js string) string {
	tb.s.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[any](js, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.s.t.Fatalf("%s: %v", js, err)
	}
	return fmt.Sprint(v)
}

// plainly is lines without what differs from one server to another, in any order.
func plainly(lines ...string) (out []string) {
	for _, line := range lines {
		out = append(out, regexp.MustCompile(`127\.0\.0\.1:\d{2,}`).ReplaceAllString(line, "site"))
	}
	slices.Sort(out)
	return out
}
