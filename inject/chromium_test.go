package inject_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// serialise is a function of a document that tells all of its tree: each text by itself, names with their namespaces, template contents,
// and what the parser decided besides. The script element of ours is left out where it is the first of all and in the head.
const serialise = `function serialise(doc) {
	const first = doc.querySelector("script");
	let ours = null;
	if (first && first.hasAttribute("data-zchatproxy") && first.parentNode === doc.head) ours = first;
	const out = [doc.characterSet, doc.compatMode, doc.contentType];
	const walk = (n, depth) => {
		if (n === ours) return;
		let s = depth + " " + n.nodeType + " " + (n.namespaceURI || "") + " " + n.nodeName + " " + (n.nodeValue === null ? "" : JSON.stringify(n.nodeValue));
		if (n.nodeType === 10) s += JSON.stringify([n.publicId, n.systemId]);
		for (const a of n.attributes || []) s += " " + (a.namespaceURI || "") + ":" + a.name + "=" + JSON.stringify(a.value);
		out.push(s);
		for (const c of (n.content && n.localName === "template" ? n.content : n).childNodes) walk(c, depth + 1);
	};
	walk(doc, 0);
	return {ours: ours !== null, tree: out.join("\n")};
}`

// shown is what serialise returns.
type shown struct {
	Ours bool   `json:"ours"`
	Tree string `json:"tree"`
}

// browserSite serves each document at /N/direct as it is and at /N/injected as it is rewritten, with nothing in it allowed to run or to
// load, and at /driver a page that compares them in frames.
func browserSite(t *testing.T, docs []document) (server *httptest.Server, injected map[int]bool) {
	t.Helper()
	const policy = "default-src 'none'; base-uri 'none'; form-action 'none'"
	injected = map[int]bool{}
	long := `<script data-zchatproxy="">` + strings.Repeat("/* */\n", 400) + `</script>`
	type response struct {
		contentType string
		body        []byte
	}
	served := map[string]response{}
	for i, d := range docs {
		place, out := rewrite(t, d, "", bytes.NewReader(d.body), long)
		injected[i] = place.Reason == ""
		contentType := "text/html"
		if d.xhtml {
			contentType = "application/xhtml+xml"
		}
		with := func(label string) string {
			if label != "" {
				return contentType + "; charset=" + label
			}
			return contentType
		}
		served[fmt.Sprintf("/%d/direct", i)] = response{with(d.charset), d.body}
		served[fmt.Sprintf("/%d/injected", i)] = response{with(d.sent(place)), out}
	}
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/driver" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, "<!DOCTYPE html><body><script>%s\n%s</script>", serialise, driver)
			return
		}
		res, ok := served[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Header.Get("Sec-Fetch-Dest") == "iframe" {
			w.Header().Set("Content-Type", res.contentType)
			w.Header().Set("Content-Security-Policy", policy)
			w.Write(res.body)
			return
		}
		// In one piece: what encoding Chromium takes can depend on how much of a page is there when it looks. (A frame inherits one.)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n"+
			"Content-Security-Policy: %s\r\n\r\n%s", res.contentType, len(res.body), policy, res.body)
	}))
	t.Cleanup(server.Close)
	return server, injected
}

// driver shows both forms of documents from to to in frames and returns those that differ, with scripting as a browser has it and without.
const driver = `
function load(path, sandbox) {
	return new Promise(resolve => {
		const frame = document.createElement("iframe");
		if (sandbox) frame.setAttribute("sandbox", "allow-same-origin");
		frame.onload = () => {
			let result;
			try { result = serialise(frame.contentDocument); } catch (e) { result = {ours: false, tree: String(e)}; }
			frame.remove();
			resolve(result);
		};
		frame.src = path;
		document.body.append(frame);
	});
}
async function compare(i) {
	const wrong = [];
	for (const sandbox of [false, true]) {
		const [a, b] = await Promise.all([load("/" + i + "/direct", sandbox), load("/" + i + "/injected", sandbox)]);
		if (a.tree !== b.tree || !b.ours) wrong.push({i, sandbox, ours: b.ours, direct: a.tree, injected: b.tree});
	}
	return wrong;
}
async function run(list) {
	let wrong = [];
	const next = async () => { while (list.length) wrong = wrong.concat(await compare(list.shift())); };
	await Promise.all([next(), next(), next(), next()]);
	return JSON.stringify(wrong);
}`

func browser(t *testing.T, patience time.Duration) context.Context {
	t.Helper()
	if !all() {
		t.Skip("set ZCHATPROXY_TEST_ALL=1 to compare the trees of Chromium")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("no Chromium: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithAllocatorOptions(
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true)))
	t.Cleanup(cancel)
	return ctx
}

