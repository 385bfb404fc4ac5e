package demo

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"zchatproxy/cmd/zchatproxy/demo/site"
)

// walk is the way of a visitor who logs in, switches person and logs out, on one page of the site.
type walk struct {
	t    *testing.T
	d    *Demo
	page string // its address
	b    *tab

	onePageLate bool // the widget takes a new person in on the page after the one where the last one went
}

// logIn uses the gateway's landing page, in the given tab.
func (w walk) logIn(b *tab, id string) {
	w.t.Helper()
	b.open(w.d.URL())
	b.follow(`button[value="` + id + `"]`)
	if got := eval[string](b, `document.body.dataset.person`); got != id {
		w.t.Fatalf("the gateway says that %q is logged in, want %q", got, id)
	}
}

func (w walk) press(b *tab, action string) {
	w.t.Helper()
	b.open(w.d.URL())
	b.follow(`form[action$="` + action + `"] button`)
}

// mark leaves something on the page that a page load would wipe out.
func (w walk) mark() { eval[int](w.b, `window.marked = 1`) }

func (w walk) marked() {
	w.t.Helper()
	if !eval[bool](w.b, `window.marked === 1`) {
		w.t.Error("the page was loaded again")
	}
}

// tokens is how often the token route was asked, whatever it answered.
func (w walk) tokens() int {
	w.t.Helper()
	_, metrics := fetch(w.t, visitor(w.t, w.d, ""), w.d.admin+"metrics")
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^zchatproxy_tokens_total\{.*\} (\d+)$`).FindAllSubmatch(metrics, -1) {
		k, err := strconv.Atoi(string(m[1]))
		if err != nil {
			w.t.Fatal(err)
		}
		n += k
	}
	return n
}

func (w walk) is(a *agent, id, name, email string) {
	w.t.Helper()
	if a.ID != id || a.Name != name || a.Email != email {
		w.t.Errorf("the agent sees %s, %s, %s; want %s, %s, %s", a.ID, a.Name, a.Email, id, name, email)
	}
	if shown := w.b.panel(); !strings.Contains(shown, name) || !strings.Contains(shown, "Authenticated") {
		w.t.Errorf("the panel shows %q", shown)
	}
}

// withLoads goes from page to page.
func (w walk) withLoads() {
	w.t.Helper()
	before := w.tokens()
	w.b.open(w.page)
	w.b.await("")
	if eval[bool](w.b, `/"authenticate"|jwtFn/.test(JSON.stringify(window.zESettings) || '')`) {
		w.t.Error("zESettings speak of authentication, and nobody is logged in")
	}
	if n := w.tokens() - before; n != 0 {
		w.t.Errorf("an anonymous visitor's page asked for %d tokens", n)
	}

	w.logIn(w.b, "c-1001")
	w.b.open(w.page)
	w.is(w.b.await("c-1001"), "c-1001", "Mary Okafor", "mary.okafor@leith-harbour.example")

	w.logIn(w.b, "c-1003")
	w.b.open(w.page)
	if w.onePageLate {
		w.b.await("")
		w.b.open(w.page)
	}
	a := w.b.await("c-1003")
	w.is(a, "c-1003", "Łukasz Żuraw", "lukasz.zuraw@zagle-gdynia.example")

	w.press(w.b, "logout")
	w.b.open(w.page)
	w.b.await("")
	if shown := w.b.panel(); !strings.Contains(shown, "Anonymous") || strings.Contains(shown, "ukasz") {
		w.t.Errorf("after the log-out the panel shows %q", shown)
	}
}

// withoutLoads stays on the page, and everything happens in another tab.
func (w walk) withoutLoads() {
	w.t.Helper()
	w.b.open(w.page)
	w.b.await("")
	w.mark()
	other := w.b.another()

	w.logIn(other, "c-1001")
	w.b.look()
	w.is(w.b.await("c-1001"), "c-1001", "Mary Okafor", "mary.okafor@leith-harbour.example")

	w.logIn(other, "c-1002")
	w.b.look()
	a := w.b.await("c-1002")
	w.is(a, "c-1002", "Zoë Brændgaard", "zoe@solvi.example")
	if out, in := slices.Index(a.Log, "logout"), lastIndex(a.Log, "authenticated: c-1002"); out < 0 || out > in {
		w.t.Errorf("the last person was not logged out before the next one came in: %q", a.Log)
	}

	w.press(other, "logout")
	w.b.look()
	w.b.await("")

	w.logIn(other, "c-1003")
	w.b.look()
	w.b.await("c-1003")
	w.press(other, "expire")
	// The page's own network activity, as of a page that polls.
	eval[bool](w.b, `fetch('/images/bullet.gif', {cache: 'no-store'}).then(function () { return true }, function () { return true })`)
	w.b.await("")
	w.marked()
}

func lastIndex(list []string, want string) int {
	at := -1
	for i, v := range list {
		if v == want {
			at = i
		}
	}
	return at
}

// TestWalk is the demonstration as a visitor sees it.
func TestWalk(t *testing.T) {
	d := start(t, Options{})
	for _, path := range []string{"", "help.html"} {
		t.Run("/"+path, func(t *testing.T) {
			w := walk{t: t, d: d, page: d.url + path, b: newVisitor(t)}
			w.withLoads()
			w.withoutLoads()
		})
	}
}

// TestOtherWidgets walks with the two other kinds. After clearAll the chat widget needs a page load to log in again.
func TestOtherWidgets(t *testing.T) {
	for _, kind := range []string{"messaging", "chat"} {
		t.Run(kind, func(t *testing.T) {
			d := start(t, Options{Widget: kind})
			paths := []string{"help.html"}
			if os.Getenv("ZCHATPROXY_TEST_ALL") == "1" {
				paths = append(paths, "")
			}
			for _, path := range paths {
				w := walk{t: t, d: d, page: d.url + path, b: newVisitor(t), onePageLate: kind == "chat"}
				w.withLoads()
				w.logIn(w.b, "c-1002")
				w.b.open(w.page)
				w.b.await("c-1002")
				w.mark()
				w.press(w.b.another(), "logout")
				w.b.look()
				w.b.await("")
				w.marked()
			}
		})
	}
}

// facts are what a script before all others could have changed without anybody noticing at once.
type facts struct {
	Charset, Mode, Title, Text string
	Scripts                    int
}

const readFacts = `({charset: document.characterSet, mode: document.compatMode, title: document.title,
	text: (document.body || document.documentElement).textContent, scripts: document.querySelectorAll('script[data-zchatproxy]').length})`

// TestEveryPage opens every page without and with the proxy: it looks and complains the same, and has a widget.
func TestEveryPage(t *testing.T) {
	d := start(t, Options{})
	b := newVisitor(t)
	visit := func(address string) (facts, []string) {
		b.open(address)
		b.settle()
		return eval[facts](b, readFacts), b.complaints()
	}
	for _, p := range site.Pages() {
		if strings.HasPrefix(p.Path, "/export/") {
			continue
		}
		path := strings.TrimPrefix(p.Path, "/")
		direct, before := visit(d.site + path)
		through, after := visit(d.url + path)
		b.await("")
		if through.Scripts != 1 {
			t.Errorf("%s: %d scripts of ours", p.Path, through.Scripts)
		}
		direct.Scripts = through.Scripts
		if through.Charset != direct.Charset || through.Mode != direct.Mode || through.Title != direct.Title || through.Text != direct.Text {
			t.Errorf("%s:\n direct  %+v\n through %+v", p.Path, direct, through)
		}
		for _, complaint := range after {
			if !slices.Contains(before, complaint) {
				t.Errorf("%s: new in the console: %s", p.Path, complaint)
			}
		}
	}
	// Once more as somebody, since then there is more for a page's policy to refuse.
	walk{t: t, d: d, b: b}.logIn(b, "c-1002")
	b.complaints()
	for _, p := range site.Pages() {
		if strings.HasPrefix(p.Path, "/export/") {
			continue
		}
		b.open(strings.TrimSuffix(d.url, "/") + p.Path)
		b.await("c-1002")
		if after := b.complaints(); len(after) > 0 {
			t.Errorf("%s, logged in: %q", p.Path, after)
		}
	}
}

// TestForm posts a form of a page in windows-1252, from the browser.
func TestForm(t *testing.T) {
	d := start(t, Options{})
	b := newVisitor(t)
	walk{t: t, d: d, b: b}.logIn(b, "c-1002")
	b.open(d.url + "enquiry.html")
	b.do(
		chromedp.SendKeys(chromedp.CSS(`input[name=subject]`), "Tauwerk für 50 €"),
		chromedp.SendKeys(chromedp.CSS(`textarea[name=message]`), "Ærlig talt"),
	)
	b.follow(`input[type=submit]`)
	b.await("c-1002")
	text := eval[string](b, `document.body.textContent`)
	for _, want := range []string{"Thank you, Zoë Brændgaard!", "Tauwerk für 50 €", "Ærlig talt"} {
		if !strings.Contains(text, want) {
			t.Errorf("the answer lacks %q: %s", want, text)
		}
	}
}
