package inject

// The character sets that an ISO-2022-JP text switches between (Encoding standard, ISO-2022-JP decoder).
type jpSet uint8

const (
	jpASCII    jpSet = iota
	jpRoman          // ASCII but for \ and ~, which the script may hold
	jpKatakana       // one byte a character, none of them ASCII
	jpDouble         // two bytes a character
)

// jpEscape is an escape sequence that stands before the character at index at of the view. Its length is skipped there, except where it
// is an error, which is a character.
type jpEscape struct {
	at, length int
	set        jpSet // from there on
}

// iso2022jp follows the decoder of the Encoding standard as far as a view has to know: which bytes are ASCII, and which are no
// characters at all. Each byte of a two-byte character counts as one character here. It can be continued at any byte.
type iso2022jp struct {
	pos     int // bytes decoded
	set     jpSet
	escaped bool // an escape sequence was the last thing: one right behind it is an error
	escapes []jpEscape
}

// decode appends the characters of body[pos:] to text, as far as they are complete.
func (j *iso2022jp) decode(text, body []byte) []byte {
	for j.pos < len(body) {
		c := body[j.pos]
		if c == 0x1b {
			set, ok, wait := jpSequence(body[j.pos+1:])
			if wait {
				return text
			}
			if ok {
				text = j.escape(text, set)
				continue
			}
		}
		if j.set == jpDouble && c >= 0x21 && c <= 0x7e {
			if j.pos+1 == len(body) {
				return text
			}
			if body[j.pos+1] != 0x1b { // which would cut the character off
				text = append(text, other)
				j.pos++
			}
		}
		j.pos, j.escaped = j.pos+1, false
		if !j.ascii(c) {
			c = other
		}
		text = append(text, c)
	}
	return text
}

// ascii reports whether a byte is the ASCII character of that code in the current set.
func (j *iso2022jp) ascii(c byte) bool {
	if c >= 0x80 || c == 0x0e || c == 0x0f || c == 0x1b {
		return false
	}
	return j.set == jpASCII || j.set == jpRoman && c != '\\' && c != '~'
}

// escape enters another set.
func (j *iso2022jp) escape(text []byte, set jpSet) []byte {
	e := jpEscape{at: len(text), length: 3, set: set}
	if j.escaped {
		e.length = 0
		text = append(text, other, other, other)
	}
	j.pos, j.set, j.escaped = j.pos+3, set, true
	j.escapes = append(j.escapes, e)
	return text
}

// offset returns the place of the character at index i, before the escape sequences that lead to it. It reports false where the set is
// not ASCII there.
func (j *iso2022jp) offset(i int) (int64, bool) {
	n, set := i, jpASCII
	for _, e := range j.escapes {
		if e.at >= i {
			break
		}
		n, set = n+e.length, e.set
	}
	return int64(n), set == jpASCII
}

// jpSequence reads what stands behind an ESC; wait says that it takes more bytes to know.
func jpSequence(b []byte) (set jpSet, ok, wait bool) {
	switch {
	case len(b) == 0:
		return 0, false, true
	case b[0] != '$' && b[0] != '(':
		return 0, false, false
	case len(b) == 1:
		return 0, false, true
	}
	switch string(b[:2]) {
	case "(B":
		return jpASCII, true, false
	case "(J":
		return jpRoman, true, false
	case "(I":
		return jpKatakana, true, false
	case "$@", "$B":
		return jpDouble, true, false
	}
	return 0, false, false
}
