package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"zchatproxy/inject/snippet"
	"zchatproxy/proxy"
	"zchatproxy/proxy/csp"
)

func TestPageGetsOneScriptAndNothingElseChanges(t *testing.T) {
	g := newRig(t, pageHandler(plainPage, "X-Site: legacy", "Set-Cookie: a=1", "Set-Cookie: b=2", `ETag: "v1"`, "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"))
	res := g.get("/")
	element, rest := elementOf(t, res.body)
	if rest != plainPage {
		t.Errorf("without the script the page is\n%q\nwant\n%q", rest, plainPage)
	}
	if got, want := res.ContentLength, int64(len(plainPage)+len(element)); got != want {
		t.Errorf("Content-Length %d, want %d", got, want)
	}
	if got := res.Header["Set-Cookie"]; len(got) != 2 || got[0] != "a=1" || got[1] != "b=2" {
		t.Errorf("Set-Cookie %q", got)
	}
	if got := res.Header.Get("X-Site"); got != "legacy" {
		t.Errorf("X-Site %q", got)
	}
	if got := res.Header.Get("Last-Modified"); got != "Mon, 01 Jan 2024 00:00:00 GMT" {
		t.Errorf("Last-Modified %q", got)
	}
	if got := res.Header.Get("ETag"); !strings.HasPrefix(got, `"v1-zchat`) || !strings.HasSuffix(got, `"`) {
		t.Errorf("ETag %q", got)
	}
	if got := res.Header.Get("Vary"); got != "Sec-Fetch-Dest" {
		t.Errorf("Vary %q", got)
	}
	if strings.Contains(element, "ann@example.com") {
		t.Error("identity in the page")
	}
}

func TestScriptIsTheSameForEveryVisitor(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	anonymous := g.get("/")
	known := g.get("/", ann...)
	if anonymous.body != known.body {
		t.Error("the page differs between visitors")
	}
}

// TestHeadersThatBecomeUntrue has a case for each row of the table.
func TestHeadersThatBecomeUntrue(t *testing.T) {
	// Its <meta> is pushed out of where browsers look.
	page := strings.Replace(plainPage, "<title>", `<script src=a.js></script><meta charset="koi8-r"><title>`, 1)
	element, _ := elementOf(t, newRig(t, pageHandler(page)).get("/").body)
	cases := []struct {
		name, sent, field, want string
	}{
		{"length", "X-A: b", "Content-Length", fmt.Sprint(len(page) + len(element))},
		{"no label", "Content-Type: text/html", "Content-Type", "text/html; charset=koi8-r"},
		{"label", "Content-Type: text/html; charset=UTF-8", "Content-Type", "text/html; charset=UTF-8"},
		{"strong tag", `ETag: "x"`, "ETag", `"x-zchat`},
		{"weak tag", `ETag: W/"x"`, "ETag", `W/"x-zchat`},
		{"no tag at all", "X-A: b", "ETag", ""},
		{"accept ranges", "Accept-Ranges: bytes", "Accept-Ranges", ""},
		{"md5", "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==", "Content-MD5", ""},
		{"digest", "Digest: sha-256=x", "Digest", ""},
		{"repr digest", "Repr-Digest: sha-256=:x:", "Repr-Digest", ""},
		{"content digest", "Content-Digest: sha-256=:x:", "Content-Digest", ""},
		{"vary is kept", "Vary: Cookie", "Vary", "Cookie"},
		{"age is kept", "Age: 12", "Age", "12"},
		{"link is kept", "Link: </a.css>; rel=preload", "Link", "</a.css>; rel=preload"},
	}
	tried := map[string]bool{}
	for _, tt := range cases {
		tried[http.CanonicalHeaderKey(tt.field)] = true
		t.Run(tt.name, func(t *testing.T) {
			name, value, _ := strings.Cut(tt.sent, ": ")
			g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.Header().Set(name, value)
				w.Header().Set("Content-Length", fmt.Sprint(len(page)))
				io.WriteString(w, page)
			}))
			for _, method := range []string{"GET", "HEAD"} {
				if method == "HEAD" && (tt.name == "length" || tt.name == "no label") {
					continue // only the body tells
				}
				got := g.do(method, "/").Header.Get(tt.field)
				if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
					t.Errorf("%s: %s is %q, want %q…", method, tt.field, got, tt.want)
				}
			}
		})
	}
	for _, field := range proxy.UntrueFields() {
		if !tried[field] {
			t.Errorf("no case for the table's row of %s", field)
		}
	}
}

