package splice

import "math/bits"

// The alphabets of RFC 1951 section 3.2.5.
const (
	maxLit     = 286 // literals, the end of block and lengths
	maxDist    = 30
	endOfBlock = 256
	minMatch   = 3
	maxMatch   = 258
	window     = 32768 // the farthest distance
	maxBits    = 15    // the longest code
)

// The sizes of the decoding tables: a first level that most codes fit, and
// second levels behind it. The totals are upper bounds for complete codes of
// 288 and 32 symbols, with room to spare; buildTable checks.
const (
	litBits   = 10
	litTable  = 1<<litBits + 1024
	distBits  = 8
	distTable = 1<<distBits + 512
)

// An entry of a decoding table says what the bits at hand begin with:
//
//	bits 0 to 5    bits taken by the code and the extra bits behind it
//	bits 8 to 11   bits of the code alone (in a link: bits of its level)
//	bit 13         link to a second level at value
//	bit 14         not a literal, length or distance: link, end or no code
//	bit 15         the end of the block
//	bits 16 to 30  value: the literal, or the base of length or distance
//	bit 31         a literal
//
// The zero entry never occurs: a missing code is entryNone.
type entry = uint32

const (
	entryLink    entry = 1<<13 | entrySpecial
	entryNone    entry = entrySpecial
	entryEnd     entry = 1<<15 | entrySpecial
	entryLiteral entry = 1 << 31
	entrySpecial entry = 1 << 14
)

// taken is how many bits e takes, extra bits included.
func taken(e entry) uint { return uint(e & 63) }

// value is base plus extra bits, x being the bits e was found with.
func value(e entry, x uint64) int {
	return int(e>>16) + int(x&(1<<(e&63)-1)>>(e>>8&15))
}

