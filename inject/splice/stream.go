package splice

import (
	"hash/crc32"
	"io"
	"sync"
)

const (
	// inSize is how much input is read at once. It must hold a block header,
	// at most 290 bytes, and 32 KiB of text seldom take more.
	inSize = 16 << 10

	// holdBack is how much output is held until the piece has been written:
	// all there is for any insertion point in the first 64 KiB of input. It is
	// what allows an error to come before any output, and the final bit of a
	// block to be set after the block has been begun.
	holdBack = 64 << 10

	// maxHist is the length of hist at which its beginning is let go. It grows
	// by inSize more at most.
	maxHist = 2 * window

	// maxPooled bounds the buffers that go back to the pool.
	maxPooled = 192 << 10

	// maxHeader is what a block header takes at most, in bytes.
	maxHeader = 320
)

// A phase is what comes next in the input.
type phase uint8

const (
	inHeader       phase = iota // of a member
	atBlock                     // the header of a block
	inStored                    // bytes of a stored block
	inCodes                     // symbols of a compressed block
	inTrailer                   // of a member
	betweenMembers              // a member or not
	inGarbage                   // what is behind the last member
	copying                     // all that follows is copied: see tail
)

// A place is where the piece is.
type place uint8

const (
	before place = iota // the text at hand is in front of the piece
	within              // it is behind the piece, in the same member
	behind              // it is in a later member
)

// A stream is the state of a splice from the beginning until all the rest can
// be copied.
type stream struct {
	piece *Piece
	place place
	phase phase

	// For a Decoder: only the text in hist counts, and is wanted in small
	// steps; seen is how long the text was at the beginning of this one.
	textOnly bool
	seen     int64

	// The input: n bytes, of which those up to the bit pos have been followed
	// and those up to the bit done are in w.
	in        [inSize + slack]byte
	n         int
	pos, done int
	consumed  int64 // bytes that have left in
	growth    int64 // by how much the output is longer, once that is sure: see grown

	w     bitWriter
	taken int // bytes of w.buf that the caller has

	// The header of the member: whether its first part has been passed, the
	// flags whose fields have not, and how many bytes are to be passed now.
	begun bool
	flags byte
	skip  int
	loose bool // a zlib stream is in it, and perhaps no trailer behind it

	// The text of the member. Up to the piece and for maxMatch bytes behind it
	// hist has the text (at least the last 32 KiB, without the piece); later,
	// nothing needs it.
	want    int64 // where the piece goes, counted from the start of the member
	size    int64 // length of the text in front of the piece
	after   int64 // length of the text behind the piece
	hist    []byte
	histEnd int    // where in hist the piece goes, once place is within
	crc     uint32 // of the text in front of the piece, up to summed in hist
	summed  int
	fix     fixer

	// The block.
	codes     *codes // dyn or fixedCodes
	dyn       codes
	final     bool  // the last one of its member
	outFinal  bool  // and marked so in the output: it must not be closed early
	oneBlock  bool  // the first one with text in its member
	finalAt   int64 // the bit of the output that marks it
	rem, rest int   // stored bytes up to the piece, or the end, and behind that

	// The header of the block without the final bit, the bits from hdrFrom to
	// hdrTo of hdr: what begins the block anew.
	hdr            [maxHeader + slack]byte
	hdrFrom, hdrTo int
}

var streams = sync.Pool{New: func() any { return new(stream) }}

// newStream takes a stream from the pool.
func newStream(at int64, piece *Piece) *stream {
	s := streams.Get().(*stream)
	s.piece = piece
	s.want = at
	return s
}

// release gives s back, with nothing left in it but buffers of bounded size.
// The arrays need no reset: n, pos and the block header rule what is read.
func (s *stream) release() {
	s.w.reset()
	if cap(s.w.buf) > maxPooled {
		s.w.buf = nil
	}
	if s.hist = s.hist[:0]; cap(s.hist) > maxPooled {
		s.hist = nil
	}
	s.piece, s.codes = nil, nil
	s.place, s.phase = before, inHeader
	s.n, s.pos, s.done, s.consumed, s.growth = 0, 0, 0, 0, 0
	s.textOnly, s.seen = false, 0
	s.begun, s.flags, s.skip, s.loose = false, 0, 0, false
	s.want, s.size, s.after, s.histEnd = 0, 0, 0, 0
	s.crc, s.summed, s.fix = 0, 0, fixer{}
	s.final, s.outFinal, s.oneBlock, s.finalAt, s.rem, s.rest = false, false, false, 0, 0, 0
	s.hdrFrom, s.hdrTo, s.taken = 0, 0, 0
	streams.Put(s)
}

// fill reads from raw once.
func (s *stream) fill(raw io.Reader) (n int, err error) {
	if k := s.pos >> 3; k > 0 {
		s.n = copy(s.in[:], s.in[k:s.n])
		s.pos -= 8 * k
		s.done -= 8 * k
		s.consumed += int64(k)
	}
	n, err = raw.Read(s.in[s.n:inSize])
	s.n += n
	return n, err
}

