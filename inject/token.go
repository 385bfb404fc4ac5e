package inject

import "bytes"

// tokenKind is what the tree construction stage would be given; characters are told apart into white space, which a head may hold,
// and all others, which end it.
type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokSpace
	tokText
	tokComment // bogus ones, processing instructions and CDATA outside of foreign content included
	tokDoctype
	tokStart
	tokEnd
	tokCut // a comment, doctype or tag that the end of the text cuts short: cut says which
)

// attribute is one attribute's name and value as spans of the text; the value is as written, with its character references.
type attribute struct{ name, nameEnd, value, valueEnd int }

// maxAttributes bounds what is remembered of one tag. Browsers have no such bound, but no tag has so many before one that matters.
const maxAttributes = 1024

// A tokenizer follows the tokenization rules of the HTML standard (section 13.2.5) over a view. It is ours and not the library's for
// three reasons: it tells where a text stops being white space without waiting for the next tag, which a slow page may send much later;
// it decides on a tag without an allocation; and the standard's script data escaped state, after "<!-- <", is not the library's.
type tokenizer struct {
	v          *view
	pos        int // of the next character
	start      int // of the current token
	kind       tokenKind
	cut        tokenKind // with tokCut: tokComment, tokDoctype or tokStart (any tag)
	nameAt     int       // tag or doctype name as a span
	nameEnd    int
	short      bool // the text ended where the current token had to be looked at
	selfClosed bool // the tag ends in /> (means something to foreign elements only)
	attrs      []attribute
	attrBuf    [8]attribute // what attrs begins in
	nameBuf    [24]byte
}

// at returns the character at index i, reading on if need be.
func (t *tokenizer) at(i int) (byte, bool) {
	for i >= len(t.v.text) {
		if !t.v.more() {
			t.short = true
			return 0, false
		}
	}
	return t.v.text[i], true
}

