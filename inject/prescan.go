package inject

import (
	"bytes"

	"golang.org/x/net/html"
)

// scanLength is how far into a page browsers look for a <meta> that names its encoding, before they parse.
const scanLength = 1024

// keepCharset decides what must be said of the encoding in Content-Type, so that a page without a charset there is read in the same
// encoding once a script stands at the place. There are two ways to look: that of the HTML standard, which takes the first 1,024 bytes
// and knows no elements ("prescan a byte stream"), and that of Chromium and WebKit, which knows them and goes on while it is in a head.
// What a <meta> says to both must be kept. Not ok is a page that the two read differently, and that no label can keep so.
//
// need reads as many bytes of the head, or as many as there are.
func keepCharset(head *prefix, v *view, place int, need func(n int)) (label string, ok bool) {
	if place >= scanLength || v.enc.wide() {
		return "", true
	}
	before := head.buf[:place]
	first := prescan(before)
	if found := headScan(before, place).name; first != "" && found != "" {
		return "", first != replacement && found != replacement // both find what they look for before the script
	}
	need(scanLength + 512) // more than the prescan sees, for a tag across its end
	standard, chromium := prescan(head.buf[:min(scanLength, len(head.buf))]), headScan(head.buf, place)
	if standard == replacement || chromium.name == replacement {
		return "", false
	}
	if standard == first && !chromium.pushedOut {
		return "", true
	}
	if bom := bomCharset(head.buf); bom != "" {
		return bom, true
	}
	if chromium.name == "" || standard != "" && standard != chromium.name {
		return "", false
	}
	if xml := prescanXML(head.buf); xml != "" && xml != chromium.name {
		return "", false
	}
	return chromium.name, true
}

// declaredCharset returns what both ways of looking find in the first bytes, "" for nothing; not ok when they differ.
func declaredCharset(head *prefix) (name string, ok bool) {
	head.need(scanLength + 512)
	standard, chromium := prescan(head.buf[:min(scanLength, len(head.buf))]), headScan(head.buf, 0).name
	switch {
	case standard == "" && chromium == "":
		return prescanXML(head.buf), true
	case standard == "":
		return chromium, true // found by the standard's parser, later
	}
	return standard, standard == chromium
}

// prescanXML is the encoding of an XML declaration, which browsers heed in HTML where no <meta> says otherwise.
func prescanXML(b []byte) string {
	if !bytes.HasPrefix(b, []byte("<?xml")) {
		return ""
	}
	declaration, _, ok := bytes.Cut(b, []byte{'>'})
	if !ok {
		return ""
	}
	label, _ := xmlEncoding(declaration)
	return metaName(label)
}

// scanned is what headScan finds.
type scanned struct {
	name      string // the encoding, "" for none
	pushedOut bool   // it is found only because it stands within the first bytes, and behind the place
}

// headScan looks for a <meta> as Chromium and WebKit do: with a tokenizer that knows raw text, through the first 1,024 bytes and then on
// up to the first tag that is no part of a head. The latter is not followed here: a script in the head does not change it.
func headScan(b []byte, place int) scanned {
	v := &view{text: b}
	t := &tokenizer{v: v, pos: bomLen(b, encBytes)}
	inHead := true
	for {
		kind := t.next()
		if kind == tokEOF || kind == tokCut || t.start >= scanLength && !inHead {
			return scanned{}
		}
		if kind != tokStart && kind != tokEnd {
			continue
		}
		name := string(t.name())
		if kind == tokStart && name == "meta" {
			if found := t.metaName(); found != "" {
				return scanned{found, !inHead && t.start >= place}
			}
		}
		switch name {
		case "script", "noscript", "style", "link", "meta", "object", "title", "base":
		case "html", "head":
			inHead = inHead && kind == tokStart
		default:
			inHead = false
		}
		if kind == tokStart && !t.content(name) {
			return scanned{}
		}
	}
}

// metaName returns the encoding that the current <meta> tag names to Chromium, "" for none. Of several charset attributes the last
// counts there, though the standard has the first.
func (t *tokenizer) metaName() string {
	label, pragma, byCharset := "", false, false
	for _, a := range t.attrs {
		value := t.v.text[a.value:a.valueEnd]
		if bytes.IndexByte(value, '&') >= 0 {
			value = []byte(html.UnescapeString(string(value)))
		}
		switch key := t.v.text[a.name:a.nameEnd]; {
		case equalFold(key, "http-equiv"):
			pragma = pragma || equalFold(value, "content-type")
		case equalFold(key, "charset"):
			label, byCharset = string(value), true
		case !byCharset && equalFold(key, "content"):
			label, _ = metaCharset(value)
		}
	}
	if !byCharset && !pragma {
		return ""
	}
	return metaName(label)
}

