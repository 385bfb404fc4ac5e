package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// A gateway is a stand-in for Identity-Aware Proxy or a load balancer: it signs, and serves its keys. It counts the
// fetches, and can fail, hang or be slow. It is a transport, so that tests may run on fake time.
type gateway struct {
	mu      sync.Mutex
	keys    map[string]*ecdsa.PrivateKey
	perKey  bool // PEM by key id
	status  int  // answer this, if not 0
	hang    bool // never answer
	fetched []string
}

func newGateway(t testing.TB, kids ...string) *gateway {
	g := &gateway{keys: map[string]*ecdsa.PrivateKey{}}
	g.rotate(t, kids...)
	return g
}

// rotate replaces the keys.
func (g *gateway) rotate(t testing.TB, kids ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys = map[string]*ecdsa.PrivateKey{}
	for _, kid := range kids {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		g.keys[kid] = key
	}
}

func (g *gateway) set(status int, hang bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status, g.hang = status, hang
}

func (g *gateway) fetches() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.fetched)
}

func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	g.fetched = append(g.fetched, r.URL.String())
	status, hang, body := g.status, g.hang, g.document(r.URL.Path)
	g.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if status == 0 {
		status = http.StatusOK
		if body == "" {
			status = http.StatusNotFound
		}
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
}

func (g *gateway) document(path string) string {
	if g.perKey {
		key := g.keys[path[strings.LastIndexByte(path, '/')+1:]]
		if key == nil {
			return ""
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for kid, key := range g.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig", Algorithm: "ES256"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// assertion is one for u1, signed with the key called kid, or with a fresh key when there is none.
func (g *gateway) assertion(t testing.TB, kid string) string { return g.assertionFor(t, kid, "u1") }

func (g *gateway) assertionFor(t testing.TB, kid, id string) string {
	g.mu.Lock()
	key := g.keys[kid]
	g.mu.Unlock()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "https://cloud.google.com/iap", "aud": "x", "sub": id, "email": id + "@example.com",
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
	token.Header["kid"] = kid
	token.Header["signer"] = "arn:aws:x"
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (g *gateway) source(t testing.TB) *Source {
	if g.perKey {
		return mustNew(t, Config{Preset: "aws-alb", Audience: "arn:aws:x", KeysURL: "https://keys.example/base/", Transport: g})
	}
	return mustNew(t, Config{Preset: "google-iap", Audience: "x", Transport: g})
}

// wantReason asserts an outcome for one assertion; the empty reason is a log-in.
func wantReason(t *testing.T, s *Source, assertion string, want Reason) {
	t.Helper()
	got, err := s.Request(ask(s.preset.signed.header, assertion), true)
	if err != nil || got.Reason != want || got.LoggedIn != (want == "") {
		t.Fatalf("Request = %+v, %v; want reason %q", got, err, want)
	}
}

// pass lets fake time pass: it is for use in a synctest bubble, where it takes none.
func pass(d time.Duration) { <-time.After(d) }

func TestKeysAreCached(t *testing.T) {
	for _, perKey := range []bool{false, true} {
		g := newGateway(t, "k1")
		g.perKey = perKey
		s := g.source(t)
		for range 10 {
			wantReason(t, s, g.assertion(t, "k1"), "")
		}
		if n := g.fetches(); n != 1 {
			t.Errorf("per key %v: %d fetches, want 1", perKey, n)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	g := newGateway(t, "k1")
	s := g.source(t)
	old := g.assertion(t, "k1")
	wantReason(t, s, old, "")
	g.rotate(t, "k2")
	// The new key is fetched when it is first seen, at once; the set then no longer holds the old one.
	wantReason(t, s, g.assertion(t, "k2"), "")
	wantReason(t, s, old, ReasonUnknownKey)
}

func TestWithdrawnKeyGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, perKey := range []bool{false, true} {
			g := newGateway(t, "k1", "k2")
			g.perKey = perKey
			s := g.source(t)
			wantReason(t, s, g.assertion(t, "k1"), "")
			stolen := g.keys["k1"]
			g.rotate(t, "k2")
			pass(refreshAfter + time.Second)
			forged := func() string {
				other := &gateway{keys: map[string]*ecdsa.PrivateKey{"k1": stolen}}
				return other.assertion(t, "k1")
			}
			// This use still counts, and starts the refresh that ends it.
			wantReason(t, s, forged(), "")
			synctest.Wait()
			wantReason(t, s, forged(), ReasonUnknownKey)
		}
	})
}

func TestOutageKeepsLastGoodKeys(t *testing.T) {
	for name, fail := range map[string]func(*gateway){
		"status":    func(g *gateway) { g.set(http.StatusBadGateway, false) },
		"hanging":   func(g *gateway) { g.set(0, true) },
		"not found": func(g *gateway) { g.set(http.StatusNotFound, false) },
		"no keys":   func(g *gateway) { g.rotate(t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t, "k1")
				s := g.source(t)
				wantReason(t, s, g.assertion(t, "k1"), "")
				key := g.keys["k1"]
				fail(g)
				signer := &gateway{keys: map[string]*ecdsa.PrivateKey{"k1": key}}
				before := g.fetches()
				for range 24 * 60 {
					pass(time.Minute)
					start := time.Now()
					wantReason(t, s, signer.assertion(t, "k1"), "")
					if waited := time.Since(start); waited != 0 {
						t.Fatalf("a visitor waited %v although the key is held", waited)
					}
				}
				if n := g.fetches() - before; n < 60 || n > 24*60 {
					t.Errorf("%d fetches during a day's outage", n)
				}
				// Back again: a key of that time counts as soon as the backoff lets it be fetched.
				g.set(0, false)
				g.rotate(t, "k2")
				pass(maxBackoff + time.Second)
				wantReason(t, s, g.assertion(t, "k2"), "")
			})
		})
	}
}

func TestEndpointDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "k1")
		g.set(http.StatusServiceUnavailable, false)
		s := g.source(t)
		for range 50 { // within the first second
			wantReason(t, s, g.assertion(t, "k1"), ReasonKeysUnavailable)
		}
		if n := g.fetches(); n != 1 {
			t.Errorf("%d fetches within a second, want 1", n)
		}
		g.set(0, false)
		pass(time.Second)
		wantReason(t, s, g.assertion(t, "k1"), "")
	})
}

func TestSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "k1")
		g.set(0, true)
		s := g.source(t)
		start := time.Now()
		wantReason(t, s, g.assertion(t, "k1"), ReasonKeysUnavailable)
		if waited := time.Since(start); waited != fetchTimeout {
			t.Errorf("the visitor waited %v, want %v", waited, fetchTimeout)
		}

		// A visitor who goes away is not waited for.
		pass(maxBackoff)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		got, err := s.Request(ask("X-Goog-Iap-Jwt-Assertion", g.assertion(t, "k1")).WithContext(ctx), true)
		if err != nil || got.Reason != ReasonKeysUnavailable || time.Since(start) != time.Second {
			t.Errorf("Request = %+v, %v after %v", got, err, time.Since(start))
		}
		pass(fetchTimeout) // let the fetch end
	})
}

func TestSingleFlight(t *testing.T) {
	for _, perKey := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, "k1")
			g.perKey = perKey
			release := make(chan struct{})
			slow := roundTripper(func(r *http.Request) (*http.Response, error) {
				<-release
				return g.RoundTrip(r)
			})
			s := g.source(t)
			s.verifier.keys.fetch = newKeyFetcher(Config{KeysURL: s.config.KeysURL, Transport: slow}, *s.preset.signed)
			assertion := g.assertion(t, "k1")
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if got, err := s.Request(ask(s.preset.signed.header, assertion), true); err != nil || !got.LoggedIn {
						t.Errorf("Request = %+v, %v", got, err)
					}
				})
			}
			synctest.Wait()
			close(release)
			wg.Wait()
			if n := g.fetches(); n != 1 {
				t.Errorf("per key %v: %d fetches, want 1", perKey, n)
			}
		})
	}
}

