package identity

import "strings"

// Header names reach legacy servers through interfaces that cannot carry them as they are: CGI and its heirs (WSGI,
// FastCGI, PHP, servlet bridges) turn X-Forwarded-User into HTTP_X_FORWARDED_USER, and X_Forwarded_User, or
// x.forwarded.user with some of them, into the very same. An attacker's alias then stands beside, or instead of, the
// gateway's header. So names are compared here as such a server would: letters in one case, and any byte that is
// neither a letter nor a digit as a hyphen.

// foldByte is the folding of one byte of a header's name.
func foldByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	}
	return '-'
}

func fold(name string) string {
	b := make([]byte, len(name))
	for i := range len(name) {
		b[i] = foldByte(name[i])
	}
	return string(b)
}

// foldsTo reports whether fold(name) == folded, without making the folded string.
func foldsTo(name, folded string) bool {
	return len(name) == len(folded) && foldsToPrefix(name, folded)
}

// foldsToPrefix reports whether fold(name) begins with folded.
func foldsToPrefix(name, folded string) bool {
	if len(name) < len(folded) {
		return false
	}
	for i := range len(folded) {
		if foldByte(name[i]) != folded[i] {
			return false
		}
	}
	return true
}

// plainlySpelled reports whether name holds nothing but letters, digits and hyphens.
func plainlySpelled(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '-' && foldByte(c) == '-' {
			return false
		}
	}
	return true
}

// equalASCIIFold compares two names as HTTP does, by ASCII letter case alone; [strings.EqualFold] would also take
// the Kelvin sign for a k.
func equalASCIIFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x != y && (foldByte(x) != foldByte(y) || foldByte(x) == '-') {
			return false
		}
	}
	return true
}

// A class says what a header is to a Source.
type class uint8

const (
	classOther      class = iota // none of our business: stays as it came
	classIdentity                // an identity header of the preset, read or not
	classForwarding              // X-Forwarded-* and Forwarded
	classOwn                     // X-Zchat-*
	classConnection              // Connection itself
)

// A headerName is one listed identity header.
type headerName struct {
	spelling string // as documented or configured, for comparison by case and for messages
	folded   string
}

// maxNames bounds the identity headers that one Source lists, so that a request's values fit an array on the stack.
const maxNames = 12

// nameSet holds the names that a Source looks for. It never changes once built.
type nameSet struct {
	listed   []headerName // at most maxNames
	families []string     // folded prefixes of identity headers that are not listed one by one
}

// add lists a header and returns its index; the same spelling twice gives the same index. A name that folds to a
// listed one but is spelled otherwise gives -1: the two could not be told apart.
func (n *nameSet) add(name string) int {
	folded := fold(name)
	for i, have := range n.listed {
		if have.folded == folded {
			if equalASCIIFold(have.spelling, name) {
				return i
			}
			return -1
		}
	}
	n.listed = append(n.listed, headerName{name, folded})
	return len(n.listed) - 1
}

// classify says what the header called name is, which listed one (-1: none), and whether it is spelled otherwise
// than the header that a legacy server could take it for.
func (n *nameSet) classify(name string) (c class, index int, odd bool) {
	for i := range n.listed {
		if foldsTo(name, n.listed[i].folded) {
			return classIdentity, i, !equalASCIIFold(name, n.listed[i].spelling)
		}
	}
	for _, family := range n.families {
		if foldsToPrefix(name, family) {
			return classIdentity, -1, !plainlySpelled(name)
		}
	}
	switch {
	case foldsToPrefix(name, "x-"):
		if foldsToPrefix(name, "x-forwarded-") {
			return classForwarding, -1, !plainlySpelled(name)
		}
		if foldsToPrefix(name, "x-zchat-") {
			return classOwn, -1, !plainlySpelled(name)
		}
	case foldsTo(name, "forwarded"):
		return classForwarding, -1, false
	case foldsTo(name, "connection"):
		return classConnection, -1, false
	}
	return classOther, -1, false
}

// owns reports whether name is, or could be taken for, an identity header.
func (n *nameSet) owns(name string) bool {
	c, _, _ := n.classify(name)
	return c == classIdentity
}

// nominated returns the listed spelling of the first identity header that a Connection field value names, or "".
// Elements are cut as loosely as any recipient might cut them: a quote or a semicolon around a name does not hide it.
func (n *nameSet) nominated(connection string) string {
	for element := range strings.FieldsFuncSeq(connection, isElementSeparator) {
		if c, i, _ := n.classify(element); c == classIdentity {
			if i >= 0 {
				return n.listed[i].spelling
			}
			return "an identity"
		}
	}
	return ""
}

func isElementSeparator(r rune) bool {
	return r == ',' || r == ';' || r == '"' || r == '=' || r <= ' '
}
