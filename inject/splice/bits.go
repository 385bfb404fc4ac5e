package splice

import "encoding/binary"

// slack is how many readable bytes must follow the last valid one of a buffer
// that load reads from.
const slack = 8

// load returns at least 57 bits of b, from bit number pos on, in the order of
// RFC 1951 section 3.1.1: the first bit is the lowest.
func load(b []byte, pos int) uint64 {
	return binary.LittleEndian.Uint64(b[pos>>3:]) >> (pos & 7)
}

// A bitWriter collects the output. Whole bytes are in buf; the n (0 to 7) bits
// that do not fill one yet are the low bits of acc.
type bitWriter struct {
	buf  []byte
	acc  uint64
	n    uint
	gone int64 // bytes that have left buf at its front
}

// reset empties w and keeps its buffer.
func (w *bitWriter) reset() { *w = bitWriter{buf: w.buf[:0]} }

// offset is the number of whole bytes written since reset.
func (w *bitWriter) offset() int64 { return w.gone + int64(len(w.buf)) }

// put writes the low n bits of v, n <= 56; the others must be zero.
func (w *bitWriter) put(v uint64, n uint) {
	w.acc |= v << w.n
	w.n += n
	l := len(w.buf)
	w.grow(slack)
	binary.LittleEndian.PutUint64(w.buf[l:l+slack], w.acc)
	w.buf = w.buf[:l+int(w.n>>3)]
	w.acc >>= w.n &^ 7
	w.n &= 7
}

// grow makes room for n bytes behind the last one.
func (w *bitWriter) grow(n int) {
	if cap(w.buf)-len(w.buf) < n {
		buf := make([]byte, len(w.buf), 2*cap(w.buf)+n+512)
		copy(buf, w.buf)
		w.buf = buf
	}
}

// align fills the last byte with zero bits.
func (w *bitWriter) align() {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
}

// bytes writes b; w must be aligned.
func (w *bitWriter) bytes(b []byte) {
	w.grow(len(b))
	w.buf = append(w.buf, b...)
}

// copyBits writes the bits [from, to) of b, which has slack behind them.
func (w *bitWriter) copyBits(b []byte, from, to int) {
	w.grow((to-from)>>3 + 2*slack)
	if uint(from&7) == w.n && to-from >= 64 {
		// In phase: fill the byte begun, then copy whole ones.
		if w.n > 0 {
			k := 8 - from&7
			w.put(load(b, from)&(1<<k-1), uint(k))
			from += k
		}
		w.bytes(b[from>>3 : to>>3])
		from = to &^ 7
	}
	const word = 56 // with up to 7 bits of acc this still fits 64
	buf, acc, n := w.buf, w.acc, w.n
	for to-from >= word {
		acc |= load(b, from) & (1<<word - 1) << n
		l := len(buf)
		buf = buf[: l+word/8 : cap(buf)]
		binary.LittleEndian.PutUint64(buf[l:l+slack], acc)
		acc >>= word
		from += word
	}
	w.buf, w.acc = buf, acc
	if k := to - from; k > 0 {
		w.put(load(b, from)&(1<<k-1), uint(k))
	}
}
