package inject

import (
	"bytes"

	"golang.org/x/net/html"
)

// A finding is what a search through the head gives.
type finding struct {
	reason   Reason
	at       int    // index in the view
	before   string // what stands there
	end      int    // index up to which the finding depends on the text
	open     bool   // the head goes on there
	policies []string
}

// mode is an insertion mode of the HTML standard, as far as the place depends on it.
type mode uint8

const (
	initial    mode = iota // a comment goes to the document, a doctype counts
	beforeHTML             // a comment goes to the document
	beforeHead             // a comment goes to the html element
	inHead                 // white space and comments go to the head
)

// A search walks through the tokens of a page as the tree construction stage would (HTML standard, section 13.2.6.4), from the initial
// insertion mode to the end of the head. The place is the last one at which the script still stands in the head and before whatever runs
// or governs scripts: right before that token. So nothing that the parser has put elsewhere or ignored up to there, such as white space
// before the head, or attributes of a second <html>, changes its meaning.
type search struct {
	t        tokenizer
	mode     mode
	document bool // a doctype or a start tag of html, head or body was there
	found    bool // at and before are set
	script   bool // the first script in the head was reached
	foreign  bool // the doctype is that of another kind of document
	f        finding
}

// locateHTML finds the place. It goes on behind a boundary that is no script until the first script, since that one may be ours, and
// behind a script only while it is not known whether the text is a document at all.
func locateHTML(v *view) finding {
	s := &search{t: tokenizer{v: v, pos: v.begin()}}
	for s.step() {
	}
	s.f.end = s.t.pos
	if s.t.kind == tokText {
		s.f.end = s.t.start // how much of a text was taken depends on how it arrived
	}
	if s.f.reason == "" {
		s.f.reason = s.verdict()
	}
	return s.f
}

// step takes one token; it returns false at the end of the search.
func (s *search) step() bool {
	switch s.t.next() {
	case tokSpace, tokComment:
		return true
	case tokDoctype:
		return s.doctype()
	case tokStart:
		return s.startTag()
	case tokEnd:
		return s.endTag()
	case tokText:
		return s.text()
	case tokCut:
		return s.cutShort()
	}
	if !s.t.v.complete() {
		return s.fail(NoHeadEnd)
	}
	return s.headEnds(s.t.start, "end of document")
}

// boundary marks the place, if none was marked before.
func (s *search) boundary(at int, before string) {
	if !s.found {
		s.found, s.f.at, s.f.before = true, at, before
	}
}

func (s *search) headEnds(at int, before string) bool {
	s.boundary(at, before)
	return false
}

// text ends the head, if it is known to be text.
func (s *search) text() bool {
	at := s.t.start
	if s.t.short && !s.t.v.complete() {
		return s.fail(NoHeadEnd)
	}
	if s.t.v.text[at] == 0 && !s.nul(at) {
		return s.fail(NoHeadEnd)
	}
	return s.headEnds(at, "text")
}

// nul decides about a NUL. By the standard it ends the head, and is then dropped; Chromium and WebKit drop it at once. So there is a place
// before it only where what follows means the same to both.
func (s *search) nul(at int) bool {
	if s.found {
		return true
	}
	c, ok := s.t.at(at)
	for ; ok && c == 0; c, ok = s.t.at(at) {
		at++
	}
	return ok && !isSpace(c) && c != '&' && (c != '<' || s.mode == inHead)
}

func (s *search) fail(r Reason) bool {
	s.f.reason = r
	return false
}

func (s *search) doctype() bool {
	s.document = true
	if s.mode == initial {
		s.mode = beforeHTML
		s.foreign = foreignDoctype(string(s.t.name()))
	}
	return true
}

// foreignDoctype knows the document types of what is sometimes served as HTML and must not be touched.
func foreignDoctype(name string) bool {
	switch name {
	case "svg", "rss", "rdf", "rdf:rdf", "feed", "opml", "plist", "wml", "smil":
		return true
	}
	return false
}

