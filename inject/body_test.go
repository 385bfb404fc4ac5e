package inject_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"zchatproxy/inject"
)

var errUpstream = errors.New("connection reset")

// page is a document of about 90 KB that does not compress to nothing.
func page() []byte {
	r := rand.New(rand.NewPCG(5, 6))
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE html><html><head><meta charset=utf-8><title>Page</title>\n<link rel=stylesheet href=a.css>\n<script src=a.js></script></head><body>\n")
	words := strings.Fields("the chat widget on a page that nobody can change stands in a table of many rows and columns with links to more")
	for b.Len() < 90<<10 {
		b.WriteString("<tr><td>")
		for range 3 + r.IntN(9) {
			b.WriteString(words[r.IntN(len(words))] + " ")
		}
		b.WriteString(itoa(r.IntN(1e6)) + "</td></tr>\n")
	}
	return b.Bytes()
}

// drain reads to the end and closes, so that pools are in use.
func drain(r io.ReadCloser) ([]byte, error) {
	out, err := io.ReadAll(r)
	r.Close()
	return out, err
}

// stride is n, or 1 for the long versions of the tests.
func stride(n int) int {
	if all() {
		return 1
	}
	return n
}

// TestCutShort ends coded bodies early, without an error of the connection's: the rewritten body must not look whole.
func TestCutShort(t *testing.T) {
	text := page()[:6000]
	for _, s := range schemes()[1:] {
		coded := s.encoded(t, text)
		for n := 0; n < len(coded); n += stride(7) {
			doc := open(document{}, s.name, bytes.NewReader(coded[:n]))
			place, err := doc.Locate()
			if err != nil {
				t.Fatal(err)
			}
			out, err := drain(doc.Insert([]byte(element)))
			switch {
			case place.Reason == "" && err == nil:
				t.Fatalf("%s: %d of %d bytes came out as a whole body", s.form, n, len(coded))
			case place.Reason == "" && err == io.EOF:
				t.Fatalf("%s: EOF as an error", s.form)
			case place.Reason != "" && (err != nil || !bytes.Equal(out, coded[:n])):
				t.Fatalf("%s: %d bytes became %d, %v, though %s", s.form, n, len(out), err, place.Reason)
			}
		}
	}
}

// TestUpstreamFails breaks the connection at every byte: what has come is passed on, then the error, whether rewritten or not.
func TestUpstreamFails(t *testing.T) {
	text := page()[:2000]
	for _, s := range schemes() {
		coded := s.encoded(t, text)
		for n := 0; n < len(coded); n += stride(3) {
			broken := func() *inject.Document {
				return open(document{}, s.name, io.MultiReader(bytes.NewReader(coded[:n]), iotest.ErrReader(errUpstream)))
			}
			doc := broken()
			place, err := doc.Locate()
			if place.Reason != "" && err != errUpstream {
				t.Fatalf("%s after %d: %+v, %v", s.form, n, place, err)
			}
			if _, err = drain(doc.Insert([]byte(element))); err != errUpstream {
				t.Fatalf("%s after %d, %+v: ended with %v", s.form, n, place, err)
			}
			doc = broken()
			if _, err = doc.Locate(); err != nil && err != errUpstream {
				t.Fatal(err)
			}
			out, err := drain(doc.Pass())
			if err != errUpstream || !bytes.Equal(out, coded[:n]) {
				t.Fatalf("%s after %d: passed %d bytes, %v", s.form, n, len(out), err)
			}
		}
	}
}

// TestCorrupt turns bits of coded bodies over: the output is the text as it should be, or ends in an error, or is passed untouched.
func TestCorrupt(t *testing.T) {
	text := page()[:6000]
	for _, s := range schemes()[1:] {
		coded := s.encoded(t, text)
		for i := 0; i < len(coded); i += stride(7) {
			bad := bytes.Clone(coded)
			bad[i] ^= 0x10
			doc := open(document{}, s.name, bytes.NewReader(bad))
			place, err := doc.Locate()
			if err != nil {
				t.Fatal(err)
			}
			out, err := drain(doc.Insert([]byte(element)))
			if place.Reason != "" {
				if err != nil || !bytes.Equal(out, bad) {
					t.Fatalf("%s, byte %d: not passed, %v", s.form, i, err)
				}
				continue
			}
			if err != nil {
				continue
			}
			// Without a checksum (br, bare deflate) damage can be a valid other text. Then that text must have been rewritten.
			in, err := s.decode(bytes.NewReader(bad))
			if err != nil {
				t.Fatalf("%s, byte %d: a whole body from what does not decode: %v", s.form, i, err)
			}
			want, err := io.ReadAll(in)
			if err != nil && s.name != "gzip" {
				t.Fatalf("%s, byte %d: a whole body from what does not decode: %v", s.form, i, err)
			}
			if err != nil {
				continue // the checksum of gzip stays wrong for the client
			}
			if got := s.decoded(t, out); string(got) != string(want[:place.Offset])+element+string(want[place.Offset:]) {
				t.Fatalf("%s, byte %d: other text", s.form, i)
			}
		}
	}
}

