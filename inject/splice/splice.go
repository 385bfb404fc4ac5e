// Package splice inserts a piece into a gzip stream (RFC 1952) without
// compressing the rest of it again.
//
// Up to the piece the symbols are decoded and copied. There the piece is
// written, in the codes of the block at hand or in a block of its own. Behind
// it only those matches change whose source is in front of it: at most within
// 32 KiB of text, in which the symbols are followed but not decoded. From there
// on the bytes are copied as they are, up to the trailer, whose checksum
// follows from the old one.
//
// # What is checked
//
// Up to 32 KiB of text behind the piece all of the format is checked; the
// CRC-32 only of members in front of that with the piece. Where the rest is
// copied, what is wrong with it stays wrong for the client, as its checksum
// then does not match the text either, and the end of the input is an error
// where the last bytes cannot be a trailer. That finds a missing end, or other
// bytes behind the last member, but for a chance of 1032 times the size of the
// input in 4 GiB. What stands in the text of a page, uncompressed and made to
// look like the end of one member and the beginning of another, is taken for
// that. A member of 4 GiB of text or more fails.
//
// Old scripts put a member together from a zlib stream: ten bytes of which the
// last two are that stream's header, the data, and then its Adler-32 instead of
// a trailer, or something else. Browsers, which look at no trailer, take it. So
// of such a member all symbols are followed, and what stands behind them is
// passed on as it is, unless it is a trailer.
//
// # What is held, and how much memory that takes
//
// Up to the piece, at most the first 64 KiB of output; behind it, at most a
// symbol, or the header of a block, that has not come to its end, and seven
// bits; where bytes are copied, at most 11, and none if they end with a flush.
// Until bytes are copied, a stream takes about 80 KiB, and up to 250 KiB for an
// insertion point far behind the beginning, in buffers that are pooled; then,
// less than 1 KiB.
package splice

import (
	"bytes"
	"errors"
	"io"
)

// Errors of [Reader.Read]. A stream that ends too early is
// io.ErrUnexpectedEOF; errors of the underlying reader come as they are.
var (
	// ErrHeader says that the stream, or a member of it, does not begin as
	// RFC 1952 has it, or has a flag that is reserved.
	ErrHeader = errors.New("not a gzip header: decode the stream by its real coding")

	// ErrCorrupt says that the compressed data, or a length or checksum of it,
	// is wrong.
	ErrCorrupt = errors.New("corrupt gzip data: fetch the stream again")

	// ErrOffset says that the text ends in front of the insertion point.
	ErrOffset = errors.New("insertion point behind the end of the text: choose one inside")

	// ErrTrailer says that the stream does not end as a member does, but early
	// or with other bytes behind the last member.
	ErrTrailer = errors.New("no gzip trailer at the end of the stream: fetch the stream again")
)

// A Reader gives a gzip stream with a piece inserted. It is not safe for
// concurrent use.
type Reader struct {
	raw      io.Reader
	buffered func() int // of raw; nil if it does not tell
	err      error      // what Read returns once all output has gone

	s     *stream // until the rest is copied
	tail  tail
	small []byte // for copying into a small p: what of it has not gone is out, and goes before what s has
	out   []byte
}

// NewReader returns a Reader of the gzip stream raw with piece inserted in
// front of the byte of the text that has the offset at; the text is that of all
// members together, and its end is an offset too.
//
// An insertion point within the first 64 KiB of output makes sure that nothing
// is output before it has been reached, so that an error up to there leaves the
// caller free to do without. Where raw has a method Buffered() int, as a
// bufio.Reader has, and says that it need not wait, Read goes on reading until
// p is full.
func NewReader(raw io.Reader, at int64, piece *Piece) *Reader {
	if at < 0 {
		return &Reader{err: ErrOffset}
	}
	r := &Reader{raw: raw, s: newStream(at, piece)}
	if b, ok := raw.(interface{ Buffered() int }); ok {
		r.buffered = b.Buffered
	}
	return r
}

const (
	// minDirect is the least room in p that is worth a read of its own.
	minDirect = 512

	// maxIdle is how often in a row raw may give nothing.
	maxIdle = 100
)