// startTag follows the rules for start tags of the insertion modes up to "in head".
func (s *search) startTag() bool {
	at := s.t.start
	switch name := s.t.name(); string(name) {
	case "html":
		s.document, s.foreign = true, false
		s.mode = max(s.mode, beforeHead)
		return true
	case "head":
		s.document, s.foreign = true, false
		s.mode = inHead
		return true
	case "base", "basefont", "bgsound", "link":
		s.mode = inHead
		return true
	case "meta":
		s.mode = inHead
		s.meta(at)
		return true
	case "title", "style", "noframes":
		return s.skip(at, s.t.rawText(string(name)))
	case "noscript":
		s.boundary(at, "<noscript>")
		return s.skip(at, s.t.rawText("noscript"))
	case "template":
		s.boundary(at, "<template>")
		return s.skip(at, s.t.template())
	case "script":
		return s.scriptTag(at)
	case "body":
		s.document, s.foreign = true, false
		return s.headEnds(at, "<body>")
	default:
		return s.headEnds(at, "<"+string(name[:min(len(name), 32)])+">")
	}
}

// skip goes on behind an element whose content was skipped. Where the document ends within it, the head ends there too, and the place
// is before the element.
func (s *search) skip(at int, closed bool) bool {
	s.mode = inHead
	if closed {
		return true
	}
	if !s.t.v.complete() {
		return s.fail(NoHeadEnd)
	}
	return s.headEnds(at, "unfinished element")
}

func (s *search) scriptTag(at int) bool {
	if !s.script {
		s.script = true
		if _, ours := s.t.value("data-zchatproxy"); ours {
			return s.fail(AlreadyInjected)
		}
	}
	s.boundary(at, "<script>")
	if s.f.open = s.document; s.f.open {
		return false
	}
	return s.skip(at, s.t.scriptText())
}

// meta looks for a policy: one that is enforced from its tag on governs the scripts behind it.
func (s *search) meta(at int) {
	policy, ok := s.t.metaPolicy()
	if ok {
		s.f.policies = append(s.f.policies, policy)
		s.boundary(at, "<meta http-equiv=content-security-policy>")
	}
}

// metaPolicy returns the content of a <meta http-equiv=Content-Security-Policy>.
func (t *tokenizer) metaPolicy() (string, bool) {
	equiv, _ := t.value("http-equiv")
	if !equalFold(equiv, "content-security-policy") && !bytes.ContainsRune(equiv, '&') {
		return "", false
	}
	// The library knows how character references are read in attributes. It is asked on evidence only, because it allocates.
	z := html.NewTokenizer(bytes.NewReader(t.v.text[t.start:t.pos]))
	z.Next()
	z.TagName()
	policy, content := false, ""
	for more := true; more; {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch string(key) {
		case "http-equiv":
			policy = equalFold(value, "content-security-policy")
		case "content":
			content = string(value)
		}
	}
	return content, policy
}

// endTag follows the rules for end tags: most are ignored, these four end the head.
func (s *search) endTag() bool {
	s.mode = max(s.mode, beforeHTML)
	switch string(s.t.name()) {
	case "head":
		return s.headEnds(s.t.start, "</head>")
	case "body", "html", "br":
		return s.headEnds(s.t.start, "</"+string(s.t.name())+">")
	}
	return true
}

// cutShort decides at the end of the text within a token. A tag is then dropped by the parser, so the head ends before it. A comment is
// kept: where it goes to the head, the script may stand before it, anywhere else it would draw the comment into the head.
func (s *search) cutShort() bool {
	if !s.t.v.complete() {
		return s.fail(NoHeadEnd)
	}
	keeps := s.t.cut == tokStart || s.t.cut == tokComment && s.mode == inHead || s.t.cut == tokDoctype && s.mode != initial
	if s.t.cut == tokDoctype {
		s.document = true
	}
	if !s.found && !keeps {
		return s.fail(s.unless(NoHeadEnd))
	}
	return s.headEnds(s.t.start, "end of document")
}

// verdict is the reason when the head's end was found.
func (s *search) verdict() Reason {
	if s.foreign {
		return NotHTML
	}
	return s.unless("")
}

// unless returns r, but for a text that is no document another reason.
func (s *search) unless(r Reason) Reason {
	if s.document {
		return r
	}
	text := bytes.TrimLeft(s.t.v.text[s.t.v.begin():], " \t\r\n\f")
	if len(text) == 0 {
		return Empty
	}
	// Only the first byte and whole tokens may count here: what else has arrived is chance.
	switch c := text[0]; {
	case c == '{' || c == '[' || c == '"': // JSON
	case c < ' ' || c == 0x89 || c == 0xff: // an image, an archive
	case bytes.HasPrefix(text, []byte("<?xml")): // a feed
	default:
		return Fragment
	}
	return NotHTML
}
