package splice

// Types of blocks, RFC 1951 section 3.2.3.
const (
	typeStored  = 0
	typeFixed   = 1
	typeDynamic = 2
)

// Whole blocks of no text, and how many bits they take.
const (
	emptyFixed      = typeFixed << 1
	emptyFixedFinal = 1 | typeFixed<<1
	emptyFixedBits  = 10
)

// block passes the header of a block on.
func (s *stream) block() error {
	if s.place == before && s.size == s.want {
		s.flush()
		s.divide()
		s.piece.writeBlocks(&s.w)
	}
	if s.avail() < 3 {
		return errMore
	}
	x := load(s.in[:], s.pos)
	kind, end := int(x>>1&3), s.pos+3
	c := fixedCodes
	switch kind {
	case typeStored:
		return s.storedHeader(x&1 != 0)
	case typeDynamic:
		var err error
		if end, err = s.dyn.read(s.in[:], end, 8*s.n); err != nil {
			return err
		}
		c = &s.dyn
	case typeFixed:
	default:
		return ErrCorrupt
	}
	s.flush()
	if s.place == within && s.after >= window {
		s.w.pad(s.lag())
	}
	s.codes, s.final = c, x&1 != 0
	s.oneBlock = s.size+s.after == 0
	s.keepHeader(end)
	s.phase = inCodes
	s.putFinal()
	s.done++
	s.pos = end
	return nil
}

// keepHeader notes the header of the block from pos to end.
func (s *stream) keepHeader(end int) {
	from, to := s.pos>>3, (end+7)>>3
	copy(s.hdr[:maxHeader], s.in[from:to])
	s.hdrFrom, s.hdrTo = s.pos-8*from+1, end-8*from
}

// mayClose reports whether the block at hand may have to be ended early: in
// front of the piece, for the piece; behind it, for text from in front of it
// that the block has no codes for. All text in hist can come up in that way,
// but what the block itself has as literals has codes.
func (s *stream) mayClose() bool {
	if s.place != within || s.phase == inStored {
		return s.place == before
	}
	if s.after >= window || s.codes == fixedCodes || s.oneBlock {
		return false
	}
	var seen [256]bool
	for _, b := range s.hist[max(0, s.histEnd-window):] {
		seen[b] = true
	}
	for b, yes := range seen {
		if yes && s.codes.litLen[b] == 0 {
			return true
		}
	}
	return false
}

// putFinal writes the first bit of a block. One that may have to be closed
// before its end is begun as if it were not the last one.
func (s *stream) putFinal() {
	s.outFinal = s.final && !s.mayClose()
	s.finalAt = 8*s.w.offset() + int64(s.w.n)
	var bit uint64
	if s.outFinal {
		bit = 1
	}
	s.w.put(bit, 1)
}

// reopen begins the block of codes s.codes anew.
func (s *stream) reopen() {
	s.putFinal()
	s.w.copyBits(s.hdr[:], s.hdrFrom, s.hdrTo)
}

// reopenBits is how many bits reopen writes.
func (s *stream) reopenBits() uint { return uint(1 + s.hdrTo - s.hdrFrom) }

// markFinal marks the block at hand as the last one after the fact, and
// reports whether its first bit could be reached.
func (s *stream) markFinal() bool {
	i := s.finalAt >> 3
	if s.w.offset()-i > holdBack {
		return false
	}
	bit := byte(1) << (s.finalAt & 7)
	if i == s.w.offset() {
		s.w.acc |= uint64(bit)
	} else {
		s.w.buf[i-s.w.gone] |= bit
	}
	s.outFinal = true
	return true
}

// endBlock goes on behind the end of a block.
func (s *stream) endBlock() {
	if !s.final {
		s.phase = atBlock
		return
	}
	s.flush()
	if !s.outFinal {
		s.w.put(emptyFixedFinal, emptyFixedBits)
	}
	s.w.align()
	s.pos = (s.pos + 7) &^ 7
	s.done = s.pos
	s.phase = inTrailer
}

// storedHeader passes the header of a stored block on, of which the first
// three bits have come. Its bytes start at a byte boundary both in the input
// and in the output, wherever the header is.
func (s *stream) storedHeader(final bool) error {
	data := (s.pos + 3 + 7) &^ 7
	if 8*s.n < data+32 {
		return errMore
	}
	x := load(s.in[:], data)
	length := int(x & 0xffff)
	if x>>16&0xffff != ^x&0xffff {
		return ErrCorrupt
	}
	s.flush()
	s.pos = data + 32
	s.done = s.pos
	s.final = final
	s.rem, s.rest = length, 0
	if s.place == before && s.want-s.size < int64(length) {
		s.rem = int(s.want - s.size)
		s.rest = length - s.rem
	}
	s.phase = inStored
	s.putStored()
	return nil
}

// putStored writes the header of a stored block of rem bytes.
func (s *stream) putStored() {
	s.putFinal()
	s.w.putStoredHeader(s.rem)
}

// putStoredHeader writes the header of a stored block of n bytes, behind its
// final bit.
func (w *bitWriter) putStoredHeader(n int) {
	w.put(typeStored, 2)
	w.align()
	w.put(uint64(n)|uint64(^n&0xffff)<<16, 32)
}

