package csp

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// The browser is the judge of last resort: it must report exactly the violations that the evaluator foresees for the page
// as it comes, and the same ones, none of them ours, for the page with the element and the patched policy.

const (
	pageNonce = "cGFnZQ=="
	// ourScript does what the injected script does: it asks for a token and creates the loader's element.
	ourScript = `seen.ours=1;fetch("/__zchat/jwt").then(function(){seen.token=1},function(){});` +
		`var u="LOADER",s=document.createElement("script");` +
		`if(window.trustedTypes)u=trustedTypes.createPolicy("` + TrustedTypesPolicy + `",{createScriptURL:String}).createScriptURL(u);` +
		`s.src=u;document.head.appendChild(s)`
	// widgetScript does what a widget does, with all places that Zendesk documents for it.
	widgetScript = `seen.widget=1;seen.parts=0;function part(){seen.parts++}
var st=document.createElement("style");st.textContent="#w{color:rgb(1,2,3)}";document.head.appendChild(st);
var e=document.createElement("i");e.id="w";e.setAttribute("style","top:1px");document.documentElement.appendChild(e);
seen.style=getComputedStyle(e).color=="rgb(1, 2, 3)"&&e.style.top=="1px"?1:0;
SCRIPTS.forEach(function(u){var s=document.createElement("script");s.onload=part;s.src=u;document.head.appendChild(s)});
CONNECTS.forEach(function(u){if(u.indexOf("wss:"))fetch(u).then(part,function(){});else try{new WebSocket(u);part()}catch(e){}});
IMAGES.forEach(function(u){var p=new Image;p.onload=part;p.src=u=="blob:"?URL.createObjectURL(new Blob(['<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'],{type:"image/svg+xml"})):u});
MEDIA.forEach(function(u){var a=new Audio(u);a.preload="auto";a.load();part()})`
	pageScript = `seen.hashed=1`
	// watcher runs before anything else of the page, and is not subject to its policy.
	watcher = `window.seen={};window.violations=[];document.addEventListener("securitypolicyviolation",function(e){
if(!/favicon/.test(e.blockedURI))violations.push([e.disposition,e.effectiveDirective,e.blockedURI].join(" "))});`
	dot = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
)

// loaders are where the widgets come from.
var loaders = map[string]string{
	"classic": "https://static.zdassets.com/ekr/snippet.js?key=k", "messaging": "https://static.zdassets.com/ekr/snippet.js?key=k", "chat": "https://v2.zopim.com/?k",
}

// places lists an address for each of a widget's documented sources.
func places(widget, directive, path string) (out []string) {
	for source := range strings.FieldsSeq(documented(widget, directive)) {
		switch {
		case source == "data:":
			out = append(out, dot)
		case source == "blob:":
			out = append(out, source)
		default:
			out = append(out, strings.Replace(source, "*", "a.b", 1)+path)
		}
	}
	return out
}

// widgetOf is the script of a widget, and how many of its parts must work.
func widgetOf(widget string) (script string, parts int) {
	script = widgetScript
	for name, list := range map[string][]string{
		"SCRIPTS": places(widget, "script-src", "/part.js"), "CONNECTS": places(widget, "connect-src", "/call"),
		"IMAGES": places(widget, "img-src", "/logo.png"), "MEDIA": places(widget, "media-src", "/ping.wav"),
	} {
		quoted, _ := json.Marshal(list)
		script, parts = strings.Replace(script, name, string(quoted), 1), parts+len(list)
	}
	return script, parts
}

// probe is something that a page tries; js starts it after the page has loaded, and an empty js means that it stands in the
// page's markup.
type probe struct {
	load Load   // URL empty: inline
	in   Inline // used when load.URL is empty
	js   string
}

