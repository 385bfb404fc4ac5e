package inject_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/unicode"

	"zchatproxy/inject"
)

// written is ASCII as it must stand in the document.
func (d document) written(ascii string) string {
	low, wide := 0, true
	switch {
	case bytes.HasPrefix(d.body, []byte{0xfe, 0xff}), bytes.HasPrefix(d.body, []byte{0, '<'}), d.charset == "utf-16be":
		low = 1
	case bytes.HasPrefix(d.body, []byte{0xff, 0xfe}), strings.HasPrefix(d.charset, "utf-16"), bytes.HasPrefix(d.body, []byte{'<', 0}):
	default:
		wide = false
	}
	if !wide {
		return ascii
	}
	out := make([]byte, 2*len(ascii))
	for i := range len(ascii) {
		out[2*i+low] = ascii[i]
	}
	return string(out)
}

// sent is the charset parameter that the rewritten document goes out with.
func (d document) sent(place inject.Place) string {
	if d.charset != "" {
		return d.charset
	}
	return place.ContentTypeCharset
}

// text decodes a body as the library's own sniffing has it, which knows nothing of ours.
func (d document) text(t testing.TB, body []byte, label string) []byte {
	t.Helper()
	contentType := "text/html"
	if label != "" {
		contentType += "; charset=" + label
	}
	enc, _, _ := charset.DetermineEncoding(body, contentType)
	text, err := enc.NewDecoder().Bytes(body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// xmlEvents reads a document as an XML parser does that stops at the first error; references to entities of the DTD excepted.
func xmlEvents(t testing.TB, d document, body []byte) []xml.Token {
	t.Helper()
	read := func(label string, in io.Reader) (io.Reader, error) {
		if strings.HasPrefix(strings.ToLower(label), "utf-16") {
			return in, nil // decoded below
		}
		return charset.NewReaderLabel(label, in)
	}
	in := io.Reader(bytes.NewReader(body))
	if d.written("x") != "x" {
		order := unicode.LittleEndian
		if strings.HasPrefix(d.written("x"), "\x00") {
			order = unicode.BigEndian
		}
		in = unicode.UTF16(order, unicode.UseBOM).NewDecoder().Reader(in)
		if body[0] != 0xff && body[0] != 0xfe {
			in = unicode.UTF16(order, unicode.IgnoreBOM).NewDecoder().Reader(bytes.NewReader(body))
		}
	} else if d.charset != "" {
		in, _ = charset.NewReaderLabel(d.charset, in)
	}
	z := xml.NewDecoder(in)
	z.CharsetReader = read
	var tokens []xml.Token
	for {
		tok, err := z.Token()
		if err == io.EOF {
			return tokens
		}
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		tokens = append(tokens, xml.CopyToken(tok))
	}
}

// differByXMLScript checks that rewritten is well formed and differs from the document by one script in the XHTML head.
func differByXMLScript(t *testing.T, d document, rewritten []byte) {
	t.Helper()
	want, got := xmlEvents(t, d, d.body), xmlEvents(t, d, rewritten)
	const ns = "http://www.w3.org/1999/xhtml"
	var path []xml.Name
	at := -1
	for i, tok := range got {
		switch tok := tok.(type) {
		case xml.StartElement:
			path = append(path, tok.Name)
			if tok.Name.Local == "script" && at < 0 {
				at = i
				if len(tok.Attr) != 1 || tok.Attr[0].Name.Local != "data-zchatproxy" {
					t.Errorf("the first script has %v", tok.Attr)
				}
				if len(path) != 3 || path[0] != (xml.Name{Space: ns, Local: "html"}) || path[1] != (xml.Name{Space: ns, Local: "head"}) || path[2].Space != ns {
					t.Errorf("the script stands at %v", path)
				}
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
	if at < 0 || len(got) != len(want)+3 {
		t.Fatalf("script at %d, %d tokens became %d", at, len(want), len(got))
	}
	if a, b := renderTokens(want), renderTokens(append(got[:at:at], got[at+3:]...)); a != b {
		t.Errorf("%s\nbecame\n%s", a, b)
	}
}

func renderTokens(tokens []xml.Token) string {
	var b strings.Builder
	for _, tok := range tokens {
		switch tok := tok.(type) {
		case xml.StartElement:
			b.WriteString("<" + tok.Name.Space + " " + tok.Name.Local)
			for _, a := range tok.Attr {
				b.WriteString(" " + a.Name.Space + ":" + a.Name.Local + "=" + a.Value)
			}
			b.WriteString(">\n")
		case xml.EndElement:
			b.WriteString("</" + tok.Name.Local + ">\n")
		case xml.CharData:
			b.WriteString("\"" + string(tok) + "\"\n")
		case xml.Comment:
			b.WriteString("<!--" + string(tok) + "\n")
		case xml.ProcInst:
			b.WriteString("<?" + tok.Target + string(tok.Inst) + "\n")
		case xml.Directive:
			b.WriteString("<!" + string(tok) + "\n")
		}
	}
	return b.String()
}

// TestXHTMLPlace has a mark where the script goes in XML.
func TestXHTMLPlace(t *testing.T) {
	const open = `<html xmlns="http://www.w3.org/1999/xhtml">`
	for _, c := range []struct {
		name, page string
		reason     inject.Reason
	}{
		{"end of head", open + "<head><title>a</title> |</head></html>", ""},
		{"script", open + "<head><title>a</title> |<script/></head></html>", ""},
		{"script deeper down", open + "<head><title>a</title> |<x><y><script/></y></x></head></html>", ""},
		{"text that looks like markup", open + "<head><title><![CDATA[</head><script>]]></title><!-- </head> --><?x </head> ?>|</head></html>", ""},
		{"prefix and default", `<h:html xmlns:h="http://www.w3.org/1999/xhtml" xmlns="http://www.w3.org/1999/xhtml"><h:head>|</h:head></h:html>`, ""},
		{"prefix alone", `<h:html xmlns:h="http://www.w3.org/1999/xhtml"><h:head></h:head></h:html>`, inject.XHTMLNoHead},
		{"other default in the head", open[:len(open)-1] + ` xmlns:h="http://www.w3.org/1999/xhtml"><h:head xmlns="urn:x"></h:head></html>`, inject.XHTMLNoHead},
		{"head of another namespace", open + `<head xmlns="urn:x"></head></html>`, inject.XHTMLNoHead},
		{"letter case", open + `<HEAD></HEAD></html>`, inject.XHTMLNoHead},
		{"no namespace", `<html><head></head></html>`, inject.XHTMLNoHead},
		{"no head", open + `<body/></html>`, inject.XHTMLNoHead},
		{"empty head", open + `<head/><body/></html>`, inject.XHTMLNoHead},
		{"script before the head", open + `<script/><head></head></html>`, inject.XHTMLNoHead},
		{"another root", `<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>`, inject.XHTMLNoHead},
		{"no document", ``, inject.XHTMLNoHead},
		{"cut off", open + `<head><title>`, inject.XHTMLMalformed},
		{"wrong end tag", open + `<head><title></head>`, inject.XHTMLMalformed},
		{"attribute without quotes", open + `<head><link rel=x></head></html>`, inject.XHTMLMalformed},
		{"entity that may hold anything", `<!DOCTYPE html [<!ENTITY s "<script/>">]>` + open + `<head>&s;</head></html>`, inject.XHTMLMalformed},
		{"entities of XML", `<!DOCTYPE html [<!ENTITY s "<script/>">]>` + open + `<head><title>&amp;&#60;</title>|</head></html>`, ""},
		{"attributes by default", `<!DOCTYPE html [<!ATTLIST script xmlns CDATA "urn:x">]>` + open + `<head></head></html>`, inject.XHTMLMalformed},
		{"attributes by default of others", `<!DOCTYPE html [<!ATTLIST svg x CDATA "y">]>` + open + `<head>|</head></html>`, ""},
		{"angle bracket in an attribute", open + `<head><link title=">/head>"/>|</head></html>`, ""},
		{"policy", open + `<head> |<meta http-equiv="content-security-policy" content="x"/><script/></head></html>`, ""},
		{"ours", open + `<head><script data-zchatproxy=""/></head></html>`, inject.AlreadyInjected},
		{"declared in UTF-7", `<?xml version="1.0" encoding="utf-7"?>` + open + `<head></head></html>`, inject.CharsetUnknown},
	} {
		page := strings.ReplaceAll(c.page, "|", "")
		for _, body := range []io.Reader{strings.NewReader(page), &cut{body: []byte(page), at: span(len(page))}} {
			place, out := rewrite(t, document{xhtml: true}, "", body, "|")
			if place.Reason != c.reason || string(out) != c.page {
				t.Errorf("%s: %+v\ngot  %s\nwant %s", c.name, place, out, c.page)
			}
		}
	}
}

// span returns 1, 2, … n: a cut at each of them.
func span(n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i + 1
	}
	return at
}

// TestContentTypeCharset has pages whose <meta> a script would push out of the bytes that browsers look through.
func TestContentTypeCharset(t *testing.T) {
	filler := strings.Repeat("x", 1000)
	for _, c := range []struct {
		name, page, charset, want string
		reason                    inject.Reason
	}{
		{"behind the script", "<html><script>1</script><meta charset=iso-8859-1>", "", "windows-1252", ""},
		{"by http-equiv", "<html><script>1</script><meta http-equiv=content-type content='text/html; charset = \"SJIS\"'>", "", "shift_jis", ""},
		{"before the script", "<html><meta charset=koi8-r><script>1</script>", "", "", ""},
		{"in Content-Type", "<html><script>1</script><meta charset=koi8-r>", "utf-8", "", ""},
		{"none", "<html><script>1</script><title>x</title>", "", "", ""},
		{"mark and meta", "\ufeff<html><script>1</script><meta charset=koi8-r>", "", "utf-8", ""},
		{"UTF-16 in ASCII", "<html><script>1</script><meta charset=utf-16>", "", "utf-8", ""},
		{"x-user-defined", "<html><script>1</script><meta charset=x-user-defined>", "", "windows-1252", ""},
		{"an encoding that no browser reads, behind the script", "<html><script>1</script><meta charset=hz-gb-2312>", "", "", inject.CharsetUnknown},
		{"an encoding that no browser reads, before the script", "<html><meta charset=iso-2022-kr><script>1</script>", "", "", inject.CharsetUnknown},
		{"an encoding that no browser reads, second", "<html><script>1</script><meta charset=big5><meta charset=hz-gb-2312>", "", "big5", ""},
		{"unknown to all", "<html><script>1</script><meta charset=klingon>", "", "", ""},
		{"unknown, then known", "<html><script>1</script><meta charset=klingon><meta charset=big5>", "", "big5", ""},
		{"content without http-equiv", "<html><script>1</script><meta content='charset=big5'>", "", "", ""},
		{"beyond the first bytes", "<html><script>1</script><!--" + filler + "--><meta charset=koi8-r>", "", "", ""},
		{"beyond the first bytes in the body", "<html><p>" + filler + filler + "<meta charset=koi8-r>", "", "", ""},
		{"in the body", "<!DOCTYPE html><p><meta charset=koi8-r>", "", "koi8-r", ""},
		{"across the first bytes' end, in the body", "<html><p>" + filler + "<meta charset=koi8-r>", "", "koi8-r", ""},
		{"in a script: browsers differ", "<html><script>'<meta charset=koi8-r>'</script>", "", "", inject.CharsetUnknown},
		{"in a comment", "<html><script></script><!-- <meta charset=koi8-r> -->", "", "", ""},
		{"two that differ by reader", "<html><script>'<meta charset=koi8-r>'</script><meta charset=utf-8>", "", "", inject.CharsetUnknown},
		{"two that agree", "<html><script>'<meta charset=utf-8>'</script><meta charset=UTF8>", "", "utf-8", ""},
		{"place beyond", "<html><title>" + filler + filler + "</title><script>1</script><meta charset=koi8-r>", "", "", ""},
		{"escapes undeclared", "<html><title>\x1b$BF|\x1b(B</title><p>", "", "", inject.CharsetUnknown},
		{"escapes declared", "<html><meta charset=iso-2022-jp><title>\x1b$B<<<<\x1b(B</title><p>", "", "", ""},
		{"escapes in another encoding", "<html><meta charset=utf-8><title>\x1b$B</title><p>", "", "", ""},
		{"Roman set at the place", "<html><meta charset=iso-2022-jp><title>\x1b(J</title><p>", "", "", inject.CharsetUnknown},
	} {
		d := document{name: c.name, body: []byte(c.page), charset: c.charset}
		for _, body := range []io.Reader{bytes.NewReader(d.body), &cut{body: d.body, at: span(len(d.body))}} {
			place, out := rewrite(t, d, "", body, element)
			if place.ContentTypeCharset != c.want || place.Reason != c.reason {
				t.Errorf("%s: %+v, want %q %q", c.name, place, c.want, c.reason)
			}
			if place.Reason == "" && !bytes.Contains(out, []byte(element)) {
				t.Errorf("%s: %q", c.name, out)
			}
		}
	}
}

// TestEncodingKept compares what the library sniffs before and after, with a script longer than browsers look.
func TestEncodingKept(t *testing.T) {
	long := "<script data-zchatproxy=\"\">" + strings.Repeat("/* */\n", 600) + "</script>"
	docs := slices.Concat(pages(t), encodingTests(t), labelled(t))
	declared := regexp.MustCompile(`(?i)<meta[^>]*charset=[^>]*>`)
	for _, d := range docs {
		place, out := rewrite(t, d, "", bytes.NewReader(d.body), long)
		if place.Reason != "" || d.xhtml {
			continue
		}
		_, before, certain := charset.DetermineEncoding(d.body, "text/html; charset="+d.charset)
		if !certain && !declared.Match(d.body[:min(len(d.body), 1024)]) {
			continue // the library would guess, by other signs than browsers
		}
		_, after, _ := charset.DetermineEncoding(out, "text/html; charset="+d.sent(place))
		if before != after {
			t.Errorf("%s: %s became %s (%+v)", d.name, before, after, place)
		}
	}
}
