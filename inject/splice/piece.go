package splice

import (
	"bytes"
	"compress/flate"

	kflate "github.com/klauspost/compress/flate"
)

// A Piece is what is inserted, compressed once by [Prepare]. It is not changed
// after that and safe for concurrent use.
type Piece struct {
	text []byte

	// The blocks that an encoder made of text: bits of block, which has slack
	// behind it. If bits is 0, text is written in stored blocks.
	block []byte
	bits  int

	// The same in symbols, for codes yet to come: lits and dists are the
	// symbols that occur, extra all extra bits.
	tokens      []token
	lits, dists []usage
	extra       uint
}

// A token is a literal (dist is 0) or a match.
type token struct{ n, dist uint16 }

// A usage says how often a symbol occurs.
type usage struct{ sym, times uint32 }

// Prepare compresses piece as well as it can, once, for any number of streams.
// It keeps a copy.
func Prepare(piece []byte) *Piece {
	p := &Piece{text: bytes.Clone(piece)}
	if len(piece) == 0 {
		return p
	}
	for _, block := range compress(piece) {
		bits, tokens, err := tokenize(append(block, make([]byte, slack)...), 8*len(block))
		if err == nil && (p.bits == 0 || bits < p.bits) {
			p.block, p.bits, p.tokens = append(block, make([]byte, slack)...), bits, tokens
		}
	}
	if p.bits > 8*len(piece) {
		p.block, p.bits, p.tokens = nil, 0, nil
	}
	p.tally()
	return p
}

// compress returns what several encoders make of text: raw deflate with an
// empty stored block behind it. Writing to a buffer does not fail.
func compress(text []byte) [][]byte {
	var std, kp bytes.Buffer
	if w, err := flate.NewWriter(&std, flate.BestCompression); err == nil {
		w.Write(text)
		w.Flush()
	}
	if w, err := kflate.NewWriter(&kp, kflate.BestCompression); err == nil {
		w.Write(text)
		w.Flush()
	}
	return [][]byte{std.Bytes(), kp.Bytes()}
}

// tokenize reads the symbols of the blocks in b, up to the empty stored block,
// and returns in front of which bit that is.
func tokenize(b []byte, end int) (bits int, tokens []token, err error) {
	c := new(codes)
	for pos := 0; ; {
		x := load(b, pos)
		block := c
		switch x >> 1 & 3 {
		case typeStored: // one with bytes in it means that text does not compress
			if load(b, (pos+3+7)&^7)&0xffff != 0 {
				return 0, nil, errMore
			}
			return pos, tokens, nil
		case typeFixed:
			block = fixedCodes
			pos += 3
		default:
			if pos, err = c.read(b, pos+3, end); err != nil {
				return 0, nil, err
			}
		}
		if pos, tokens, err = block.tokenize(b, pos, end, tokens); err != nil {
			return 0, nil, err
		}
	}
}

// tokenize appends the symbols of one block to tokens.
func (c *codes) tokenize(b []byte, pos, end int, tokens []token) (int, []token, error) {
	for pos < end {
		x := load(b, pos)
		e := find(c.lit[:], litBits, x)
		pos += int(taken(e))
		switch {
		case e&entryLiteral != 0:
			tokens = append(tokens, token{n: uint16(e >> 16 & 0xff)})
			continue
		case e&entrySpecial != 0:
			return pos, tokens, nil
		}
		t := token{n: uint16(value(e, x))}
		x >>= taken(e)
		e = find(c.dist[:], distBits, x)
		pos += int(taken(e))
		t.dist = uint16(value(e, x))
		tokens = append(tokens, t)
	}
	return 0, nil, errMore
}

// tally counts the symbols of tokens.
func (p *Piece) tally() {
	var lits [maxLit]uint32
	var dists [maxDist]uint32
	for _, t := range p.tokens {
		if t.dist == 0 {
			lits[t.n]++
			continue
		}
		ls, ds := lenSyms[t.n], distSym(int(t.dist))
		lits[ls]++
		dists[ds]++
		p.extra += uint(extraLen[ls-257]) + uint(extraDist[ds])
	}
	p.lits, p.dists = usages(lits[:]), usages(dists[:])
}

func usages(times []uint32) (u []usage) {
	for sym, n := range times {
		if n > 0 {
			u = append(u, usage{uint32(sym), n})
		}
	}
	return u
}

// blockBits is about how many bits writeBlocks writes.
func (p *Piece) blockBits() uint {
	if p.bits > 0 {
		return uint(p.bits)
	}
	return 8 * uint(len(p.text)+5*(len(p.text)/0xffff+1))
}

// writeBlocks writes the piece between two blocks.
func (p *Piece) writeBlocks(w *bitWriter) {
	if p.bits > 0 {
		w.copyBits(p.block, 0, p.bits)
		return
	}
	w.storedBlocks(p.text)
}

// inlineBits is how many bits writeInline writes, and whether c has all codes
// for it.
func (p *Piece) inlineBits(c *codes) (n uint, ok bool) {
	n = p.extra
	for _, u := range p.lits {
		l := c.litLen[u.sym]
		if l == 0 {
			return 0, false
		}
		n += uint(l) * uint(u.times)
	}
	for _, u := range p.dists {
		l := c.distLen[u.sym]
		if l == 0 {
			return 0, false
		}
		n += uint(l) * uint(u.times)
	}
	return n, len(p.tokens) > 0 || len(p.text) == 0
}

// writeInline writes the piece in the codes c.
func (p *Piece) writeInline(w *bitWriter, c *codes) {
	for _, t := range p.tokens {
		if t.dist == 0 {
			w.putSym(c, int(t.n))
		} else {
			w.putMatch(c, int(t.n), int(t.dist))
		}
	}
}