// stored passes the bytes of a stored block on.
func (s *stream) stored() error {
	b := s.in[s.pos>>3 : s.n]
	k := min(s.rem, len(b))
	if k == 0 && s.rem > 0 {
		return errMore
	}
	if s.recording() {
		s.slide(k)
		s.hist = append(s.hist, b[:k]...)
	}
	s.count(k)
	s.rem -= k
	s.pos += 8 * k
	if s.rem > 0 {
		if s.copyable() {
			s.beginCopy()
		}
		return nil
	}
	if s.place == before && s.size == s.want {
		s.flush()
		s.divide()
		s.piece.writeBlocks(&s.w)
		if s.rem, s.rest = s.rest, 0; s.rem > 0 || s.final {
			s.putStored()
			return nil
		}
	}
	s.endBlock()
	return nil
}

// order is the order of the code lengths of the code length alphabet, RFC 1951
// section 3.2.7.
const order = "\x10\x11\x12\x00\x08\x07\x09\x06\x0a\x05\x0b\x04\x0c\x03\x0d\x02\x0e\x01\x0f"

// lenBits is the length of the longest code of that alphabet.
const lenBits = 7

// read reads the codes of a dynamic block from the bits of b from pos, behind
// the type of the block, up to end, and returns where they end.
func (c *codes) read(b []byte, pos, end int) (int, error) {
	if c.isMade(b, pos, end) {
		return pos + c.madeLen, nil
	}
	if end-pos < 14 {
		return 0, errMore
	}
	start := pos
	x := load(b, pos)
	lits, dists, lens := int(x&31)+257, int(x>>5&31)+1, int(x>>10&15)+4
	pos += 14
	if lits > maxLit || dists > maxDist {
		return 0, ErrCorrupt
	}
	if end-pos < 3*lens {
		return 0, errMore
	}
	var lengths [len(order)]uint8
	for i := range lens {
		lengths[order[i]] = uint8(load(b, pos) & 7)
		pos += 3
	}
	var table [1 << lenBits]entry
	if !buildTable(table[:], lenBits, lengths[:], litEntries, nil) {
		return 0, ErrCorrupt
	}
	var all [maxLit + maxDist]uint8
	pos, err := readLengths(all[:lits+dists], &table, b, pos, end)
	if err != nil {
		return 0, err
	}
	c.madeLen = 0
	clear(c.litLen[copy(c.litLen[:], all[:lits]):])
	clear(c.distLen[copy(c.distLen[:], all[lits:lits+dists]):])
	if !c.build() {
		return 0, ErrCorrupt
	}
	c.keepMade(b, start, pos)
	return pos, nil
}

// readLengths reads the code lengths of a dynamic block into all.
func readLengths(all []uint8, table *[1 << lenBits]entry, b []byte, pos, end int) (int, error) {
	for i := 0; i < len(all); {
		x := load(b, pos)
		e := table[x&(1<<lenBits-1)]
		if e&entrySpecial != 0 {
			if end-pos < lenBits {
				return 0, errMore
			}
			return 0, ErrCorrupt
		}
		n, sym := taken(e), uint8(e>>16)
		x >>= n
		var value uint8
		repeat := 1
		switch sym {
		case 16:
			repeat = 3 + int(x&3)
			n += 2
		case 17:
			repeat = 3 + int(x&7)
			n += 3
		case 18:
			repeat = 11 + int(x&127)
			n += 7
		default:
			value = sym
		}
		if pos += int(n); pos > end {
			return 0, errMore
		}
		if repeat > len(all)-i || sym == 16 && i == 0 {
			return 0, ErrCorrupt
		}
		if sym == 16 {
			value = all[i-1]
		}
		for range repeat {
			all[i] = value
			i++
		}
	}
	return pos, nil
}

// padBlock is a dynamic block of no text that takes an odd number of bits. It
// has codes of one bit for the literal 255, for the end of the block, and for
// a distance: decoders differ in what else they take.
var padBlock, padBlockBits = func() (b []byte, n int) {
	var w bitWriter
	w.put(typeDynamic<<1, 3)
	w.put(uint64(len(order)-1-4)<<10, 14) // 257 literals, 1 distance, 18 lengths
	for i := range len(order) - 1 {
		var bits uint64
		if sym := order[i]; sym == 1 || sym == 18 {
			bits = 1
		}
		w.put(bits, 3)
	}
	w.put(1|(138-11)<<1, 8) // 18: 138 times zero
	w.put(1|(117-11)<<1, 8) // 117 times zero
	w.put(0, 3)             // 1, three times
	w.put(1, 1)             // the end of the block
	n = int(8*w.offset()) + int(w.n)
	w.align()
	return append(w.buf, make([]byte, slack)...), n
}()

// pad writes blocks of no text that take n (0 to 7) bits modulo 8. w must be
// between two blocks.
func (w *bitWriter) pad(n int) {
	if n&1 != 0 {
		w.copyBits(padBlock, 0, padBlockBits)
		n = (n - padBlockBits) & 7
	}
	for ; n > 0; n -= emptyFixedBits & 7 {
		w.put(emptyFixed, emptyFixedBits)
	}
}

// storedBlocks writes text in stored blocks.
func (w *bitWriter) storedBlocks(text []byte) {
	for len(text) > 0 {
		k := min(len(text), 0xffff)
		w.put(0, 1)
		w.putStoredHeader(k)
		w.bytes(text[:k])
		text = text[k:]
	}
}
