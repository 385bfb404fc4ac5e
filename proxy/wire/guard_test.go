package wire

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestAcceptable(t *testing.T) {
	for _, stream := range acceptable {
		if passed, f := faultAt([]byte(stream)); f != nil || passed != len(stream) {
			t.Errorf("%q: %d of %d bytes pass: %s", stream, passed, len(stream), describe(f))
		}
		want := strings.Count(stream, " HTTP/1.")
		if got := len(reference([]byte(stream))); got != want {
			t.Errorf("%q: the reference finds %d requests, want %d", stream, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range refusedStreams {
		t.Run(tt.name, func(t *testing.T) {
			_, f := faultAt([]byte(tt.stream))
			if f == nil || f.remedy != tt.remedy {
				t.Errorf("%s, want remedy %d", describe(f), tt.remedy)
			}
			if f != nil && (f.why == "" || strings.ToLower(f.why[:1]) != f.why[:1] && !strings.HasPrefix(f.why, "Content-Length") && !strings.HasPrefix(f.why, "Transfer-Encoding")) {
				t.Errorf("the reason is %q", f.why)
			}
		})
	}
}

// The verdict depends neither on how the bytes arrive nor on what came before.
func TestSplits(t *testing.T) {
	streams := append([]string(nil), acceptable...)
	for _, r := range refusedStreams {
		streams = append(streams, r.stream, acceptable[len(acceptable)-7]+r.stream)
	}
	for _, stream := range streams {
		passed, f := faultAt([]byte(stream))
		check := func(pieces ...string) {
			t.Helper()
			g := newGuard(testConfig)
			total := 0
			for _, piece := range pieces {
				for b := []byte(piece); len(b) > 0 && g.fault == nil; {
					g.upgrade = false
					n := g.scan(b)
					total += n
					b = b[n:]
				}
			}
			if total != passed || (f == nil) != (g.fault == nil) || f != nil && *f != *g.fault {
				t.Errorf("%q in %d pieces: %d bytes and %s; whole: %d and %s", cut(stream), len(pieces), total, describe(g.fault), passed, describe(f))
			}
		}
		check(strings.Split(stream, "")...)
		if len(stream) < 1000 {
			for i := range stream {
				check(stream[:i], stream[i:])
			}
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for range 20 {
			a, b := rng.IntN(len(stream)+1), rng.IntN(len(stream)+1)
			check(stream[:min(a, b)], stream[min(a, b):max(a, b)], stream[max(a, b):])
		}
	}
}

func cut(s string) string { return s[:min(len(s), 200)] }

// Whatever the reference finds in a stream, the guard lets through, and nothing more.
func TestAgainstReference(t *testing.T) {
	for _, stream := range acceptable {
		compareHeads(t, []byte(stream))
	}
	for _, r := range refusedStreams {
		if r.remedy != answer431 && !strings.Contains(r.name, "long") && !strings.Contains(r.name, "many") {
			compareHeads(t, []byte(r.stream))
		}
	}
}

// compareHeads holds the guard's count of heads against the reference's.
func compareHeads(t *testing.T, stream []byte) {
	t.Helper()
	g := newGuard(Config{MaxHeaderBytes: 1 << 20, MaxHeaderCount: 1 << 20})
	heads := 0
	for i := 0; i < len(stream) && g.fault == nil; i++ {
		last := g.state == stateEndLF && !g.trailer // of a head
		g.upgrade = false
		if g.scan(stream[i : i+1]); last && g.fault == nil {
			heads++
		}
	}
	if want := len(reference(stream)); heads != want {
		t.Errorf("%q: the guard passes %d heads, the reference %d: %s", cut(string(stream)), heads, want, describe(g.fault))
	}
}

func TestLimitsAreExact(t *testing.T) {
	const start = "GET / HTTP/1.1\r\nHost: a\r\n"
	bytesOf := func(n int) string {
		return start + "X: " + strings.Repeat("x", n-len(start)-len("X: \r\n\r\n")) + "\r\n\r\n"
	}
	fieldsOf := func(n int) string { return start + strings.Repeat("X: y\r\n", n-1) + "\r\n" }
	for name, stream := range map[string]string{
		"bytes":  bytesOf(testHeaderBytes) + bytesOf(testHeaderBytes),
		"fields": fieldsOf(testHeaderCount) + fieldsOf(testHeaderCount),
	} {
		if _, f := faultAt([]byte(stream)); f != nil {
			t.Errorf("%s at the limit: %s", name, describe(f))
		}
	}
	for name, stream := range map[string]string{
		"bytes":  bytesOf(testHeaderBytes) + bytesOf(testHeaderBytes+1),
		"fields": fieldsOf(testHeaderCount) + fieldsOf(testHeaderCount+1),
	} {
		if _, f := faultAt([]byte(stream)); f == nil || f.remedy != answer431 {
			t.Errorf("%s over the limit: %s", name, describe(f))
		}
	}
	g := newGuard(Config{})
	if g.maxBytes != defaultHeaderBytes || g.maxFields != defaultHeaderCount {
		t.Errorf("the zero Config allows %d bytes and %d fields", g.maxBytes, g.maxFields)
	}
}
