package inject

import (
	"bytes"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// replacement is the encoding that browsers read dangerous old ones in: whatever the page, it becomes one replacement character.
const replacement = "replacement"

// charsetName returns the name of the encoding that a browser takes a label for, or "" where it takes it for none.
func charsetName(label string) string {
	e, err := htmlindex.Get(label)
	if err != nil {
		return ""
	}
	name, err := htmlindex.Name(e)
	if err != nil {
		return ""
	}
	return name
}

// canonicalCharset is charsetName for encodings in which ASCII can be written.
func canonicalCharset(label string) string {
	if name := charsetName(label); name != replacement {
		return name
	}
	return ""
}

// encodingOf tells how to view a body in the encoding of a canonical name.
func encodingOf(name string) encoding {
	switch name {
	case "utf-16le":
		return encUTF16LE
	case "utf-16be":
		return encUTF16BE
	case "iso-2022-jp":
		return encISO2022JP
	}
	return encBytes
}

// bomCharset returns the encoding that a byte order mark gives, which beats all other declarations; "" without one.
func bomCharset(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte{0xef, 0xbb, 0xbf}):
		return "utf-8"
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return "utf-16le"
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		return "utf-16be"
	}
	return ""
}

// sniff finds how to view the body from what stands before any markup. declared says that this is final; otherwise a <meta> may still
// name another encoding.
func sniff(head *prefix, label string, xhtml bool) (enc encoding, declared bool, reason Reason) {
	head.needMark()
	if name := bomCharset(head.buf); name != "" {
		return encodingOf(name), true, ""
	}
	if label != "" {
		return encodingOf(canonicalCharset(label)), true, "" // known, or Locate would have refused it
	}
	// The beginning of an XML declaration in UTF-16 gives it away to XML parsers and to browsers alike.
	switch {
	case head.begins("<\x00?\x00x\x00"):
		return encUTF16LE, true, ""
	case head.begins("\x00<\x00?\x00x"):
		return encUTF16BE, true, ""
	}
	if !xhtml {
		return encBytes, false, ""
	}
	name, ok := xmlCharset(head)
	if !ok {
		return 0, false, CharsetUnknown
	}
	return encodingOf(name), true, ""
}

// xmlCharset returns the encoding of an XML declaration, UTF-8 without one; not ok for one that no browser reads.
func xmlCharset(head *prefix) (string, bool) {
	if !head.begins("<?xml") || !head.need(6) || !isSpace(head.buf[5]) {
		return "utf-8", true
	}
	end := -1
	for from := 0; ; {
		if end = bytes.IndexByte(head.buf[from:], '>'); end >= 0 {
			end += from
			break
		}
		if from = len(head.buf); !head.more() {
			return "", false
		}
	}
	label, ok := xmlEncoding(head.buf[:end])
	if !ok {
		return "utf-8", true
	}
	name := canonicalCharset(label)
	if encodingOf(name).wide() {
		return "", false // the declaration is written in ASCII, so it contradicts itself
	}
	return name, name != ""
}

// xmlEncoding returns the value of the pseudo-attribute encoding of an XML declaration.
func xmlEncoding(declaration []byte) (string, bool) {
	_, after, ok := bytes.Cut(declaration, []byte("encoding"))
	if !ok {
		return "", false
	}
	rest := bytes.TrimLeft(after, "\x00\t\n\f\r ")
	if len(rest) == 0 || rest[0] != '=' {
		return "", false
	}
	rest = bytes.TrimLeft(rest[1:], "\t\n\f\r ")
	if len(rest) == 0 || rest[0] != '"' && rest[0] != '\'' {
		return "", false
	}
	end := bytes.IndexByte(rest[1:], rest[0])
	if end < 0 {
		return "", false
	}
	return strings.TrimSpace(string(rest[1 : 1+end])), true
}

// metaCharset takes the encoding's label out of a <meta http-equiv=Content-Type>'s content ("extracting a character encoding from a
// meta element" in the HTML standard).
func metaCharset(content []byte) (string, bool) {
	s := content
	for {
		i := indexFold(s, "charset")
		if i < 0 {
			return "", false
		}
		s = bytes.TrimLeft(s[i+len("charset"):], "\t\n\f\r ")
		if len(s) > 0 && s[0] == '=' {
			break
		}
	}
	s = bytes.TrimLeft(s[1:], "\t\n\f\r ")
	if len(s) == 0 {
		return "", false
	}
	if s[0] == '"' || s[0] == '\'' {
		end := bytes.IndexByte(s[1:], s[0])
		if end < 0 {
			return "", false
		}
		return string(s[1 : 1+end]), true
	}
	if end := bytes.IndexAny(s, "; \t\n\f\r"); end >= 0 {
		s = s[:end]
	}
	return string(s), true
}

// indexFold is bytes.Index without regard to the case of ASCII letters; want is in lower case.
func indexFold(b []byte, want string) int {
	for i := 0; i+len(want) <= len(b); i++ {
		if equalFold(b[i:i+len(want)], want) {
			return i
		}
	}
	return -1
}

// metaName turns the label of a <meta> into the encoding it stands for: one in UTF-16 could not have been read as ASCII, so it is wrong.
func metaName(label string) string {
	switch name := charsetName(label); name {
	case "utf-16le", "utf-16be":
		return "utf-8"
	case "x-user-defined":
		return "windows-1252"
	default:
		return name
	}
}