// Read gives the next bytes of the stream. It waits for input only where it
// has nothing to give. The bytes do not depend on how the input is divided. At
// the end of a whole stream the error is io.EOF; any other error means that
// what has been read is not a whole stream.
func (r *Reader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for idle := 0; idle < maxIdle; idle++ {
		n += r.take(p[n:])
		if n > 0 && (r.err != nil || len(p)-n < minDirect || r.buffered == nil || r.buffered() == 0) {
			return n, nil
		}
		if r.err != nil {
			r.close()
			return 0, r.err
		}
		var came, gave int
		if r.s != nil {
			came = r.advance()
		} else {
			came, gave = r.copy(p[n:])
		}
		if n += gave; came > 0 {
			idle = -1
		}
	}
	return n, io.ErrNoProgress
}

// Growth returns by how many bytes the output is longer than the input. It is
// known, and ok, once the input has been followed to 32 KiB of text behind the
// piece or to the end of the member; Growth does that as far as raw need not
// wait. It must be called before the first Read.
func (r *Reader) Growth() (n int64, ok bool) {
	for r.s != nil && r.err == nil && !r.s.grown() && r.buffered != nil && r.buffered() > 0 {
		r.advance()
	}
	if r.s == nil || !r.s.grown() || r.err != nil && r.err != io.EOF {
		return 0, false
	}
	return r.s.growth, true
}

// close gives up what is left of r but the error.
func (r *Reader) close() {
	if r.s != nil {
		r.s.release()
	}
	*r = Reader{err: r.err}
}

// take moves output that is there to p.
func (r *Reader) take(p []byte) (n int) {
	n = copy(p, r.out)
	if r.out = r.out[n:]; r.s == nil || len(r.out) > 0 {
		return n
	}
	n += r.s.take(p[n:])
	if r.s.phase == copying && r.s.untaken() == 0 {
		r.s.release()
		r.s = nil
	}
	return n
}

// advance reads and follows some input, and returns how much it read.
func (r *Reader) advance() int {
	s := r.s
	n, err := s.fill(r.raw)
	for {
		status := s.run()
		if status == nil {
			status = r.beginTail(err == io.EOF)
		}
		if status == errMore && err == io.EOF {
			status = s.end()
		}
		if status == nil && s.phase != copying {
			continue // with another member
		}
		switch {
		case status != nil && status != errMore:
			r.err = status
		case err != nil && err != io.EOF:
			r.err = err
		}
		return n
	}
}

// beginTail lets r.tail copy from where r.s has come to.
func (r *Reader) beginTail(end bool) error {
	s, t := r.s, &r.tail
	b := s.in[s.pos>>3 : s.n]
	*t = tail{fix: s.fix, text: s.size + s.after, came: s.consumed + int64(s.n)}
	n, member, err := t.scan(b, end)
	s.w.bytes(b[:n])
	if member {
		s.pos += 8 * n
		s.done = s.pos
		s.beginBehind()
		return nil
	}
	t.hold = append(t.own[:0], b[n:]...)
	return err
}

// copy reads into p what need not be followed; what came is how much it read,
// and gave how much of p it filled.
func (r *Reader) copy(p []byte) (came, gave int) {
	t, direct := &r.tail, true
	h := len(t.hold)
	if len(p) < h+minDirect {
		direct = false
		if len(r.small) < h+minDirect {
			r.small = make([]byte, h+2*minDirect)
		}
		p = r.small
	}
	copy(p, t.hold)
	came, err := r.raw.Read(p[h:])
	t.came += int64(came)
	b := p[:h+came]
	n, member, status := t.scan(b, err == io.EOF)
	switch {
	case member:
		r.raw = io.MultiReader(bytes.NewReader(bytes.Clone(b[n:])), r.raw)
		r.s = newStream(0, nil)
		r.s.beginBehind()
	case status != nil:
		r.err = status
	case err != nil && err != io.EOF:
		r.err = err
	}
	t.hold = append(t.own[:0], b[n:]...)
	if direct {
		return came, n
	}
	r.out = b[:n]
	return came, 0
}
