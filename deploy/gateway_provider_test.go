package deploy

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	clientID     = "zchatproxy"
	clientSecret = "client-secret-of-this-test"
)

// person is somebody who can log in. The names need no, and a Central European charset.
type person struct{ id, email, name string }

var (
	mary   = person{"c-1001", "mary.okafor@leith-harbour.example", "Mary Okafor"}
	lukasz = person{"c-1003", "lukasz.zuraw@zagle-gdynia.example", "Łukasz Żuraw"}
)

// chatID is the external_id of somebody, which has the prefix of the examples.
func (p person) chatID() string { return "user-" + p.id }

// provider is an OpenID Connect provider, as small as the gateways let it be: discovery, the code flow with or without
// PKCE, user info, and a page where one presses a person's button. It remembers nobody: who wants to log in is asked.
type provider struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu     sync.Mutex
	codes  map[string]grant // also refresh tokens, each of which is good once
	access map[string]person
	long   bool // tokens are as long as those of providers that put everything into them
}

// grant is what a code stands for.
type grant struct {
	person               person
	nonce, challenge     string
	redirect, challenged string
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, codes: map[string]grant{}, access: map[string]person{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discover)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.ask)
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("/userinfo", p.userInfo)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	p.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *provider) discover(w http.ResponseWriter, r *http.Request) {
	answer(w, map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/keys", "userinfo_endpoint": p.URL + "/userinfo",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

func (p *provider) keys(w http.ResponseWriter, r *http.Request) {
	answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
}

var logInPage = template.Must(template.New("").Parse(`<!DOCTYPE html><meta charset=utf-8><title>Log in</title>
<form method=post action="{{.Action}}">{{range .People}}<button name=person value="{{.}}">{{.}}</button>{{end}}</form>`))

func (p *provider) ask(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("redirect_uri") == "" {
		http.Error(w, "not a request of this client's: "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	logInPage.Execute(w, map[string]any{"Action": "/authorize?" + r.URL.RawQuery, "People": []string{mary.id, lukasz.id}})
}

func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	g := grant{nonce: q.Get("nonce"), challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri")}
	for _, who := range []person{mary, lukasz} {
		if who.id == r.PostFormValue("person") {
			g.person = who
		}
	}
	back, err := url.Parse(g.redirect)
	if err != nil || g.person.id == "" {
		http.Error(w, "no such person", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = g
	p.mu.Unlock()
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
	http.Redirect(w, r, back.String(), http.StatusSeeOther)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	code := r.PostFormValue("code") + r.PostFormValue("refresh_token")
	p.mu.Lock()
	g, known := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	if r.PostFormValue("grant_type") == "refresh_token" {
		g.redirect, g.challenge = "", ""
	}
	if g.challenge != "" {
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		g.challenged = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if id != clientID || secret != clientSecret || !known || g.redirect != r.PostFormValue("redirect_uri") || g.challenge != g.challenged {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": "invalid_grant"})
		return
	}
	claims := g.person.claims()
	claims["iss"], claims["aud"], claims["nonce"] = p.URL, clientID, g.nonce
	claims["iat"], claims["exp"] = time.Now().Unix(), time.Now().Add(time.Hour).Unix()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "1"}}, nil)
	if err != nil {
		panic(err)
	}
	idToken, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic(err)
	}
	access, refresh := rand.Text(), rand.Text()
	for p.long && len(access) < 6000 {
		access += rand.Text()
	}
	p.mu.Lock()
	p.access[access], p.codes[refresh] = g.person, g
	p.mu.Unlock()
	answer(w, map[string]any{"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 3600, "id_token": idToken})
}

func (p *provider) userInfo(w http.ResponseWriter, r *http.Request) {
	var access string
	fmt.Sscanf(r.Header.Get("Authorization"), "Bearer %s", &access)
	p.mu.Lock()
	who, known := p.access[access]
	p.mu.Unlock()
	if !known {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer(w, who.claims())
}

func (p person) claims() map[string]any {
	return map[string]any{"sub": p.id, "email": p.email, "email_verified": true, "name": p.name, "preferred_username": p.name}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}
