package inject_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// FuzzPlace checks of any text: it comes out as it went in, but for the script; and where there is one, the library's parser sees the same
// tree but for it. The library reads NUL and a few nested cases in its own way; such differences are looked at here one by one.
func FuzzPlace(f *testing.F) {
	for i, d := range html5lib(f) {
		if i%9 == 0 {
			f.Add(d.body, false)
			f.Add(append([]byte("<!DOCTYPE html><head>"), d.body...), false)
		}
	}
	for _, d := range pages(f) {
		if len(d.body) < 4000 {
			f.Add(d.body, d.xhtml)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, xhtml bool) {
		d := document{body: body, xhtml: xhtml}
		place, out := rewrite(t, d, "", bytes.NewReader(body), element)
		if place.Reason != "" {
			if !bytes.Equal(out, body) {
				t.Fatalf("%s: %q became %q", place.Reason, body, out)
			}
			return
		}
		ours := d.written(element)
		if len(out) != len(body)+len(ours) {
			t.Fatalf("%+v: %d bytes became %d", place, len(body), len(out))
		}
		if want := string(body[:place.Offset]) + ours + string(body[place.Offset:]); string(out) != want {
			t.Fatalf("%+v: got %q, want %q", place, out, want)
		}
		// Behind ESC, the text may be ISO-2022-JP; the library's parser would have to be told.
		if xhtml || ours != element || bytes.IndexByte(body, 0x1b) >= 0 || !parses(body) || !parses(out) {
			return
		}
		differByScript(t, body, out)
	})
}

// parses reports whether the library's parser gets through; it gives up on very deep trees.
func parses(b []byte) bool {
	_, err := html.Parse(bytes.NewReader(b))
	return err == nil
}

// FuzzSplits checks that place and text do not depend on the pieces that a body comes in.
func FuzzSplits(f *testing.F) {
	for i, d := range html5lib(f) {
		if i%40 == 0 {
			f.Add(append([]byte("<!DOCTYPE html>"), d.body...), "", false, []byte{1, 5, 3})
		}
	}
	for i, d := range pages(f) {
		if len(d.body) < 3000 {
			f.Add(d.body, d.charset, d.xhtml, []byte{byte(i), 200, 7, 1})
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, label string, xhtml bool, sizes []byte) {
		d := document{body: body, charset: label, xhtml: xhtml}
		want, wantOut := rewrite(t, d, "", bytes.NewReader(body), element)
		at, sum := make([]int, 0, len(sizes)), 0
		for _, n := range sizes {
			sum += int(n) + 1
			at = append(at, sum)
		}
		got, out := rewrite(t, d, "", &cut{body: body, at: at}, element)
		if got.Reason != want.Reason || got.Offset != want.Offset || got.Before != want.Before || got.ContentTypeCharset != want.ContentTypeCharset {
			t.Fatalf("in pieces %+v, whole %+v", got, want)
		}
		if !bytes.Equal(out, wantOut) {
			t.Fatalf("in pieces %q, whole %q", out, wantOut)
		}
	})
}

// FuzzCodings takes bodies as if they were coded: whatever they are, nothing crashes, what is passed is passed whole, and what comes out
// as a whole rewritten body is the rewritten text of a whole body.
func FuzzCodings(f *testing.F) {
	all := schemes()[1:]
	for i, s := range all {
		coded := s.encoded(f, page()[:3000])
		f.Add(coded, uint8(i))
		f.Add(coded[:len(coded)-3], uint8(i))
		f.Add(append(bytes.Clone(coded), coded...), uint8(i))
		f.Add(append(bytes.Clone(coded), "rubbish"...), uint8(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		s := all[int(which)%len(all)]
		doc := open(document{}, s.name, bytes.NewReader(body))
		place, err := doc.Locate()
		if err != nil {
			t.Fatal(err)
		}
		r := doc.Insert(script)
		out, err := io.ReadAll(io.LimitReader(r, 16<<20))
		r.Close()
		if place.Reason != "" {
			if err != nil || !bytes.Equal(out, body) {
				t.Fatalf("%s %s: %d bytes passed as %d, %v", s.form, place.Reason, len(body), len(out), err)
			}
			return
		}
		if err != nil || s.form == "zlib" || s.form == "bare deflate" || len(out) >= 16<<20 {
			return // which of the two forms it is, only the body tells
		}
		z, err := s.decode(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("%s: what came out does not decode: %v", s.form, err)
		}
		got, err := io.ReadAll(io.LimitReader(z, 16<<20))
		if err != nil && s.name != "gzip" { // a wrong checksum stays wrong, and rubbish stays behind the end
			t.Fatalf("%s: what came out does not decode: %v", s.form, err)
		}
		if at := strings.Index(string(got), element); at != int(place.Offset) && int64(len(got)) > place.Offset {
			t.Fatalf("%s: script at %d, said %+v", s.form, at, place)
		}
	})
}

// FuzzWhole encodes any page in any coding and wants it back, rewritten.
func FuzzWhole(f *testing.F) {
	for i := range schemes() {
		f.Add(page()[:2000], uint8(i), uint16(100))
		f.Add([]byte("<html>"), uint8(i), uint16(2))
	}
	f.Fuzz(func(t *testing.T, text []byte, which uint8, flushAt uint16) {
		s := schemes()[int(which)%len(schemes())]
		place, want := rewrite(t, document{}, "", bytes.NewReader(text), element)
		var b bytes.Buffer
		w := s.encode(&b)
		at := min(int(flushAt), len(text))
		w.Write(text[:at])
		w.Flush()
		w.Write(text[at:])
		w.Close()
		if b.Len() == 0 {
			return
		}
		got, out := rewrite(t, document{}, s.name, &cut{body: b.Bytes(), at: []int{at}}, element)
		if got.Reason != place.Reason || got.Offset != place.Offset {
			t.Fatalf("%s: %+v, plain %+v", s.form, got, place)
		}
		if out = s.decoded(t, out); !bytes.Equal(out, want) {
			t.Fatalf("%s: got %q, want %q", s.form, out, want)
		}
	})
}
