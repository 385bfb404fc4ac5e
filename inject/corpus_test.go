package inject_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"zchatproxy/inject"
)

const element = `<script data-zchatproxy="">/* the script */</script>`

var script = inject.NewElement([]byte(element))

// document is one input of the corpus.
type document struct {
	name    string
	body    []byte
	charset string // of Content-Type
	xhtml   bool
}

// html5lib returns the inputs of all tree-construction tests, whole documents and fragments alike: a server may send either.
func html5lib(t testing.TB) []document {
	t.Helper()
	var docs []document
	for _, pattern := range []string{"*.dat", "*/*.dat"} {
		files, err := filepath.Glob(filepath.Join("../testdata/html/html5lib", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			docs = append(docs, parseDat(filepath.Base(file), data, "errors")...)
		}
	}
	if len(docs) < 1500 {
		t.Fatalf("only %d documents", len(docs))
	}
	return docs
}

// encodingTests returns the inputs of html5lib's encoding tests as they are, and behind a script, so that ours pushes what they declare.
func encodingTests(t testing.TB) []document {
	t.Helper()
	files, err := filepath.Glob("../testdata/html/encoding/*.dat")
	if err != nil {
		t.Fatal(err)
	}
	var docs []document
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parseDat(filepath.Base(file), data, "encoding") {
			behind := document{name: d.name + " behind a script", body: append([]byte("<!DOCTYPE html><script></script>"), d.body...)}
			docs = append(docs, d, behind)
		}
	}
	if len(docs) < 2*80 {
		t.Fatalf("only %d documents", len(docs))
	}
	return docs
}

// labelled returns the W3C's pages about encodings, each without a label and with two.
func labelled(t testing.TB) []document {
	t.Helper()
	files, err := filepath.Glob("../testdata/html/charset/*.html")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	var docs []document
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, label := range []string{"", "utf-8", "iso-8859-15"} {
			docs = append(docs, document{name: filepath.Base(file), body: body, charset: label})
		}
	}
	return docs
}

// parseDat takes the #data sections, which the given one follows, out of a test file.
func parseDat(name string, data []byte, following string) []document {
	var docs []document
	for i, test := range bytes.Split(append([]byte("\n"), data...), []byte("\n#data\n")) {
		end := bytes.Index(append([]byte("\n"), test...), []byte("\n#"+following+"\n"))
		if i == 0 || end < 0 {
			continue
		}
		docs = append(docs, document{name: name + "#" + itoa(i), body: test[:max(0, end-1)]})
	}
	return docs
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + itoa(i%10)
}

// pages returns our own corpus. A file's name tells how it is sent: name.charset.xhtml, each part but the first optional.
func pages(t testing.TB) []document {
	t.Helper()
	files, err := filepath.Glob("../testdata/html/pages/*")
	if err != nil {
		t.Fatal(err)
	}
	var docs []document
	for _, file := range files {
		base := filepath.Base(file)
		if base == "README.md" {
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc := document{name: base, body: body, xhtml: strings.HasSuffix(base, ".xhtml")}
		if parts := strings.Split(base, "."); len(parts) == 3 {
			doc.charset = parts[1]
		}
		docs = append(docs, doc)
	}
	if len(docs) < 60 {
		t.Fatalf("only %d pages", len(docs))
	}
	return docs
}

// dump writes a tree so that two texts next to each other differ from one.
func dump(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node, int)
	walk = func(n *html.Node, depth int) {
		b.WriteString(strings.Repeat(" ", depth))
		b.WriteString(itoa(int(n.Type)) + " " + n.Namespace + " " + n.Data)
		for _, a := range n.Attr {
			b.WriteString(" " + a.Namespace + ":" + a.Key + "=" + a.Val)
		}
		b.WriteString("\n")
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c, depth+1)
		}
	}
	walk(n, 0)
	return b.String()
}

// scripts returns all script elements of a tree, in document order.
func scripts(n *html.Node) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == "script" {
			found = append(found, d)
		}
	}
	return found
}

// differByScript checks that the tree of rewritten is that of page and one script more, which is the first of all and in the head.
func differByScript(t *testing.T, page, rewritten []byte) {
	t.Helper()
	// The library's parser reads UTF-8 without a byte order mark.
	page, rewritten = bytes.TrimPrefix(page, []byte("\ufeff")), bytes.TrimPrefix(rewritten, []byte("\ufeff"))
	want, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	got, err := html.Parse(bytes.NewReader(rewritten))
	if err != nil {
		t.Fatal(err)
	}
	found := scripts(got)
	if len(found) == 0 {
		t.Fatalf("no script in\n%q", rewritten)
	}
	ours := found[0]
	if len(ours.Attr) == 0 || ours.Attr[0].Key != "data-zchatproxy" || ours.Namespace != "" {
		t.Fatalf("the first script is %q in\n%q", ours.Attr, rewritten)
	}
	if p := ours.Parent; p == nil || p.Data != "head" || p.Parent.Data != "html" {
		t.Fatalf("the script is not in the head in\n%q", rewritten)
	}
	ours.Parent.RemoveChild(ours)
	if a, b := dump(want), dump(got); a != b {
		t.Fatalf("the tree changed:\n%s\nbecame\n%s\nfrom\n%q\nto\n%q", a, b, page, rewritten)
	}
}

// all reports whether the long versions of the tests are wanted.
func all() bool { return os.Getenv("ZCHATPROXY_TEST_ALL") == "1" }