func TestUnknownKeyIDs(t *testing.T) {
	for _, perKey := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, "k1")
			g.perKey = perKey
			s := g.source(t)
			wantReason(t, s, g.assertion(t, "k1"), "")
			// One id again and again causes one fetch in half a minute.
			for range 20 {
				wantReason(t, s, g.assertion(t, "unknown"), ReasonUnknownKey)
			}
			if n := g.fetches(); n != 2 {
				t.Errorf("per key %v: %d fetches, want 2", perKey, n)
			}
			// Ever new ids cause a burst, then one a minute.
			for i := range 500 {
				wantReason(t, s, g.assertion(t, fmt.Sprintf("unknown-%d", i)), ReasonUnknownKey)
			}
			if n := g.fetches(); n > 2*unknownBurst {
				t.Errorf("per key %v: %d fetches, want a burst of %d", perKey, n, unknownBurst)
			}
			if n := len(s.verifier.keys.absent); n > maxAbsent {
				t.Errorf("per key %v: %d absent ids are remembered", perKey, n)
			}
			wantReason(t, s, g.assertion(t, "k1"), "")
			// What was unknown may become known.
			g.rotate(t, "k1", "unknown")
			pass(2 * unknownEvery)
			wantReason(t, s, g.assertion(t, "unknown"), "")
		})
	}
}

func TestHeldKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kids []string
		for i := range maxHeld + 20 {
			kids = append(kids, fmt.Sprintf("k%d", i))
		}
		g := newGateway(t, kids...)
		g.perKey = true
		s := g.source(t)
		for _, kid := range kids {
			pass(unknownEvery)
			wantReason(t, s, g.assertion(t, kid), "")
		}
		if n := len(s.verifier.keys.held); n != maxHeld {
			t.Errorf("%d keys are held, want %d", n, maxHeld)
		}
		if _, ok := s.verifier.keys.held[kids[len(kids)-1]]; !ok {
			t.Error("the newest key was forgotten")
		}
	})
}

// A reload of the configuration makes a new Source; an outage at that moment must not log everybody out.
func TestKeepKeys(t *testing.T) {
	g := newGateway(t, "k1")
	old := g.source(t)
	wantReason(t, old, g.assertion(t, "k1"), "")
	g.set(http.StatusBadGateway, false)

	reloaded := g.source(t)
	reloaded.KeepKeys(old)
	wantReason(t, reloaded, g.assertion(t, "k1"), "")

	moved := mustNew(t, Config{Preset: "google-iap", Audience: "x", KeysURL: "https://elsewhere.example/", Transport: g})
	moved.KeepKeys(old)
	wantReason(t, moved, g.assertion(t, "k1"), ReasonKeysUnavailable)

	cloudflare := mustNew(t, Config{Preset: "cloudflare-access", Audience: "x", Issuer: "x", KeysURL: old.config.KeysURL, Transport: g})
	cloudflare.KeepKeys(old)
	if cloudflare.verifier.keys == old.verifier.keys {
		t.Error("keys for ES256 were taken over for RS256")
	}
	// Neither way round is there anything to take over, or anything to break.
	plain := mustNew(t, Config{})
	plain.KeepKeys(old)
	reloaded.KeepKeys(plain)
	wantReason(t, reloaded, g.assertion(t, "k1"), "")
}

// A key id must not lead to another address than one below the configured base.
func TestKeyIDsDoNotClimb(t *testing.T) {
	g := newGateway(t, "k1")
	g.perKey = true
	s := g.source(t)
	for _, kid := range []string{"../k1", "..%2fk1", "a/k1", "/k1", "k1?x", "k1#x", ".", "..", "https://evil.example/k1", "k1\\", strings.Repeat("k", 65)} {
		wantReason(t, s, g.assertion(t, kid), ReasonUnknownKey)
	}
	if n := g.fetches(); n != 0 {
		t.Errorf("fetched %q", g.fetched)
	}
	s = g.source(t)
	wantReason(t, s, g.assertion(t, "k1"), "")
	if want := "https://keys.example/base/k1"; g.fetched[0] != want {
		t.Errorf("fetched %s, want %s", g.fetched[0], want)
	}
}

// The remaining tests fetch over real connections, by the Source's own transport.

