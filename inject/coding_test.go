package inject_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// scheme is a coding as a server may write it; name is its Content-Encoding.
type scheme struct {
	name, form string
	encode     func(io.Writer) flushCloser
	decode     func(io.Reader) (io.Reader, error)
}

type flushCloser interface {
	io.WriteCloser
	Flush() error
}

type nop struct{ io.Writer }

func (nop) Close() error { return nil }
func (nop) Flush() error { return nil }

func schemes() []scheme {
	return []scheme{
		{"", "identity", func(w io.Writer) flushCloser { return nop{w} }, func(r io.Reader) (io.Reader, error) { return r, nil }},
		{"gzip", "gzip", func(w io.Writer) flushCloser { return gzip.NewWriter(w) },
			func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"deflate", "zlib", func(w io.Writer) flushCloser { return zlib.NewWriter(w) },
			func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }},
		{"deflate", "bare deflate", func(w io.Writer) flushCloser { z, _ := flate.NewWriter(w, 6); return z },
			func(r io.Reader) (io.Reader, error) { return flate.NewReader(r), nil }},
		{"br", "br", func(w io.Writer) flushCloser { return brotli.NewWriterLevel(w, 3) },
			func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil }},
		{"zstd", "zstd", func(w io.Writer) flushCloser {
			z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<17))
			return z
		}, func(r io.Reader) (io.Reader, error) {
			z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
			if err != nil {
				return nil, err
			}
			return z.IOReadCloser(), nil
		}},
	}
}

// encoded returns body in one piece.
func (s scheme) encoded(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := s.encode(&b)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// decoded takes the coding off, as a client does that insists on a whole stream.
func (s scheme) decoded(t testing.TB, body []byte) []byte {
	t.Helper()
	r, err := s.decode(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", s.form, err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: after %d bytes: %v", s.form, len(out), err)
	}
	return out
}

// readable is how many bytes of text there are in a body that is cut short.
func (s scheme) readable(body []byte) int {
	r, err := s.decode(bytes.NewReader(body))
	if err != nil {
		return 0
	}
	n, _ := io.Copy(io.Discard, struct{ io.Reader }{r}) // package zstd's WriteTo gives text that its Read does not, before a checksum
	return int(n)
}

// TestArrivedWhole has bodies that are there from the beginning to the end: they take other encoders, where there are faster ones that
// cannot flush.
func TestArrivedWhole(t *testing.T) {
	for _, d := range append(pages(t), document{name: "page", body: page()}, document{name: "twice", body: append(page(), page()...)}) {
		place, want := rewrite(t, d, "", bytes.NewReader(d.body), element)
		for _, s := range schemes() {
			got, out := rewrite(t, d, s.name, &wholeBody{s.encoded(t, d.body)}, element)
			if got.Reason != place.Reason || got.Offset != place.Offset {
				t.Errorf("%s in %s: %+v, uncoded %+v", d.name, s.form, got, place)
			}
			if len(d.body) == 0 {
				continue
			}
			if out = s.decoded(t, out); !bytes.Equal(out, want) {
				t.Errorf("%s in %s: %d bytes, want %d", d.name, s.form, len(out), len(want))
			}
		}
	}
}