// prescan is the standard's algorithm of that name over the first bytes of a page, without its way to UTF-16. It returns "" where the
// algorithm fails.
func prescan(b []byte) string {
	p := prescanner{b: b}
	for p.i < len(b) {
		rest := b[p.i:]
		switch {
		case bytes.HasPrefix(rest, []byte("<!--")):
			end := bytes.Index(rest[2:], []byte("-->"))
			if end < 0 {
				return ""
			}
			p.i += 2 + end + 2
		case len(rest) > 5 && equalFold(rest[:5], "<meta") && (isSpace(rest[5]) || rest[5] == '/'):
			p.i += 5
			if name, ok := p.meta(); !ok || name != "" {
				return name
			}
		case len(rest) > 1 && rest[0] == '<' && isLetter(rest[1]), len(rest) > 2 && rest[0] == '<' && rest[1] == '/' && isLetter(rest[2]):
			if !p.tag() {
				return ""
			}
		case len(rest) > 1 && rest[0] == '<' && (rest[1] == '!' || rest[1] == '/' || rest[1] == '?'):
			end := bytes.IndexByte(rest, '>')
			if end < 0 {
				return ""
			}
			p.i += end
		}
		p.i++
	}
	return ""
}

// A prescanner is the prescan's position in its bytes.
type prescanner struct {
	b []byte
	i int
}

// tag skips a tag's name and attributes.
func (p *prescanner) tag() bool {
	for p.i < len(p.b) && !isSpace(p.b[p.i]) && p.b[p.i] != '>' {
		p.i++
	}
	for {
		_, _, more, ok := p.attribute()
		if !ok || !more {
			return ok
		}
	}
}

// meta reads a <meta>'s attributes; not ok is the end of the bytes. The name is "" where the tag names no encoding.
func (p *prescanner) meta() (name string, ok bool) {
	seen := map[string]bool{}
	var pragma, needPragma, decided bool
	for {
		key, value, more, ok := p.attribute()
		if !ok {
			return "", false
		}
		if !more {
			break
		}
		k := string(bytes.ToLower(key))
		if seen[k] {
			continue
		}
		seen[k] = true
		switch k {
		case "http-equiv":
			pragma = pragma || equalFold(value, "content-type")
		case "content":
			if label, ok := metaCharset(value); ok && !decided {
				if found := metaName(label); found != "" {
					name, needPragma, decided = found, true, true
				}
			}
		case "charset":
			name, needPragma, decided = metaName(string(value)), false, true
		}
	}
	if needPragma && !pragma {
		name = ""
	}
	return name, true
}

// attribute is the standard's "get an attribute": more is false at the end of the tag, ok at the end of the bytes.
func (p *prescanner) attribute() (key, value []byte, more, ok bool) {
	for p.i < len(p.b) && (isSpace(p.b[p.i]) || p.b[p.i] == '/') {
		p.i++
	}
	if p.i >= len(p.b) {
		return nil, nil, false, false
	}
	if p.b[p.i] == '>' {
		return nil, nil, false, true
	}
	from := p.i
	for p.i < len(p.b) && !isSpace(p.b[p.i]) && p.b[p.i] != '/' && p.b[p.i] != '>' && (p.b[p.i] != '=' || p.i == from) {
		p.i++
	}
	key = p.b[from:p.i]
	for p.i < len(p.b) && isSpace(p.b[p.i]) {
		p.i++
	}
	if p.i >= len(p.b) || p.b[p.i] != '=' {
		return key, nil, true, p.i < len(p.b)
	}
	p.i++
	value, ok = p.value()
	return key, value, true, ok
}

// value reads on behind the equals sign.
func (p *prescanner) value() ([]byte, bool) {
	for p.i < len(p.b) && isSpace(p.b[p.i]) {
		p.i++
	}
	if p.i >= len(p.b) {
		return nil, false
	}
	if quote := p.b[p.i]; quote == '"' || quote == '\'' {
		end := bytes.IndexByte(p.b[p.i+1:], quote)
		if end < 0 {
			p.i = len(p.b)
			return nil, false
		}
		value := p.b[p.i+1 : p.i+1+end]
		p.i += end + 2
		return value, true
	}
	from := p.i
	for p.i < len(p.b) && !isSpace(p.b[p.i]) && p.b[p.i] != '>' {
		p.i++
	}
	return p.b[from:p.i], p.i < len(p.b)
}
