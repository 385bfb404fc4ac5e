package signer

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// encodedHeader returns the JOSE header in base64url, and the dot that follows.
func encodedHeader(keyID string) []byte {
	h := []byte(`{"alg":"HS256","typ":"JWT"`)
	if keyID != "" {
		h = append(h, `,"kid":`...)
		h = appendString(h, keyID)
	}
	h = append(h, '}')
	return append(base64.RawURLEncoding.AppendEncode(nil, h), '.')
}

// appendClaims appends the claims set of s's kind. The order of the members is
// fixed, so that tokens can be compared; times are integers, since some
// verifiers refuse strings and fractions.
func (s *Signer) appendClaims(b []byte, p *Person, w *scratch) []byte {
	iat := s.now().Add(-backdate).Unix()
	b = append(b, '{')
	if s.kind == Messaging {
		b = append(b, `"scope":"user",`...)
	}
	b = append(b, `"name":`...)
	b = appendString(b, p.displayName())
	if s.kind != Messaging {
		b = appendMember(b, `,"email":`, p.Email)
	} else if !s.omitEmail && p.EmailVerified && wellFormedEmail(p.Email) {
		b = appendMember(b, `,"email":`, p.Email)
		b = append(b, `,"email_verified":true`...)
	}
	if s.kind != HelpCenter {
		b = appendMember(b, `,"external_id":`, p.ID)
	}
	b = append(b, `,"iat":`...)
	b = strconv.AppendInt(b, iat, 10)
	if s.kind == HelpCenter {
		rand.Read(w.random[:]) // never fails: the program ends instead
		b = append(b, `,"jti":"`...)
		b = base64.RawURLEncoding.AppendEncode(b, w.random[:])
		b = append(b, '"')
	} else {
		b = append(b, `,"exp":`...)
		b = strconv.AppendInt(b, iat+s.ttl, 10)
	}
	return append(b, '}')
}

func appendMember(b []byte, name, value string) []byte {
	return appendString(append(b, name...), value)
}

// appendString appends s as a JSON string (RFC 8259 section 7) in valid UTF-8:
// what is not becomes U+FFFD, one for each byte.
func appendString(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	start := 0 // of the run that can be copied as it is
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, "\uFFFD"...)
			start = i + size
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
