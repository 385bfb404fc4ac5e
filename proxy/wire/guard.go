package wire

import "bytes"

// fault is why a request does not pass, and what becomes of its connection.
type fault struct {
	why    string
	remedy remedy
}

// Error says why, without anything that the client sent.
func (f *fault) Error() string { return f.why }

type remedy int

const (
	answer400 remedy = iota
	answer431
	// answerByServer: the head passes, nothing after it does, and net/http answers and closes by
	// itself (501 to a transfer coding, 505 to a version).
	answerByServer
	failBody
)

// state is where in a request the next byte stands. Those up to stateEndLF are in a
// head, or in the trailers of a chunked body.
type state uint8

const (
	stateStart       state = iota // before a request line
	stateStartLF                  // an empty line before it
	stateMethod                   // and its space
	stateTargetStart              // its first byte
	stateTarget                   // the others and the space
	stateVersion                  // and its CR
	stateVersionLF                //
	stateField                    // the first byte of a field line, or the CR of the empty line
	stateName                     // and its colon
	stateValue                    // and its CR
	stateValueLF                  //
	stateEndLF                    // the LF of the empty line
	stateBody                     // of a known length
	stateSize                     // chunk-size
	statePad                      // white space between chunk-size and a chunk-ext
	stateExt                      // chunk-ext and its CR
	stateSizeLF                   //
	stateData                     // chunk-data
	stateDataCR                   //
	stateDataLF                   //
	stateStop                     // nothing passes any more
)

const (
	// maxExtension bounds the extensions of one chunk, in bytes. Nobody uses
	// them, and every implementation ignores them.
	maxExtension = 256

	// maxExcess bounds what chunk headers may cost beyond 16 bytes a chunk and
	// twice the data, in bytes. net/http fails at twice this, in a way that would blame the upstream.
	maxExcess = 8 << 10

	// maxTrailer bounds the trailers, in bytes: net/http wants them in its 4 KiB buffer.
	maxTrailer = 4000

	// maxSizeDigits bounds a chunk-size, and keeps sums far from overflow.
	maxSizeDigits = 15

	// maxAuthority bounds a host with its port, in bytes, where it has to be compared.
	maxAuthority = 300
)

// message is what the guard remembers of the request at hand. Lengths of kept text are
// one more than fits when it did not.
type message struct {
	used      int   // bytes of the head, or of the trailers
	fields    int   // field lines
	left      int64 // bytes that remain of the body or chunk
	length    int64 // Content-Length
	excess    int64 // see maxExcess
	digits    int   // of the chunk-size
	extension int   // bytes of chunk-ext
	nameLen   int
	valueLen  int
	header    header // the field at hand, if it is one that matters
	hosts     int    // Host fields
	hasLength bool
	hasCoding bool // Transfer-Encoding
	chunked   bool // Transfer-Encoding is exactly "chunked"
	trailer   bool // the field lines are trailers
	absolute  bool // the target is in absolute-form
	connect   bool // the method is CONNECT
	old       bool // HTTP/1.0
	unknown   bool // not HTTP/1.x: net/http answers 505
	blank     bool // an empty line came before the request line
	switching bool // it has an Upgrade field
}

// absoluteForm is kept of a request whose target says for whom it is.
type absoluteForm struct {
	targetLen, hostLen int
	target             [len("https://") + maxAuthority]byte // its first bytes
	host               [maxAuthority]byte
}

// header is a field that has a meaning for framing or routing.
type header uint8

const (
	headerOther header = iota
	headerHost
	headerLength
	headerCoding
	headerUpgrade
)

// guard follows the requests on one connection. It owns its arrays and keeps
// nothing of the slices it is given. Not safe for concurrent use.
type guard struct {
	maxBytes, maxFields int

	state   state
	fault   *fault // set once; the guard must not be used any more
	upgrade bool   // the last request asked for another protocol
	message
	name  [24]byte // a method, version or field name
	value [24]byte // of a field that matters, without white space before it
	// absoluteForm is made for the first request of the connection that needs
	// it, which is hardly ever one, and then kept.
	*absoluteForm
}

func newGuard(c Config) guard {
	g := guard{maxBytes: c.MaxHeaderBytes, maxFields: c.MaxHeaderCount}
	if g.maxBytes <= 0 {
		g.maxBytes = defaultHeaderBytes
	}
	if g.maxFields <= 0 {
		g.maxFields = defaultHeaderCount
	}
	return g
}

