package splice

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// benchSizes are the pages of the benchmarks, in bytes of text.
var benchSizes = []int{30_000, 120_000, 700_000}

// benchPage is a page as an upstream with zlib's usual level sends it.
func benchPage(size int) (text, stream []byte) {
	text = page(newRand(uint64(size)), size)
	return text, encoders()[8].encode(text, nil)
}

const benchAt = 400 // in the head

// BenchmarkSplice is what this package is for; BenchmarkTranscode what it
// saves, and BenchmarkCopy what cannot be saved. All go through the same
// buffer of 64 KiB.
func BenchmarkSplice(b *testing.B) {
	p := Prepare(script)
	for _, size := range benchSizes {
		text, stream := benchPage(size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			buf := make([]byte, 64<<10)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.CopyBuffer(plainWriter{}, NewReader(bytes.NewReader(stream), benchAt, p), buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// plainWriter hides what io.Discard has beside Write.
type plainWriter struct{}

func (plainWriter) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkCopy(b *testing.B) {
	for _, size := range benchSizes {
		text, stream := benchPage(size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			buf := make([]byte, 64<<10)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				io.CopyBuffer(plainWriter{}, struct{ io.Reader }{bytes.NewReader(stream)}, buf)
			}
		})
	}
}

func BenchmarkTranscode(b *testing.B) {
	for _, level := range []int{1, 6} {
		for _, size := range benchSizes {
			text, stream := benchPage(size)
			b.Run(fmt.Sprintf("level%d/%d", level, size), func(b *testing.B) {
				buf := make([]byte, 64<<10)
				r := new(gzip.Reader)
				w, err := gzip.NewWriterLevel(plainWriter{}, level)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					if err := r.Reset(bytes.NewReader(stream)); err != nil {
						b.Fatal(err)
					}
					w.Reset(plainWriter{})
					io.CopyN(w, r, benchAt)
					w.Write(script)
					if _, err := io.CopyBuffer(w, struct{ io.Reader }{r}, buf); err != nil {
						b.Fatal(err)
					}
					w.Close()
				}
			})
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	for b.Loop() {
		Prepare(script)
	}
}