func TestHeadSaysWhatGetSays(t *testing.T) {
	g := newRig(t, pageHandler(plainPage, `ETag: "v1"`, "Content-Security-Policy: script-src 'self'", fmt.Sprintf("Content-Length: %d", len(plainPage))))
	get, head := g.get("/"), g.do("HEAD", "/")
	if head.Header.Get("Content-Length") != "" && head.ContentLength != get.ContentLength {
		t.Errorf("HEAD says Content-Length %s, GET %s", head.Header.Get("Content-Length"), get.Header.Get("Content-Length"))
	}
	for _, h := range []http.Header{get.Header, head.Header} {
		h.Del("Date")
		h.Del("Content-Length")
	}
	if fmt.Sprint(get.Header) != fmt.Sprint(head.Header) {
		t.Errorf("headers differ:\nGET  %v\nHEAD %v", get.Header, head.Header)
	}
}

func TestWhatIsLeftAlone(t *testing.T) {
	gz := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		return b.String()
	}
	for _, tt := range []struct {
		name    string
		body    string
		sent    []string
		request []string
		result  string // in the access log; "" for nothing, as the response is no page
	}{
		{name: "json", body: `{"a":1}`, sent: []string{"Content-Type: application/json"}},
		{name: "no content type", body: plainPage, sent: []string{"Content-Type: "}},
		{name: "attachment", body: plainPage, sent: []string{"Content-Disposition: attachment; filename=x.html"}, result: "attachment"},
		{name: "no-transform", body: plainPage, sent: []string{"Cache-Control: public, no-transform"}, result: "no-transform"},
		{name: "fragment", body: "<li>one</li><li>two</li>", result: "fragment"},
		{name: "fetch", body: plainPage, request: []string{"Sec-Fetch-Dest: empty"}, result: "fetch"},
		{name: "iframe", body: plainPage, request: []string{"Sec-Fetch-Dest: iframe"}, result: "frame"},
		{name: "xhr", body: plainPage, request: []string{"X-Requested-With: XMLHttpRequest"}, result: "fetch"},
		{name: "htmx", body: plainPage, request: []string{"HX-Request: true"}, result: "fetch"},
		{name: "turbo frame", body: plainPage, request: []string{"Turbo-Frame: cart"}, result: "fetch"},
		{name: "unknown coding", body: "xxxx", sent: []string{"Content-Encoding: exi"}, result: "coding-unknown"},
		{name: "doubled coding", body: gz(gz(plainPage)), sent: []string{"Content-Encoding: gzip, gzip"}, result: "coding-unknown"},
		{name: "gzip with flags that nobody knows", body: strings.Replace(gz(plainPage), "\x08\x00", "\x08\xe0", 1), sent: []string{"Content-Encoding: gzip"}, result: "body-corrupt"},
		{name: "gzipped fragment", body: gz("<p>one</p>"), sent: []string{"Content-Encoding: gzip"}, result: "fragment"},
		{name: "signed", body: plainPage, sent: []string{`Signature-Input: s=("content-digest");created=1`, "Signature: s=:x:"}, result: "signed"},
		{name: "frame of another page", body: plainPage, request: []string{"Sec-Fetch-Dest: frame"}, result: "frame"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := append([]string{`ETag: "v1"`, "Accept-Ranges: bytes"}, tt.sent...)
			g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				h.Set("Content-Type", "text/html")
				for _, line := range sent {
					name, value, _ := strings.Cut(line, ": ")
					h.Set(name, value)
				}
				if h.Get("Content-Type") == "" {
					h["Content-Type"] = nil
				}
				io.WriteString(w, tt.body)
			}))
			res := g.get("/", tt.request...)
			if res.body != tt.body {
				t.Errorf("body changed: %q", res.body)
			}
			if got := res.Header.Get("ETag"); got != `"v1"` {
				t.Errorf("ETag %q", got)
			}
			if got := res.Header.Get("Accept-Ranges"); got != "bytes" {
				t.Errorf("Accept-Ranges %q", got)
			}
			if tt.name == "no content type" && res.Header["Content-Type"] != nil {
				t.Errorf("Content-Type invented: %q", res.Header["Content-Type"])
			}
			if tt.result != "" && !strings.Contains(g.log.String(), "page="+tt.result) {
				t.Errorf("the log does not say %q:\n%s", tt.result, g.log)
			}
		})
	}
}

func TestErrorPagesAndPostsGetTheScript(t *testing.T) {
	for _, status := range []int{200, 404, 500} {
		for _, method := range []string{"GET", "POST"} {
			g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(status)
				io.WriteString(w, plainPage)
			}))
			res := g.do(method, "/")
			if _, rest := elementOf(t, res.body); rest != plainPage || res.StatusCode != status {
				t.Errorf("%s %d: got %d and %q", method, status, res.StatusCode, rest)
			}
		}
	}
}

