package inject_test

import (
	"bufio"
	"bytes"
	"compress/flate"
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

// TestOddGzip spoils gzip bodies, of one member and of several: one whose beginning can be read to look for the place can be spliced, so
// that the script goes out with what comes before it, whatever is wrong further on; any other goes out as it came.
func TestOddGzip(t *testing.T) {
	text, random := page(), rand.New(rand.NewPCG(1, 2))
	placed, brokeOff, left := 0, 0, 0
	for range 2000 / stride(4) {
		var b bytes.Buffer
		for rest := text; ; {
			n := min(len(rest), random.IntN(len(text)))
			if random.IntN(2) == 0 {
				n = min(n, 200)
			}
			w, err := gzip.NewWriterLevel(&b, random.IntN(10))
			if err != nil {
				t.Fatal(err)
			}
			w.Write(rest[:n/2])
			w.Flush()
			w.Write(rest[n/2 : n])
			w.Close()
			if rest = rest[n:]; len(rest) == 0 || random.IntN(4) == 0 {
				break
			}
		}
		body := b.Bytes()
		for range random.IntN(4) {
			body[random.IntN(min(len(body), 300<<random.IntN(12)))] ^= 1 << random.IntN(8)
		}
		if random.IntN(4) == 0 {
			body = body[:random.IntN(len(body)+1)]
		}
		var src io.Reader = bytes.NewReader(body)
		if random.IntN(2) == 0 {
			src = iotest.HalfReader(src)
		}
		doc := open(document{}, "gzip", src)
		place, _ := doc.Locate()
		r := doc.Insert(script)
		first := make([]byte, 1+random.IntN(64<<10))
		n, err := r.Read(first)
		rest, last := drain(r)
		out := append(first[:n:n], rest...)
		switch {
		case place.Reason != "":
			left++
			if !bytes.Equal(out, body) {
				t.Fatalf("%s: %d bytes went out as %d", place.Reason, len(body), len(out))
			}
			continue
		case n == 0 || err != nil:
			t.Fatalf("%+v: the first read gives %d bytes, %v", place, n, err)
		case last != nil:
			brokeOff++
		}
		placed++
		z, err := gzip.NewReader(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(z) // as far as it goes
		if end := int(place.Offset) + len(element); len(got) < end || string(got[place.Offset:end]) != element {
			t.Fatalf("%+v: no script there in %d bytes of text", place, len(got))
		}
	}
	t.Logf("%d rewritten, of which %d broke off; %d left as they were", placed, brokeOff, left)
	if placed < 100 || brokeOff < 50 || left < 30 {
		t.Error("these are not enough to tell")
	}
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
			out, err := drain(doc.Insert(script))
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

// TestUpstreamFails breaks the connection at every byte, and behind the last one: what has come is passed on, then the error, whether
// rewritten or not.
func TestUpstreamFails(t *testing.T) {
	text := page()[:2000]
	for _, s := range schemes() {
		coded := s.encoded(t, text)
		ends := []int{len(coded)}
		if s.name == "gzip" || s.name == "zstd" { // may have more than one part
			coded = append(coded, s.encoded(t, text)...)
			ends = append(ends, len(coded))
		}
		for n := 0; n < len(coded); n += stride(3) {
			ends = append(ends, n)
		}
		for _, n := range ends {
			// The second is what net/http says of a body that is shorter than its header has it.
			for _, failure := range []error{errUpstream, io.ErrUnexpectedEOF} {
				broken := func() *inject.Document {
					return open(document{}, s.name, io.MultiReader(bytes.NewReader(coded[:n]), iotest.ErrReader(failure)))
				}
				doc := broken()
				place, err := doc.Locate()
				if place.Reason != "" && err != failure {
					t.Fatalf("%s after %d: %+v, %v", s.form, n, place, err)
				}
				out, err := drain(doc.Insert(script))
				if err != failure {
					t.Fatalf("%s after %d, %+v: ended with %v", s.form, n, place, err)
				}
				const held = 258 // a symbol that has not come to its end
				if came := s.readable(coded[:n]); place.Reason == "" && s.readable(out) < came+len(element)-held {
					t.Fatalf("%s after %d: of %d bytes of text %d came out", s.form, n, came, s.readable(out))
				}
				doc = broken()
				if _, err = doc.Locate(); err != nil && err != failure {
					t.Fatal(err)
				}
				out, err = drain(doc.Pass())
				if err != failure || !bytes.Equal(out, coded[:n]) {
					t.Fatalf("%s after %d: passed %d bytes, %v", s.form, n, len(out), err)
				}
			}
		}
	}
}

// TestEndOfTheBody has the text end before the body does: the text does not wait for it, and what the body ends with counts, also where
// nothing is left to decode. Trailers come with the end, and an upstream connection that has not been read to it is lost.
func TestEndOfTheBody(t *testing.T) {
	text := page()[:20000]
	for _, s := range schemes()[1:] {
		for _, c := range []struct {
			rubbish string
			end     error
		}{{"", io.EOF}, {"", io.ErrUnexpectedEOF}, {"\nrubbish", io.EOF}, {"\nrubbish", errUpstream}} {
			if c.rubbish != "" && (s.name == "zstd" || s.name == "br") {
				continue // an error: what follows is a frame, or a sign of damage
			}
			seen := make(chan struct{})
			end := readerFunc(func([]byte) (int, error) { <-seen; return 0, c.end })
			src := io.MultiReader(bytes.NewReader(s.encoded(t, text)), strings.NewReader(c.rubbish), end)
			var coded bytes.Buffer
			r := open(document{}, s.name, src).Insert(script)
			z, err := s.decode(io.TeeReader(r, &coded))
			if err != nil {
				t.Fatal(err)
			}
			if z, ok := z.(*gzip.Reader); ok {
				z.Multistream(false) // or it would wait for another member before it gives the last bytes of this one
			}
			if _, err := io.ReadFull(z, make([]byte, len(text)+len(element))); err != nil {
				t.Fatalf("%s: %v before the end of the text", s.form, err)
			}
			close(seen)
			rest, err := drain(r)
			if c.end == io.EOF && err != nil || c.end != io.EOF && err != c.end {
				t.Errorf("%s, %q: ended with %v, want %v", s.form, c.rubbish, err, c.end)
			}
			if err == nil && c.rubbish == "" {
				s.decoded(t, append(coded.Bytes(), rest...))
			}
		}
	}
}

// TestRubbishAtOnce has what follows the end of the text arrive with it.
func TestRubbishAtOnce(t *testing.T) {
	for _, s := range schemes()[1:] {
		if s.name != "deflate" { // see TestMembers for gzip
			continue
		}
		for _, text := range [][]byte{page()[:1000], page()} {
			whole := append(s.encoded(t, text), "\nrubbish"...)
			for _, src := range []io.Reader{bytes.NewReader(whole), iotest.OneByteReader(bytes.NewReader(whole)), &wholeBody{whole}} {
				_, out := rewrite(t, document{}, s.name, src, element)
				if got := s.decoded(t, out); len(got) != len(text)+len(element) {
					t.Errorf("%s: %d bytes, want %d", s.form, len(got), len(text)+len(element))
				}
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
			out, err := drain(doc.Insert(script))
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

// TestLooseGzip has what old scripts send as gzip: a zlib stream, its checksum included, behind eight bytes of a header.
func TestLooseGzip(t *testing.T) {
	zlib := schemes()[2]
	for _, text := range [][]byte{[]byte("<!DOCTYPE html><title>x</title>"), page()[:3000], page()} {
		coded := append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), zlib.encoded(t, text)...)
		place, out := rewrite(t, document{}, "gzip", bytes.NewReader(coded), element)
		z := flate.NewReader(bytes.NewReader(out[10:]))
		got, err := io.ReadAll(z)
		if want := string(text[:place.Offset]) + element + string(text[place.Offset:]); place.Reason != "" || err != nil || string(got) != want {
			t.Errorf("%d bytes became %d, %+v, %v", len(text), len(got), place, err)
		}
		if !bytes.HasSuffix(out, coded[len(coded)-4:]) {
			t.Errorf("%d bytes: the checksum is not passed on", len(text))
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
		r := doc.Insert(script)
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
