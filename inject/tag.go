package inject

import "bytes"

// tag reads a start or end tag; pos is at the first letter of its name.
func (t *tokenizer) tag(kind tokenKind) tokenKind {
	t.nameAt = t.pos
	c, ok := t.at(t.pos)
	for ; ok && !isSpace(c) && c != '/' && c != '>'; c, ok = t.at(t.pos) {
		t.pos++
	}
	t.nameEnd = t.pos
	for ok {
		if ok = t.beforeAttribute(); !ok {
			break
		}
		if t.v.text[t.pos] == '>' {
			t.pos++
			return kind
		}
		ok = t.attribute()
	}
	return t.cutShort(tokStart)
}

// beforeAttribute skips white space and slashes, and notes a slash right before the end.
func (t *tokenizer) beforeAttribute() bool {
	for slash := false; ; t.pos++ {
		c, ok := t.at(t.pos)
		if !ok {
			return false
		}
		if c != '/' && !isSpace(c) {
			t.selfClosed = slash && c == '>'
			return true
		}
		slash = c == '/'
	}
}

// attribute reads a name and, where there is one, a value. It leaves pos behind them.
func (t *tokenizer) attribute() bool {
	a := attribute{name: t.pos}
	t.pos++ // an equals sign in the first place belongs to the name
	c, ok := t.at(t.pos)
	for ; ok && !isSpace(c) && c != '/' && c != '>' && c != '='; c, ok = t.at(t.pos) {
		t.pos++
	}
	a.nameEnd = t.pos
	for ; ok && isSpace(c); c, ok = t.at(t.pos) {
		t.pos++
	}
	if ok && c == '=' {
		t.pos++
		a.value, a.valueEnd, ok = t.attributeValue()
	}
	if len(t.attrs) < maxAttributes {
		t.attrs = append(t.attrs, a)
	}
	return ok
}

// attributeValue reads on behind the equals sign.
func (t *tokenizer) attributeValue() (from, to int, ok bool) {
	c, ok := t.at(t.pos)
	for ; ok && isSpace(c); c, ok = t.at(t.pos) {
		t.pos++
	}
	if ok && (c == '"' || c == '\'') {
		t.pos++
		from = t.pos
		if !t.seek(c) {
			return 0, 0, false
		}
		to = t.pos
		t.pos++
		return from, to, true
	}
	from = t.pos
	for ; ok && !isSpace(c) && c != '>'; c, ok = t.at(t.pos) {
		t.pos++
	}
	return from, t.pos, ok
}

// value returns an attribute of the current tag as written; name is in lower case. The first of several counts.
func (t *tokenizer) value(name string) ([]byte, bool) {
	for _, a := range t.attrs {
		if equalFold(t.v.text[a.name:a.nameEnd], name) {
			return t.v.text[a.value:a.valueEnd], true
		}
	}
	return nil, false
}

// equalFold compares without regard to the case of ASCII letters; want is in lower case.
func equalFold(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if lower(c) != want[i] {
			return false
		}
	}
	return true
}

// rawText skips the text of an element that knows no markup but its own end tag (RCDATA and RAWTEXT states), and that end tag. It
// returns false when the text ends first.
func (t *tokenizer) rawText(name string) bool {
	for t.seek('<') {
		if t.endTagHere(name) {
			t.pos += 2
			return t.tag(tokEnd) == tokEnd
		}
		t.pos++
	}
	return false
}

// endTagHere reports whether pos is at the end tag of name.
func (t *tokenizer) endTagHere(name string) bool {
	return t.literal(t.pos, "</") && t.word(t.pos+2, name)
}

// word reports whether name stands at index i as a whole tag name.
func (t *tokenizer) word(i int, name string) bool {
	if !t.folded(i, name) {
		return false
	}
	c, ok := t.at(i + len(name))
	return ok && (isSpace(c) || c == '/' || c == '>')
}

// scriptText is rawText for a script: between "<!--" and "-->" the text may hold a whole <script>…</script> that does not end it
// (script data escaped and double escaped states).
func (t *tokenizer) scriptText() bool {
	escaped, double := false, false
	for {
		c, ok := t.at(t.pos)
		if !ok {
			return false
		}
		switch {
		case c == '<' && !double && t.endTagHere("script"):
			t.pos += 2
			return t.tag(tokEnd) == tokEnd
		case c == '<' && double && t.literal(t.pos, "</") && t.word(t.pos+2, "script"):
			double = false
			t.pos += len("</script") + 1
		case c == '<' && escaped && !double && t.word(t.pos+1, "script"):
			double = true
			t.pos += len("<script") + 1
		case c == '<' && !escaped && t.literal(t.pos, "<!--"):
			escaped = true
			t.pos += 2 // the dashes also count for "-->": "<!-->" is over at once
		case c == '-' && escaped && t.literal(t.pos, "-->"):
			escaped, double = false, false
			t.pos += 3
		default:
			t.pos++
			if !escaped {
				t.skipTo('<')
			}
		}
	}
}

// skipTo goes on to the next c within what has arrived.
func (t *tokenizer) skipTo(c byte) {
	if i := bytes.IndexByte(t.v.text[t.pos:], c); i >= 0 {
		t.pos += i
	} else {
		t.pos = len(t.v.text)
	}
}