func TestInjectModesAndPaths(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*proxy.Site)
		path   string
		want   bool
	}{
		{"on", func(s *proxy.Site) {}, "/", true},
		{"off", func(s *proxy.Site) { s.Inject = "off" }, "/", false},
		{"included", func(s *proxy.Site) { s.Include = []string{"/shop/*"} }, "/shop/a/b", true},
		{"not included", func(s *proxy.Site) { s.Include = []string{"/shop/*"} }, "/about", false},
		{"excluded", func(s *proxy.Site) { s.Exclude = []string{"/admin/*"} }, "/admin/x", false},
		{"exclusion wins", func(s *proxy.Site) { s.Include = []string{"/*"}; s.Exclude = []string{"*.print"} }, "/a.print", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, pageHandler(plainPage), site(tt.change))
			res := g.get(tt.path, ann...)
			if got := strings.Contains(res.body, "data-zchatproxy"); got != tt.want {
				t.Errorf("script: %t, want %t", got, tt.want)
			}
			if tt.name == "off" && len(res.Header["Set-Cookie"]) > 0 {
				t.Errorf("INJECT=off set a cookie: %q", res.Header["Set-Cookie"])
			}
		})
	}
}

func TestPreviewIsForTheBrowserThatAskedForIt(t *testing.T) {
	g := newRig(t, pageHandler(plainPage, "Cache-Control: public, max-age=60"), site(func(s *proxy.Site) { s.Inject = "preview" }))
	plain := g.get("/")
	if strings.Contains(plain.body, "data-zchatproxy") {
		t.Fatal("script without preview")
	}
	if !strings.Contains(plain.Header.Get("Vary"), "Cookie") {
		t.Errorf("Vary %q does not name Cookie", plain.Header.Get("Vary"))
	}
	on := g.get("/?__zchat=on")
	if !strings.Contains(on.body, "data-zchatproxy") {
		t.Error("no script on the page that switches the preview on")
	}
	cookie := on.Header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "__zchat_preview=on;") || !strings.Contains(cookie, "HttpOnly") {
		t.Fatalf("Set-Cookie %q", cookie)
	}
	if cc := on.Header.Get("Cache-Control"); strings.Contains(cc, "public") {
		t.Errorf("a preview may be stored by shared caches: %q", cc)
	}
	next := g.get("/next", "Cookie: __zchat_preview=on")
	if !strings.Contains(next.body, "data-zchatproxy") {
		t.Error("no script on the next page")
	}
	off := g.get("/?__zchat=off", "Cookie: __zchat_preview=on")
	if strings.Contains(off.body, "data-zchatproxy") || !strings.Contains(off.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the preview did not end: %q", off.Header.Get("Set-Cookie"))
	}
	for _, h := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Referer: http://evil.example/"} {
		if res := g.get("/?__zchat=on", h); len(res.Header["Set-Cookie"]) > 0 || strings.Contains(res.body, "data-zchatproxy") {
			t.Errorf("a link on another site switched the preview on (%s)", h)
		}
	}
}

func TestPreviewBeginsOnPagesWithoutIt(t *testing.T) {
	up := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			w.Header()["Content-Type"] = nil
			w.Header().Set("Location", "/welcome")
			w.WriteHeader(http.StatusFound)
			return
		}
		pageHandler(plainPage)(w, r)
	})
	g := newRig(t, up, site(func(s *proxy.Site) { s.Inject = "preview"; s.Exclude = []string{"/admin"} }))
	for _, path := range []string{"/?__zchat=on", "/admin?__zchat=on"} {
		res := g.get(path)
		if got := res.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "__zchat_preview=on;") || res.Header.Get("Cache-Control") != "private" {
			t.Errorf("%s: Set-Cookie %q, Cache-Control %q", path, got, res.Header.Get("Cache-Control"))
		}
		if strings.Contains(res.body, "data-zchatproxy") {
			t.Errorf("%s: script on a page without it", path)
		}
	}
	if res := g.get("/", "Cookie: __zchat_preview=on"); len(res.Header["Vary"])+len(res.Header["Cache-Control"]) > 0 {
		t.Errorf("a redirect that switches nothing: %v", res.Header)
	}
}