// host URLs are written with the names below; all of them lead to the one test server.
func probes(port string) []probe {
	at := func(host string) string { return "https://" + host + ".test:" + port }
	load := func(directive, u, js string) probe {
		quoted, _ := json.Marshal(u)
		return probe{load: Load{Directive: directive, URL: u, Origin: at("page"), ParserInserted: js == ""}, js: strings.ReplaceAll(js, "URL", string(quoted))}
	}
	inline := func(directive, text, nonce, js string) probe {
		return probe{in: Inline{Directive: directive, Text: text, Nonce: nonce}, js: js}
	}
	const (
		script = `var s=document.createElement("script");s.src=URL;document.head.appendChild(s)`
		fetch  = `fetch(URL,{mode:"no-cors"}).catch(function(){})`
		socket = `try{new WebSocket(URL)}catch(e){}`
		image  = `new Image().src=URL`
		sheet  = `var l=document.createElement("link");l.rel="stylesheet";l.href=URL;document.head.appendChild(l)`
		font   = `new FontFace("f","url("+URL+")").load().catch(function(){})`
		frame  = `var f=document.createElement("iframe");f.src=URL;document.documentElement.appendChild(f)`
		worker = `try{new Worker(URL).onerror=function(){}}catch(e){}`
		audio  = `var a=new Audio(URL);a.preload="auto";a.load()`
	)
	return []probe{
		inline("script-src-elem", "seen.inline=1", "", ""),
		inline("script-src-elem", "seen.nonced=1", pageNonce, ""),
		inline("script-src-elem", pageScript, "", ""),
		load("script-src-elem", at("page")+"/own.js", ""),
		load("script-src-elem", at("cdn")+"/lib/cdn.js", ""),
		load("script-src-elem", at("a.b.wild")+"/wild.js", ""),
		load("script-src-elem", at("evil")+"/evil.js", ""),
		load("script-src-elem", at("evil")+"/created.js", script),
		load("script-src-elem", "https://127.0.0.1:"+port+"/address.js", script),
		inline("script-src-attr", "seen.attr=1", "", `document.createElement("i").setAttribute("onclick","seen.attr=1")`),
		inline("style-src-elem", "b{top:1px}", "", `var t=document.createElement("style");t.textContent="b{top:1px}";document.head.appendChild(t)`),
		inline("style-src-attr", "top:1px", "", `document.createElement("i").setAttribute("style","top:1px")`),
		load("style-src-elem", at("cdn")+"/a.css", sheet),
		load("style-src-elem", at("evil")+"/a.css", sheet),
		load("connect-src", at("page")+"/api", fetch),
		load("connect-src", at("cdn")+"/lib/x", fetch),
		load("connect-src", at("cdn")+"/private/x", fetch),
		load("connect-src", at("evil")+"/x", fetch),
		load("connect-src", "wss://page.test:"+port+"/socket", socket),
		load("connect-src", "wss://evil.test:"+port+"/socket", socket),
		load("img-src", at("page")+"/own.png", image),
		load("img-src", at("evil")+"/evil.png", image),
		load("img-src", dot, image),
		load("media-src", at("evil")+"/evil.wav", audio),
		load("font-src", at("evil")+"/evil.woff", font),
		load("frame-src", at("evil")+"/frame.html", frame),
		load("worker-src", at("page")+"/worker.js", worker),
	}
}

// violation is how the watcher writes one.
func (p probe) violation(disposition string) string {
	if p.load.URL == "" {
		return disposition + " " + p.in.Directive + " inline"
	}
	uri := p.load.URL
	if scheme, _, _ := strings.Cut(uri, ":"); scheme == "data" || scheme == "blob" {
		uri = scheme // reports hold only the scheme of what is not fetched over a network (CSP3 §5.4)
	}
	if p.load.Directive == "frame-src" {
		uri = strings.TrimSuffix(uri, "/frame.html") // where a frame would have led is not the page's to know
	}
	return disposition + " " + p.load.Directive + " " + uri
}

// foreseen lists the violations that the evaluator expects, one for each policy that a probe breaks.
func foreseen(all []probe, enforce, report []string) []string {
	var out []string
	for disposition, fields := range map[string][]string{"enforce": enforce, "report": report} {
		for _, policy := range listOf(fields) {
			only := List{policy}
			for _, p := range all {
				if p.load.URL != "" && !only.AllowsLoad(p.load) || p.load.URL == "" && !only.AllowsInline(p.in) {
					out = append(out, p.violation(disposition))
				}
			}
		}
	}
	slices.Sort(out)
	return onceEach(out)
}

