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
