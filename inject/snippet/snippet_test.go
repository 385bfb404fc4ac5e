package snippet_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"zchatproxy/inject/snippet"
	"zchatproxy/testdata/browser"
)

// maxText is the bound on the script's text, in bytes, when a site has no
// settings of its own to speak of.
const maxText = 4 << 10

var widgets = []string{"classic", "messaging", "chat"}

// configs covers every widget with all there is to it.
func configs() []snippet.Config {
	const settings = `{"webWidget":{"color":{"theme":"#12355b"},"chat":{"departments":{"select":"Sales & <b>Zoë\u2028𝔘]]>--></script>"}}},"n":1e400}`
	var all []snippet.Config
	for _, w := range widgets {
		all = append(all,
			snippet.Config{Widget: w, RoutePrefix: "/__zchat"},
			snippet.Config{Widget: w, RoutePrefix: "/__zchat", Key: "5e1f8bd2-0b3f-4a4e-9f55-4f9f3f1c2a6b", HelpCenter: true, Late: true, Settings: []byte(settings)},
		)
	}
	return all
}

func render(t testing.TB, c snippet.Config) *snippet.Snippet {
	t.Helper()
	s, err := snippet.Render(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// text is what stands between the tags.
func text(t testing.TB, s *snippet.Snippet) string {
	t.Helper()
	element := string(s.Element(""))
	const open, end = `<script data-zchatproxy="">`, `</script>`
	if !strings.HasPrefix(element, open) || !strings.HasSuffix(element, end) {
		t.Fatalf("element is %.60q…", element)
	}
	return element[len(open) : len(element)-len(end)]
}

func TestText(t *testing.T) {
	for _, c := range configs() {
		js := text(t, render(t, c))
		if len(js) >= maxText {
			t.Errorf("%s: %d bytes, want under %d", c.Widget, len(js), maxText)
		}
		for _, bad := range []string{"<", "&", "]]>", "-->", "ZCHAT_CONFIG", "eval(", "Function("} {
			if strings.Contains(js, bad) {
				t.Errorf("%s: the text has %q in it", c.Widget, bad)
			}
		}
		if i := strings.IndexFunc(js, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("%s: the text has %q in it", c.Widget, js[i])
		}
	}
}

// Old browsers must be able to read it. The parser that Node.js carries knows every edition of the language, but is not
// meant for others, so that only a known Node.js is asked.
func TestES5(t *testing.T) {
	if os.Getenv("ZCHATPROXY_TEST_ALL") != "1" {
		t.Skip("asks the parser within Node.js: set ZCHATPROXY_TEST_ALL=1")
	}
	node := browser.Need(t, "node")
	for _, c := range configs() {
		const parse = `require('internal/deps/acorn/acorn/dist/acorn').parse(require('fs').readFileSync(0,'utf8'),{ecmaVersion:5})`
		cmd := exec.Command(node, "--expose-internals", "-e", parse)
		cmd.Stdin = strings.NewReader(text(t, render(t, c)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c.Widget, err, out)
		}
	}
}

// The text means the same to an HTML parser and an XML parser: one element
// with one text, just as it is.
func TestElement(t *testing.T) {
	for _, c := range configs() {
		for _, nonce := range []string{"", "q83vEjRWeJA+/=", `"><b x="&`} {
			s := render(t, c)
			element := s.Element(nonce)
			js := text(t, s)

			nodes, err := html.ParseFragment(bytes.NewReader(element), &html.Node{Type: html.ElementNode, Data: "head", DataAtom: atom.Head})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"data-zchatproxy": ""}
			if nonce != "" {
				want["nonce"] = nonce
			}
			if len(nodes) != 1 || nodes[0].Data != "script" || nodes[0].FirstChild == nil || nodes[0].FirstChild.Data != js || nodes[0].FirstChild.NextSibling != nil {
				t.Fatalf("%s: not one script element", c.Widget)
			}
			got := map[string]string{}
			for _, a := range nodes[0].Attr {
				got[a.Key] = a.Val
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: attributes %v, want %v", c.Widget, got, want)
			}

			var x struct {
				XMLName xml.Name
				Nonce   string `xml:"nonce,attr"`
				Text    string `xml:",chardata"`
			}
			d := xml.NewDecoder(bytes.NewReader(element))
			if err := d.Decode(&x); err != nil || x.Text != js || x.XMLName.Local != "script" || x.Nonce != nonce {
				t.Errorf("%s: as XML: %v, element %s, nonce %q", c.Widget, err, x.XMLName.Local, x.Nonce)
			}
			if _, err := d.Token(); err != io.EOF {
				t.Errorf("%s: as XML, more than an element", c.Widget)
			}
		}
	}
}

func TestHash(t *testing.T) {
	ids := map[string]bool{}
	for _, c := range configs() {
		s := render(t, c)
		sum := sha256.Sum256([]byte(text(t, s)))
		if want := "sha256-" + base64.StdEncoding.EncodeToString(sum[:]); s.Hash() != want {
			t.Errorf("%s: hash %s, want %s", c.Widget, s.Hash(), want)
		}
		if !regexp.MustCompile(`^[0-9a-f]{8,}$`).MatchString(s.ID()) {
			t.Errorf("%s: id %q", c.Widget, s.ID())
		}
		ids[s.ID()] = true
		again := render(t, c)
		if !bytes.Equal(again.Element("n"), s.Element("n")) || again.ID() != s.ID() || again.Hash() != s.Hash() {
			t.Errorf("%s: rendered twice, it differs", c.Widget)
		}
	}
	if len(ids) != len(configs()) {
		t.Errorf("%d configurations have %d ids", len(configs()), len(ids))
	}
}

// argument is what the script is called with.
func argument(t *testing.T, c snippet.Config) map[string]any {
	t.Helper()
	js := text(t, render(t, c))
	i := strings.LastIndex(js, `})({"path":`)
	if i < 0 {
		t.Fatalf("no argument in …%s", js[len(js)-100:])
	}
	var arg map[string]any
	d := json.NewDecoder(strings.NewReader(js[i+3 : len(js)-1]))
	d.UseNumber()
	if err := d.Decode(&arg); err != nil {
		t.Fatal(err)
	}
	return arg
}

func TestArgument(t *testing.T) {
	tests := []struct {
		c    snippet.Config
		want string
	}{
		{snippet.Config{RoutePrefix: "/__zchat"}, `map[path:/__zchat/jwt]`},
		{snippet.Config{RoutePrefix: "/a/b/"}, `map[path:/a/b/jwt]`},
		{snippet.Config{RoutePrefix: "/p", HelpCenter: true, Late: true}, `map[help:1 late:1 path:/p/jwt]`},
		{snippet.Config{RoutePrefix: "/p", Settings: []byte(` { } `)}, `map[path:/p/jwt]`},
		{snippet.Config{RoutePrefix: "/p", Settings: []byte(`{"a":"é<&>\ud835\udd18","n":12345678901234567890.5}`)}, `map[path:/p/jwt settings:map[a:é<&>𝔘 n:12345678901234567890.5]]`},
		{snippet.Config{RoutePrefix: "/p", Settings: []byte(`{"webWidget":{"authenticate":{"chat":{}},"x":1}}`)}, `map[path:/p/jwt settings:map[webWidget:map[x:1]]]`},
		{snippet.Config{RoutePrefix: "/p", Key: "a&b"}, `map[path:/p/jwt url:https://static.zdassets.com/ekr/snippet.js?key=a%26b]`},
		{snippet.Config{Widget: "messaging", RoutePrefix: "/p", Key: "k"}, `map[path:/p/jwt url:https://static.zdassets.com/ekr/snippet.js?key=k]`},
		{snippet.Config{Widget: "chat", RoutePrefix: "/p", Key: "k"}, `map[path:/p/jwt url:https://v2.zopim.com/?k]`},
		{snippet.Config{RoutePrefix: "/p", Key: "k", WidgetURL: "/w.js"}, `map[path:/p/jwt url:/w.js?key=k]`},
		{snippet.Config{RoutePrefix: "/p", Key: "k", WidgetURL: "/w.js?v=1"}, `map[path:/p/jwt url:/w.js?v=1&key=k]`},
		{snippet.Config{RoutePrefix: "/p", WidgetURL: "/w.js"}, `map[path:/p/jwt]`},
	}
	for _, test := range tests {
		if test.c.Widget == "" {
			test.c.Widget = "classic"
		}
		if got := fmt.Sprint(argument(t, test.c)); got != test.want {
			t.Errorf("%+v: got %s, want %s", test.c, got, test.want)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	tests := []struct {
		c    snippet.Config
		want string
	}{
		{snippet.Config{}, `widget "" is unknown`},
		{snippet.Config{Widget: "Classic"}, `use classic, messaging or chat`},
		{snippet.Config{Widget: "chat", Settings: []byte(`[]`)}, `not a JSON object`},
		{snippet.Config{Widget: "chat", Settings: []byte(`null`)}, `not a JSON object`},
		{snippet.Config{Widget: "chat", Settings: []byte(`{} {}`)}, `not a JSON object`},
		{snippet.Config{Widget: "chat", Settings: []byte(`{"a":1,}`)}, `not a JSON object`},
		{snippet.Config{Widget: "chat", Settings: []byte(`{"a":[{"__proto__":1}]}`)}, `"__proto__"`},
	}
	for _, test := range tests {
		if _, err := snippet.Render(test.c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want an error with %q in it", test.c, err, test.want)
		}
	}
}

// Whatever the settings, they arrive as they are and end neither the script
// nor its argument.
func FuzzSettings(f *testing.F) {
	f.Add(`{"a":"</script><!--\u2028"}`)
	f.Add(`{"webWidget":{"authenticate":{},"b":["é",null,1.50,true,{}]}}`)
	f.Add("{\"\xff\":\"\xff\U0001F600\"}")
	f.Add(`{"__proto__":{}}`)
	f.Add(`{"a":1} x`)
	f.Fuzz(func(t *testing.T, settings string) {
		s, err := snippet.Render(snippet.Config{Widget: "messaging", RoutePrefix: "/__zchat", Settings: []byte(settings)})
		if err != nil {
			return
		}
		js := text(t, s)
		if strings.ContainsAny(js, "<&\r\n") || strings.Contains(js, "]]>") || strings.IndexFunc(js, func(r rune) bool { return r > '~' }) >= 0 {
			t.Fatalf("%q gives %q", settings, js[len(js)-len(settings)-40:])
		}
		var want any
		d := json.NewDecoder(strings.NewReader(settings))
		d.UseNumber()
		if strings.TrimSpace(settings) == "" {
			want = map[string]any{}
		} else if err := d.Decode(&want); err != nil {
			t.Fatalf("%q was taken: %v", settings, err)
		}
		if w, ok := want.(map[string]any)["webWidget"].(map[string]any); ok {
			delete(w, "authenticate")
		}
		got := argument(t, snippet.Config{Widget: "messaging", RoutePrefix: "/__zchat", Settings: []byte(settings)})["settings"]
		if got == nil {
			got = map[string]any{}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q arrives as %v", settings, got)
		}
	})
}

func ExampleRender() {
	s, err := snippet.Render(snippet.Config{
		Widget:      "classic",
		Settings:    []byte(`{"webWidget": {"position": {"horizontal": "left"}}}`),
		RoutePrefix: "/__zchat",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	element := string(s.Element("r4nd0m"))
	fmt.Println(element[:45])
	fmt.Println(element[strings.LastIndex(element, "({"):])
	// Output:
	// <script data-zchatproxy="" nonce="r4nd0m">(fu
	// ({"path":"/__zchat/jwt","settings":{"webWidget":{"position":{"horizontal":"left"}}}})</script>
}
