package demo

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// oldSite serves the documentation and what else static sites were made of: server-parsed pages, pages in two languages,
// a directory's listing, a directory behind a password, and one to write to.
func oldSite(t *testing.T) software {
	t.Helper()
	dir := publicDir(t)
	root := dir + "/htdocs"
	javadoc(t, root+"/api")
	write(t, root+"/index.shtml", "<HTML><HEAD><TITLE>Ropes</TITLE></HEAD>\n<BODY><!--#include virtual=\"/part.html\" --> at <!--#echo var=\"DOCUMENT_URI\" -->"+
		"<A HREF=\"api\">API</A> <A HREF=\"handbook\">Handbook</A> <A HREF=\"list\">List</A> <A HREF=\"private/\">Private</A></BODY></HTML>\n")
	write(t, root+"/part.html", "<P>a part of a page</P>\n")
	write(t, root+"/handbook.html.en", "<html><head><title>Handbook</title></head><body>In English</body></html>\n")
	write(t, root+"/handbook.html.de", "<html><head><title>Handbuch</title></head><body>Auf Deutsch</body></html>\n")
	write(t, root+"/list/a & b.txt", "a\n")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, "<html><head><title>Packed</title></head><body>once, to save space</body></html>\n")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, root+"/list/rope.html.gz", packed.String())
	write(t, root+"/private/index.html", "<html><head><title>Private</title></head><body>You are in.</body></html>\n")
	write(t, root+"/files/a.txt", "a\n")
	if err := os.Chmod(root+"/files", 0o777); err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte("tarred hemp"))
	write(t, dir+"/passwords", "zoe:{SHA}"+base64.StdEncoding.EncodeToString(sum[:])+"\n")
	return software{
		direct: apache(t, dir, `
DocumentRoot {dir}/htdocs
UseCanonicalPhysicalPort On
DirectoryIndex index.html index.shtml
AddType text/html .shtml
AddOutputFilter INCLUDES .shtml
AddLanguage en .en
AddLanguage de .de
LanguagePriority en de
DavLockDB {run}/davlock
<Directory {dir}/htdocs>
	Require all granted
	Options +Indexes +MultiViews +Includes
</Directory>
<Directory {dir}/htdocs/private>
	AuthType Basic
	AuthName "Solvi A/S"
	AuthUserFile {dir}/passwords
	Require valid-user
</Directory>
<Directory {dir}/htdocs/files>
	Dav On
</Directory>
`),
		seeds: []string{"/", "/api", "/api/index.html?no/solvi/rope/Rope.html", "/api/no/solvi/rope/doc-files/drawing.html", "/handbook", "/handbook.html",
			"/list", "/list/", "/list/a%20%26%20b.txt", "/list/rope.html.gz", "/private/", "/part.html", "/none.html", "/api/package-list"},
		bare: regexp.MustCompile(`/part\.html$`),
	}
}

func TestJavadoc(t *testing.T) {
	s := oldSite(t).behind(t)
	s.crawl(150)
	t.Run("validators and ranges", s.validators)
	t.Run("password", func(t *testing.T) {
		c := &http.Client{Transport: loopback(t, s.front)}
		if res, body := fetch(t, c, s.at("/private/")); res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("without a password: %s %s", res.Status, body)
		}
		password := "Basic " + base64.StdEncoding.EncodeToString([]byte("zoe:tarred hemp"))
		if res, body := fetch(t, c, s.at("/private/"), "Authorization", password); !bytes.Contains(body, []byte("You are in.")) || !script.Match(body) {
			t.Errorf("with one: %s %s", res.Status, body)
		}
	})
	t.Run("in a browser", s.frames)
	t.Run("staging", func(t *testing.T) { serverStaging(t, s.direct) })
}

