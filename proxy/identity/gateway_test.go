package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
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
