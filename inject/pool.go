package inject

import "sync"

// startSize holds the head of most pages in one piece.
const startSize = 32 << 10

// buffers holds byte slices of startSize to pieceSize. It is a cache without a meaning of its own: what comes out of it is empty.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, startSize); return &b }}

func getBuffer() []byte { return (*buffers.Get().(*[]byte))[:0] }

// putBuffer takes back what getBuffer or growBuffer gave, unless one large page has made it large.
func putBuffer(b []byte) {
	if c := cap(b); c >= startSize && c <= pieceSize {
		empty := b[:0] // a variable of its own: only what is kept goes to the heap
		buffers.Put(&empty)
	}
}

// growBuffer returns a buffer of twice the size with the same bytes, and gives the old one back.
func growBuffer(b []byte) []byte {
	bigger := make([]byte, len(b), 2*cap(b))
	copy(bigger, b)
	putBuffer(b)
	return bigger
}
