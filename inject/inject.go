// Package inject puts one script element into an HTML document that streams by, and knows nothing of HTTP.
//
// The place is decided by the tree-construction rules of the HTML standard, as a parser's insertion modes see the page, never by
// patterns: in the head, before the first script and before a policy given in a <meta>, at a boundary between two tokens where the
// parsed page gains that one element and changes in nothing else. Everything before and after the place leaves as the upstream's bytes.
// Where no such place exists, a [Reason] says why and the body passes untouched.
//
// A body's memory is bounded whatever its length: see [Document].
package inject

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"zchatproxy/inject/splice"
)

// A Reason says in one word why a document is not rewritten. The empty Reason means that there is a place for the script.
// The set is closed, so a Reason can be a metric's label.
type Reason string

// The reasons for leaving a document as it is.
const (
	Fragment        Reason = "fragment"         // no doctype and no html, head or body start tag up to where a head would end
	NoHeadEnd       Reason = "no-head-end"      // neither a script nor the end of the head within the first 256 KiB, or not at one place for all browsers
	AlreadyInjected Reason = "already-injected" // the first script in the head bears data-zchatproxy
	CharsetUnknown  Reason = "charset-unknown"  // the encoding is none that browsers know, or cannot be kept with the script in place
	CodingUnknown   Reason = "coding-unknown"   // Content-Encoding other than one of gzip, deflate, br, zstd; or one with a dictionary
	NotHTML         Reason = "not-html"         // JSON, a feed, an image or the like that is labelled HTML
	XHTMLNoHead     Reason = "xhtml-no-head"    // XHTML without <head>…</head> in the XHTML namespace, or with a script before it
	XHTMLMalformed  Reason = "xhtml-malformed"  // XHTML that no XML parser accepts, or whose own DTD rewrites it
	BodyCorrupt     Reason = "body-corrupt"     // the coded body does not decode, or the upstream broke off
	Empty           Reason = "empty"            // nothing in it but white space
)

// An Element is what is put into documents. It is made once for any number of them, and safe for concurrent use.
type Element struct {
	text  []byte
	piece func() *splice.Piece // for gzip; compressed at the first call, which takes its time
}

// NewElement makes an Element of its markup, which must be ASCII and must not be changed afterwards.
func NewElement(text []byte) *Element {
	return &Element{text: text, piece: sync.OnceValue(func() *splice.Piece { return splice.Prepare(text) })}
}

// Source is one response body as it came, with the three facts of its header that decide how its bytes are read.
type Source struct {
	Body io.ReadCloser
	// XHTML says that the type is application/xhtml+xml: the XML rules apply instead of the HTML ones.
	XHTML bool
	// Charset is the charset parameter of Content-Type, unquoted; "" for none.
	Charset string
	// Coding is the value of Content-Encoding; "" and "identity" mean none.
	Coding string
	// Patience is how long the body's first 1,024 bytes are waited for once the place is known and nothing before it has named the
	// encoding: a <meta> behind it may. Behind the end of the head, where it must not stand, it is waited for no longer than a
	// millisecond, which the end of a small page may take. 0 means as long as it takes, in both.
	Patience time.Duration
}

// A Place is where the script goes, or the Reason why it goes nowhere.
type Place struct {
	// Reason is empty when the script can be inserted. All other fields but MetaPolicies are zero when it is not.
	Reason Reason
	// Offset is the place in the decoded body, in bytes from its beginning (a byte order mark counts).
	Offset int64
	// Before names what stands behind the place, for people: "<script>", "</head>", "text", "end of document", …
	Before string
	// ContentTypeCharset is the label to add to Content-Type because the script pushes the <meta> that gives the page its encoding
	// out of the bytes that browsers look through for it; "" for none.
	ContentTypeCharset string
	// MetaPolicies holds the policies of <meta http-equiv=Content-Security-Policy> up to the first script or the end of the head.
	// The script stands before them, so they do not govern it, but they do govern what it loads.
	MetaPolicies []string
}

