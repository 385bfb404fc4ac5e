package widget_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"zchatproxy/cmd/zchatproxy/demo/widget"
)

const secret = "a secret of the tests, long enough for anybody"

// claims are those of all kinds of token.
type claims struct {
	Scope         string `json:"scope,omitempty"`
	ID            string `json:"external_id,omitempty"`
	Email         string `json:"email,omitempty"`
	EmailVerified bool   `json:"email_verified,omitempty"`
	Name          string `json:"name,omitempty"`
	JTI           string `json:"jti,omitempty"`
	IssuedAt      int64  `json:"iat,omitempty"`
	Expires       int64  `json:"exp,omitempty"`
}

type header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid,omitempty"`
}

func mac(text string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// sign makes a token as the proxy does.
func sign(kind, who string) string {
	now := time.Now().Unix()
	h := header{Alg: "HS256", Typ: "JWT", Kid: "k"}
	c := claims{ID: "id-" + who, Email: who + "@example.org", Name: who, IssuedAt: now - 10, Expires: now + 290}
	switch kind {
	case "messaging":
		c.Scope, c.EmailVerified = "user", true
	case "help-center":
		c.ID, c.Expires, c.JTI = "", 0, fmt.Sprint(time.Now().UnixNano())
	}
	encode := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := encode(h) + "." + encode(c)
	return text + "." + mac(text)
}

// verify judges a token by the rules that Zendesk publishes.
func verify(kind, token string) (widget.Agent, error) {
	var h header
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return widget.Agent{}, errors.New("not a token")
	}
	for i, v := range []any{&h, &c} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return widget.Agent{}, err
		}
		if err := json.Unmarshal(raw, v); err != nil {
			return widget.Agent{}, err
		}
	}
	now := time.Now().Unix()
	var problem string
	switch {
	case mac(parts[0]+"."+parts[1]) != parts[2]:
		problem = "wrong signature"
	case h.Alg != "HS256":
		problem = "wrong algorithm"
	case c.IssuedAt > now || c.IssuedAt < now-120:
		problem = "iat is off"
	case kind != "help-center" && (c.Expires <= now || c.Expires > c.IssuedAt+7*60):
		problem = "exp is off"
	case kind == "messaging" && (h.Kid == "" || c.Scope != "user" || c.ID == ""):
		problem = "kid, scope or external_id is missing"
	case kind == "messaging" && !c.EmailVerified && c.Email != "":
		problem = "the address is not verified"
	case kind == "chat" && (c.ID == "" || c.Email == "" || c.Name == ""):
		problem = "external_id, email or name is missing"
	case kind == "help-center" && (c.JTI == "" || c.ID != "" || c.Email == ""):
		problem = "jti or email is missing, or there is an external_id"
	}
	if problem != "" {
		return widget.Agent{}, errors.New(problem)
	}
	return widget.Agent{ID: c.ID, Email: c.Email, Name: c.Name, EmailVerified: c.EmailVerified}, nil
}