// seek moves pos to the next c, or to the end of the text.
func (t *tokenizer) seek(c byte) bool {
	for {
		if i := bytes.IndexByte(t.v.text[t.pos:], c); i >= 0 {
			t.pos += i
			return true
		}
		t.pos = len(t.v.text)
		if !t.v.more() {
			return false
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// next reads one token in the data state. A run of white space is one token; any other text is one up to the next tag, as far as it
// has arrived.
func (t *tokenizer) next() tokenKind {
	t.kind = t.read()
	return t.kind
}

func (t *tokenizer) read() tokenKind {
	if t.attrs == nil {
		t.attrs = t.attrBuf[:0]
	}
	t.start, t.attrs, t.selfClosed, t.short = t.pos, t.attrs[:0], false, false
	c, ok := t.at(t.pos)
	switch {
	case !ok:
		return tokEOF
	case c == '<':
		return t.tagOpen()
	case t.space():
		for t.space() {
		}
		return tokSpace
	}
	return t.textRun()
}

// textRun takes the rest of a text that is no white space, without waiting for more of it.
func (t *tokenizer) textRun() tokenKind {
	t.pos++
	if i := bytes.IndexByte(t.v.text[t.pos:], '<'); i >= 0 {
		t.pos += i
	} else {
		t.pos = len(t.v.text)
	}
	return tokText
}

// space takes one white-space character, written as such or as a character reference.
func (t *tokenizer) space() bool {
	c, ok := t.at(t.pos)
	if !ok {
		return false
	}
	if isSpace(c) {
		t.pos++
		return true
	}
	if c != '&' {
		return false
	}
	n := t.spaceReference(t.pos + 1)
	if n == 0 {
		return false
	}
	t.pos = n
	return true
}

// spaceReference returns the index behind a character reference that stands for white space, or 0. i is behind the ampersand.
func (t *tokenizer) spaceReference(i int) int {
	c, ok := t.at(i)
	if !ok {
		return 0
	}
	if c != '#' {
		for _, name := range [...]string{"Tab;", "NewLine;"} {
			if t.literal(i, name) {
				return i + len(name)
			}
		}
		return 0
	}
	i++
	base := uint32(10)
	if c, ok = t.at(i); ok && lower(c) == 'x' {
		base = 16
		i++
	}
	first, value := i, uint32(0)
	for ; ; i++ {
		c, ok = t.at(i)
		digit := digitOf(c)
		if !ok || digit >= base {
			break
		}
		if value = value*base + digit; value > ' ' {
			return 0
		}
	}
	if i == first || !isSpace(byte(value)) {
		return 0
	}
	if ok && c == ';' {
		i++
	}
	return i
}

func digitOf(c byte) uint32 {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint32(c|0x20-'a') + 10
	}
	return 99
}

// literal reports whether s stands at index i, in this letter case.
func (t *tokenizer) literal(i int, s string) bool {
	for k := range len(s) {
		if c, ok := t.at(i + k); !ok || c != s[k] {
			return false
		}
	}
	return true
}

// folded is literal without regard to letter case; s is in lower case.
func (t *tokenizer) folded(i int, s string) bool {
	for k := range len(s) {
		if c, ok := t.at(i + k); !ok || lower(c) != s[k] {
			return false
		}
	}
	return true
}

// tagOpen decides what a "<" at pos begins.
func (t *tokenizer) tagOpen() tokenKind {
	c, ok := t.at(t.pos + 1)
	switch {
	case ok && isLetter(c):
		t.pos++
		return t.tag(tokStart)
	case ok && c == '!':
		return t.markup()
	case ok && c == '?':
		t.pos += 2
		return t.bogusComment()
	case ok && c == '/':
		return t.endTagOpen()
	}
	return t.textRun()
}

func (t *tokenizer) endTagOpen() tokenKind {
	c, ok := t.at(t.pos + 2)
	switch {
	case !ok:
		return t.textRun()
	case isLetter(c):
		t.pos += 2
		return t.tag(tokEnd)
	case c == '>':
		t.pos += 3 // "</>" is nothing at all
		return t.read()
	}
	t.pos += 2
	return t.bogusComment()
}

// bogusComment ends at the first ">".
func (t *tokenizer) bogusComment() tokenKind { return t.upToAngle(tokComment) }

func (t *tokenizer) upToAngle(kind tokenKind) tokenKind {
	if !t.seek('>') {
		return t.cutShort(kind)
	}
	t.pos++
	return kind
}

func (t *tokenizer) cutShort(kind tokenKind) tokenKind {
	t.cut = kind
	return tokCut
}

// markup reads what "<!" begins.
func (t *tokenizer) markup() tokenKind {
	i := t.pos + 2
	t.pos = i
	switch {
	case t.literal(i, "--"):
		t.pos += 2
		return t.comment()
	case t.folded(i, "doctype"):
		t.pos += 7
		return t.doctype()
	}
	return t.bogusComment()
}

// doctype reads its name. The first ">" ends a doctype, even within quotes.
func (t *tokenizer) doctype() tokenKind {
	c, ok := t.at(t.pos)
	for ; ok && isSpace(c); c, ok = t.at(t.pos) {
		t.pos++
	}
	t.nameAt = t.pos
	for ; ok && !isSpace(c) && c != '>'; c, ok = t.at(t.pos) {
		t.pos++
	}
	t.nameEnd = t.pos
	return t.upToAngle(tokDoctype)
}

// comment reads on behind "<!--". Comments end with "-->" and "--!>", and at once with ">" and "->".
func (t *tokenizer) comment() tokenKind {
	if t.literal(t.pos, ">") {
		t.pos++
		return tokComment
	}
	if t.literal(t.pos, "->") {
		t.pos += 2
		return tokComment
	}
	for t.seek('-') {
		switch {
		case t.literal(t.pos, "-->"):
			t.pos += 3
			return tokComment
		case t.literal(t.pos, "--!>"):
			t.pos += 4
			return tokComment
		}
		t.pos++
	}
	return t.cutShort(tokComment)
}

// name returns the current tag's or doctype's name in lower case, valid until the next call; longer ones than any that matters are
// returned as written.
func (t *tokenizer) name() []byte {
	raw := t.v.text[t.nameAt:t.nameEnd]
	if len(raw) > len(t.nameBuf) {
		return raw
	}
	for i, c := range raw {
		t.nameBuf[i] = lower(c)
	}
	return t.nameBuf[:len(raw)]
}