// chromiumPolicies are judged and patched in the browser. PORT stands for the server's port, NONCE for the page's nonce and
// HASH for the hash of its script; "r:" at the start says report-only.
var chromiumPolicies = [][]string{
	{"default-src 'self'"},
	{"default-src 'none'"},
	{"default-src *"},
	{"default-src * 'unsafe-inline' data: blob:"},
	{"default-src https: 'unsafe-inline' 'unsafe-eval' data:"},
	{"default-src https: wss: 'unsafe-inline'"},
	{"script-src 'nonce-NONCE' 'strict-dynamic'; object-src 'none'; base-uri 'none';"},
	{"object-src 'none';base-uri 'self';script-src 'nonce-NONCE' 'strict-dynamic' 'report-sample' 'unsafe-inline' https: http:"},
	{"script-src 'HASH' 'strict-dynamic' https:"},
	{"script-src 'self' 'HASH' 'unsafe-inline'"},
	{"default-src 'none'; script-src 'nonce-NONCE'; style-src 'nonce-NONCE'; connect-src 'self'; img-src 'self'"},
	{"default-src 'self' 'nonce-NONCE' 'strict-dynamic' 'report-sample'"},
	{"default-src 'self'; script-src 'self' 'unsafe-inline' cdn.test:PORT; connect-src 'self' cdn.test:PORT"},
	{"script-src 'none'; script-src-elem 'self' 'unsafe-inline' https://cdn.test:PORT/lib/; script-src-attr 'none'; style-src 'self'; style-src-attr 'unsafe-inline'"},
	{"script-src 'unsafe-inline' *.wild.test:PORT evil.test; img-src *.test:PORT"},
	{"script-src 'self'; script-src 'unsafe-inline' *; SCRIPT-SRC 'none'"},
	{"default-src * data: 'unsafe-inline', script-src 'self' 'unsafe-inline' , connect-src 'self',"},
	{"script-src 'nonce-NONCE' 'self'", "script-src 'nonce-b3RoZXI=' 'self' 'unsafe-inline'; img-src 'none'"},
	{"r:default-src 'self'; script-src 'nonce-NONCE'"},
	{"script-src 'self' 'unsafe-inline'", "r:default-src 'none'; report-uri /report"},
	{"connect-src https://cdn.test:PORT/lib/ https://page.test:PORT/other; img-src https://evil.test:PORT/evil.png; font-src http://evil.test:PORT"},
	{" DEFAULT-SRC\t'SELF' ;; ;Img-Src HTTPS://EVIL.TEST:PORT; media-src"},
	{"script-src 'none' 'self'; style-src 'none' 'unsafe-inline'"},
	{"script-src 'self' 'unsafe-inline' 'nonce-{{nonce}}'; style-src 'unsafe-inline' 'nonce-'"},
	{"script-src 'unsafe-hashes' 'sha256-ATTR' 'sha384-HASH384' 'self'"},
	{"default-src 'self'; worker-src 'none'; frame-src https:; child-src 'none'"},
	{"child-src 'none'; script-src 'self' 'unsafe-inline'"},
	{"connect-src page.test:PORT *.test:PORT; img-src evil.test:*; media-src *:*; font-src *:1"},
	{"connect-src wss://page.test:PORT ws://evil.test:PORT"},
	{"connect-src https: ; img-src ws:"},
	{"script-src 'unsafe-inline' https://127.0.0.1:PORT; img-src *:PORT; font-src 127.0.0.1; connect-src *.1:PORT"},
	{"script-src 'unsafe-inline' https://*:PORT; img-src https://*; connect-src *:PORT wss://*:PORT/socket"},
	{"script-src 'sélf' 'none'; img-src 'none'"},
	{"script-src 'self' 'url-sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'unsafe-inline'"},
	{"script-src 'self' 'eval-sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'unsafe-inline'"},
	{"script-src 'report-sha256' 'self' 'unsafe-inline'; style-src 'report-sha256' 'unsafe-inline'"},
	{"script-src 'self' 'strict-dynamic-url' 'url-sha384-aaaa' 'HASH'"},
	{"sandbox allow-scripts allow-same-origin; script-src 'self' 'unsafe-inline'; navigate-to 'none'; plugin-types application/pdf; require-sri-for script style; block-all-mixed-content"},
	{"script-src\f'self'; img-src\f*; style-src 'unsafe-inline'\f"},
	{"script-src 'unsafe-inline' 'sha-256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'self'"},
	{"script-src 'unsafe-inline' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSu' 'sha384-abcd=' 'sha512-' 'self'; style-src 'unsafe-inline' 'sha256-a'"},
	{"script-src 'SHA-256-ATTR' 'unsafe-hashes'"},
	{"script-src 'nonce-NONCE' 'url-sha512-aaaa' *"},
	{"script-src 'nonce-NONCE' 'strict-dynamic' 'url-sha256-abcd' *; style-src 'url-sha256-a' *; font-src * 'url-sha256-abcd'; media-src 'eval-sha256-abcd' *"},
	{"script-src 'self' 'unsafe-inline' cdn.test.:PORT evil.test/ http://*.b.wild.test:* https://cdn.test:0PORT"},
	{"script-src 'nonce-NONCE' 'unsafe-inline'; script-src-elem 'strict-dynamic' 'HASH'; style-src-elem 'self'"},
	{"script-src 'HASH384-'; img-src 'self' https://EVIL.test:PORT/EVIL.png"},
	{"worker-src 'self'; script-src 'strict-dynamic' 'nonce-NONCE' 'self'; default-src 'nonce-NONCE' 'unsafe-inline'"},
	{"default-src 'unsafe-inline' 'self' data: blob: filesystem: mediastream:; img-src *; connect-src *:*"},
	{"script-src-elem 'none'; default-src * 'unsafe-inline'"},
	{"script-src-attr 'unsafe-inline'; script-src 'self' 'nonce-NONCE='"},
	{"style-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'unsafe-inline' https://cdn.test:PORT"},
}

