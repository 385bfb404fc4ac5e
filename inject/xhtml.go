package inject

import "bytes"

const xhtmlNamespace = "http://www.w3.org/1999/xhtml"

// An xmlElement is an open element: its name as written, and what the namespace declarations up to it make of names without a prefix.
type xmlElement struct {
	nameAt, nameEnd int
	scope           int  // how many namespaces were declared outside of it
	html            bool // it is in the XHTML namespace
}

// A namespace is one declaration, of a prefix or of the default (prefix "").
type namespace struct{ prefix, uri string }

// An xmlSearch walks through an XHTML document up to the first script in its head. XML has no implied tags and no raw text, so the place
// is simply between two nodes; but it must be a child of an XHTML head, and names without a prefix must be XHTML there. What no XML
// parser would accept ends the search: such a document is shown as an error, with or without a script.
type xmlSearch struct {
	t        tokenizer // for its reading on demand and its attributes only
	open     []xmlElement
	scopes   []namespace
	child    int  // where the current child of the head begins: a script deeper down is preceded from there
	head     bool // within the head
	entities bool // the DTD declares entities, any of which may hold a script
	found    bool // f.at and f.before are set
	root     bool // the root element was there
	f        finding
}

// locateXHTML finds the place in an XHTML document.
func locateXHTML(v *view) finding {
	s := &xmlSearch{t: tokenizer{v: v, pos: v.begin()}}
	for s.step() {
	}
	if s.f.reason == "" && !s.found {
		s.f.reason = XHTMLNoHead
	}
	return s.f
}

func (s *xmlSearch) fail(r Reason) bool {
	if s.t.short && !s.t.v.complete() {
		r = NoHeadEnd
	}
	s.f.reason = r
	return false
}

// cut ends the search where the text ends too early.
func (s *xmlSearch) cut() bool {
	if !s.t.v.complete() {
		return s.fail(NoHeadEnd)
	}
	if !s.root {
		return s.fail(XHTMLNoHead)
	}
	return s.fail(XHTMLMalformed)
}

// step takes one node or tag; it returns false at the end of the search.
func (s *xmlSearch) step() bool {
	t := &s.t
	t.start, t.short = t.pos, false
	c, ok := t.at(t.pos)
	switch {
	case !ok:
		return s.cut()
	case c == '&' && s.entities && !s.harmless():
		return s.fail(XHTMLMalformed)
	case c != '<':
		t.pos++
		for t.pos < len(t.v.text) && t.v.text[t.pos] != '<' && t.v.text[t.pos] != '&' {
			t.pos++
		}
		return true
	case t.literal(t.pos, "<!--"):
		return s.past(4, "-->")
	case t.literal(t.pos, "<![CDATA["):
		return s.past(9, "]]>")
	case t.literal(t.pos, "<?"):
		return s.past(2, "?>")
	case t.literal(t.pos, "<!DOCTYPE"):
		return s.doctype()
	case t.literal(t.pos, "</"):
		return s.endTag()
	}
	return s.startTag()
}

// past goes on behind end, which stands n characters further on or later.
func (s *xmlSearch) past(n int, end string) bool {
	for s.t.pos += n; s.t.seek(end[0]); s.t.pos++ {
		if s.t.literal(s.t.pos, end) {
			s.t.pos += len(end)
			return true
		}
	}
	return s.cut()
}

// harmless reports whether a reference is to a character, or to one of the five entities of XML itself.
func (s *xmlSearch) harmless() bool {
	for _, name := range [...]string{"&#", "&lt;", "&gt;", "&amp;", "&quot;", "&apos;"} {
		if s.t.literal(s.t.pos, name) {
			return true
		}
	}
	return false
}

// doctype skips the document type declaration with its internal subset.
func (s *xmlSearch) doctype() bool {
	t := &s.t
	t.pos += len("<!DOCTYPE")
	subset := false
	for {
		c, ok := t.at(t.pos)
		switch {
		case !ok:
			return s.cut()
		case c == '"' || c == '\'':
			t.pos++
			if !t.seek(c) {
				return s.cut()
			}
			t.pos++
		case t.literal(t.pos, "<!--"):
			if !s.past(4, "-->") {
				return false
			}
		case t.literal(t.pos, "<?"):
			if !s.past(2, "?>") {
				return false
			}
		case t.literal(t.pos, "<!ENTITY"):
			s.entities = true
			t.pos++
		case subset && (c == '%' || t.literal(t.pos, "<!ATTLIST") && s.redefines()):
			// Attributes by default could give these elements, our script included, another namespace.
			return s.fail(XHTMLMalformed)
		case c == '[':
			subset = true
			t.pos++
		case c == ']':
			subset = false
			t.pos++
		case c == '>' && !subset:
			t.pos++
			return true
		default:
			t.pos++
		}
	}
}

// redefines reports whether an attribute-list declaration is one for an element that the place depends on.
func (s *xmlSearch) redefines() bool {
	t := &s.t
	t.pos += len("<!ATTLIST")
	c, ok := t.at(t.pos)
	for ; ok && isSpace(c); c, ok = t.at(t.pos) {
		t.pos++
	}
	from := t.pos
	for ; ok && !isSpace(c) && c != '>' && c != '%'; c, ok = t.at(t.pos) {
		t.pos++
	}
	name := t.v.text[from:t.pos]
	switch string(name[bytes.IndexByte(name, ':')+1:]) {
	case "html", "head", "script":
		return true
	}
	return c == '%'
}