// run follows the input as far as it has come. It returns errMore where more
// is needed, nil where the rest can be copied.
func (s *stream) run() error {
	for s.phase != copying {
		if err := s.step(); err != nil {
			s.flush()
			return err
		}
	}
	return nil
}

func (s *stream) step() error {
	if s.textOnly && (s.size-s.seen >= textStep || s.phase == inTrailer && s.size > s.seen) {
		return errPause // while hist has it
	}
	switch s.phase {
	case inHeader:
		return s.header()
	case atBlock:
		return s.block()
	case inStored:
		return s.stored()
	case inCodes:
		return s.symbols()
	case inTrailer:
		return s.trailer()
	case betweenMembers:
		return s.between()
	default: // inGarbage
		s.pos = 8 * s.n
		return errMore
	}
}

// end judges the end of the input: io.EOF, or what is wrong with it.
func (s *stream) end() error {
	if s.loose && s.phase == inTrailer {
		if err := s.noTrailer(); err != nil {
			return err
		}
		s.pos = 8 * s.n
		s.flush()
	}
	switch {
	case s.pos < 8*s.n:
		return io.ErrUnexpectedEOF
	case s.phase == inGarbage:
		return io.EOF
	case s.phase == betweenMembers && s.place == before:
		return ErrOffset
	case s.phase == betweenMembers:
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

// untaken is how much output can go: all but what must be held until the
// piece has been written.
func (s *stream) untaken() int {
	if s.place == before {
		return max(0, len(s.w.buf)-s.taken-holdBack-1)
	}
	return len(s.w.buf) - s.taken
}

// take moves output to p.
func (s *stream) take(p []byte) int {
	n := min(len(p), s.untaken())
	copy(p, s.w.buf[s.taken:s.taken+n])
	s.taken += n
	if s.taken == len(s.w.buf) || s.taken > holdBack {
		s.w.gone += int64(s.taken)
		s.w.buf = s.w.buf[:copy(s.w.buf, s.w.buf[s.taken:])]
		s.taken = 0
	}
	return n
}

// beginBehind goes on with a member behind that of the piece, whose symbols
// are followed only to find its end.
func (s *stream) beginBehind() {
	s.place, s.phase = behind, inHeader
	s.size, s.after = 0, 0
	s.begun = false
	s.hist = s.hist[:0]
}

// flush copies what has been followed.
func (s *stream) flush() {
	if s.textOnly {
		s.done = s.pos
	}
	if s.done < s.pos {
		s.w.copyBits(s.in[:], s.done, s.pos)
		s.done = s.pos
	}
}

// avail is the number of bits that have come and have not been followed.
func (s *stream) avail() int { return 8*s.n - s.pos }

// lag is by how many bits, modulo 8, the output must still grow against the
// input to have its byte boundaries where the input has them.
func (s *stream) lag() int { return (s.done - int(s.w.n)) & 7 }

// copyable reports whether the rest of the member needs no more change: no
// match reaches over the piece any more, the bytes are in phase, and the last
// block is marked as such. A loose member has no end that copying would find.
func (s *stream) copyable() bool {
	return s.place == within && s.after >= window && s.lag() == 0 && s.outFinal == s.final && !s.loose
}

// beginCopy ends the following of symbols, at a byte boundary.
func (s *stream) beginCopy() {
	s.pos = (s.pos + 7) &^ 7 // the rest of a byte that has come
	s.flush()
	s.noteGrowth()
	s.phase = copying
}

// noteGrowth notes how much longer the output has become. From here on it is
// as long as the input.
func (s *stream) noteGrowth() { s.growth = s.w.offset() - s.consumed - int64(s.done>>3) }

// grown reports whether growth is final.
func (s *stream) grown() bool { return s.place == behind || s.phase == copying }

// recording reports whether the text must be kept.
func (s *stream) recording() bool {
	return s.place == before || s.place == within && s.after < maxMatch
}

// count counts n bytes of text.
func (s *stream) count(n int) {
	if s.place == before {
		s.size += int64(n)
	} else {
		s.after += int64(n)
	}
}

// sum brings crc up to the end of hist.
func (s *stream) sum() {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, s.hist[s.summed:])
	s.summed = len(s.hist)
}

// slide makes room in hist for n bytes, letting go of what is more than the
// window behind.
func (s *stream) slide(n int) {
	if s.place == before && len(s.hist) > maxHist {
		s.sum()
		s.hist = s.hist[:copy(s.hist, s.hist[len(s.hist)-window:])]
		s.summed = window
	}
	if cap(s.hist)-len(s.hist) < n {
		hist := make([]byte, len(s.hist), max(len(s.hist)+n, min(2*cap(s.hist), maxHist+2*inSize)))
		copy(hist, s.hist)
		s.hist = hist
	}
}

// record keeps the text of a match, which may overlap itself, and returns it.
func (s *stream) record(n, d int) []byte {
	s.slide(n)
	o := len(s.hist)
	for i := range n {
		s.hist = append(s.hist, s.hist[o-d+i])
	}
	return s.hist[o:]
}
