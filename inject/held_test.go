//go:build !race

package inject_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"zchatproxy/inject"
)

// TestHeld locks what a body holds behind the place while nobody reads it: a slow visitor's page must cost next to nothing.
func TestHeld(t *testing.T) {
	const bodies, most = 200, 2 << 10
	text, random := make([]byte, 1<<20), rand.New(rand.NewPCG(1, 2))
	for i := range text {
		text[i] = "0123456789abcdef"[random.IntN(16)]
	}
	page := append([]byte("<!DOCTYPE html><title>x</title><p>"), text...)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(page)
	z.Close()
	for coding, body := range map[string][]byte{"": page, "gzip": packed.Bytes()} {
		buf := make([]byte, 32<<10)
		before := heap()
		open := make([]io.ReadCloser, bodies)
		for i := range open {
			open[i] = inject.Open(inject.Source{Body: io.NopCloser(bytes.NewReader(body)), Coding: coding}).Insert(script)
			for read := 0; read < 128<<10; {
				n, err := open[i].Read(buf)
				if err != nil {
					t.Fatalf("%q: %v after %d bytes", coding, err, read)
				}
				read += n
			}
		}
		held := (heap() - before) / bodies
		t.Logf("%q: %d bytes", coding, held)
		if held > most {
			t.Errorf("%q: a body holds %d bytes, more than %d", coding, held, most)
		}
		for _, r := range open {
			r.Close()
		}
	}
}

// TestHeldOfSmallPages locks what a page holds that takes decoding and encoding, has arrived as a whole, and is not read: its own bytes,
// not megabytes of windows and tables.
func TestHeldOfSmallPages(t *testing.T) {
	const bodies, most = 100, 128 << 10
	text := page()
	for _, s := range schemes() {
		coded := s.encoded(t, text)
		buf := make([]byte, 1<<10)
		before := heap()
		open := make([]io.ReadCloser, bodies)
		for i := range open {
			open[i] = inject.Open(inject.Source{Body: &wholeBody{coded}, Coding: s.name}).Insert(script)
			if _, err := open[i].Read(buf); err != nil {
				t.Fatalf("%s: %v", s.form, err)
			}
		}
		held := (heap() - before) / bodies
		t.Logf("%s: %d of %d bytes", s.form, held, len(coded))
		if held > most {
			t.Errorf("%s: a body of %d bytes holds %d, more than %d", s.form, len(coded), held, most)
		}
		for _, r := range open {
			r.Close()
		}
	}
}

// heap is what is reachable. What is in pools is gone after the second collection.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
