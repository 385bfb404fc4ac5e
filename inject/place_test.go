package inject_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"zchatproxy/inject"
)

func open(d document, coding string, body io.Reader) *inject.Document {
	return inject.Open(inject.Source{Body: io.NopCloser(body), XHTML: d.xhtml, Charset: d.charset, Coding: coding})
}

// rewrite runs a document through, in the given pieces, and returns what comes out.
func rewrite(t testing.TB, d document, coding string, body io.Reader, piece string) (inject.Place, []byte) {
	t.Helper()
	doc := open(d, coding, body)
	place, err := doc.Locate()
	if err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	r := doc.Insert(inject.NewElement([]byte(piece)))
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: after %d bytes: %v", d.name, len(out), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return place, out
}

// TestPlace has a mark where the script goes. Each page also comes byte by byte.
func TestPlace(t *testing.T) {
	for _, c := range []struct{ name, page, before string }{
		{"end of head", "<!DOCTYPE html><html><head><title>x</title>|</head><body>", "</head>"},
		{"first script", "<!DOCTYPE html><html><head> <meta charset=utf-8>\n|<script>1</script></head>", "<script>"},
		{"any script", "<!DOCTYPE html><head>|<script type=application/ld+json>{}</script>", "<script>"},
		{"text", "<!DOCTYPE html><title>x</title> |text", "text"},
		{"white space written as references", "<!DOCTYPE html><head> &#32;&#x0A&Tab;&NewLine;&#000013;|&nbsp;", "text"},
		{"a reference to something else", "<!DOCTYPE html><head> |&#33;", "text"},
		{"NUL before a tag", "<!DOCTYPE html><head>\n|\x00<p>", "text"},
		{"NUL before text", "<!DOCTYPE html>\n|\x00\x00text", "text"},
		{"form feed", "<!DOCTYPE html>\f<head>\f|<p>", "<p>"},
		{"nothing but a doctype", "<!DOCTYPE html> |", "end of document"},
		{"comment cut short in the head", "<!DOCTYPE html><head>|<!-- ", "end of document"},
		{"tag cut short", "<!DOCTYPE html><title></title> |<p class='a", "end of document"},
		{"title cut short", "<!DOCTYPE html>|<title>abc</titl", "unfinished element"},
		{"lone angle bracket", "<!DOCTYPE html>|<", "text"},
		{"script before a late document", "|<script>1</script><body>", "<script>"},
		{"double escaped script before a late head", "|<script><!-- <script> </script> <body> --></script><head>", "<script>"},
		{"escaped script, less-than sign", "|<script><!-- < <script></script> --></script><body>", "<script>"},
		{"template", "<head>|<template><script></script><head></template><script></script>", "<template>"},
		{"template with foreign title", "<head>|<template><svg><title><b></title><![CDATA[</template>]]></svg></template></head>", "<template>"},
		{"noscript", "<html>|<noscript><link></noscript><script>", "<noscript>"},
		{"policy", "<html><meta charset=x>|<meta content=\"default-src 'self'\" http-equiv=Content-Security-Policy><script></script>", "<meta http-equiv=content-security-policy>"},
		{"policy by reference", "<html>|<meta http-equiv=Content&#45;Security-Policy content=x></head>", "<meta http-equiv=content-security-policy>"},
		{"report-only policy", "<html><meta http-equiv=Content-Security-Policy-Report-Only content=x>|</head>", "</head>"},
		{"omitted head", "<!DOCTYPE html>\n<title>x</title>\n|<p>", "<p>"},
		{"omitted all", "<!DOCTYPE html>\n|hello", "text"},
		{"html after its place", "<!DOCTYPE html><title>x</title><html lang=en>|<p>", "<p>"},
		{"second head", "<head><title>a</title><head>|<body>", "<body>"},
		{"header is no head", "<!DOCTYPE html>|<header>", "<header>"},
		{"self-closed head", "<html><head/>|<body>", "<body>"},
		{"angle bracket in an attribute", "<HTML><HEAD lang='a>b' x=\"<script>\">|</HEAD>", "</head>"},
		{"mismatched quotes", "<html><head a=\"b'>c\" d='e\">f'>|<body>", "<body>"},
		{"frameset", "<html><head><title></title>\n|</head><frameset>", "</head>"},
		{"frameset without head", "<html>\n|<frameset>", "<frameset>"},
		{"ignored end tags", "<!DOCTYPE html></p></div><head></title></p>|</html>", "</html>"},
		{"br end tag", "<!DOCTYPE html><head>|</br>", "</br>"},
		{"comments", "<!--<head>--><!--><html><!---><!-- --!><!-- -- ><head> --><head><!-- <script> -->|</head>", "</head>"},
		{"bogus comments", "<?xml version='1.0'?><!x><html></3><![CDATA[<body>|]]></head>", "text"},
		{"raw text", "<html><style><script></style><title><body></title><noframes></head></noframes>|</head>", "</head>"},
		{"raw text end tag", "<html><title></titlex></title/a='>'>|<p>", "<p>"},
		{"nothing in angle brackets", "<html></>|</head>", "</head>"},
		{"byte order mark", "\ufeff<!DOCTYPE html>|<p>", "<p>"},
		{"carriage returns", "<!DOCTYPE html>\r\n<head>\r\n|<p>", "<p>"},
		{"doctype with angle bracket in quotes", "<!DOCTYPE html PUBLIC '>|'>", "text"},
		{"foreign doctype of a page all the same", "<!DOCTYPE svg><html>|<svg>", "<svg>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			page := strings.ReplaceAll(c.page, "|", "")
			for _, body := range []io.Reader{strings.NewReader(page), iotest.OneByteReader(strings.NewReader(page)), iotest.DataErrReader(strings.NewReader(page))} {
				place, out := rewrite(t, document{}, "", body, "|")
				if place.Reason != "" || place.Before != c.before || string(out) != c.page {
					t.Errorf("%+v\ngot  %q\nwant %q before %q", place, out, c.page, c.before)
				}
			}
			differByScript(t, []byte(page), []byte(strings.Replace(c.page, "|", element, 1)))
		})
	}
}

