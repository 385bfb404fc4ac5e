package inject_test

import (
	"bytes"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"zchatproxy/inject"
)

// TestFirstRead has the prefix, the script and what has arrived behind it in one piece.
func TestFirstRead(t *testing.T) {
	text := page()[:20000]
	for _, s := range schemes() {
		coded := s.encoded(t, text)
		r := open(document{}, s.name, bytes.NewReader(coded)).Insert(script)
		p := make([]byte, 32<<10)
		n, err := r.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		z, err := s.decode(io.MultiReader(bytes.NewReader(p[:n]), r))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text)/2)
		if _, err := io.ReadFull(z, got); err != nil || !bytes.Contains(got, []byte(element)) {
			t.Errorf("%s: the first of %d bytes: %v %.200q", s.form, n, err, got)
		}
		if s.name == "" && n != len(text)+len(element) {
			t.Errorf("the first Read returned %d of %d bytes", n, len(text)+len(element))
		}
	}
}

// TestTrickle has an upstream that flushes and then waits for the visitor to have seen what it sent: nothing may be held back, before
// the place (where only the decision can take longer) or behind it. A held byte is a deadlock, which the test's own time limit ends.
func TestTrickle(t *testing.T) {
	parts := []string{"<!DOCTYPE html><html><head><title>x</title><script>1</script>" + strings.Repeat(" ", 1600), "<p>one", "<p>", "two and more", strings.Repeat("<p>three", 5000), "x", "</html>"}
	for _, s := range schemes() {
		t.Run(s.form, func(t *testing.T) {
			pr, pw := io.Pipe()
			seen := make(chan int, 1<<16)
			go func() {
				w := s.encode(pw)
				sent := 0
				for _, part := range parts {
					sent += len(part)
					io.WriteString(w, part)
					w.Flush()
					for n := range seen {
						if n >= sent+len(element) {
							break
						}
					}
				}
				w.Close()
				pw.Close()
				for range seen {
				}
			}()
			z, err := s.decode(open(document{}, s.name, pr).Insert(script))
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for buf := make([]byte, 4096); ; {
				n, err := z.Read(buf)
				got = append(got, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				seen <- len(got)
			}
			close(seen)
			if want := strings.Join(parts, ""); string(got) != strings.Replace(want, "<script", element+"<script", 1) {
				t.Errorf("%d bytes, want %d", len(got), len(want)+len(element))
			}
		})
	}
}

// TestDecidesEarly has what the place depends on arrive, and nothing more: the decision must not wait for the rest.
func TestDecidesEarly(t *testing.T) {
	for _, c := range []struct{ name, begin, charset string }{
		{"script", "<!DOCTYPE html><meta charset=utf-8><script>", ""},
		{"script with a label", "<!DOCTYPE html><script>", "utf-8"},
		{"text", "<!DOCTYPE html><meta charset=utf-8><title>x</title> Loading", ""},
		{"end of head", "<html><head></head>", "utf-8"},
		{"fragment", "<p>", ""},
		{"JSON", "{", "utf-8"},
		{"far down", "<html><title>" + strings.Repeat("x", 2000) + "</title><body>", ""},
		{"XHTML", `<html xmlns="http://www.w3.org/1999/xhtml"><head></head>`, "utf-8"},
	} {
		stop := make(chan struct{})
		waits := readerFunc(func([]byte) (int, error) { <-stop; return 0, io.EOF })
		d := document{charset: c.charset, xhtml: c.name == "XHTML"}
		doc := open(d, "", io.MultiReader(strings.NewReader(c.begin), waits))
		if _, err := doc.Locate(); err != nil {
			t.Error(c.name, err)
		}
		buf := make([]byte, 4096)
		if n, err := doc.Insert(inject.NewElement(nil)).Read(buf); err != nil || string(buf[:n]) != c.begin {
			t.Errorf("%s: %q %v", c.name, buf[:n], err)
		}
		close(stop)
	}
}

// TestPatience has a page that names no encoding pause where one may still be named, in every coding, and then come as a whole. Behind
// the end of the head not even an hour's patience counts.
func TestPatience(t *testing.T) {
	for begin, patience := range map[string]time.Duration{
		"<!DOCTYPE html><html><head><title>x</title><script>":           time.Millisecond,
		"<html><head></head><body>Loading":                              time.Hour,
		"<html><head><template></template><title>x</title>\n<p>Loading": time.Hour,
	} {
		for _, s := range schemes() {
			t.Run(s.form, func(t *testing.T) {
				t.Parallel()
				pr, pw := io.Pipe()
				located := make(chan struct{})
				rest := strings.Repeat("<p>1</script><meta charset=windows-1251>", 300)
				go func() {
					w := s.encode(pw)
					io.WriteString(w, begin)
					w.Flush()
					<-located
					io.WriteString(w, rest)
					w.Close()
					pw.Close()
				}()
				doc := inject.Open(inject.Source{Body: pr, Coding: s.name, Patience: patience})
				place, err := doc.Locate()
				close(located)
				if err != nil || place.Reason != "" || place.ContentTypeCharset != "" {
					t.Fatalf("%+v %v", place, err)
				}
				coded, err := io.ReadAll(doc.Insert(script))
				if err != nil {
					t.Fatal(err)
				}
				at := place.Offset
				if got, want := string(s.decoded(t, coded)), begin[:at]+element+begin[at:]+rest; got != want {
					t.Errorf("%d bytes, want %d: %.300q", len(got), len(want), got)
				}
			})
		}
	}
}

// TestPatient finds the encoding in time, though its bytes come one by one.
func TestPatient(t *testing.T) {
	text := "<!DOCTYPE html><html><head><script>1</script><meta charset=windows-1251>" + strings.Repeat(" ", 2000)
	for _, s := range schemes() {
		coded := s.encoded(t, []byte(text))
		doc := inject.Open(inject.Source{Body: io.NopCloser(iotest.OneByteReader(bytes.NewReader(coded))), Coding: s.name, Patience: time.Hour})
		place, err := doc.Locate()
		if err != nil || place.ContentTypeCharset != "windows-1251" {
			t.Errorf("%s: %+v %v", s.form, place, err)
		}
		out, err := io.ReadAll(doc.Insert(script))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(s.decoded(t, out)); got != strings.Replace(text, "<script", element+"<script", 1) {
			t.Errorf("%s: %d bytes, want %d: %.300q", s.form, len(got), len(text)+len(element), got)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// closer counts Close.
type closer struct {
	io.Reader
	closed atomic.Int32
	hangs  chan struct{} // closed by Close
}

func (c *closer) Close() error {
	if c.closed.Add(1) == 1 && c.hangs != nil {
		close(c.hangs)
	}
	return nil
}

// TestClose closes at every stage: the source is closed, reads fail, nothing is put into a pool twice.
func TestClose(t *testing.T) {
	for _, s := range schemes() {
		coded := s.encoded(t, page())
		for _, reads := range []int{0, 1, 3, 1000} {
			for _, insert := range []bool{true, false} {
				src := &closer{Reader: bytes.NewReader(coded)}
				doc := inject.Open(inject.Source{Body: src, Coding: s.name})
				if _, err := doc.Locate(); err != nil {
					t.Fatal(err)
				}
				r := doc.Pass
				if insert {
					r = func() io.ReadCloser { return doc.Insert(script) }
				}
				body, buf := r(), make([]byte, 512)
				for range reads {
					if _, err := body.Read(buf); err != nil {
						break
					}
				}
				body.Close()
				body.Close()
				if n, err := body.Read(buf); n != 0 || err == nil || err == io.EOF {
					t.Errorf("%s: read %d after close, %v", s.form, n, err)
				}
				if src.closed.Load() == 0 {
					t.Errorf("%s: the source is still open", s.form)
				}
			}
		}
	}
}

// TestCloseWhileReading cancels a Read that waits for the upstream, as a server does whose visitor has left.
func TestCloseWhileReading(t *testing.T) {
	for _, s := range schemes() {
		src := &closer{hangs: make(chan struct{})}
		reading := make(chan struct{})
		var sent bytes.Buffer
		w := s.encode(&sent)
		if _, err := w.Write(page()[:3000]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		begin := bytes.NewReader(sent.Bytes())
		var once atomic.Bool
		src.Reader = readerFunc(func(p []byte) (int, error) {
			if begin.Len() > 0 {
				return begin.Read(p)
			}
			if once.CompareAndSwap(false, true) {
				close(reading)
			}
			<-src.hangs
			return 0, io.ErrClosedPipe
		})
		r := inject.Open(inject.Source{Body: src, Coding: s.name}).Insert(script)
		done := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, r)
			done <- err
		}()
		<-reading
		r.Close()
		if err := <-done; err == nil {
			t.Errorf("%s: a closed body ended cleanly", s.form)
		}
	}
}

// TestGrowth is right where it says that it knows, and knows where all has arrived, without a coding and with gzip.
func TestGrowth(t *testing.T) {
	for _, s := range schemes() {
		for _, d := range append(pages(t), document{name: "page", body: page()}) {
			coded := s.encoded(t, d.body)
			for _, arrived := range []int{len(coded), len(coded) / 2, 100} {
				first := bytes.NewReader(coded[:min(arrived, len(coded))])
				doc := open(d, s.name, io.MultiReader(first, bytes.NewReader(coded[min(arrived, len(coded)):])))
				place, err := doc.Locate()
				if err != nil {
					t.Fatal(err)
				}
				body := doc.Insert(script)
				n, ok := doc.Growth()
				out, err := io.ReadAll(body)
				body.Close()
				if err != nil || ok && len(out) != len(coded)+int(n) {
					t.Errorf("%s in %s: %d bytes became %d, %v; said %d", d.name, s.form, len(coded), len(out), err, n)
				}
				if want := place.Reason == "" && (s.name == "" || s.name == "gzip" && arrived == len(coded) && arrived < 16<<10); want && !ok {
					t.Errorf("%s in %s, %d bytes: not known though all has arrived", d.name, s.form, len(coded))
				}
			}
		}
	}
}

// TestSupports has the names of the codings.
func TestSupports(t *testing.T) {
	for _, name := range []string{"gzip", "x-gzip", "GZIP", " br ", "deflate", "zstd", "identity", ""} {
		if !inject.Supports(name) {
			t.Errorf("%q is not supported", name)
		}
	}
	for _, name := range []string{"compress", "gzip, gzip", "gzip,br", "dcb", "dcz", "none", "*", "x"} {
		if inject.Supports(name) {
			t.Errorf("%q is supported", name)
		}
	}
}
