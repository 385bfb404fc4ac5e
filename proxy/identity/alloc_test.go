package identity

import (
	"maps"
	"net/http"
	"testing"
)

// browserHeader is what Chromium sends for a page.
func browserHeader() http.Header {
	return ask("Accept", "text/html", "Accept-Encoding", "gzip", "Accept-Language", "en", "Cache-Control", "no-cache",
		"Connection", "keep-alive", "Cookie", "a=b", "Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate",
		"Sec-Fetch-Site", "none", "Sec-Fetch-User", "?1", "Sec-Ch-Ua", "x", "Upgrade-Insecure-Requests", "1",
		"User-Agent", "Mozilla/5.0", "X-Requested-With", "x", "X-Real-Ip", "10.0.0.1").Header
}

func TestAnonymousRequestsDoNotAllocate(t *testing.T) {
	for preset, s := range everyPreset(t) {
		r := ask()
		r.Header = browserHeader()
		for _, trusted := range []bool{true, false} {
			n := testing.AllocsPerRun(100, func() {
				if _, err := s.Request(r, trusted); err != nil {
					t.Fatal(err)
				}
			})
			if n != 0 {
				t.Errorf("%s, trusted %v: %v allocations, want none", preset, trusted, n)
			}
		}
	}
}

func TestPlainIdentityDoesNotAllocate(t *testing.T) {
	s := mustNew(t, Config{})
	r := ask("X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com", "X-Forwarded-Preferred-Username", "Ann Lee")
	n := testing.AllocsPerRun(100, func() {
		if got, err := s.Request(r, true); err != nil || !got.LoggedIn {
			t.Fatal(got, err)
		}
	})
	// What is an identity's worth: none for ASCII values without a prefix.
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkRequestAnonymous(b *testing.B) {
	s := mustNew(b, Config{})
	r := ask()
	r.Header = browserHeader()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Request(r, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequestForwarded(b *testing.B) {
	s := mustNew(b, Config{})
	r := ask("X-Forwarded-User", "u1", "X-Forwarded-Email", "ann@example.com", "X-Forwarded-Preferred-Username", "Ann Lee")
	maps.Copy(r.Header, browserHeader())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Request(r, true); err != nil {
			b.Fatal(err)
		}
	}
}
