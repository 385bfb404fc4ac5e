package identity

import (
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
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestFetchOverLoopback uses real connections and the transport that a Source makes for itself.
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
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, g.document("")) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it will complain that the client hung up
	server.StartTLS()
	defer server.Close()
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
