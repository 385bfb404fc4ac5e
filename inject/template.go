package inject

// template skips the content of a template in the head, and its end tag. Nothing in it can be the place or decide about it: only where
// the template ends matters, so that the first script of the page behind it can be looked at. The content is markup like any other, with
// templates and raw text in it; where it holds SVG or MathML, in which <title> and <style> are no raw text and CDATA sections exist,
// these are followed as far as their own tags go.
func (t *tokenizer) template() bool {
	depth, foreign := 1, 0
	for depth > 0 {
		switch t.next() {
		case tokEOF, tokCut:
			return false
		case tokEnd:
			switch string(t.name()) {
			case "template":
				depth, foreign = depth-1, 0
			case "svg", "math":
				foreign = max(0, foreign-1)
			}
		case tokStart:
			switch name := string(t.name()); {
			case name == "template":
				depth++
			case name == "svg" || name == "math":
				if !t.selfClosed {
					foreign++
				}
			case foreign == 0 && !t.content(name):
				return false
			}
		}
		if foreign > 0 && !t.cdata() {
			return false
		}
	}
	return true
}

// content skips what stands in an element of raw text; it returns false when the text ends in it.
func (t *tokenizer) content(name string) bool {
	switch name {
	case "title", "textarea", "style", "xmp", "iframe", "noembed", "noframes", "noscript":
		return t.rawText(name)
	case "script":
		return t.scriptText()
	case "plaintext":
		for t.v.more() { // it has no end tag: whatever follows is its text
		}
		t.pos = len(t.v.text)
		return false
	}
	return true
}

// cdata skips CDATA sections, which exist in SVG and MathML only.
func (t *tokenizer) cdata() bool {
	for t.literal(t.pos, "<![CDATA[") {
		for t.seek(']') && !t.literal(t.pos, "]]>") {
			t.pos++
		}
		if !t.literal(t.pos, "]]>") {
			return false
		}
		t.pos += len("]]>")
	}
	return true
}