func TestFetchOverLoopback(t *testing.T) {
	g := newGateway(t, "k1")
	document := g.document("")
	tests := []struct {
		name  string
		serve http.HandlerFunc
		want  Reason
	}{
		{"plain", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, document) }, ""},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			io.WriteString(w, document)
		}, ReasonKeysUnavailable},
		{"redirect with a body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
			io.WriteString(w, document)
		}, ReasonKeysUnavailable},
		{"oversized", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, document+strings.Repeat(" ", maxKeyDocument))
		}, ReasonKeysUnavailable},
		{"a length that lies", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<40))
			io.WriteString(w, document)
		}, ReasonKeysUnavailable},
		{"cut short", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(document)))
			io.WriteString(w, document[:len(document)-1])
		}, ReasonKeysUnavailable},
		{"a page", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<!doctype html>") }, ReasonKeysUnavailable},
		{"an error with keys", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, document)
		}, ReasonKeysUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.serve)
			defer server.Close()
			s := mustNew(t, Config{Preset: "google-iap", Audience: "x", KeysURL: server.URL + "/keys"})
			wantReason(t, s, g.assertion(t, "k1"), tt.want)
		})
	}
}

// A certificate that nobody vouches for stops the fetch.
func TestFetchChecksCertificates(t *testing.T) {
	g := newGateway(t, "k1")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, g.document("")) }))
	defer server.Close()
	server.Config.ErrorLog = nil
	s := mustNew(t, Config{Preset: "google-iap", Audience: "x", KeysURL: server.URL})
	wantReason(t, s, g.assertion(t, "k1"), ReasonKeysUnavailable)
}

func TestParseKeySet(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsa2048, _ := rsa.GenerateKey(rand.Reader, 2048)
	jwk := func(key any, kid, use, alg string) json.RawMessage {
		data, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Use: use, Algorithm: alg})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	// Too small for crypto/rsa to make, let alone for anyone to trust.
	weak := json.RawMessage(`{"kty":"RSA","kid":"weak","e":"AQAB","n":"` + strings.Repeat("x", 170) + `"}`)
	keys := []json.RawMessage{
		jwk(&p256.PublicKey, "p256", "sig", "ES256"), jwk(&p256.PublicKey, "bare", "", ""), jwk(&p256.PublicKey, "enc", "enc", ""),
		jwk(&p256.PublicKey, "other-alg", "sig", "ES384"), jwk(&p256.PublicKey, "", "sig", ""), jwk(&p384.PublicKey, "p384", "", ""),
		jwk(p256, "private", "", ""), jwk([]byte("secret-secret-secret-secret-secr"), "oct", "", ""),
		jwk(&rsa2048.PublicKey, "rsa", "", ""), weak, json.RawMessage(`{"kty":"EC","kid":"off-curve","crv":"P-256","x":"AQ","y":"AQ"}`),
		json.RawMessage(`7`), json.RawMessage(`null`),
	}
	data, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, want := range map[string][]string{"ES256": {"p256", "bare"}, "RS256": {"rsa"}} {
		got, err := parseKeySet(data, algorithm)
		if err != nil || len(got) != len(want) {
			t.Errorf("%s: %v, %v; want %v", algorithm, got, err, want)
		}
		for _, kid := range want {
			if got[kid] == nil {
				t.Errorf("%s: %s is missing", algorithm, kid)
			}
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"keys":[]}`, `{"keys":{}}`, `{"keys":[7]}`, "nope"} {
		if got, err := parseKeySet([]byte(bad), "ES256"); err == nil {
			t.Errorf("parseKeySet(%q) = %v, want an error", bad, got)
		}
	}
}

func TestFetchPEM(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	der, err := x509.MarshalPKIXPublicKey(&p384.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"no PEM":         "hello",
		"no key":         string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("hello")})),
		"another curve":  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"empty document": "",
	} {
		client := &http.Client{Transport: documents{"https://keys.example/k1": body}}
		if got, err := fetchPEM(t.Context(), client, "https://keys.example", "k1", "ES256"); err == nil || errors.Is(err, errNoSuchKey) {
			t.Errorf("%s: fetchPEM = %v, %v; want an error that is no definite answer", name, got, err)
		}
	}
}