// sources reads an entry of chromiumPolicies.
func sources(entry []string, port string) (enforce, report []string) {
	encode := base64.StdEncoding.EncodeToString
	own := sha256.Sum256([]byte(pageScript))
	attribute := sha256.Sum256([]byte("seen.attr=1"))
	long := sha512.Sum384([]byte(pageScript))
	r := strings.NewReplacer("PORT", port, "NONCE", pageNonce, "HASH384", encode(long[:]), "HASH", "sha256-"+encode(own[:]), "ATTR", encode(attribute[:]))
	for _, field := range entry {
		if rest, found := strings.CutPrefix(field, "r:"); found {
			report = append(report, r.Replace(rest))
		} else {
			enforce = append(enforce, r.Replace(field))
		}
	}
	return enforce, report
}

// widgetProbes is what the injected script and the widget do, as probes that the page itself starts.
func widgetProbes(s *site, widget string) []probe {
	all := []probe{{in: Inline{Directive: "style-src-elem", Text: "#w{color:rgb(1,2,3)}"}}, {in: Inline{Directive: "style-src-attr", Text: "top:1px"}}}
	add := func(directive string, addresses ...string) {
		for _, u := range addresses {
			all = append(all, probe{load: Load{Directive: directive, URL: u, Origin: s.at("page")}})
		}
	}
	add("connect-src", s.at("page")+"/__zchat/jwt")
	add("script-src-elem", loaders[widget])
	add("script-src-elem", places(widget, "script-src", "/part.js")...)
	add("connect-src", places(widget, "connect-src", "/call")...)
	add("img-src", places(widget, "img-src", "/logo.png")...)
	add("media-src", places(widget, "media-src", "/ping.wav")...)
	return all
}

// allowedToChange tells what a page may do after the patch that it could not before: the widget's own wishes are not only
// the widget's.
func allowedToChange(violation string) bool {
	self := strings.Contains(violation, " connect-src ") && strings.Contains(violation, "://page.test:")
	return self || strings.HasSuffix(violation, "style-src-elem inline") || strings.HasSuffix(violation, "style-src-attr inline") || strings.HasSuffix(violation, "img-src data")
}

func TestChromium(t *testing.T) {
	s := newSite(t)
	ctx := browser(t, s.port)
	t.Run("header", func(t *testing.T) { testHeaders(t, ctx, s) })
	t.Run("meta", func(t *testing.T) { testMeta(t, ctx, s) })
	t.Run("trusted types", func(t *testing.T) { testTrustedTypes(t, ctx, s) })
}

// spared reports whether the i-th case is left to runs of everything: a visit takes the better part of a second.
func spared(i int) bool { return i%8 != 0 && os.Getenv("ZCHATPROXY_TEST_ALL") != "1" }

