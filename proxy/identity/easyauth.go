package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// Azure App Service's built-in authentication ("Easy Auth") sends its principal as Base64 of a JSON object. The
// names of claims depend on the identity provider: the long ones are those of WS-Federation, to which Easy Auth maps
// what it knows, the short ones are OpenID Connect's own.
const (
	soapClaims      = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
	microsoftClaims = "http://schemas.microsoft.com/identity/claims/"

	// maxPrincipal bounds the decoded principal; servers refuse header sections long before.
	maxPrincipal = 256 << 10
)

var (
	errPrincipal         = errors.New("not Base64 of a JSON object with claims")
	errPrincipalConflict = errors.New("one id claim with two values")
)

// A principal is the part of Easy Auth's JSON that is of use here.
type principal struct {
	NameType string `json:"name_typ"` // the type of the claim that holds the name
	Claims   []struct {
		Type  string `json:"typ"`
		Value string `json:"val"`
	} `json:"claims"`
}

// decodePrincipal reads X-MS-CLIENT-PRINCIPAL. A claim may be repeated: then the first address or name counts, but an
// id must be one.
func decodePrincipal(value string) (claims, error) {
	if len(value) > base64.StdEncoding.EncodedLen(maxPrincipal) {
		return claims{}, errPrincipal
	}
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return claims{}, errPrincipal
	}
	var p principal
	if err := json.Unmarshal(data, &p); err != nil || p.Claims == nil {
		return claims{}, errPrincipal
	}
	var c claims
	for _, typ := range []string{soapClaims + "nameidentifier", "sub", microsoftClaims + "objectidentifier", "oid"} {
		first, same := p.claim(typ)
		if !same {
			return claims{}, errPrincipalConflict
		}
		if first != "" {
			c.id = first
			break
		}
	}
	c.email = p.firstOf(soapClaims+"emailaddress", "email", "emails", soapClaims+"upn", "upn")
	c.name = p.firstOf(soapClaims+"name", "name", p.NameType)
	return c, nil
}

// claim returns the first value of a claim, and whether all of its values are the same.
func (p *principal) claim(typ string) (first string, same bool) {
	same = true
	for _, c := range p.Claims {
		switch {
		case c.Type != typ || c.Value == "":
		case first == "":
			first = c.Value
		case c.Value != first:
			same = false
		}
	}
	return first, same
}

func (p *principal) firstOf(types ...string) string {
	for _, typ := range types {
		if v, _ := p.claim(typ); v != "" {
			return v
		}
	}
	return ""
}

// fromPrincipal reads Easy Auth's headers. The plain ones fill what the principal lacks; -NAME is what the person
// signs in with, an address as often as not. A principal that cannot be read is not made up for by the others.
func (s *Source) fromPrincipal(f *found) (claims, Outcome) {
	var c claims
	if value, _ := f.single(s.principal); value != "" {
		var err error
		c, err = decodePrincipal(value)
		switch {
		case errors.Is(err, errPrincipalConflict):
			return c, nobody(ReasonConflict, s.preset.principal+" holds "+err.Error())
		case err != nil:
			return c, nobody(ReasonBadPrincipal, s.preset.principal+" is "+err.Error())
		}
	}
	account := s.text(f, s.name)
	address := s.key(f, s.name)
	c.id = choose(s.config.IDHeader != "", s.key(f, s.id), c.id)
	c.name = choose(s.config.NameHeader != "", account, c.name)
	c.email = choose(s.config.EmailHeader != "", s.key(f, s.email), c.email)
	if c.email == "" && s.config.EmailHeader == "" && s.config.NameHeader == "" && strings.Count(address, "@") == 1 {
		c.email = address
	}
	return c, Outcome{}
}

// choose prefers a plain header over the principal's claim when it was configured, else only in its absence.
func choose(configured bool, header, claim string) string {
	if configured || claim == "" {
		return header
	}
	return claim
}