// validators asks again for pages that httpd has a date and an entity tag for.
func (s *realSite) validators(t *testing.T) {
	const path = "/api/no/solvi/rope/Rope.html"
	c := &http.Client{Transport: loopback(t, s.front, s.direct)}
	get := func(base, dest string, header ...string) (*http.Response, []byte) {
		t.Helper()
		return fetch(t, c, base+path, append([]string{"Accept", "text/html", "Sec-Fetch-Dest", dest}, header...)...)
	}
	for _, coding := range []string{"identity", "gzip"} {
		for _, dest := range []string{"document", "frame"} {
			t.Run(coding+" "+dest, func(t *testing.T) {
				site, siteBody := get(s.direct, dest, "Accept-Encoding", coding)
				first, firstBody := get(s.front, dest, "Accept-Encoding", coding)
				siteTag, tag, date := site.Header.Get("Etag"), first.Header.Get("Etag"), first.Header.Get("Last-Modified")
				if date != "Fri, 28 Feb 2003 15:00:12 GMT" || siteTag == "" || (dest == "frame") != (tag == siteTag) {
					t.Fatalf("dated %s, entity tag %s, the site's is %s", date, tag, siteTag)
				}
				if scripts := script.FindAll(plain(t, first.Header, firstBody), -1); len(scripts) != map[string]int{"document": 1, "frame": 0}[dest] {
					t.Errorf("%d scripts", len(scripts))
				}
				// whole fails the test unless an answer is the same page again; same, unless it is what the site answers to the
				// same request with its own tag.
				whole := func(what string, res *http.Response, body []byte) {
					t.Helper()
					if res.StatusCode != http.StatusOK || !bytes.Equal(body, firstBody) || res.Header.Get("Etag") != tag {
						t.Errorf("%s: %s %s of %d bytes, want the whole page again", what, res.Status, res.Header.Get("Etag"), len(body))
					}
				}
				same := func(what string, res *http.Response, body []byte, header ...string) {
					t.Helper()
					up, upBody := get(s.direct, dest, append([]string{"Accept-Encoding", coding}, header...)...)
					if up.StatusCode == http.StatusOK {
						whole(what, res, body)
					} else if res.StatusCode != up.StatusCode || !bytes.Equal(body, upBody) {
						t.Errorf("%s: %s with %d bytes, the site answers %s with %d", what, res.Status, len(body), up.Status, len(upBody))
					}
				}
				res, body := get(s.front, dest, "Accept-Encoding", coding, "If-None-Match", tag)
				same("its tag", res, body, "If-None-Match", siteTag)
				if res.StatusCode == http.StatusNotModified && res.Header.Get("Etag") != tag {
					t.Errorf("304 with the tag %s, want %s", res.Header.Get("Etag"), tag)
				}
				if coding == "identity" && res.StatusCode != http.StatusNotModified {
					t.Errorf("its tag: %s", res.Status)
				}
				res, body = get(s.front, dest, "Accept-Encoding", coding, "If-None-Match", `"another", `+tag, "If-Modified-Since", date)
				same("its tag and date", res, body, "If-None-Match", `"another", `+siteTag, "If-Modified-Since", date)

				res, body = get(s.front, dest, "Accept-Encoding", coding, "If-Modified-Since", date)
				if dest == "document" {
					whole("its date", res, body) // which may be that of the page before there was a script in it
				} else {
					same("its date", res, body, "If-Modified-Since", date)
				}
				res, body = get(s.front, dest, "Accept-Encoding", coding, "If-None-Match", siteTag)
				if dest == "document" {
					whole("the site's tag", res, body)
				}

				res, body = get(s.front, dest, "Accept-Encoding", coding, "Range", "bytes=100-199", "If-Range", tag)
				if dest == "document" {
					whole("a range of it", res, body)
				} else {
					same("a range of it", res, body, "Range", "bytes=100-199", "If-Range", siteTag)
					if coding == "identity" && (res.StatusCode != http.StatusPartialContent || !bytes.Equal(body, siteBody[100:200])) {
						t.Errorf("a range of it: %s %q", res.Status, body)
					}
				}
			})
		}
	}
}

// frame is a document in its window.
type frame struct {
	Name, Path, Charset, Mode, Title, Text string
	Scripts                                int // of ours
	Frames                                 []frame
}

const readFrames = `(function read(w) {
	var d = w.document, list = [];
	for (var i = 0; i !== w.frames.length; i++) list.push(read(w.frames[i]));
	return {name: w.name, path: w.location.pathname + w.location.search, charset: d.characterSet, mode: d.compatMode, title: d.title,
		text: d.body.tagName + d.body.textContent, scripts: d.querySelectorAll('script[data-zchatproxy]').length, frames: list};
})(top)`

// reaches waits until a frame (” for the whole window) shows a page to its end and the window has a title.
func (b *tab) reaches(frame, path, title string) {
	b.t.Helper()
	js := fmt.Sprintf(`new Promise(function (done) { var tries = 0; (function look() {
		var w = %q ? top.frames[%[1]q] : top;
		if (w && w.location.pathname + w.location.search === %q && w.document.readyState === 'complete' && top.document.title.trim() === %q) done('');
		else if (++tries > 1500) done('at ' + w.location + ' under ' + top.document.title);
		else setTimeout(look, 20);
	})(); })`, frame, path, title)
	// The evaluation ends with the page that it is in, if that is left.
	var found string
	var err error
	for range 5 {
		if found, err = chromedp.Run(b.ctx, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise)); err == nil {
			break
		}
	}
	if err != nil || found != "" {
		b.t.Fatalf("frame %q never showed %s under %s: %s %v", frame, path, title, found, err)
	}
}

