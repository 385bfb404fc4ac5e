package splice

import "hash/crc32"

// powers[k] is x^(2^k) modulo the polynomial of CRC-32, bit-reflected: the
// coefficient of x^0 is the highest bit.
var powers = func() (t [32]uint32) {
	t[0] = 1 << 30 // x
	for k := 1; k < len(t); k++ {
		t[k] = times(t[k-1], t[k-1])
	}
	return t
}()

// times multiplies two polynomials modulo that of CRC-32.
func times(a, b uint32) uint32 {
	var p uint32
	for ; a != 0; a <<= 1 {
		p ^= b & -(a >> 31)
		b = b>>1 ^ crc32.IEEE&-(b&1)
	}
	return p
}

// shift returns by how much the CRC-32 of a text differs if its beginning is
// replaced by one whose CRC-32 differs by delta, with n bytes behind it: delta
// times x^(8n). It is the combination of checksums that zlib's crc32_combine
// does.
func shift(delta, n uint32) uint32 {
	for k := 3; n != 0; k++ {
		if n&1 != 0 {
			// The order of x is 2^32-1, so x^(2^(k+32)) = x^(2^k).
			delta = times(powers[k&31], delta)
		}
		n >>= 1
	}
	return delta
}
