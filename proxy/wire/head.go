package wire

import (
	"bytes"
	"strconv"
)

// stepHead judges one byte that ends a run in a head or in trailers, and moves on. It returns
// whether the byte passes.
func (g *guard) stepHead(c byte) bool {
	switch g.state {
	case stateStart, stateStartLF, stateMethod, stateTargetStart, stateTarget, stateVersion, stateVersionLF:
		return g.stepRequestLine(c)
	case stateField:
		return g.stepField(c)
	case stateName:
		if c != ':' {
			return g.fail(g.badHead(), "a field name holds a byte that it may not hold")
		}
		g.state = stateValue
		return g.nameEnds()
	case stateValue:
		if c != '\r' {
			return g.fail(g.badHead(), "a line feed without a carriage return, or a control character, in a field")
		}
		g.state = stateValueLF
	case stateValueLF:
		if c != '\n' {
			return g.fail(g.badHead(), "a carriage return without a line feed in a field")
		}
		g.state = stateField
		return g.fieldEnds()
	case stateEndLF:
		if c != '\n' {
			return g.fail(g.badHead(), "a carriage return without a line feed")
		}
		if g.trailer {
			g.messageEnds()
			return true
		}
		return g.headEnds()
	}
	return true
}

// badHead is what happens to malformed lines.
func (g *guard) badHead() remedy {
	if g.trailer {
		return failBody
	}
	return answer400
}

// stepRequestLine judges what is between the parts of a request line (RFC 9112 section 3).
func (g *guard) stepRequestLine(c byte) bool {
	switch g.state {
	case stateStart:
		if c == '\r' && !g.blank {
			g.state = stateStartLF
			return true
		}
		if classes[c]&token == 0 {
			return g.fail(answer400, "a request does not begin with a method")
		}
		g.state = stateMethod
		g.nameLen = keep(g.name[:], 0, []byte{c})
	case stateStartLF:
		// RFC 9112 section 2.2 asks servers to ignore one empty line.
		if c != '\n' {
			return g.fail(answer400, "a carriage return without a line feed")
		}
		g.state, g.blank = stateStart, true
	case stateMethod:
		if c != ' ' {
			return g.fail(answer400, "the method holds a byte that it may not hold")
		}
		g.state = stateTargetStart
		return g.methodEnds()
	case stateTargetStart:
		if classes[c]&visible == 0 {
			return g.fail(answer400, "the target is missing, or begins with a byte that it may not hold")
		}
		g.state = stateTarget
		g.targetBegins(c)
	case stateTarget:
		if c != ' ' {
			return g.fail(answer400, "the target holds a byte that it may not hold, or no version follows")
		}
		g.state, g.nameLen = stateVersion, 0
	case stateVersion:
		if c != '\r' {
			return g.fail(answer400, "the version holds a byte that it may not hold")
		}
		g.state = stateVersionLF
	case stateVersionLF:
		if c != '\n' {
			return g.fail(answer400, "a carriage return without a line feed")
		}
		g.state = stateField
		return g.versionEnds()
	}
	return true
}

func (g *guard) methodEnds() bool {
	if g.nameLen <= len(g.name) {
		switch string(g.name[:g.nameLen]) {
		case "PRI":
			return g.fail(answer400, "the preface of HTTP/2 on an HTTP/1.x connection")
		case "CONNECT":
			g.connect = true
		}
	}
	return true
}

// targetBegins tells the forms of a target apart (RFC 9112 section 3.2). Only the absolute
// one needs another look here; net/http judges the rest.
func (g *guard) targetBegins(c byte) {
	if c == '/' || c == '*' || g.connect {
		return
	}
	g.absolute = true
	if g.absoluteForm == nil {
		g.absoluteForm = &absoluteForm{}
	}
	g.targetLen = keep(g.target[:], 0, []byte{c})
}