// press clicks a link in a frame as a visitor does: with leave to open a window.
func (b *tab) press(frame, text string) {
	b.t.Helper()
	js := fmt.Sprintf(`(function () {
		var links = (%q ? top.frames[%[1]q] : top).document.links;
		for (var i = 0; i !== links.length; i++) if (links[i].textContent.trim() === %q) { links[i].click(); return true; }
		return false;
	})()`, frame, text)
	yes := true
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](js, func(p *runtime.EvaluateParams) { p.UserGesture = &yes }))
	if err != nil || !found {
		b.t.Fatalf("there is no link %s in frame %q: %v", text, frame, err)
	}
}

// frames walks through the documentation in a browser, without the proxy and with it.
func (s *realSite) frames(t *testing.T) {
	const toolkit = " (Sølvi Rope Toolkit 1.4)"
	tour := func(b *tab, base string, widget func()) (stops []frame, popup string) {
		stop := func(name, path, title string) {
			t.Helper()
			b.reaches(name, path, title)
			stops = append(stops, eval[frame](b, readFrames))
		}
		b.open(base + "/api/index.html")
		stop("classFrame", "/api/overview-summary.html", "Overview"+toolkit)
		widget()
		b.press("packageFrame", "Rope")
		stop("classFrame", "/api/no/solvi/rope/Rope.html", "Rope"+toolkit)
		b.press("packageListFrame", "no.solvi.rope.splice")
		b.reaches("packageFrame", "/api/no/solvi/rope/splice/package-frame.html", "Rope"+toolkit)
		b.press("packageFrame", "EyeSplice")
		stop("classFrame", "/api/no/solvi/rope/splice/EyeSplice.html", "EyeSplice"+toolkit)
		// The frame's page in the whole window: the browser has just kept it without the script.
		b.press("classFrame", "NO FRAMES")
		stop("", "/api/no/solvi/rope/splice/EyeSplice.html", "EyeSplice"+toolkit)
		widget()
		// And the other way round.
		b.press("", "FRAMES")
		stop("classFrame", "/api/no/solvi/rope/splice/EyeSplice.html", "EyeSplice"+toolkit)
		widget()

		opened := chromedp.WaitNewTarget(b.ctx, func(i *target.Info) bool { return strings.HasSuffix(i.URL, "/drawing.html") })
		b.press("classFrame", "Drawing")
		window := openTab(t, b.ctx, chromedp.WithTargetID(<-opened))
		popup = eval[string](b, `new Promise(function (done) { (function look() {
			var said = top.frames.classFrame.drawingShown;
			if (said) done(said); else setTimeout(look, 20);
		})(); })`) + fmt.Sprint(eval[facts](window, readFacts))
		// It sends its opener to another page and closes itself, and so the answer to this may never come.
		eval[bool](window, `setTimeout(back, 0), true`)
		stop("classFrame", "/api/no/solvi/rope/splice/package-summary.html", "no.solvi.rope.splice"+toolkit)
		return stops, popup
	}

	b := newVisitor(t)
	direct, directPopup := tour(b, s.direct, func() {})
	before := b.complaints()
	w := walk{t: t, d: s.d, b: b}
	w.logIn(b, "c-1003")
	b.complaints()
	through, throughPopup := tour(b, s.front, func() {
		w.is(b.await("c-1003"), "c-1003", "Łukasz Żuraw", "lukasz.zuraw@zagle-gdynia.example")
	})
	for _, complaint := range b.complaints() {
		if !slices.Contains(before, complaint) {
			t.Errorf("new in the console: %s", complaint)
		}
	}
	for i := range through {
		if through[i].Scripts != 1 {
			t.Errorf("stop %d: %d scripts in %s", i, through[i].Scripts, through[i].Path)
		}
		through[i].Scripts = 0
	}
	// Nothing else differs, so there is no script in a frame.
	if d := cmp.Diff(direct, through); d != "" {
		t.Errorf("the frames, directly (-) and through the proxy (+):\n%s", d)
	}
	if got := strings.Replace(throughPopup, "1}", "0}", 1); got != directPopup || got == throughPopup {
		t.Errorf("the window: %s, directly: %s", throughPopup, directPopup)
	}
	if direct[0].Text[:8] != "FRAMESET" || len(direct[0].Frames) != 3 || len(direct[3].Frames) != 0 || direct[2].Frames[2].Charset != "windows-1252" {
		t.Errorf("that was no tour through frames: %+v", direct)
	}
}
