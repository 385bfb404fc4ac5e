package identity

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// goldens is one file of testdata/assertions.
type goldens struct {
	Preset string
	Now    int64
	Config struct{ Audience, Issuer string }
	// Documents of the key endpoint, by URL. They are the default URLs, which the configurations leave out.
	Documents map[string]string
	Vectors   []struct {
		Name, Assertion string
		Headers         map[string]string
		Identity        *struct{ ID, Email, Name string }
		Reason          Reason
	}
}

func readGoldens(t testing.TB) []goldens {
	t.Helper()
	files, err := filepath.Glob("testdata/assertions/*.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("found %d files of golden assertions, %v; want one per signed preset", len(files), err)
	}
	var all []goldens
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		g := goldens{Preset: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := json.Unmarshal(data, &g); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(g.Vectors) < 50 {
			t.Fatalf("%s holds %d vectors; it seems cut", file, len(g.Vectors))
		}
		all = append(all, g)
	}
	return all
}

func (g *goldens) config() Config {
	return Config{
		Preset: g.Preset, Audience: g.Config.Audience, Issuer: g.Config.Issuer,
		Transport: documents(g.Documents), Log: quiet(),
		Now: func() time.Time { return time.Unix(g.Now, 0) },
	}
}

// documents is a transport that serves a few URLs and has never heard of any other.
type documents map[string]string

