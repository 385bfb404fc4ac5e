package site

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/text/encoding/charmap"
)

func newSite(t *testing.T) http.Handler {
	t.Helper()
	s, err := New(Config{
		LoginURL: "/in?rd=", LogoutURL: "/out", ChatCode: `<script src="/chat.js"></script>`,
		Now: func() time.Time { return time.Date(2003, 3, 13, 12, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, s http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func asLukasz() []string {
	return []string{"X-Forwarded-User", "c-1003", "X-Forwarded-Email", "l@example.com", "X-Forwarded-Preferred-Username", "Łukasz <b>Ż"}
}

// TestPagesAreWhatTheySay holds every page to the difficulty that its entry in the table promises.
func TestPagesAreWhatTheySay(t *testing.T) {
	s := newSite(t)
	body := func(path string) string { return get(t, s, path).Body.String() }
	lower := func(path string) string { return strings.ToLower(body(path)) }

	for _, path := range []string{"/", "/gdynia.html"} {
		page := lower(path)
		script, meta := strings.Index(page, "<script"), strings.Index(page, "charset=")
		if script < 0 || meta < script || meta > 1000 {
			t.Errorf("%s: script at %d, charset at %d; want the charset after it and within the first 1000 bytes", path, script, meta)
		}
		if strings.Contains(get(t, s, path).Header().Get("Content-Type"), "charset") {
			t.Errorf("%s: the header gives the charset away", path)
		}
	}
	if at := strings.Index(lower("/"), "charset="); at < 800 {
		t.Errorf("start page: charset at %d is not late", at)
	}
	if m := regexp.MustCompile(`<(html|head|body)\b`).FindString(lower("/notices.htm")); m != "" {
		t.Errorf("notices: has %s", m)
	}
	if page := lower("/manuals/"); !strings.Contains(page, "<frameset") {
		t.Error("manuals: no frameset")
	}
	if page := body("/help.html"); !strings.Contains(page, `<script src="/chat.js"></script>`) {
		t.Error("help: no chat code")
	}
	if w := get(t, s, "/export/price-list.xls"); !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
		t.Error("price list: not a download")
	}
	if strings.Contains(lower("/gdynia.html"), "<!doctype") {
		t.Error("gdynia: has a doctype")
	}
}

func TestCharsets(t *testing.T) {
	s := newSite(t)
	for _, sh := range sheets() {
		if sh.charset == nil || sh.onlyPost {
			continue
		}
		page, err := sh.charset.NewDecoder().String(get(t, s, sh.Path, asLukasz()...).Body.String())
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(page, '\uFFFD') {
			t.Errorf("%s: bytes that are not in its charset", sh.Path)
		}
		if sh.nav && !sh.static && !strings.Contains(page, "ukasz &lt;b&gt;") {
			t.Errorf("%s: the visitor's name is missing or not escaped", sh.Path)
		}
	}
	polish, _ := charmap.ISO8859_2.NewDecoder().String(get(t, s, "/gdynia.html", asLukasz()...).Body.String())
	for _, want := range []string{"Łukasz", "Księgowość", "Nabrzeżu"} {
		if !strings.Contains(polish, want) {
			t.Errorf("gdynia: %q is not there in ISO-8859-2", want)
		}
	}
	if home := get(t, s, "/", asLukasz()...).Body.Bytes(); !bytes.Contains(home, []byte("&#321;ukasz")) || !bytes.Contains(home, []byte("\x80 84,50")) {
		t.Error("start page: want Ł as a reference and € as the byte 80")
	}
}

func TestXHTMLIsWellFormed(t *testing.T) {
	s := newSite(t)
	for who, header := range map[string][]string{"guest": nil, "customer": asLukasz(), "stranger": {"X-Forwarded-User", "x&y"}} {
		w := get(t, s, "/orders.xhtml", header...)
		if got := w.Header().Get("Content-Type"); got != "application/xhtml+xml" {
			t.Errorf("Content-Type %q", got)
		}
		d := xml.NewDecoder(w.Body)
		d.Strict = true
		d.Entity = xml.HTMLEntity
		d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return charmap.ISO8859_1.NewDecoder().Reader(in), nil }
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", who, err)
			}
		}
	}
	mine, other := get(t, s, "/orders.xhtml", asLukasz()...).Body.String(), get(t, s, "/orders.xhtml", "X-Forwarded-User", "c-1001").Body.String()
	if !strings.Contains(mine, "2003-0420") || strings.Contains(other, "2003-0420") {
		t.Error("a customer sees another's orders, or not his own")
	}
}

func TestGzip(t *testing.T) {
	s := newSite(t)
	plain := get(t, s, "/catalogue.html")
	w := get(t, s, "/catalogue.html", "Accept-Encoding", "gzip, br")
	if w.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" {
		t.Fatalf("codings: %v, %v", plain.Header(), w.Header())
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(page, plain.Body.Bytes()) {
		t.Errorf("compressed and plain page differ (%v)", err)
	}
}

func TestStrictPolicy(t *testing.T) {
	s := newSite(t)
	seen := make(map[string]bool)
	for range 2 {
		w := get(t, s, "/account.html")
		m := regexp.MustCompile(`script-src 'nonce-([A-Z2-7]{26})'`).FindStringSubmatch(w.Header().Get("Content-Security-Policy"))
		if m == nil {
			t.Fatalf("policy %q", w.Header().Get("Content-Security-Policy"))
		}
		scripts := regexp.MustCompile(`<script[^>]*>`).FindAllString(w.Body.String(), -1)
		for _, tag := range scripts {
			if !strings.Contains(tag, `nonce="`+m[1]+`"`) {
				t.Errorf("script without the nonce: %s", tag)
			}
		}
		if len(scripts) == 0 || seen[m[1]] {
			t.Error("no script, or a nonce twice")
		}
		seen[m[1]] = true
		if bad := regexp.MustCompile(`(?i)\s(style|on[a-z]+)=`).FindString(w.Body.String()); bad != "" {
			t.Errorf("the page's own policy refuses its%s", bad)
		}
	}
}

func TestForms(t *testing.T) {
	s := newSite(t)
	post := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	w := post("/cgi-bin/enquiry.pl", "name=Zo%EB&harbour=Leith&subject=%80+%3Cb%3E&message=m")
	if page := w.Body.String(); w.Code != 200 || !strings.Contains(page, "Zo\xeb") || !strings.Contains(page, "\x80 &lt;b&gt;") {
		t.Errorf("enquiry: %d %q", w.Code, page)
	}
	if w := post("/account.html", "berth=Pier+%C5%81"); w.Code != 200 || !strings.Contains(w.Body.String(), "Pier Ł") {
		t.Errorf("account: %d", w.Code)
	}
	for path, code := range map[string]int{"/": 405, "/manuals/": 405, "/nowhere": 404} {
		if w := post(path, "a=b"); w.Code != code {
			t.Errorf("POST %s: %d, want %d", path, w.Code, code)
		}
	}
	if w := post("/cgi-bin/enquiry.pl", "a="+strings.Repeat("x", maxForm)); w.Code != 400 {
		t.Errorf("an endless form: %d", w.Code)
	}
	if w := get(t, s, "/cgi-bin/enquiry.pl"); w.Code != 405 {
		t.Errorf("GET of the form's target: %d", w.Code)
	}
}

func TestStatic(t *testing.T) {
	s := newSite(t)
	w := get(t, s, "/manuals/", "X-Forwarded-User", "c-1001")
	tag := w.Header().Get("ETag")
	if tag == "" || w.Header().Get("Last-Modified") == "" || strings.Contains(w.Body.String(), "c-1001") {
		t.Fatalf("manuals: %v", w.Header())
	}
	if w := get(t, s, "/manuals/", "If-None-Match", tag); w.Code != http.StatusNotModified {
		t.Errorf("revalidation: %d", w.Code)
	}
	if w := get(t, s, "/images/mast.jpg", "Range", "bytes=0-3"); w.Code != http.StatusPartialContent || w.Body.Len() != 4 {
		t.Errorf("range: %d, %d bytes", w.Code, w.Body.Len())
	}
}

// TestNoDeadLinks follows everything that the pages point to.
func TestNoDeadLinks(t *testing.T) {
	s := newSite(t)
	outside := []string{"/in", "/out", "/chat.js", "/cgi-bin/enquiry.pl"}
	seen := map[string]bool{"/favicon.ico": true}
	queue := []string{"/", "/favicon.ico"}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		w := get(t, s, path)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
			continue
		}
		if !strings.Contains(w.Header().Get("Content-Type"), "html") {
			continue
		}
		for _, link := range links(t, w.Body) {
			link, _, _ = strings.Cut(link, "?")
			if !seen[link] && !slices.Contains(outside, link) && !strings.HasPrefix(link, "http://www.w3.org/") {
				seen[link] = true
				queue = append(queue, link)
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("followed only %d links", len(seen))
	}
	for _, p := range Pages() {
		if !seen[p.Path] {
			t.Errorf("nothing leads to %s", p.Path)
		}
	}
}

func links(t *testing.T, page io.Reader) (list []string) {
	t.Helper()
	root, err := html.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		for _, a := range n.Attr {
			if a.Key == "href" || a.Key == "src" || a.Key == "action" {
				list = append(list, a.Val)
			}
		}
	}
	return list
}

func TestRedirect(t *testing.T) {
	w := get(t, newSite(t), "http://portal.example:81/default.asp")
	if got, want := w.Header().Get("Location"), "http://portal.example:81/"; w.Code != http.StatusFound || got != want {
		t.Errorf("%d to %q, want %q", w.Code, got, want)
	}
}