// TestUntouched has documents that pass as they came, and why.
func TestUntouched(t *testing.T) {
	long := strings.Repeat("<meta name=x content=yyyyyyyyyyyyyyyy>", 8000)
	for _, c := range []struct {
		name   string
		doc    document
		coding string
		reason inject.Reason
	}{
		{"fragment", document{body: []byte("<p>x<script></script>")}, "", inject.Fragment},
		{"fragment with a script first", document{body: []byte("<script>a</script><div>x</div>")}, "", inject.Fragment},
		{"fragment with a title", document{body: []byte("<title>x</title>x")}, "", inject.Fragment},
		{"fragment in front of a page", document{body: []byte("<b>Warning</b><!DOCTYPE html><html>")}, "", inject.Fragment},
		{"comment", document{body: []byte("<!-- x -->")}, "", inject.Fragment},
		{"empty", document{}, "", inject.Empty},
		{"white space", document{body: []byte(" \n\t")}, "", inject.Empty},
		{"byte order mark alone", document{body: []byte("\ufeff")}, "", inject.Empty},
		{"JSON", document{body: []byte(`{"a": "<html><head></head>"}`)}, "", inject.NotHTML},
		{"JSON array", document{body: []byte(` ["<html>"]`)}, "", inject.NotHTML},
		{"RSS", document{body: []byte(`<?xml version="1.0"?><rss><channel><title>x</title>`)}, "", inject.NotHTML},
		{"RSS with a doctype", document{body: []byte(`<!DOCTYPE rss PUBLIC "x"><rss>`)}, "", inject.NotHTML},
		{"SVG", document{body: []byte(`<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "y"><svg>`)}, "", inject.NotHTML},
		{"plain text", document{body: []byte("see <html> for more")}, "", inject.Fragment},
		{"image", document{body: []byte("\x89PNG\r\n\x1a\n\x00\x00<html>")}, "", inject.NotHTML},
		{"script", document{body: []byte("var a = '<html>';")}, "", inject.Fragment},
		{"ours already, closed", document{body: []byte("<!DOCTYPE html><script defer data-zchatproxy=''></script>")}, "", inject.AlreadyInjected},
		{"ours already, behind a policy", document{body: []byte("<html><noscript></noscript><script data-zchatproxy></script>")}, "", inject.AlreadyInjected},
		{"NUL and white space", document{body: []byte("<!DOCTYPE html><head>\n\x00 <p>")}, "", inject.NoHeadEnd},
		{"NUL before a head", document{body: []byte("<!DOCTYPE html>\x00<head lang=en>")}, "", inject.NoHeadEnd},
		{"reference across the limit", document{body: []byte("<!DOCTYPE html><head>" + strings.Repeat(" ", 256<<10-23) + "&#32;<p>")}, "", inject.NoHeadEnd},
		{"tag across the limit", document{body: []byte("<!DOCTYPE html><head>" + strings.Repeat(" ", 256<<10-22) + "<title>")}, "", inject.NoHeadEnd},
		{"comment cut short", document{body: []byte("<!DOCTYPE html><!-- ")}, "", inject.NoHeadEnd},
		{"doctype cut short", document{body: []byte("<!DOCTYPE html")}, "", inject.NoHeadEnd},
		{"long head", document{body: []byte("<!DOCTYPE html><head>" + long + "</head>")}, "", inject.NoHeadEnd},
		{"long comment", document{body: []byte("<!DOCTYPE html><head><!--" + strings.Repeat("-", 300<<10))}, "", inject.NoHeadEnd},
		{"long head behind a policy", document{body: []byte("<!DOCTYPE html><meta http-equiv=content-security-policy>" + long + "</head>")}, "", inject.NoHeadEnd},
		{"unknown charset", document{body: []byte("<!DOCTYPE html><p>"), charset: "utf-7"}, "", inject.CharsetUnknown},
		{"replacement charset", document{body: []byte("<!DOCTYPE html><p>"), charset: "ISO-2022-KR"}, "", inject.CharsetUnknown},
		{"doubled coding", document{body: []byte("<!DOCTYPE html><p>")}, "gzip, gzip", inject.CodingUnknown},
		{"dictionary coding", document{body: []byte("<!DOCTYPE html><p>")}, "dcb", inject.CodingUnknown},
		{"zlib with a dictionary", document{body: []byte{0x78, 0xbb, 1, 2, 3, 4}}, "deflate", inject.CodingUnknown},
		{"not gzip at all", document{body: []byte("<!DOCTYPE html><p>")}, "gzip", inject.BodyCorrupt},
		{"one byte of gzip", document{body: []byte{0x1f}}, "gzip", inject.BodyCorrupt},
		{"not br at all", document{body: []byte("<!DOCTYPE html><p>")}, "br", inject.BodyCorrupt},
		{"not zstd at all", document{body: []byte("<!DOCTYPE html><p>")}, "zstd", inject.BodyCorrupt},
		{"empty gzip", document{}, "gzip", inject.Empty},
		{"empty br", document{}, "br", inject.Empty},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, body := range []io.Reader{bytes.NewReader(c.doc.body), iotest.OneByteReader(bytes.NewReader(c.doc.body))} {
				place, out := rewrite(t, c.doc, c.coding, body, element)
				if place.Reason != c.reason || place.Offset != 0 || place.Before != "" {
					t.Errorf("%+v, want %q", place, c.reason)
				}
				if !bytes.Equal(out, c.doc.body) {
					t.Errorf("%d bytes became %d", len(c.doc.body), len(out))
				}
			}
		})
	}
}