// within says whether a request, or a refusal, is under way.
func (g *guard) within() bool { return g.state != stateStart || g.blank }

// scan judges b, which follows what it was given before, and returns how many of its bytes the server
// may have. Fewer than len(b) means a fault, or the end of a request for an upgrade.
func (g *guard) scan(b []byte) int {
	i := 0
	for i < len(b) && g.fault == nil {
		switch {
		case g.state == stateBody || g.state == stateData:
			// The fast path of bodies: no byte is looked at.
			n := min(int64(len(b)-i), g.left)
			g.left -= n
			i += int(n)
			if g.left == 0 {
				g.dataEnds()
			}
		case g.state <= stateEndLF:
			i += g.scanHead(b[i:])
		default:
			if !g.stepChunk(b[i]) {
				return i
			}
			i++
		}
		if g.upgrade {
			break
		}
	}
	return i
}

// scanHead judges bytes of a head or of trailers: a run of one state, or one byte
// that may change it. It returns how many pass.
func (g *guard) scanHead(b []byte) int {
	limit := g.maxBytes
	if g.trailer {
		limit = min(limit, maxTrailer)
	}
	if g.used >= limit {
		if g.trailer {
			g.fail(failBody, "the trailers are too long")
		} else {
			g.fail(answer431, "the head is too long")
		}
		return 0
	}
	b = b[:min(len(b), limit-g.used)]
	if n := g.run(b); n > 0 {
		g.used += n
		return n
	}
	g.used++ // before the step, which may begin another count
	if !g.stepHead(b[0]) {
		return 0
	}
	return 1
}

// run takes the bytes that leave the state as it is.
func (g *guard) run(b []byte) int {
	n := 0
	switch g.state {
	case stateMethod, stateName:
		for n < len(b) && classes[b[n]]&token != 0 {
			n++
		}
		g.nameLen = keep(g.name[:], g.nameLen, b[:n])
	case stateVersion:
		for n < len(b) && classes[b[n]]&visible != 0 {
			n++
		}
		g.nameLen = keep(g.name[:], g.nameLen, b[:n])
	case stateTarget:
		for n < len(b) && classes[b[n]]&visible != 0 {
			n++
		}
		if g.absolute {
			g.targetLen = keep(g.target[:], g.targetLen, b[:n])
		}
	case stateValue:
		for n < len(b) && classes[b[n]]&text != 0 {
			n++
		}
		g.keepValue(b[:n])
	}
	return n
}

// keep appends b to the first have bytes of buf, and returns how many there are
// then: one more than fit, if they do not.
func keep(buf []byte, have int, b []byte) int {
	if have+len(b) > len(buf) {
		return len(buf) + 1
	}
	return have + copy(buf[have:], b)
}

// keepValue keeps what matters of a field's value.
func (g *guard) keepValue(b []byte) {
	switch {
	case g.header == headerLength || g.header == headerCoding:
		if g.valueLen == 0 {
			b = bytes.TrimLeft(b, " \t")
		}
		g.valueLen = keep(g.value[:], g.valueLen, b)
	case g.header == headerHost && g.absolute:
		if g.hostLen == 0 {
			b = bytes.TrimLeft(b, " \t")
		}
		g.hostLen = keep(g.host[:], g.hostLen, b)
	}
}

// fail records the first fault, and returns false for its caller to return.
func (g *guard) fail(r remedy, why string) bool {
	g.state = stateStop
	g.fault = &fault{why, r}
	return false
}

// class is a set of bytes.
type class uint8

const (
	token    class = 1 << iota // tchar, RFC 9110 section 5.6.2
	visible                    // what may stand in a target: no space, no control character
	text                       // what may stand in a field value, RFC 9110 section 5.5
	hostChar                   // what may stand in a host with its port, RFC 3986 section 3.2
)

// classes says which sets a byte is in. It is never written to.
var classes = func() (t [256]class) {
	for c := range t {
		switch {
		case '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			t[c] = token | hostChar
		case c == '\t' || c == ' ':
			t[c] = text
		}
		if c > ' ' && c != 0x7f {
			t[c] |= visible | text
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= token
	}
	for _, c := range "-._~%!$&'()*+,;=:[]" {
		t[c] |= hostChar
	}
	return t
}()