func (s *xmlSearch) startTag() bool {
	t := &s.t
	t.pos++
	if c, ok := t.at(t.pos); !ok || isSpace(c) || c == '>' || c == '/' || c == '<' || c == '!' {
		if !ok {
			return s.cut()
		}
		return s.fail(XHTMLMalformed)
	}
	t.attrs, t.selfClosed = t.attrs[:0], false
	if t.tag(tokStart) != tokStart {
		return s.cut()
	}
	e := xmlElement{nameAt: t.nameAt, nameEnd: t.nameEnd, scope: len(s.scopes)}
	if !s.declare() {
		return s.fail(XHTMLMalformed)
	}
	prefix, local := s.split(e)
	e.html = s.lookup(prefix) == xhtmlNamespace
	depth := len(s.open)
	switch {
	case depth == 0 && s.root:
		return s.fail(XHTMLMalformed) // a second root
	case depth == 0 && (!e.html || local != "html"):
		return s.fail(XHTMLNoHead)
	case depth == 1 && e.html && local == "head":
		if t.selfClosed || s.lookup("") != xhtmlNamespace {
			return s.fail(XHTMLNoHead) // no content, or the script's name would mean nothing in it
		}
		s.head = true
	case depth == 1:
		return s.fail(XHTMLNoHead) // content before the head, or none: a script in it would come first
	}
	s.root = true
	if depth == 2 {
		s.child = t.start
	}
	if s.head && depth >= 2 && !s.inside(e, local) {
		return false
	}
	if t.selfClosed {
		s.scopes = s.scopes[:e.scope]
		return true
	}
	s.open = append(s.open, e)
	return true
}

// inside looks at an element within the head: the first script ends the search, a policy is a boundary before it.
func (s *xmlSearch) inside(e xmlElement, local string) bool {
	switch {
	case local == "script":
		if _, ours := s.exact("data-zchatproxy"); ours {
			return s.fail(AlreadyInjected)
		}
		return s.here("<script>")
	case e.html && local == "meta":
		equiv, _ := s.exact("http-equiv")
		if equalFold(equiv, "content-security-policy") {
			content, _ := s.exact("content")
			s.f.policies = append(s.f.policies, string(content))
			return s.boundary("<meta http-equiv=content-security-policy>")
		}
	case e.html && (local == "template" || local == "noscript"):
		return s.boundary("<" + local + ">")
	}
	return true
}

// boundary marks the place before the current child of the head, if the script can stand there.
func (s *xmlSearch) boundary(before string) bool {
	if s.found {
		return true
	}
	s.found, s.f.at, s.f.before = true, s.child, before
	return true
}

// here marks the place and ends the search.
func (s *xmlSearch) here(before string) bool {
	s.boundary(before)
	s.f.end = s.t.pos
	return false
}

func (s *xmlSearch) endTag() bool {
	t := &s.t
	t.pos += 2
	if c, ok := t.at(t.pos); ok && (c == '>' || isSpace(c)) {
		return s.fail(XHTMLMalformed)
	}
	t.attrs = t.attrs[:0]
	if t.tag(tokEnd) != tokEnd {
		return s.cut()
	}
	depth := len(s.open)
	if depth == 0 || len(t.attrs) > 0 {
		return s.fail(XHTMLMalformed)
	}
	e := s.open[depth-1]
	if !bytes.Equal(t.v.text[e.nameAt:e.nameEnd], t.v.text[t.nameAt:t.nameEnd]) {
		return s.fail(XHTMLMalformed)
	}
	if s.head && depth == 2 {
		s.child = t.start
		return s.here("</head>")
	}
	s.open, s.scopes = s.open[:depth-1], s.scopes[:e.scope]
	return true
}

// declare takes over the namespace declarations of the current tag. Without a value in quotes a tag is not XML.
func (s *xmlSearch) declare() bool {
	text := s.t.v.text
	for _, a := range s.t.attrs {
		if a.value == 0 || text[a.value-1] != '"' && text[a.value-1] != '\'' || bytes.IndexByte(text[a.value:a.valueEnd], '<') >= 0 {
			return false
		}
		name := text[a.name:a.nameEnd]
		switch value := string(text[a.value:a.valueEnd]); {
		case string(name) == "xmlns":
			s.scopes = append(s.scopes, namespace{"", value})
		case bytes.HasPrefix(name, []byte("xmlns:")):
			s.scopes = append(s.scopes, namespace{string(name[len("xmlns:"):]), value})
		}
	}
	return true
}

// split returns the prefix and the local part of an element's name. XML heeds letter case.
func (s *xmlSearch) split(e xmlElement) (prefix, local string) {
	name := s.t.v.text[e.nameAt:e.nameEnd]
	if before, after, ok := bytes.Cut(name, []byte{':'}); ok {
		return string(before), string(after)
	}
	return "", string(name)
}

// lookup returns what a prefix stands for.
func (s *xmlSearch) lookup(prefix string) string {
	for i := len(s.scopes) - 1; i >= 0; i-- {
		if s.scopes[i].prefix == prefix {
			return s.scopes[i].uri
		}
	}
	return ""
}

// exact returns an attribute of the current tag by its name in this letter case.
func (s *xmlSearch) exact(name string) ([]byte, bool) {
	text := s.t.v.text
	for _, a := range s.t.attrs {
		if string(text[a.name:a.nameEnd]) == name {
			return text[a.value:a.valueEnd], true
		}
	}
	return nil, false
}
