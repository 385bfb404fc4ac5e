package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// fetchTimeout bounds one fetch, from the connection to the last byte.
	fetchTimeout = 5 * time.Second
	// maxKeyDocument bounds what is read of an answer; key sets have a few KiB.
	maxKeyDocument = 256 << 10
	// minRSABits is the smallest RSA modulus accepted (RFC 7518 section 3.3).
	minRSABits = 2048
)

// errNoSuchKey is a definite answer of the endpoint, unlike other failures: it has no key of that id.
var errNoSuchKey = errors.New("the endpoint has no such key")

// A keyFetcher gets keys from a gateway's endpoint. For a key set it returns all, whatever kid is; where each key has
// its own address, the one called kid.
type keyFetcher func(ctx context.Context, kid string) (map[string]crypto.PublicKey, error)

// newKeyFetcher makes the fetcher for a format. A redirect is an error: the keys are those of the configured address.
func newKeyFetcher(c Config, f assertionFormat) keyFetcher {
	transport := c.Transport
	if transport == nil {
		transport = keyTransport()
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if f.alb {
		return func(ctx context.Context, kid string) (map[string]crypto.PublicKey, error) {
			return fetchPEM(ctx, client, c.KeysURL, kid, f.algorithm)
		}
	}
	return func(ctx context.Context, _ string) (map[string]crypto.PublicKey, error) {
		data, err := get(ctx, client, c.KeysURL)
		if err != nil {
			return nil, err
		}
		return parseKeySet(data, f.algorithm)
	}
}

// get reads a small document.
func get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json, application/x-pem-file, */*;q=0.1")
	req.Header.Set("User-Agent", "zchatproxy")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%w: status %d from %s", errNoSuchKey, resp.StatusCode, req.URL.Host)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("status %d from %s: redirects are not followed, configure the final address",
			resp.StatusCode, req.URL.Host)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d from %s", resp.StatusCode, req.URL.Host)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKeyDocument+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", req.URL.Host, err)
	}
	if len(data) > maxKeyDocument {
		return nil, fmt.Errorf("the answer of %s is longer than %d KiB", req.URL.Host, maxKeyDocument>>10)
	}
	return data, nil
}

// parseKeySet reads a JWK set (RFC 7517) and keeps the keys that can verify the algorithm. What it does not
// understand it leaves out, as section 5 there asks.
func parseKeySet(data []byte, algorithm string) (map[string]crypto.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("the answer is not a JWK set")
	}
	keys := make(map[string]crypto.PublicKey)
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil || key.KeyID == "" || !key.Valid() {
			continue
		}
		if key.Use != "" && key.Use != "sig" || key.Algorithm != "" && key.Algorithm != algorithm {
			continue
		}
		if _, taken := keys[key.KeyID]; !taken && fits(key.Key, algorithm) {
			keys[key.KeyID] = key.Key
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the JWK set has no key for %s", algorithm)
	}
	return keys, nil
}

// fits reports whether key is a public key of the kind that algorithm needs, so that no key is ever used in another
// way than it was published for.
func fits(key crypto.PublicKey, algorithm string) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return algorithm == "ES256" && key.Curve == elliptic.P256()
	case *rsa.PublicKey:
		return algorithm == "RS256" && key.N.BitLen() >= minRSABits
	}
	return false
}

// fetchPEM gets one key of a load balancer. The id comes from the assertion, so it must not reach beyond base.
func fetchPEM(ctx context.Context, client *http.Client, base, kid, algorithm string) (map[string]crypto.PublicKey, error) {
	if !isPlainKeyID(kid) {
		return nil, fmt.Errorf("%w: its id is not one of a load balancer", errNoSuchKey)
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	data, err := get(ctx, client, u.JoinPath(kid).String())
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the answer is not a PEM file")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !fits(key, algorithm) {
		return nil, fmt.Errorf("the PEM file holds no public key for %s", algorithm)
	}
	return map[string]crypto.PublicKey{kid: key}, nil
}

// isPlainKeyID reports whether kid is made of letters, digits, hyphens and underscores, as the UUIDs of load
// balancers are: no dot, slash or percent sign that could lead to another address.
func isPlainKeyID(kid string) bool {
	return kid != "" && len(kid) <= 64 && plainlySpelled(strings.ReplaceAll(kid, "_", "-"))
}
