package inject_test

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/net/html"

	"zchatproxy/inject"
)

// longHead is a page whose head takes 100 KiB of metas, links, styles and comments.
func longHead() []byte {
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
	for i := 0; b.Len() < 100<<10; i++ {
		switch i % 4 {
		case 0:
			b.WriteString("\t<link rel=\"stylesheet\" href=\"/static/css/part-" + itoa(i) + ".css\" media=\"screen\">\n")
		case 1:
			b.WriteString("\t<meta property=\"og:title\" content=\"A page of some length " + itoa(i) + "\" />\n")
		case 2:
			b.WriteString("\t<!-- block " + itoa(i) + " -->\n")
		case 3:
			b.WriteString("\t<style type=\"text/css\">.a" + itoa(i) + " { color: #fff; margin: 0 auto }</style>\n")
		}
	}
	b.WriteString("<script>")
	return b.Bytes()
}

// BenchmarkLocate reads a long head; its twin is the library's tokenizer over the same, as cheaply as it can be used.
func BenchmarkLocate(b *testing.B) {
	head := longHead()
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(head)))
		b.ReportAllocs()
		for b.Loop() {
			d := open(document{}, "", bytes.NewReader(head))
			if place, err := d.Locate(); err != nil || place.Offset != int64(len(head)-len("<script>")) && place.Reason == "" {
				b.Fatal(place, err)
			}
			d.Pass().Close()
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(int64(len(head)))
		b.ReportAllocs()
		for b.Loop() {
			for z := html.NewTokenizer(bytes.NewReader(head)); z.Next() != html.ErrorToken; {
				z.Raw()
			}
		}
	})
}

// wholeBody is a body that has arrived, as net/http gives one whose length it knows: the end comes with the last bytes.
type wholeBody struct{ rest []byte }

func (b *wholeBody) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if len(b.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *wholeBody) Close() error { return nil }

// BenchmarkInsert runs a page of 90 KB through, in every coding; the bytes are those of the text.
func BenchmarkInsert(b *testing.B) {
	text := page()
	for _, s := range schemes() {
		coded := s.encoded(b, text)
		b.Run(s.form, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			buf := make([]byte, 32<<10)
			out := 0
			for b.Loop() {
				r := inject.Open(inject.Source{Body: &wholeBody{coded}, Coding: s.name}).Insert(script)
				out = 0
				for {
					n, err := r.Read(buf)
					out += n
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				r.Close()
			}
			b.ReportMetric(float64(out)/float64(len(coded)), "out/in")
		})
	}
}