func (g *guard) versionEnds() bool {
	v := g.name[:min(g.nameLen, len(g.name))]
	if len(v) != len("HTTP/1.1") || !bytes.HasPrefix(v, []byte("HTTP/")) || v[6] != '.' || !digit(v[5]) || !digit(v[7]) {
		return g.fail(answer400, "the version is malformed")
	}
	g.old = v[5] == '1' && v[7] == '0'
	g.unknown = v[5] != '1'
	return true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// stepField judges the first byte of a field line.
func (g *guard) stepField(c byte) bool {
	switch {
	case c == '\r':
		g.state = stateEndLF
		return true
	case c == ' ' || c == '\t':
		// RFC 9112 section 5.2; after the request line, section 2.2.
		return g.fail(g.badHead(), "a folded field line")
	case classes[c]&token == 0:
		return g.fail(g.badHead(), "a line that is no field")
	}
	if g.fields++; g.fields > g.maxFields {
		if g.trailer {
			return g.fail(failBody, "too many trailers")
		}
		return g.fail(answer431, "too many fields")
	}
	g.state = stateName
	g.nameLen = keep(g.name[:], 0, []byte{c})
	return true
}

// nameEnds finds out whether the field matters.
func (g *guard) nameEnds() bool {
	g.header, g.valueLen = headerOther, 0
	if g.nameLen > len(g.name) {
		return true // longer than any that matters
	}
	n := g.name[:g.nameLen]
	for i, c := range n {
		if 'A' <= c && c <= 'Z' {
			n[i] = c + 'a' - 'A'
		}
	}
	switch string(n) {
	case "host":
		g.header = headerHost
	case "content-length":
		g.header = headerLength
	case "transfer-encoding":
		g.header = headerCoding
	case "upgrade":
		g.header = headerUpgrade
		return true
	default:
		if lookalike(n) {
			return g.fail(g.badHead(), "a field name is a misspelling of one that frames the request")
		}
		return true
	}
	if g.trailer {
		// RFC 9110 section 6.5.1
		return g.fail(failBody, "a field that frames or routes the request stands among the trailers")
	}
	return true
}

// lookalike says whether a name in small letters becomes that of a framing field where punctuation is
// folded, as CGI and its successors do. It may change n.
func lookalike(n []byte) bool {
	if len(n) != len("content-length") && len(n) != len("transfer-encoding") {
		return false
	}
	for i, c := range n {
		if c < 'a' || c > 'z' {
			n[i] = '-'
		}
	}
	return string(n) == "content-length" || string(n) == "transfer-encoding"
}

// fieldEnds judges the field that was just read, if it matters.
func (g *guard) fieldEnds() bool {
	if g.valueLen > len(g.value) {
		return g.fail(answer400, "Content-Length or Transfer-Encoding is too long")
	}
	switch g.header {
	case headerHost:
		if g.hosts++; g.hosts > 1 {
			return g.fail(answer400, "several Host fields")
		}
	case headerLength:
		return g.lengthEnds()
	case headerCoding:
		if g.hasCoding {
			return g.fail(answer400, "several Transfer-Encoding fields")
		}
		g.hasCoding = true
		g.chunked = bytes.EqualFold(g.trimmedValue(), []byte("chunked"))
	case headerUpgrade:
		g.switching = true
	}
	return true
}

// trimmedValue is the value that was kept.
func (g *guard) trimmedValue() []byte {
	return bytes.TrimRight(g.value[:g.valueLen], " \t")
}

func (g *guard) lengthEnds() bool {
	if g.hasLength {
		return g.fail(answer400, "several Content-Length fields")
	}
	g.hasLength = true
	v := g.trimmedValue()
	for _, c := range v {
		if !digit(c) {
			v = nil
			break
		}
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return g.fail(answer400, "Content-Length is no number of bytes")
	}
	g.length = n
	return true
}

// headEnds judges the head as a whole (RFC 9112 sections 3.2 and 6.3) and finds out what follows.
func (g *guard) headEnds() bool {
	switch {
	case g.unknown:
		return g.endByServer("a version that is not HTTP/1.x")
	case g.hasLength && g.hasCoding:
		return g.fail(answer400, "both Content-Length and Transfer-Encoding")
	case g.hasCoding && g.old:
		return g.fail(answer400, "Transfer-Encoding in HTTP/1.0")
	case g.hosts == 0 && !g.old:
		return g.fail(answer400, "no Host field")
	case g.absolute && !g.authorityMatches():
		return g.fail(answer400, "the target names another authority than Host, or none")
	case g.hasCoding && !g.chunked:
		return g.endByServer("a transfer coding other than chunked")
	}
	switch {
	case g.chunked:
		g.state = stateSize
	case g.length > 0:
		g.state, g.left = stateBody, g.length
	default:
		g.messageEnds()
	}
	return true
}

// endByServer lets this head pass and nothing after it.
func (g *guard) endByServer(why string) bool {
	g.fail(answerByServer, why)
	return true
}

// messageEnds makes ready for the next request.
func (g *guard) messageEnds() {
	g.upgrade = g.switching
	g.message = message{}
	if g.absoluteForm != nil {
		g.targetLen, g.hostLen = 0, 0
	}
	g.state = stateStart
}

// authorityMatches compares an absolute target's authority with Host (RFC 9112 section 3.2.2). A
// missing Host is right in HTTP/1.0 alone.
func (g *guard) authorityMatches() bool {
	target := g.target[:min(g.targetLen, len(g.target))]
	scheme, rest, found := bytes.Cut(target, []byte("://"))
	if !found || !isScheme(scheme) {
		return false
	}
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		if g.targetLen > len(g.target) {
			return false // longer than any host
		}
		end = len(rest)
	}
	authority := rest[:end]
	for _, c := range authority {
		if classes[c]&hostChar == 0 {
			return false // user information (RFC 9110 section 4.2.4), or no host at all
		}
	}
	if len(authority) == 0 || g.hostLen > len(g.host) {
		return false
	}
	if g.hosts == 0 {
		return true
	}
	host := bytes.TrimRight(g.host[:g.hostLen], " \t")
	return bytes.EqualFold(withoutPort(authority, scheme), withoutPort(host, scheme))
}

// isScheme follows RFC 3986 section 3.1.
func isScheme(b []byte) bool {
	for i, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !digit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(b) > 0
}

// withoutPort cuts the port if it is the scheme's own.
func withoutPort(authority, scheme []byte) []byte {
	port := ":80"
	if bytes.EqualFold(scheme, []byte("https")) {
		port = ":443"
	}
	return bytes.TrimSuffix(authority, []byte(port))
}