// TestChromiumTrees compares what Chromium parses from documents of html5lib, direct and rewritten: nothing but the script may differ,
// quirks mode and encoding included.
func TestChromiumTrees(t *testing.T) {
	ctx := browser(t, 10*time.Minute)
	docs := withPrefixes(html5lib(t))
	server, injected := browserSite(t, docs)
	var list []string
	for i := range docs {
		// All documents of html5lib as they are, and every seventh of the longer ones.
		if injected[i] && (i < 2000 || i%7 == 0) {
			list = append(list, strconv.Itoa(i))
		}
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL+"/driver")); err != nil {
		t.Fatal(err)
	}
	var wrong []struct {
		I                int
		Sandbox, Ours    bool
		Direct, Injected string
	}
	for from := 0; from < len(list); from += 100 {
		part := list[from:min(from+100, len(list))]
		result, err := chromedp.Run(ctx, chromedp.Evaluate[string]("run(["+strings.Join(part, ",")+"])", chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(result), &wrong); err != nil {
			t.Fatal(err)
		}
		for _, w := range wrong {
			t.Errorf("%s (sandboxed: %v, ours in place: %v) %q:\n%s\nbecame\n%s", docs[w.I].name, w.Sandbox, w.Ours, docs[w.I].body, w.Direct, w.Injected)
		}
	}
	t.Logf("%d documents compared", len(list))
	if len(list) < 300 {
		t.Errorf("only %d documents", len(list))
	}
}

// TestChromiumPages does the same with whole pages in a window of their own, since a frame inherits an encoding: our corpus, the W3C's
// pages about encodings, html5lib's tests of them, and short ones with a <meta> in unusual places.
func TestChromiumPages(t *testing.T) {
	ctx := browser(t, 10*time.Minute)
	docs := slices.Concat(pages(t), labelled(t), encodingTests(t), encodingDocuments(t))
	server, injected := browserSite(t, docs)
	show := func(path string) shown {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Navigate(server.URL+path)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		s, err := chromedp.Run(ctx, chromedp.Evaluate[shown]("("+serialise+")(document)"))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return s
	}
	compared := 0
	for i, d := range docs {
		if !injected[i] {
			continue
		}
		compared++
		direct, rewritten := show(fmt.Sprintf("/%d/direct", i)), show(fmt.Sprintf("/%d/injected", i))
		if !rewritten.Ours || direct.Tree != rewritten.Tree {
			t.Errorf("%s %.200q (ours in place: %v):\n%.3000s\nbecame\n%.3000s", d.name, d.body, rewritten.Ours, direct.Tree, rewritten.Tree)
		}
	}
	t.Logf("%d pages compared", compared)
	if compared < 300 {
		t.Errorf("only %d pages", compared)
	}
}

// encodingDocuments puts declarations of encodings everywhere, before bytes that are not ASCII.
func encodingDocuments(t *testing.T) []document {
	t.Helper()
	var docs []document
	filler := "<!--" + strings.Repeat("x", 1000) + "-->"
	metas := []string{"<meta charset=koi8-r>", "<meta http-equiv=Content-Type content='text/html; charset=windows-1251'>", "<meta charset=shift_jis>",
		"<meta charset=utf-16>", "<meta charset=nonsense>", "<meta content='text/html; charset=koi8-r'>", "<meta charset=big5><meta charset=utf-8>",
		"<title><meta charset=koi8-r></title>", "<style><meta charset=koi8-r></style><meta charset=utf-8>", "<!-- <meta charset=koi8-r> -->",
		"<noscript><meta charset=koi8-r></noscript>", "<object><meta charset=koi8-r></object>", "<meta charset=utf-8 charset=koi8-r>", "<meta name=x/charset=koi8-r>",
		"<meta charset=&#107;oi8-r>", "<script>'<meta charset=koi8-r>'</script>", "<p><meta charset=koi8-r>", "<template><meta charset=koi8-r></template>"}
	for _, meta := range metas {
		for _, form := range []string{"<!DOCTYPE html>%s<script></script>", "<!DOCTYPE html><script></script>%s", "<html><body>%s", "<html><script></script>" + filler + "%s",
			"<html><body>" + filler + "%s", "\ufeff<html><script></script>%s", "<?xml version='1.0' encoding='koi8-r'?><!DOCTYPE html><script></script>%s"} {
			body := strings.Replace(form, "%s", meta, 1) + "<p>\xc4\xe5\xa4\xa2"
			docs = append(docs, document{name: form, body: []byte(body)})
		}
		docs = append(docs, document{name: "with a label", body: []byte("<html><script></script>" + meta + "\xc4\xe5"), charset: "iso-8859-5"})
	}
	return docs
}
