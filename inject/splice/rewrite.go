package splice

import "hash/crc32"

// divide marks the end of the text so far as the place of the piece.
func (s *stream) divide() {
	s.sum()
	s.fix = fixer{
		delta:  s.crc ^ crc32.Update(s.crc, crc32.IEEETable, s.piece.text),
		prefix: uint32(s.size),
		piece:  uint32(len(s.piece.text)),
	}
	s.histEnd = len(s.hist)
	s.place = within
}

// insert writes the piece between two symbols of a compressed block: in the
// codes of that block if they have all that is needed and it comes out shorter,
// otherwise in blocks of its own, behind which the block begins anew.
func (s *stream) insert() {
	s.flush()
	s.divide()
	c := s.codes
	own := uint(c.litLen[endOfBlock]) + s.piece.blockBits() + s.reopenBits()
	if n, ok := s.piece.inlineBits(c); ok && n <= own && (!s.final || s.mayClose() || s.markFinal()) {
		s.piece.writeInline(&s.w, c)
		return
	}
	s.w.putSym(c, endOfBlock)
	s.piece.writeBlocks(&s.w)
	s.reopen()
}

// cross writes a match whose source begins in front of the piece. The part of
// the source there has moved away by the piece's length. If the source goes on
// behind the piece, that part has kept its distance; it begins with the first
// byte there.
func (s *stream) cross(n, d int) {
	from := s.histEnd + int(s.after) - d
	k := min(n, d-int(s.after))
	s.rewrite(d+len(s.piece.text), s.hist[from:from+k])
	if k < n {
		var text [maxMatch]byte
		for i := range n - k {
			if i < d {
				text[i] = s.crossed(i, from)
			} else {
				text[i] = text[i-d]
			}
		}
		s.rewrite(d, text[:n-k])
	}
	if s.recording() {
		s.record(n, d)
	}
	s.count(n)
}

// crossed is the i-th byte behind the piece, in the middle of a match from
// hist[from:] whose own bytes are not in hist yet.
func (s *stream) crossed(i, from int) byte {
	if i < int(s.after) {
		return s.hist[s.histEnd+i]
	}
	return s.hist[from+i-int(s.after)]
}

// rewrite writes text, which stands at distance d in the output too, in the
// codes of the block: as a match, as several, or as literals, whichever there
// are codes for; otherwise in a block of its own.
func (s *stream) rewrite(d int, text []byte) {
	c, n := s.codes, len(text)
	lits, spelled := c.literals(text)
	reachable := n >= minMatch && d <= window
	if reachable {
		if db := c.matchDist(d); db > 0 {
			if lb := c.matchLen(n); lb > 0 && (!spelled || lb+db <= lits) {
				s.w.putMatch(c, n, d)
				return
			}
			if k := c.longestPart(n); k > 0 && k < n && (!spelled || c.matchLen(k)+db < lits) {
				s.w.putMatch(c, k, d)
				s.rewrite(d, text[k:])
				return
			}
		}
	}
	// A block of its own takes a header of 3 bits, the fixed codes of the end,
	// a length and the farthest distance, and the old header.
	const header, match = 3 + 7, 8 + 5 + 5 + 13
	detour := uint(c.litLen[endOfBlock]) + header + match + s.reopenBits()
	if spelled && (!reachable || lits <= detour || s.outFinal) {
		s.putLiterals(c, text)
		return
	}
	s.w.putSym(c, endOfBlock)
	s.w.put(emptyFixed&7, 3)
	if reachable {
		s.w.putMatch(fixedCodes, n, d)
	} else {
		s.putLiterals(fixedCodes, text)
	}
	s.w.putSym(fixedCodes, endOfBlock)
	s.reopen()
}

// reopenFinal marks the block at hand as the last one by beginning it anew, in
// phase, once it need not be closed any more.
func (s *stream) reopenFinal() {
	s.flush()
	s.w.putSym(s.codes, endOfBlock)
	s.w.pad((s.lag() - int(s.reopenBits())) & 7)
	s.reopen()
}

func (s *stream) putLiterals(c *codes, text []byte) {
	for _, b := range text {
		s.w.putSym(c, int(b))
	}
}

// longestPart is the greatest length of at most n that has a code and leaves
// nothing or enough for another match; 0 if there is none.
func (c *codes) longestPart(n int) int {
	for k := n; k >= minMatch; k-- {
		if (k == n || n-k >= minMatch) && c.matchLen(k) > 0 {
			return k
		}
	}
	return 0
}

// tune writes the match of the next used bits as two, where that brings the
// output in phase with the input; from there on bytes can be copied as they
// are. Otherwise it leaves the match as it is.
func (s *stream) tune(n, d, used int) {
	lag := s.lag()
	if lag == 0 {
		return
	}
	c := s.codes
	more := 2*c.matchDist(d) - uint(used+lag)
	for k := minMatch; k <= n-k; k++ {
		kb, rb := c.matchLen(k), c.matchLen(n-k)
		if kb == 0 || rb == 0 || (kb+rb+more)&7 != 0 {
			continue
		}
		s.flush()
		s.w.putMatch(c, k, d)
		s.w.putMatch(c, n-k, d)
		s.done = s.pos + used
		return
	}
}