// extraLen and baseLen describe the length symbols 257 to 285.
var (
	baseLen   = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	extraLen  = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	baseDist  = [maxDist]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	extraDist = [maxDist]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// litEntry and distEntry are the entries of the symbols, without the code.
// A symbol that must not occur has no code: RFC 1951 section 3.2.6.
func litEntry(sym int) entry {
	switch {
	case sym < endOfBlock:
		return entryLiteral | entry(sym)<<16
	case sym == endOfBlock:
		return entryEnd
	case sym < maxLit:
		return entry(baseLen[sym-257])<<16 | entry(extraLen[sym-257])
	}
	return entryNone
}

func distEntry(sym int) entry {
	if sym < maxDist {
		return entry(baseDist[sym])<<16 | entry(extraDist[sym])
	}
	return entryNone
}

// litEntries and distEntries are litEntry and distEntry of all symbols, and
// lenSyms the symbol of every length; like all package variables here they are
// never written again.
var (
	litEntries  = tabulate(288, litEntry)
	distEntries = tabulate(32, distEntry)
	lenSyms     = tabulateLengths()
	fixedCodes  = newFixed()
)

func tabulate(n int, f func(int) entry) []entry {
	t := make([]entry, n)
	for i := range t {
		t[i] = f(i)
	}
	return t
}

func tabulateLengths() (t [maxMatch + 1]uint16) {
	for i, base := range baseLen {
		for j := range 1 << extraLen[i] {
			if l := int(base) + j; l <= maxMatch {
				t[l] = uint16(257 + i) // 258 ends up at 285, the shorter one
			}
		}
	}
	return t
}

// distSym is the symbol of distance d, 1 to window.
func distSym(d int) int {
	if d <= 4 {
		return d - 1
	}
	k := bits.Len(uint(d-1)) - 1
	return 2*k + (d-1)>>(k-1)&1
}

// codes are the two Huffman codes of a block, for decoding (lit, dist) and
// for encoding: the lengths, 0 for a symbol without a code, and the codes with
// their first bit lowest.
type codes struct {
	lit      [litTable]entry
	dist     [distTable]entry
	litLen   [288]uint8
	distLen  [32]uint8
	litCode  [288]uint16
	distCode [32]uint16

	// The block header that all this was made from, its bits in words. A page
	// is read twice, first to find the place of the piece, and a stream from
	// the pool is then likely to have the codes already.
	made    [(8*maxHeader + wordBits - 1) / wordBits]uint64
	madeLen int // in bits; 0 for nothing
}

const wordBits = 56 // what load gives, whatever the position

// isMade reports whether the bits of b from pos on, up to end at most, are the
// header that c was made from.
func (c *codes) isMade(b []byte, pos, end int) bool {
	if c.madeLen == 0 || end-pos < c.madeLen {
		return false
	}
	left := c.madeLen
	for i := 0; left > 0; i++ {
		if (load(b, pos)^c.made[i])<<(64-min(left, wordBits)) != 0 {
			return false
		}
		pos += wordBits
		left -= wordBits
	}
	return true
}

// keepMade notes the header from pos to end.
func (c *codes) keepMade(b []byte, pos, end int) {
	c.madeLen = end - pos
	for i := 0; pos < end; i++ {
		c.made[i] = load(b, pos)
		pos += wordBits
	}
}

// build makes the tables from the lengths and reports whether these are the
// lengths of codes that decoders take.
func (c *codes) build() bool {
	return c.litLen[endOfBlock] > 0 &&
		buildTable(c.lit[:], litBits, c.litLen[:], litEntries, c.litCode[:]) &&
		buildTable(c.dist[:], distBits, c.distLen[:], distEntries, c.distCode[:])
}

func newFixed() *codes {
	c := new(codes)
	for sym := range c.litLen {
		switch {
		case sym < 144:
			c.litLen[sym] = 8
		case sym < 256:
			c.litLen[sym] = 9
		case sym < 280:
			c.litLen[sym] = 7
		default:
			c.litLen[sym] = 8
		}
	}
	for sym := range c.distLen {
		c.distLen[sym] = 5
	}
	if !c.build() {
		panic("splice: the fixed codes do not build")
	}
	return c
}

// canonical is what RFC 1951 section 3.2.2 derives from the code lengths:
// next[n] is the first code of n bits, and sorted has the symbols in the order
// of their codes.
type canonical struct {
	count, next [maxBits + 1]uint16
	sorted      [288]uint16
	used        int // symbols that have a code
	longest     int
}

// sort fills c and reports whether the lengths are those of a complete code,
// of a code of one symbol and one bit, or of no symbol at all: the three that
// zlib takes.
func (c *canonical) sort(lens []uint8) bool {
	for _, l := range lens {
		c.count[l]++
	}
	c.used = len(lens) - int(c.count[0])
	c.count[0] = 0
	var first [maxBits + 2]uint16 // where the symbols of a length begin in sorted
	code, left := 0, 1
	for n := 1; n <= maxBits; n++ {
		code <<= 1
		left = left<<1 - int(c.count[n])
		if left < 0 {
			return false
		}
		c.next[n] = uint16(code)
		code += int(c.count[n])
		first[n+1] = first[n] + c.count[n]
		if c.count[n] > 0 {
			c.longest = n
		}
	}
	for sym, l := range lens {
		if l > 0 {
			c.sorted[first[l]] = uint16(sym)
			first[l]++
		}
	}
	return left == 0 || c.used == 0 || c.used == 1 && c.longest == 1
}

// buildTable fills table, whose first level has root bits, from the code
// lengths lens of the symbols whose entries are syms. Where out is not nil it
// gets the codes.
func buildTable(table []entry, root uint, lens []uint8, syms []entry, out []uint16) bool {
	var c canonical
	if !c.sort(lens) {
		return false
	}
	if c.used < 2 { // else the code is complete and fills the table
		for i := range table[:1<<root] {
			table[i] = entryNone
		}
	}
	end, level, levelBits := 1<<root, 0, uint(0)
	prefix := -1
	for i, sym := range c.sorted[:c.used] {
		n := uint(lens[sym])
		code := bits.Reverse16(c.next[n]) >> (16 - n)
		c.next[n]++
		if out != nil {
			out[sym] = code
		}
		e := syms[sym]
		if n <= root {
			e += entry(n)<<8 + entry(n)
			for j := int(code); j < 1<<root; j += 1 << n {
				table[j] = e
			}
			continue
		}
		if p := int(code) & (1<<root - 1); p != prefix {
			prefix = p
			level, levelBits = end, c.levelBits(lens, i, root)
			end += 1 << levelBits
			if end > len(table) {
				return false
			}
			table[p] = entryLink | entry(level)<<16 | entry(levelBits)<<8
		}
		e += entry(n)<<8 + entry(n)
		for j := int(code >> root); j < 1<<levelBits; j += 1 << (n - root) {
			table[level+j] = e
		}
	}
	return true
}

// levelBits is the size of the second level that begins with the i-th symbol
// in sorted: the codes of a prefix follow one another, and fill the level.
func (c *canonical) levelBits(lens []uint8, i int, root uint) uint {
	n := uint(lens[c.sorted[i]]) - root
	for room := 1 << n; ; i++ {
		k := uint(lens[c.sorted[i]]) - root
		room <<= k - n
		n = k
		if room--; room <= 0 || i+1 == c.used {
			return n
		}
	}
}

// find decodes one entry from the bits x.
func find(table []entry, root uint, x uint64) entry {
	e := table[x&(1<<root-1)]
	if e&entryLink == entryLink {
		e = table[uint64(e>>16)+x>>root&(1<<(e>>8&15)-1)]
	}
	return e
}

// matchLen is how many bits the length n takes in c, 0 if it has no code.
func (c *codes) matchLen(n int) uint {
	sym := lenSyms[n]
	if c.litLen[sym] == 0 {
		return 0
	}
	return uint(c.litLen[sym]) + uint(extraLen[sym-257])
}

// matchDist is how many bits the distance d takes in c, 0 if it has no code.
func (c *codes) matchDist(d int) uint {
	sym := distSym(d)
	if c.distLen[sym] == 0 {
		return 0
	}
	return uint(c.distLen[sym]) + uint(extraDist[sym])
}

// literals is how many bits text takes as literals of c, and whether all of
// them have a code.
func (c *codes) literals(text []byte) (n uint, ok bool) {
	for _, b := range text {
		l := c.litLen[b]
		if l == 0 {
			return 0, false
		}
		n += uint(l)
	}
	return n, true
}

// putMatch writes a length and a distance that have codes.
func (w *bitWriter) putMatch(c *codes, n, d int) {
	ls, ds := lenSyms[n], distSym(d)
	w.put(uint64(c.litCode[ls])|uint64(n-int(baseLen[ls-257]))<<c.litLen[ls], uint(c.litLen[ls])+uint(extraLen[ls-257]))
	w.put(uint64(c.distCode[ds])|uint64(d-int(baseDist[ds]))<<c.distLen[ds], uint(c.distLen[ds])+uint(extraDist[ds]))
}

// putSym writes a literal or the end of the block.
func (w *bitWriter) putSym(c *codes, sym int) {
	w.put(uint64(c.litCode[sym]), uint(c.litLen[sym]))
}