func testHeaders(t *testing.T, ctx context.Context, s *site) {
	all := probes(s.port)
	for i, entry := range chromiumPolicies {
		if spared(i) {
			continue
		}
		widget := []string{"classic", "messaging", "chat"}[i%3]
		t.Run(widget+" "+strings.Join(entry, " | "), func(t *testing.T) {
			script := strings.ReplaceAll(ourScript, "LOADER", loaders[widget])
			sum := sha256.Sum256([]byte(script))
			needs := Needs{ScriptHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]), Widget: widget, LoadsWidget: true, Origin: s.at("page")}
			enforce, report := sources(entry, s.port)
			before := foreseen(all, enforce, report)
			s.serve(enforce, report, s.markup("", all))
			came := s.open(t, ctx, all, "true", before)
			if diff := diffLines(before, came.violations); diff != "" {
				t.Errorf("as it comes (-evaluator +browser):%s", diff)
			}

			r := Patch(enforce, report, needs)
			left := Obstacles(r.Enforce, r.Nonce, needs)
			stopped := func(what string) bool {
				return slices.ContainsFunc(left, func(o Obstacle) bool { return o.Stops == what })
			}
			styled, loaded := !stopped("widget-style"), !stopped("widget-script")
			ours := widgetProbes(s, widget)
			if !loaded { // and so does nothing
				ours = ours[2:4]
			}
			parts := 0
			s.mu.Lock()
			s.widget, parts = widgetOf(widget)
			s.mu.Unlock()
			after := foreseen(slices.Concat(all, ours), r.Enforce, r.ReportOnly)
			s.serve(r.Enforce, r.ReportOnly, s.markup(element(script, r.Nonce), all))
			done := fmt.Sprintf("seen.token&&seen.parts===%d", parts)
			if !loaded {
				done = "seen.token"
			}
			sent := s.open(t, ctx, all, done, after)
			if diff := diffLines(after, sent.violations); diff != "" {
				t.Errorf("patched to %q %q (-evaluator +browser):%s", r.Enforce, r.ReportOnly, diff)
			}
			if sent.seen["ours"] != 1 || sent.seen["token"] != 1 || loaded && sent.seen["parts"] != parts || !loaded && sent.seen["widget"] == 1 {
				t.Errorf("patched to %q: worked %v, want all %d parts, if any: %v", r.Enforce, sent.seen, parts, loaded)
			}
			if got := sent.seen["style"] == 1; loaded && got != styled {
				t.Errorf("patched to %q: the widget's styles work: %v, want %v", r.Enforce, got, styled)
			}
			checkOnlyLoss(t, came.violations, sent.violations, styled, loaded)
			for _, line := range sent.console {
				if !strings.Contains(line, "violates the") && !slices.Contains(came.console, line) {
					t.Errorf("patched to %q, the browser says: %s", r.Enforce, line)
				}
			}
		})
	}
}

// checkOnlyLoss compares the violations of the page as it comes and as it is sent: none new but of what no patch can
// allow, none gone but those that the widget's wishes take along.
func checkOnlyLoss(t *testing.T, came, sent []string, styled, loaded bool) {
	t.Helper()
	for line := range strings.SplitSeq(diffLines(came, sent), "\n") {
		change, violation, _ := strings.Cut(line, " ")
		ok := change == "" || change == "-" && allowedToChange(violation) ||
			change == "+" && !styled && strings.HasSuffix(violation, " inline") && strings.Contains(violation, " style-src-") ||
			change == "+" && !loaded && strings.Contains(violation, " script-src-elem https://static.zdassets.com/")
		if !ok {
			t.Errorf("violation %s", line)
		}
	}
}

func element(script, nonce string) string {
	if nonce != "" {
		return "<script nonce=" + nonce + ">" + script + "</script>"
	}
	return "<script>" + script + "</script>"
}

// onceEach drops what a sorted list says twice of one address: Chromium reports some requests again on their way through
// its processes. Inline violations are counted.
func onceEach(violations []string) []string {
	return slices.CompactFunc(violations, func(a, b string) bool { return a == b && !strings.HasSuffix(a, " inline") })
}

// diffLines lists, one a line, what only one of two sorted lists has.
func diffLines(want, got []string) string {
	var b strings.Builder
	for len(want)+len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0] < got[0]:
			b.WriteString("\n- " + want[0])
			want = want[1:]
		case len(want) == 0 || got[0] < want[0]:
			b.WriteString("\n+ " + got[0])
			got = got[1:]
		default:
			want, got = want[1:], got[1:]
		}
	}
	return b.String()
}

