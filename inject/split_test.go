package inject_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// cut gives a body in pieces that end at the given offsets.
type cut struct {
	body []byte
	at   []int
	pos  int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.pos == len(c.body) {
		return 0, io.EOF
	}
	end := len(c.body)
	for _, at := range c.at {
		if at > c.pos {
			end = min(end, at)
		}
	}
	n := copy(p, c.body[c.pos:end])
	c.pos += n
	return n, nil
}

// TestSplits runs small documents through at every split into two pieces, in every coding: place and text must be the same, and the
// coded text whole.
func TestSplits(t *testing.T) {
	docs := withPrefixes(html5lib(t))
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
	n := 30
	if all() {
		n = len(docs)
	}
	for _, d := range docs[:n] {
		if len(d.body) > 400 {
			continue
		}
		place, want := rewrite(t, d, "", bytes.NewReader(d.body), element)
		for _, s := range schemes() {
			coded := s.encoded(t, d.body)
			seen := map[string]bool{} // codings of the text; many splits give the same
			for i := range len(coded) {
				got, out := rewrite(t, d, s.name, &cut{body: coded, at: []int{i}}, element)
				if got.Reason != place.Reason || got.Offset != place.Offset || got.Before != place.Before {
					t.Fatalf("%s in %s, split at %d: %+v, in one piece %+v", d.name, s.form, i, got, place)
				}
				if len(d.body) == 0 || seen[string(out)] {
					continue
				}
				seen[string(out)] = true
				if out = s.decoded(t, out); !bytes.Equal(out, want) {
					t.Fatalf("%s in %s, split at %d:\ngot  %q\nwant %q", d.name, s.form, i, out, want)
				}
			}
			_, out := rewrite(t, d, s.name, iotest.OneByteReader(bytes.NewReader(coded)), element)
			if out = s.decoded(t, out); !bytes.Equal(out, want) {
				t.Fatalf("%s in %s, byte by byte:\ngot  %q\nwant %q", d.name, s.form, out, want)
			}
		}
	}
}

// TestRandomSplits does the same to whole pages, in many random pieces, flushed at random points.
func TestRandomSplits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, d := range pages(t) {
		place, want := rewrite(t, d, "", bytes.NewReader(d.body), element)
		for _, s := range schemes() {
			var b bytes.Buffer
			w := s.encode(&b)
			for rest := d.body; len(rest) > 0; {
				n := min(len(rest), 1+r.IntN(4000))
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				if rest = rest[n:]; r.IntN(3) == 0 {
					if err := w.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			at := make([]int, 20)
			for i := range at {
				at[i] = r.IntN(b.Len() + 1)
			}
			got, out := rewrite(t, d, s.name, &cut{body: b.Bytes(), at: at}, element)
			if got.Reason != place.Reason || got.Offset != place.Offset || got.ContentTypeCharset != place.ContentTypeCharset {
				t.Fatalf("%s in %s: %+v, in one piece %+v", d.name, s.form, got, place)
			}
			if out = s.decoded(t, out); !bytes.Equal(out, want) {
				t.Fatalf("%s in %s: %d bytes, want %d", d.name, s.form, len(out), len(want))
			}
		}
	}
}

// TestSplitEndings has the last bytes of a coded body arrive by themselves, where decoders tell the end from what follows it.
func TestSplitEndings(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	text := page()
	for range 100 {
		text := text[:1000+r.IntN(20_000)]
		for _, s := range schemes() {
			coded := s.encoded(t, text)
			_, want := rewrite(t, document{}, "", bytes.NewReader(text), element)
			for n := 1; n < 20; n++ {
				at := []int{len(coded) - n - r.IntN(20), len(coded) - n}
				_, out := rewrite(t, document{name: s.form}, s.name, &cut{body: coded, at: at}, element)
				if out = s.decoded(t, out); !bytes.Equal(out, want) {
					t.Fatalf("%d bytes in %s, split at %d: %d bytes, want %d", len(text), s.form, at, len(out), len(want))
				}
			}
		}
	}
}

// TestReaderContract runs the testing library's checks of io.Reader.
func TestReaderContract(t *testing.T) {
	page := append([]byte("<!DOCTYPE html><title>x</title><script></script>"), bytes.Repeat([]byte("<p>text"), 20000)...)
	for _, s := range schemes() {
		coded := s.encoded(t, page)
		doc := open(document{}, s.name, bytes.NewReader(coded))
		if _, err := doc.Locate(); err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(doc.Insert(script))
		if err != nil {
			t.Fatal(err)
		}
		again := open(document{}, s.name, bytes.NewReader(coded))
		if err := iotest.TestReader(again.Insert(script), want); err != nil {
			t.Errorf("%s: %v", s.form, err)
		}
		if err := iotest.TestReader(open(document{}, s.name, bytes.NewReader(coded)).Pass(), coded); err != nil {
			t.Errorf("%s passed: %v", s.form, err)
		}
	}
}