// A Document is one body on its way through: [Document.Locate] reads as much of it as the decision needs, then exactly one of
// [Document.Insert] and [Document.Pass] gives the body that goes on. It is not safe for concurrent use.
//
// Memory: at most 256 KiB of decoded and 512 KiB of coded body until the place is found. Afterwards, less than 1 KiB without a coding,
// and as a rule with gzip once 32 KiB of text have followed; else 64 KiB read, about as much made (256 KiB more where all has arrived),
// and the windows of one decompressor and one compressor (zstd at most 8 MiB and br 16 MiB to decompress, by their standards; 32 KiB
// for deflate) until the end of the body has been read.
type Document struct {
	src    Source
	coding coding
	raw    rawReader // the coded bytes; keeps all of them until the place is known
	dec    *decoder  // nil for identity and for codings that are not understood
	head   *prefix   // the decoded bytes read so far
	wide   bool      // the encoding is UTF-16: the script is written in units of two bytes
	bigEnd bool      // with wide: UTF-16BE
	// searched is how much of the body the search depended on, in characters; how it came in pieces makes no difference to it.
	searched int
	place    Place
	late     bool // a read of the body was given up, after calm bytes of the head
	calm     int
	located  bool
	taken    bool
	plain    int            // by how much a body without coding grows
	spliced  *splice.Reader // knows that of a gzip body
}

// Open starts on a body. Nothing is read before [Document.Locate].
func Open(src Source) *Document {
	return &Document{src: src, coding: codingOf(src.Coding), raw: rawReader{src: src.Body, keep: true}}
}

// Supports reports whether a Content-Encoding, or a coding named in Accept-Encoding, is one that this package reads and writes.
func Supports(coding string) bool { return codingOf(coding) != codingOther }

// Locate reads up to the place, blocking on the body for no longer than the decision needs, and returns it. The error is that of
// reading the body; what came before it, and the error itself, are still passed on by [Document.Pass]. Calling it again returns the same.
func (d *Document) Locate() (Place, error) {
	if d.located {
		return d.place, d.readError()
	}
	d.located = true
	d.place = d.locate()
	return d.place, d.readError()
}

// readError is the upstream's failure, as against the end of its body or our own limits.
func (d *Document) readError() error {
	if err := d.raw.err; err != nil && err != io.EOF && !errors.Is(err, errRawLimit) && d.place.Reason != "" {
		return err
	}
	return nil
}

func (d *Document) locate() Place {
	if d.coding == codingOther {
		return Place{Reason: CodingUnknown}
	}
	if label := d.src.Charset; label != "" && canonicalCharset(label) == "" {
		return Place{Reason: CharsetUnknown}
	}
	d.head = newPrefix(d.openDecoded())
	place := d.search()
	if !d.head.ended() || d.head.err == io.EOF || place.Reason == "" {
		return place
	}
	place.Reason = BodyCorrupt
	if errors.Is(d.head.err, errRawLimit) {
		place.Reason = NoHeadEnd
	} else if unsupported(d.head.err) {
		place.Reason = CodingUnknown
	}
	return place
}

// openDecoded returns the decoded body, which for identity is the raw reader itself.
func (d *Document) openDecoded() io.Reader {
	if d.coding == codingIdentity {
		return &d.raw
	}
	d.dec = newDecoder(d.coding, &d.raw)
	return d.dec
}

// search finds the encoding, then the place in it.
func (d *Document) search() Place {
	enc, declared, reason := sniff(d.head, d.src.Charset, d.src.XHTML)
	if reason != "" {
		return Place{Reason: reason}
	}
	if d.src.XHTML {
		return d.settle(enc, locateXHTML)
	}
	place := d.settle(enc, locateHTML)
	if declared || bytes.IndexByte(d.head.buf[:d.searched], 0x1b) < 0 {
		return place
	}
	// An escape character: only ISO-2022-JP uses it, and what stands behind it there is not what it looks like.
	switch name, ok := declaredCharset(d.head); {
	case !ok || name == "":
		place = Place{Reason: CharsetUnknown} // browsers guess the encoding, from more than we can know
	case name == "iso-2022-jp":
		place = d.settle(encISO2022JP, locateHTML)
	}
	return place
}