// testMeta has the browser judge policies in <meta> elements behind the script's element: what MetaObstacles
// foresees for later requests is what happens.
func testMeta(t *testing.T, ctx context.Context, s *site) {
	token := probe{load: Load{Directive: "connect-src", URL: s.at("page") + "/__zchat/jwt", Origin: s.at("page")}, js: `fetch("/__zchat/jwt").catch(function(){})`}
	image := probe{load: Load{Directive: "img-src", URL: "https://static.zdassets.com/logo.png", Origin: s.at("page")}, js: `new Image().src="https://static.zdassets.com/logo.png"`}
	needs := Needs{Widget: "classic", Origin: s.at("page")}
	for i, policies := range [][]string{
		{"connect-src 'none'"},
		{"default-src 'self' 'unsafe-inline'"},
		{"sandbox; report-uri /x; frame-ancestors 'none'"},
		{"img-src *", "connect-src https://evil.test"},
	} {
		if spared(i) {
			continue
		}
		t.Run(strings.Join(policies, " | "), func(t *testing.T) {
			var metas strings.Builder
			for _, policy := range policies {
				metas.WriteString(`<meta http-equiv="Content-Security-Policy" content="` + policy + `">`)
			}
			want := foreseen([]probe{token, image}, policies, nil)
			s.serve(nil, nil, s.markup("<script>seen.ours=1</script>"+metas.String(), nil))
			v := s.open(t, ctx, []probe{token, image}, "seen.ours", want)
			if diff := diffLines(want, v.violations); diff != "" {
				t.Errorf("-evaluator +browser:%s", diff)
			}
			obstacles := letters(MetaObstacles(policies, needs))
			for letter, p := range map[string]probe{"T": token, "i": image} {
				stopped := slices.Contains(v.violations, p.violation("enforce"))
				// Images need data: as well, so an obstacle there may be about something else than the logo.
				if listed := strings.Contains(obstacles, letter); stopped && !listed || listed && !stopped && letter == "T" {
					t.Errorf("%s is among the obstacles %q: %v, the browser stops it: %v", letter, obstacles, listed, stopped)
				}
			}
			if v.seen["ours"] != 1 {
				t.Error("the element before the policy did not run")
			}
		})
	}
}

// testTrustedTypes compares what Patch says about Trusted Types with whether the script can load the widget.
func testTrustedTypes(t *testing.T, ctx context.Context, s *site) {
	script := strings.ReplaceAll(ourScript, "LOADER", loaders["classic"])
	needs := Needs{Widget: "classic", LoadsWidget: true, Origin: s.at("page")}
	s.mu.Lock()
	s.widget = "seen.widget=1"
	s.mu.Unlock()
	for i, policies := range [][]string{
		{"require-trusted-types-for 'script'"},
		{"require-trusted-types-for 'script'; trusted-types default zchatproxy"},
		{"require-trusted-types-for 'script'; trusted-types *"},
		{"trusted-types default"},
		{"trusted-types 'none'"},
		{"require-trusted-types-for 'script'; trusted-types default"},
		{"require-trusted-types-for 'script'", "trusted-types 'allow-duplicates'"},
		{"require-trusted-types-for 'script'; trusted-types ZCHATPROXY"},
	} {
		if spared(i) {
			continue
		}
		t.Run(strings.Join(policies, " | "), func(t *testing.T) {
			r := Patch(policies, nil, needs)
			done, want := "seen.widget", []string(nil)
			if r.Blocked != "" {
				done, want = "true", []string{"enforce trusted-types trusted-types-policy"}
			}
			s.serve(r.Enforce, nil, s.markup(element(script, r.Nonce), nil))
			v := s.open(t, ctx, nil, done, want)
			if diff := diffLines(want, v.violations); diff != "" {
				t.Errorf("patched to %q, violations (-want +browser):%s", r.Enforce, diff)
			}
			if works := v.seen["widget"] == 1; works != (r.Blocked == "") {
				t.Errorf("patched to %q: the widget loads: %v, blocked: %q", r.Enforce, works, r.Blocked)
			}
		})
	}
}