// TestStreamsPageOfUnknownEncoding has the upstream go on only when the visitor has the script, on a page that still could name
// its encoding.
func TestStreamsPageOfUnknownEncoding(t *testing.T) {
	seen := make(chan struct{})
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!DOCTYPE html><html><head><title>x</title></head><body>Searching")
		http.NewResponseController(w).Flush()
		<-seen
		io.WriteString(w, "<p>done")
	}))
	res, err := plainClient.Do(g.request("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, 100)
	if _, err := io.ReadFull(res.Body, first); err != nil || !strings.Contains(string(first), "<script data-zchatproxy") {
		t.Errorf("%q %v", first, err)
	}
	close(seen)
	if rest, err := io.ReadAll(res.Body); err != nil || !strings.HasSuffix(string(rest), "</head><body>Searching<p>done") {
		t.Errorf("%.200q %v", rest, err)
	}
}

func TestPolicyLetsTheScriptThrough(t *testing.T) {
	g := newRig(t, pageHandler(plainPage, "Content-Security-Policy: script-src 'self' 'nonce-abc123'; connect-src 'none'"))
	res := g.get("/")
	element, _ := elementOf(t, res.body)
	if !strings.Contains(element, `nonce="abc123"`) {
		t.Errorf("the page's nonce is not on %.60s", element)
	}
	if got := res.Header.Get("Content-Security-Policy"); !strings.Contains(got, "connect-src 'self'") {
		t.Errorf("the token route is not let through: %s", got)
	}

	g = newRig(t, pageHandler(plainPage, "Content-Security-Policy: script-src 'self'"))
	if got := g.get("/").Header.Get("Content-Security-Policy"); !strings.Contains(got, "'sha256-") {
		t.Errorf("no hash of the script in %q", got)
	}

	g = newRig(t, pageHandler(plainPage, "Content-Security-Policy: script-src 'self'"), site(func(s *proxy.Site) { s.CSP = "off" }))
	if got := g.get("/").Header.Get("Content-Security-Policy"); got != "script-src 'self'" {
		t.Errorf("CSP=off changed the policy to %q", got)
	}

	g = newRig(t, pageHandler(plainPage, "Content-Security-Policy: sandbox allow-forms"))
	if res := g.get("/"); res.body != plainPage {
		t.Error("a script was put into a page whose policy runs none")
	}
	for _, method := range []string{"GET", "HEAD"} {
		if got := g.do(method, "/", "X-Zchat-Explain: 1").Header.Get("X-Zchat-Explain"); got != "csp-sandbox" {
			t.Errorf("%s is explained as %q", method, got)
		}
	}
}

// The name under which the script makes its Trusted Types policy is the one that policies are judged by.
func TestTrustedTypesPolicyHasOneName(t *testing.T) {
	if csp.TrustedTypesPolicy != snippet.TrustedTypesPolicy {
		t.Errorf("%q for package csp, %q for package snippet", csp.TrustedTypesPolicy, snippet.TrustedTypesPolicy)
	}
}

func TestExplainIsForTrustedPeers(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	if got := g.get("/", "X-Zchat-Explain: 1").Header.Get("X-Zchat-Explain"); !strings.HasPrefix(got, "injected; at byte ") {
		t.Errorf("X-Zchat-Explain %q", got)
	}
	res := g.raw("127.0.0.2", "GET / HTTP/1.1\r\nHost: x\r\nX-Zchat-Explain: 1\r\nConnection: close\r\n\r\n")
	if got := res.Header.Get("X-Zchat-Explain"); got != "" {
		t.Errorf("an untrusted peer was told %q", got)
	}
}

func TestTruncatedPageNeverEndsCleanly(t *testing.T) {
	for name, page := range map[string]string{"in the body": plainPage, "in the head": "<!DOCTYPE html><html><head><title>x"} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				io.WriteString(w, page)
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}))
			res, err := plainClient.Do(g.request("GET", "/", nil))
			if err != nil {
				return // cut before the header: just as honest
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("a truncated page ended cleanly: %q", body)
			}
		})
	}
}

// TestCachesKeepNoPageWithoutTheScriptForEverybody: a header that anybody can send keeps the script out of a page, and a
// cache must not hand that answer to those who do not send it.
func TestCachesKeepNoPageWithoutTheScriptForEverybody(t *testing.T) {
	g := newRig(t, pageHandler(plainPage, "Cache-Control: public, max-age=60"))
	for _, mark := range []string{"HX-Request: true", "Turbo-Frame: x", "X-Requested-With: XMLHttpRequest", "X-PJAX: 1", "Blazor-Enhanced-Nav: on", "Accept: text/vnd.turbo-stream.html, text/html"} {
		name, _, _ := strings.Cut(mark, ":")
		for _, dest := range []string{"Sec-Fetch-Dest: document", "Sec-Fetch-Dest: empty", "X-Old-Browser: 1"} {
			res := g.get("/", mark, dest)
			vary := strings.ToLower(strings.Join(res.Header["Vary"], ", "))
			if res.body != plainPage || !strings.Contains(vary, strings.ToLower(name)) || !strings.Contains(vary, "sec-fetch-dest") {
				t.Errorf("%s, %s: Vary %q", mark, dest, vary)
			}
		}
	}
	if vary := g.get("/", "Sec-Fetch-Dest: document").Header["Vary"]; len(vary) != 1 || vary[0] != "Sec-Fetch-Dest" {
		t.Errorf("a page with the script has Vary %q", vary)
	}
}
