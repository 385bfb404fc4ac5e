//go:build !race

package inject_test

import (
	"bytes"
	"io"
	"testing"

	"zchatproxy/inject"
)

// TestAllocs locks how often a page of 90 KB allocates, from Open to Close. A rise is a change that someone should have wanted.
func TestAllocs(t *testing.T) {
	most := map[string]float64{"identity": 14, "gzip": 20, "zlib": 38, "bare deflate": 21, "br": 28, "zstd": 24}
	text := page()
	buf := make([]byte, 32<<10)
	for _, s := range schemes() {
		coded := s.encoded(t, text)
		allocs := testing.AllocsPerRun(50, func() {
			r := inject.Open(inject.Source{Body: io.NopCloser(bytes.NewReader(coded)), Coding: s.name}).Insert(script)
			for {
				if _, err := r.Read(buf); err != nil {
					break
				}
			}
			r.Close()
		})
		if allocs > most[s.form] {
			t.Errorf("%s: %v allocations, at most %v wanted", s.form, allocs, most[s.form])
		}
		t.Logf("%s: %v allocations", s.form, allocs)
	}
}

// TestAllocsOfAHead locks that the length of the head makes no difference.
func TestAllocsOfAHead(t *testing.T) {
	head := longHead()
	if n := testing.AllocsPerRun(20, func() {
		d := open(document{}, "", bytes.NewReader(head))
		if _, err := d.Locate(); err != nil {
			t.Fatal(err)
		}
		d.Pass().Close()
	}); n > 14 {
		t.Errorf("%v allocations for %d bytes", n, len(head))
	}
}
