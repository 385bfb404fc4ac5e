package identity

import (
	"io"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/unicode/norm"
)

// Limits of the values, in characters. Ids and names end where Zendesk's messaging ends them, addresses where
// RFC 5321 does.
const (
	maxID    = 255
	maxEmail = 254
	maxName  = 255
)

// decodeValue turns a header's bytes into text: UTF-8, or Latin-1 where they are not valid UTF-8, with whole encoded
// words (RFC 2047) decoded. Percent signs stay: no preset's gateway is documented to encode with them, and an id may
// hold one.
func decodeValue(raw string) string {
	if !utf8.ValidString(raw) {
		runes := make([]rune, len(raw))
		for i := range len(raw) {
			runes[i] = rune(raw[i])
		}
		raw = string(runes)
	}
	if !strings.Contains(raw, "=?") {
		return raw
	}
	return decodeWords(raw)
}

// decodeKey is decodeValue for ids and addresses, which tell people apart. A gateway encodes what is not ASCII and nothing
// else, so words that spell ASCII stay as they came: somebody whose id is "=?utf-8?q?ann?=" has chosen it to pass for ann.
func decodeKey(raw string) string {
	if text := decodeValue(raw); !isASCII(text) {
		return text
	}
	return raw
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// decodeWords decodes the encoded words that stand alone between white space. White space between two of them only
// separates them and goes (RFC 2047 section 6.2).
func decodeWords(s string) string {
	var b strings.Builder
	afterWord := false
	for s != "" {
		gap := len(s) - len(strings.TrimLeft(s, " \t"))
		end := strings.IndexAny(s[gap:], " \t")
		if end < 0 {
			end = len(s)
		} else {
			end += gap
		}
		text, isWord := decodeWord(s[gap:end])
		if !afterWord || !isWord {
			b.WriteString(s[:gap])
		}
		b.WriteString(text)
		afterWord = isWord
		s = s[end:]
	}
	return b.String()
}

// decodeWord returns the text of one encoded word; anything else comes back as it is, with false.
func decodeWord(token string) (string, bool) {
	if !strings.HasPrefix(token, "=?") || !strings.HasSuffix(token, "?=") {
		return token, false
	}
	decoder := mime.WordDecoder{CharsetReader: charsetReader}
	text, err := decoder.Decode(token)
	if err != nil || !utf8.ValidString(text) {
		return token, false
	}
	return text, true
}

// charsetReader knows the charsets of the web besides those that package mime has built in.
func charsetReader(charset string, input io.Reader) (io.Reader, error) {
	charset, _, _ = strings.Cut(charset, "*") // RFC 2231 section 5: a language may follow
	enc, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return enc.NewDecoder().Reader(input), nil
}

// cleanText takes out control characters and line separators, which no identity has and some carriers choke on, and
// trims white space. Most values come back without a copy.
func cleanText(s string) string {
	if strings.ContainsFunc(s, isControl) {
		s = strings.Map(func(r rune) rune {
			if isControl(r) {
				return -1
			}
			return r
		}, s)
	}
	return strings.TrimSpace(s)
}

func isControl(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

// isReordering reports the characters that make text read in another order than it is written: embeddings,
// overrides and isolates (Unicode Standard Annex 9). An agent would see another person than the token names. The
// plain direction marks, common in Hebrew and Arabic names, are not among them.
func isReordering(r rune) bool {
	return '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}

// cleanID returns the id to use, and why it cannot be used otherwise. An id is never cut or changed: a changed id could
// be another person's.
func cleanID(raw, prefix string) (id, refusal string) {
	id = cleanText(raw)
	switch {
	case id == "" || isPlaceholder(id):
		return "", ""
	case id != raw:
		return "", "the id holds control characters, or has white space around it"
	case strings.ContainsFunc(id, isReordering):
		return "", "the id holds characters that reorder text"
	case tooLong(prefix, id, maxID):
		return "", "the id is longer than 255 characters, the prefix included"
	}
	return prefix + id, ""
}

// cleanEmail returns the address to use, and why it was left out otherwise. White space around it is nobody's, but an
// address without the control characters inside is another one. Several at signs are refused here since programs differ
// in which one ends the local part, and so in whose address it is.
func cleanEmail(raw string) (email, refusal string) {
	email = cleanText(raw)
	switch {
	case email == "" || isPlaceholder(email):
		return "", ""
	case email != strings.TrimSpace(raw):
		return "", "the e-mail address was left out: it holds control characters"
	case strings.ContainsFunc(email, isReordering):
		return "", "the e-mail address was left out: it holds characters that reorder text"
	case strings.Count(email, "@") > 1:
		return "", "the e-mail address was left out: it has more than one @"
	case tooLong("", email, maxEmail):
		return "", "the e-mail address was left out: it is longer than 254 characters"
	}
	return email, ""
}

// cleanName returns a name for people to read: reordering characters go, and a long one is cut.
func cleanName(raw string) string {
	name := cleanText(raw)
	if isPlaceholder(name) {
		return ""
	}
	if strings.ContainsFunc(name, isReordering) {
		name = strings.Map(func(r rune) rune {
			if isReordering(r) {
				return -1
			}
			return r
		}, name)
	}
	name = norm.NFC.String(name)
	if tooLong("", name, maxName) {
		name = string([]rune(name)[:maxName])
	}
	return strings.TrimSpace(name)
}

// tooLong reports whether prefix and s together exceed limit characters; bytes decide where they can.
func tooLong(prefix, s string, limit int) bool {
	return len(prefix)+len(s) > limit && utf8.RuneCountInString(prefix)+utf8.RuneCountInString(s) > limit
}

// isPlaceholder reports what web servers write where they have no value, such as Apache's "(null)" for an unset
// variable and the "-" of access logs. Taken for an id, it would be one and the same for every anonymous visitor.
// Words that a directory could hand out, "null" and "anonymous" included, are not placeholders: see LooksShared.
func isPlaceholder(s string) bool {
	switch s {
	case "-", "(null)", "<null>", "<nil>", "(none)", "(unknown)":
		return true
	}
	return false
}

// LooksShared reports whether an id reads like an account that several people use, or that stands for nobody in
// particular: a ban in Zendesk follows the id, and would hit them all. An id that is an e-mail address is judged by
// the part before the @. It is a reason to warn, not to refuse.
func LooksShared(id string) bool {
	name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(id)), "@")
	switch name {
	case "admin", "administrator", "root", "superuser", "sysadmin", "system", "service", "operator",
		"guest", "anonymous", "anon", "nobody", "public", "visitor", "everyone", "unknown", "default",
		"user", "users", "username", "demo", "test", "tester", "shared", "kiosk", "reception",
		"info", "office", "contact", "sales", "support", "helpdesk", "help", "webmaster", "postmaster",
		"hostmaster", "noreply", "no-reply", "team",
		"null", "nil", "none", "undefined", "n/a", "false", "true", "0", "-1":
		return true
	}
	return false
}