// settle looks for the place in one encoding.
func (d *Document) settle(enc encoding, locate func(*view) finding) Place {
	d.wide, d.bigEnd = enc.wide(), enc == encUTF16BE
	v := newView(d.head, enc)
	f := locate(v)
	d.searched = f.end
	if f.reason != "" {
		return Place{Reason: f.reason, MetaPolicies: f.policies}
	}
	offset, ok := v.offset(f.at)
	place := Place{Offset: offset, Before: f.before, MetaPolicies: f.policies}
	if ok && !d.src.XHTML && d.src.Charset == "" {
		patience := d.src.Patience
		if !f.open {
			patience = min(patience, patienceBehindHead)
		}
		place.ContentTypeCharset, ok = keepCharset(d.head, v, int(offset), func(n int) { d.needInTime(n, patience) })
		d.resume()
	}
	if !ok {
		return Place{Reason: CharsetUnknown, MetaPolicies: f.policies}
	}
	return place
}

// patienceBehindHead is the most of [Source.Patience] behind the end of the head.
const patienceBehindHead = time.Millisecond

// needInTime makes sure that n bytes of the head are there, or as many as come in time; 0 is as long as it takes. What reads the head
// after that must call resume first.
func (d *Document) needInTime(n int, patience time.Duration) {
	if patience <= 0 {
		d.head.need(n)
		return
	}
	if len(d.head.buf) >= n || d.head.ended() {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	d.raw.hurry(timer.C)
	for d.calm = len(d.head.buf); len(d.head.buf) < n && d.head.more(); {
		if !d.raw.late {
			d.calm = len(d.head.buf)
		}
	}
	d.late = d.raw.relax()
}

// resume makes the head readable again after a read of the body was given up.
func (d *Document) resume() {
	switch {
	case !d.late:
		return
	case d.dec == nil:
		d.head.err = nil
	default:
		// A decoder that was stopped cannot go on. Another one gives, without waiting, what the first gave before that.
		d.head.release()
		d.dec.release()
		d.raw.rewind()
		*d.head = *newPrefix(d.openDecoded())
		d.head.need(d.calm)
	}
	d.late = false
}

// Insert returns the body with the element at the place that Locate found; without a place it is the same as Pass.
// The coding and the encoding are those of the body. The first Read returns what came before the place, the element and what has arrived
// behind it together as far as they fit; later ones return what arrives, compressed with a flush where the upstream paused.
// A body that is cut short or corrupt ends with an error, never with io.EOF. Close closes the source.
func (d *Document) Insert(element *Element) io.ReadCloser {
	if _, err := d.Locate(); err != nil || d.place.Reason != "" {
		return d.Pass()
	}
	d.take()
	if d.wide {
		element = NewElement(widen(element.text, d.bigEnd))
	}
	switch d.coding {
	case codingIdentity:
		d.plain = len(element.text)
		return newPlainReader(&d.raw, int(d.place.Offset), element.text)
	case codingGzip:
		r := newGzipReader(d, element)
		d.spliced = r.s
		return r
	}
	return newTranscoder(d, element.text)
}

// Growth returns by how many bytes the body that Insert has given is longer than the source. It is known, and ok, without a coding, and
// with gzip where enough has arrived to tell. It must be called before that body is read.
func (d *Document) Growth() (n int64, ok bool) {
	if d.spliced != nil {
		return d.spliced.Growth()
	}
	return int64(d.plain), d.plain > 0
}

// Pass returns exactly the upstream's bytes, from the first to the last, and then its error. Close closes the source.
func (d *Document) Pass() io.ReadCloser {
	d.take()
	d.head.release()
	if d.dec != nil {
		d.dec.release()
	}
	return newPlainReader(&d.raw, 0, nil)
}

// take marks the body as handed out: two readers of one body would each get a part of it.
func (d *Document) take() {
	if d.taken {
		panic("inject: the body of this Document was already handed out")
	}
	d.taken = true
}

// widen writes ASCII in UTF-16.
func widen(ascii []byte, bigEndian bool) []byte {
	out := make([]byte, 2*len(ascii))
	low := 0
	if bigEndian {
		low = 1
	}
	for i, c := range ascii {
		out[2*i+low] = c
	}
	return out
}

// A coding is a Content-Encoding that can be taken off and put on again.
type coding uint8

const (
	codingOther coding = iota
	codingIdentity
	codingGzip
	codingDeflate
	codingBrotli
	codingZstd
)

func codingOf(name string) coding {
	switch strings.ToLower(strings.Trim(name, " \t")) {
	case "", "identity":
		return codingIdentity
	case "gzip", "x-gzip":
		return codingGzip
	case "deflate":
		return codingDeflate
	case "br":
		return codingBrotli
	case "zstd":
		return codingZstd
	}
	return codingOther
}