// TestMembers has gzip and zstd bodies of several parts, and rubbish behind them.
func TestMembers(t *testing.T) {
	text := page()
	parts := [][]byte{text[:10], text[10:10], text[10:150], text[150:40000], text[40000:]}
	want := bytes.Replace(text, []byte("<script"), []byte(element+"<script"), 1)
	for _, s := range schemes() {
		if s.name != "gzip" && s.name != "zstd" {
			continue
		}
		var coded []byte
		for _, part := range parts {
			coded = append(coded, s.encoded(t, part)...)
		}
		if s.name == "zstd" {
			coded = append([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00xyz"), coded...) // a skippable frame
		}
		_, out := rewrite(t, document{}, s.name, bytes.NewReader(coded), element)
		if got := s.decoded(t, out); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d", s.form, len(got), len(want))
		}
	}
	s := schemes()[1]
	small := text[:20000]
	for _, rubbish := range []string{"\x00", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", "rubbish\n", "\x1e"} {
		_, out := rewrite(t, document{}, "x-gzip", strings.NewReader(string(s.encoded(t, small))+rubbish), element)
		z, err := gzip.NewReader(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false) // as browsers do, which ignore what follows
		if got, err := io.ReadAll(z); err != nil || len(got) != len(small)+len(element) {
			t.Errorf("%q behind the last member: %d bytes, %v", rubbish, len(got), err)
		}
	}
}

// endless gives a beginning, then the same piece for ever; it counts.
type endless struct {
	begin, piece []byte
	read         int
}

func (e *endless) Read(p []byte) (int, error) {
	var n int
	if e.read < len(e.begin) {
		n = copy(p, e.begin[e.read:])
	} else {
		n = copy(p, e.piece[(e.read-len(e.begin))%len(e.piece):])
	}
	e.read += n
	return n, nil
}

// TestNoEnd has heads without an end, and bodies that decode to nothing: the search gives up after a bounded part, and nothing is lost.
func TestNoEnd(t *testing.T) {
	gz := schemes()[1]
	var empty bytes.Buffer
	w := gz.encode(&empty)
	w.Write([]byte("<!DOCTYPE html>"))
	w.Flush()
	for _, c := range []struct {
		name, coding string
		source       *endless
	}{
		{"head", "", &endless{begin: []byte("<!DOCTYPE html><head>"), piece: []byte("<link rel=x>")}},
		{"comment", "", &endless{begin: []byte("<!DOCTYPE html><!--"), piece: []byte("x")}},
		{"attribute", "", &endless{begin: []byte("<!DOCTYPE html><html x='"), piece: []byte("x")}},
		{"attributes", "", &endless{begin: []byte("<!DOCTYPE html><html "), piece: []byte("x ")}},
		{"spaces", "", &endless{begin: []byte("<!DOCTYPE html>"), piece: []byte(" ")}},
		{"reference", "", &endless{begin: []byte("<!DOCTYPE html><head>&#"), piece: []byte("0")}},
		{"empty gzip blocks", "gzip", &endless{begin: empty.Bytes(), piece: []byte("\x00\x00\x00\xff\xff")}},
		{"empty gzip members", "gzip", &endless{piece: gz.encoded(t, nil)}},
		{"empty zstd frames", "zstd", &endless{piece: []byte("\x50\x2a\x4d\x18\x00\x00\x00\x00")}},
		{"endless gzip name", "gzip", &endless{begin: []byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00"), piece: []byte("x")}},
		{"template", "", &endless{begin: []byte("<!DOCTYPE html><template>"), piece: []byte("<template><p>")}},
		{"document in doubt", "", &endless{piece: []byte("<script></script>")}},
	} {
		doc := open(document{}, c.coding, c.source)
		place, err := doc.Locate()
		if err != nil || place.Reason == "" {
			t.Errorf("%s: %+v, %v", c.name, place, err)
		}
		if c.source.read > 800<<10 {
			t.Errorf("%s: read %d bytes", c.name, c.source.read)
		}
		got := make([]byte, c.source.read+100000)
		if _, err := io.ReadFull(doc.Pass(), got); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, len(got))
		if _, err := io.ReadFull(&endless{begin: c.source.begin, piece: c.source.piece}, want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: not passed as it came", c.name)
		}
	}
}

// zeros is n bytes of a page that compresses a thousandfold.
func zeros(n int64) io.Reader {
	return io.MultiReader(strings.NewReader("<!DOCTYPE html><title>x</title><p>"), io.LimitReader(&endless{piece: make([]byte, 1<<16)}, n))
}

// TestBomb decompresses 512 MiB (2 GiB with ZCHATPROXY_TEST_ALL) in every coding: memory stays where it was.
func TestBomb(t *testing.T) {
	size := int64(64 << 20)
	if all() {
		size = 2 << 30
	}
	for _, s := range schemes() {
		pr, pw := io.Pipe()
		go func() {
			w := s.encode(pw)
			_, err := io.Copy(w, zeros(size))
			if err == nil {
				err = w.Close()
			}
			pw.CloseWithError(err)
		}()
		doc := open(document{}, s.name, pr)
		r := doc.Insert([]byte(element))
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		buf, peak, read := make([]byte, 32<<10), uint64(0), 0
		for {
			n, err := r.Read(buf)
			if read += n; read&(1<<20-1) < n {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", s.form, err)
			}
		}
		r.Close()
		if grown := int64(peak) - int64(before.HeapAlloc); grown > 24<<20 {
			t.Errorf("%s: the heap grew by %d bytes", s.form, grown)
		}
	}
}