func (d documents) RoundTrip(r *http.Request) (*http.Response, error) {
	body, ok := d[r.URL.String()]
	status := http.StatusOK
	if !ok {
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustNew(t testing.TB, c Config) *Source {
	t.Helper()
	if c.Log == nil {
		c.Log = quiet()
	}
	s, err := New(c)
	if err != nil {
		t.Fatalf("New(%+v): %v", c.Preset, err)
	}
	return s
}

// ask is a request with the headers given as name, value, name, value …, as a server would have parsed it.
func ask(headers ...string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, "http://shop.example/", nil)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestGoldenAssertions(t *testing.T) {
	for _, g := range readGoldens(t) {
		t.Run(g.Preset, func(t *testing.T) {
			for _, v := range g.Vectors {
				t.Run(v.Name, func(t *testing.T) {
					// A source for each: unknown key ids must not use up the fetches of the next vector.
					s := mustNew(t, g.config())
					r := ask(s.preset.signed.header, v.Assertion)
					for name, value := range v.Headers {
						r.Header.Set(name, value)
					}
					got, err := s.Request(r, true)
					if err != nil {
						t.Fatalf("Request: %v", err)
					}
					want := Outcome{Reason: v.Reason, Detail: got.Detail}
					if v.Identity != nil {
						want.LoggedIn = true
						want.Identity = Identity{ID: v.Identity.ID, Email: v.Identity.Email, Name: v.Identity.Name}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("outcome (-want +got):\n%s", diff)
					}
					if !got.LoggedIn && got.Detail == "" {
						t.Error("nobody, without a detail for people")
					}
				})
			}
		})
	}
}

// A valid assertion of a peer that may not speak for visitors is removed like any identity header.
func TestAssertionOfUntrustedPeer(t *testing.T) {
	for _, g := range readGoldens(t) {
		s := mustNew(t, g.config())
		header := s.preset.signed.header
		r := ask(header, g.Vectors[0].Assertion)
		for _, u := range s.preset.signed.unsigned {
			r.Header.Set(u.header, "x")
		}
		got, err := s.Request(r, false)
		if err != nil || got.LoggedIn || got.Reason != ReasonUntrustedPeer {
			t.Errorf("%s: Request = %+v, %v; want nobody, untrusted-peer", g.Preset, got, err)
		}
		if len(r.Header) != 0 {
			t.Errorf("%s: left of the header: %v", g.Preset, keysOf(r.Header))
		}
	}
}

func keysOf(h http.Header) (names []string) {
	for name := range h {
		names = append(names, name)
	}
	return names
}

// An assertion of one gateway means nothing to another, even where the algorithm is the same.
func TestAssertionsAcrossPresets(t *testing.T) {
	all := readGoldens(t)
	for _, from := range all {
		for _, to := range all {
			if from.Preset == to.Preset {
				continue
			}
			s := mustNew(t, to.config())
			got, err := s.Request(ask(s.preset.signed.header, from.Vectors[0].Assertion), true)
			if err != nil || got.LoggedIn {
				t.Errorf("%s accepts an assertion of %s: %+v, %v", to.Preset, from.Preset, got, err)
			}
		}
	}
}

// The log line about two identities holds neither.
func TestDisagreementIsLogged(t *testing.T) {
	for _, g := range readGoldens(t) {
		var log strings.Builder
		c := g.config()
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		s := mustNew(t, c)
		r := ask(s.preset.signed.header, g.Vectors[0].Assertion)
		r.Header.Set(s.preset.signed.unsigned[0].header, "eve-in-person@example.com")
		got, _ := s.Request(r, true)
		if got.Reason != ReasonDisagree {
			t.Fatalf("%s: %+v", g.Preset, got)
		}
		line := log.String()
		if !strings.Contains(line, "two identities") {
			t.Errorf("%s: no line in the log: %q", g.Preset, line)
		}
		for _, personal := range []string{"eve-in-person", "ann@", g.Vectors[0].Identity.ID, g.Vectors[0].Assertion[:20]} {
			if strings.Contains(strings.ToLower(line+got.Detail), personal) {
				t.Errorf("%s: %q is in the log or the detail", g.Preset, personal)
			}
		}
	}
}

// The plain header of the gateway counts for nothing without the assertion.
func TestUnsignedAloneIsNobody(t *testing.T) {
	for _, g := range readGoldens(t) {
		s := mustNew(t, g.config())
		for _, u := range s.preset.signed.unsigned {
			got, err := s.Request(ask(u.header, "ann@example.com"), true)
			if err != nil || got.LoggedIn || got.Reason != ReasonNoHeaders {
				t.Errorf("%s: %s alone gives %+v, %v", g.Preset, u.header, got, err)
			}
		}
	}
}

// No byte of an assertion can be changed without the signature noticing.
func TestEveryByteIsSigned(t *testing.T) {
	for _, g := range readGoldens(t) {
		s := mustNew(t, g.config())
		valid := g.Vectors[0].Assertion
		for i := range len(valid) {
			for _, c := range []byte{'A', 'B', '_'} {
				if valid[i] == c || valid[i] == '.' {
					continue
				}
				changed := valid[:i] + string(c) + valid[i+1:]
				if got, err := s.Request(ask(s.preset.signed.header, changed), true); err != nil || got.LoggedIn {
					t.Fatalf("%s: byte %d as %c is accepted: %+v, %v", g.Preset, i, c, got, err)
				}
			}
		}
	}
}

// FuzzAssertion looks for an assertion that is accepted although no key ever signed what it says.
func FuzzAssertion(f *testing.F) {
	all := readGoldens(f)
	signed := map[string]bool{}
	for _, g := range all {
		for _, v := range g.Vectors {
			if len(v.Assertion) < 4096 {
				f.Add(v.Assertion)
			}
			if v.Identity != nil || v.Reason == ReasonDisagree {
				signed[signingInput(v.Assertion)] = true
			}
		}
	}
	var sources []*Source
	for _, g := range all {
		sources = append(sources, mustNew(f, g.config()))
	}
	f.Fuzz(func(t *testing.T, assertion string) {
		for _, s := range sources {
			got, err := s.Request(ask(s.preset.signed.header, assertion), true)
			if err != nil {
				t.Fatalf("%s: %v", s.preset.name, err)
			}
			if got.LoggedIn && !signed[signingInput(strings.TrimSpace(assertion))] {
				t.Fatalf("%s accepts %q", s.preset.name, assertion)
			}
		}
	})
}

// signingInput is the signed part. The signature itself is left out: ECDSA has two for one text, and Base64 may be
// padded.
func signingInput(assertion string) string {
	return assertion[:max(0, strings.LastIndexByte(assertion, '.'))]
}

func BenchmarkAssertion(b *testing.B) {
	for _, g := range readGoldens(b) {
		b.Run(g.Preset, func(b *testing.B) {
			s := mustNew(b, g.config())
			r := ask(s.preset.signed.header, g.Vectors[0].Assertion)
			b.ReportAllocs()
			for b.Loop() {
				if got, err := s.Request(r, true); err != nil || !got.LoggedIn {
					b.Fatal(got, err)
				}
			}
		})
	}
}