// withPrefixes also puts each document behind the beginnings of a page, so that fragments, too, say something about a head.
func withPrefixes(docs []document) []document {
	all := docs
	for _, prefix := range []string{"<!DOCTYPE html>", "<html> <head>\n", "<!-- x --><!DOCTYPE html><title>x</title> ", "<!DOCTYPE html><html><head><style>p{}</style>"} {
		for _, d := range docs {
			all = append(all, document{name: prefix + d.name, body: append([]byte(prefix), d.body...)})
		}
	}
	return all
}

// TestTrees checks all documents of html5lib and our own: what comes out is what went in and the script, and the parsed trees differ by
// that script alone.
func TestTrees(t *testing.T) {
	injected, all := 0, append(withPrefixes(html5lib(t)), pages(t)...)
	for _, d := range all {
		place, out := rewrite(t, d, "", bytes.NewReader(d.body), element)
		if place.Reason != "" {
			if !bytes.Equal(out, d.body) {
				t.Errorf("%s: changed, though %s", d.name, place.Reason)
			}
			continue
		}
		injected++
		ours := d.written(element)
		want := string(d.body[:place.Offset]) + ours + string(d.body[place.Offset:])
		if string(out) != want {
			t.Fatalf("%s: got\n%.3000q\nwant\n%.3000q", d.name, out, want)
		}
		t.Run(d.name, func(t *testing.T) {
			if d.xhtml {
				differByXMLScript(t, d, out)
				return
			}
			label := d.sent(place)
			differByScript(t, d.text(t, d.body, label), d.text(t, out, label))
		})
	}
	t.Logf("%d of %d documents injected", injected, len(all))
	if injected < 7000 {
		t.Errorf("only %d of %d documents injected", injected, len(all))
	}
}
