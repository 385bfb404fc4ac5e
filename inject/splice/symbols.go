package splice

import "encoding/binary"

// maxSymbol is the most bits that a literal, or a length with its distance,
// takes: two codes of 15 and 5 and 13 extra bits.
const maxSymbol = 48

// symbols follows the symbols of a compressed block.
func (s *stream) symbols() error {
	for s.phase == inCodes {
		if s.textOnly && s.size-s.seen >= textStep {
			return nil
		}
		if s.place == within && s.after >= window && s.outFinal != s.final {
			s.reopenFinal()
		}
		if s.copyable() {
			s.beginCopy()
			return nil
		}
		switch {
		case s.place == before:
			s.decode()
		case s.place == behind || s.after >= maxMatch && (s.after < window || s.loose):
			follows := s.after < window
			s.follow()
			if follows && s.place == within && s.after >= window {
				continue // with what is above, wherever the input at hand has ended
			}
		}
		if err := s.symbol(); err != nil {
			return err
		}
		if s.place == before && s.size == s.want && s.phase == inCodes {
			s.insert()
		}
	}
	return nil
}

// symbol follows one symbol, with every check there is: the fast loops leave to
// it what they cannot do.
func (s *stream) symbol() error {
	x, left := load(s.in[:], s.pos), s.avail()
	e := find(s.codes.lit[:], litBits, x)
	used := int(taken(e))
	switch {
	case e&^0xffff_0fff == entryNone || used > left:
		return s.missing(left)
	case e&entryLiteral != 0:
		s.pos += used
		if s.recording() {
			s.slide(1)
			s.hist = append(s.hist, byte(e>>16))
		}
		s.count(1)
		return nil
	case e&entrySpecial != 0: // the end of the block
		s.pos += used
		s.endBlock()
		return nil
	}
	n := value(e, x)
	x >>= used
	e = find(s.codes.dist[:], distBits, x)
	used += int(taken(e))
	if e&entrySpecial != 0 || used > left {
		return s.missing(left)
	}
	d := value(e, x)
	if int64(d) > s.size+s.after {
		return ErrCorrupt
	}
	s.match(n, d, used)
	return nil
}

// missing tells bits that have not come from bits that mean nothing.
func (s *stream) missing(left int) error {
	if left < maxSymbol {
		return errMore
	}
	return ErrCorrupt
}

// match follows a match of n bytes at distance d, the next used bits.
func (s *stream) match(n, d, used int) {
	switch {
	case s.place == before && s.size+int64(n) > s.want:
		s.flush()
		k := int(s.want - s.size)
		s.rewrite(d, s.record(k, d))
		s.count(k)
		s.pos += used
		s.done = s.pos
		s.insert()
		s.cross(n-k, d)
		return
	case s.place == within && int64(d) > s.after:
		s.flush()
		s.cross(n, d)
		s.pos += used
		s.done = s.pos
		return
	case s.place == within && s.after >= window && !s.loose:
		s.tune(n, d, used)
	}
	s.pos += used
	if s.recording() {
		s.record(n, d)
	}
	s.count(n)
}

// decode is symbol in a fast loop, for the text in front of the piece. It stops
// in time for symbol to meet the place of the piece, the end of the input and
// all that is rare.
func (s *stream) decode() {
	room := inSize
	if s.textOnly {
		room = textStep
	}
	room = int(min(s.want-s.size, int64(room))) - maxMatch
	if room <= 0 {
		return
	}
	s.slide(room + maxMatch)
	var (
		c    = s.codes
		in   = s.in[:s.n]
		pos  = s.pos
		o    = len(s.hist)
		hist = s.hist[:cap(s.hist)]
		stop = o + room
	)
	for o < stop && pos>>3+slack <= len(in) {
		x := binary.LittleEndian.Uint64(in[pos>>3:]) >> (pos & 7)
		e := find(c.lit[:], litBits, x)
		k := int(e & 63)
		if e&entryLiteral != 0 {
			hist[o] = byte(e >> 16)
			o++
			pos += k
			x >>= k
			// Three literals at most leave no bit of x unread.
			if e = c.lit[x&(1<<litBits-1)]; e&entryLiteral != 0 {
				hist[o] = byte(e >> 16)
				o++
				pos += int(e & 63)
			}
			continue
		}
		if e&entrySpecial != 0 {
			break
		}
		n := value(e, x)
		x >>= k
		e = find(c.dist[:], distBits, x)
		d := value(e, x)
		if e&entrySpecial != 0 || d > o {
			break
		}
		pos += k + int(e&63)
		if d >= n {
			copy(hist[o:o+n], hist[o-d:])
		} else {
			for i := o; i < o+n; i++ {
				hist[i] = hist[i-d]
			}
		}
		o += n
	}
	s.size += int64(o - len(s.hist))
	s.hist = hist[:o]
	s.pos = pos
}

// follow is symbol in a fast loop, for text that need not be known: it follows
// the lengths and looks at the distances. It stops where a match reaches over
// the piece, at the end of the window behind it, and for all that is rare.
func (s *stream) follow() {
	var (
		c     = s.codes
		in    = s.in[:s.n]
		at    = s.pos >> 3
		after = int(s.after)
		stop  = window - 2 // two literals may come on top
	)
	if s.place == behind || s.after >= window {
		stop = int(^uint(0) >> 1)
	}
	if at+slack > len(in) {
		return
	}
	// bits has the n bits of the input in front of byte at (and, above them,
	// some that are read again).
	bits := binary.LittleEndian.Uint64(in[at:]) >> (s.pos & 7)
	n := 64 - uint(s.pos&7)
	at += slack
	for after < stop && at+slack <= len(in) {
		if n < 64 {
			bits |= binary.LittleEndian.Uint64(in[at:]) << n
			at += int((63 - n) >> 3)
			n |= 56
		}
		e := c.lit[bits&(1<<litBits-1)]
		if e&entryLiteral != 0 {
			bits >>= e & 63
			n -= uint(e & 63)
			after++
			if e = c.lit[bits&(1<<litBits-1)]; e&entryLiteral != 0 {
				bits >>= e & 63
				n -= uint(e & 63)
				after++
				if e = c.lit[bits&(1<<litBits-1)]; e&entryLiteral != 0 {
					bits >>= e & 63
					n -= uint(e & 63)
					after++
				}
			}
			continue
		}
		if e&entrySpecial != 0 {
			if e&entryLink != entryLink {
				break
			}
			e = c.lit[uint64(e>>16)+bits>>litBits&(1<<(e>>8&15)-1)]
			if e&entryLiteral != 0 {
				bits >>= e & 63
				n -= uint(e & 63)
				after++
				continue
			}
			if e&entrySpecial != 0 {
				break
			}
		}
		length := value(e, bits)
		k := e & 63
		x := bits >> k
		e = find(c.dist[:], distBits, x)
		d := value(e, x)
		if e&entrySpecial != 0 || d > after {
			break
		}
		k += e & 63
		bits >>= k
		n -= uint(k)
		after += length
	}
	s.pos = 8*at - int(n)
	s.after = int64(after)
}
