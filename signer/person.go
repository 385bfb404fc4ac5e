package signer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxMessagingID is the longest external_id that messaging takes, in characters.
const maxMessagingID = 255

// maxEmail is the longest address that mail can carry, in bytes (RFC 5321
// section 4.5.3.1.3, less the angle brackets).
const maxEmail = 254

// Person is whom a token vouches for. The caller has made sure that it is true.
type Person struct {
	// ID is the external_id. It must never pass from one person to another:
	// Zendesk keeps it for good, and a ban follows it.
	ID string
	// Email is the e-mail address; classic and chat tokens need one.
	Email string
	// Name is shown to the agent. Empty or blank, the part of the address before
	// the @ takes its place, else the ID. Bytes that are not UTF-8 become U+FFFD.
	Name string
	// EmailVerified says that somebody has made sure that the address is the
	// person's. Messaging tokens leave the address out otherwise.
	EmailVerified bool
}

// displayName is Name with the fallbacks that its comment promises.
func (p *Person) displayName() string {
	if strings.TrimSpace(p.Name) != "" {
		return p.Name
	}
	if local, _, found := strings.Cut(p.Email, "@"); found && strings.TrimSpace(local) != "" {
		return local
	}
	return p.ID
}

// checkID refuses what cannot be the name of one person alone. Invalid UTF-8
// cannot, since in a token its bytes would become U+FFFD, in which different
// ids look the same.
func checkID(id string, kind Kind) error {
	switch {
	case strings.TrimSpace(id) == "":
		return ErrNoID
	case !utf8.ValidString(id):
		return fmt.Errorf("%w: it is not valid UTF-8: send it in UTF-8", ErrNoID)
	case kind == Messaging && utf8.RuneCountInString(id) > maxMessagingID:
		return fmt.Errorf("%w: it is longer than the %d characters that messaging takes: send a shorter one", ErrNoID, maxMessagingID)
	}
	return nil
}

func checkEmail(email string) error {
	if email == "" {
		return ErrNoEmail
	}
	if !wellFormedEmail(email) {
		return ErrBadEmail
	}
	return nil
}

// wellFormedEmail reports whether the address is one that every mail system and
// every verifier takes: the WHATWG HTML standard's "valid e-mail address" within
// RFC 5321's length. So: ASCII, one @, no space, no control character, no quoted
// local part, a domain of letters, digits and inner hyphens.
func wellFormedEmail(email string) bool {
	local, domain, found := strings.Cut(email, "@")
	if !found || local == "" || len(email) > maxEmail {
		return false
	}
	for i := range len(local) {
		if !alphanumeric(local[i]) && strings.IndexByte(".!#$%&'*+/=?^_`{|}~-", local[i]) < 0 {
			return false
		}
	}
	for {
		label, rest, more := strings.Cut(domain, ".")
		if !wellFormedLabel(label) {
			return false
		}
		if !more {
			return true
		}
		domain = rest
	}
}

func wellFormedLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		if !alphanumeric(label[i]) && label[i] != '-' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
