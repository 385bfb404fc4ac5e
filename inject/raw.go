package inject

import (
	"errors"
	"io"
)

const (
	// pieceSize is how much is read and handed on at once behind the place, and the most that a buffer going back to its pool may hold.
	pieceSize = 64 << 10
	// rawLimit bounds the coded bytes kept while the place is sought. A decoder turns 256 KiB out of fewer bytes than this unless they
	// are padded with empty blocks, members or frames, of which there can be any number.
	rawLimit = 512 << 10
	// minDirect is the room that is worth a read of its own.
	minDirect = 4 << 10
	// idleReads is how often in a row a reader may return nothing and no error, as in package bufio.
	idleReads = 100
)

// errRawLimit ends the decoding, not the body: what was read can still be passed on.
var errRawLimit = errors.New("inject: too many coded bytes before the place of the script")

// A rawReader hands the coded body to a decoder byte by byte or in pieces, never further than the decoder asks, and keeps what it
// has handed out until forget is called, so that the body can still go out as it came.
type rawReader struct {
	src  io.ReadCloser
	buf  []byte // pooled; buf[:pos] was handed out, buf[pos:] is yet to be
	pos  int
	keep bool  // buf[:pos] is needed again
	err  error // of src, sticky; reported once buf is used up
}

// fill reads at least one more byte behind buf[pos:], which must be empty, or returns why there is none.
func (r *rawReader) fill() error {
	if r.err != nil {
		return r.err
	}
	if r.buf == nil {
		r.buf = getBuffer()
	}
	switch {
	case !r.keep:
		r.buf, r.pos = r.buf[:0], 0
	case len(r.buf) >= rawLimit:
		return errRawLimit
	case len(r.buf) == cap(r.buf):
		r.buf = growBuffer(r.buf)
	}
	n, err := readSome(r.src, r.buf[len(r.buf):cap(r.buf)])
	r.buf, r.err = r.buf[:len(r.buf)+n], err
	if n == 0 {
		return err
	}
	return nil
}

// Read gives what is buffered, or one piece of the source.
func (r *rawReader) Read(p []byte) (int, error) {
	if r.pos == len(r.buf) {
		if !r.keep && len(p) >= minDirect && r.err == nil {
			// Nothing is kept any more and the caller has room: no detour through the buffer, and nobody waits for a slow
			// visitor with it in hand.
			putBuffer(r.buf)
			r.buf, r.pos = nil, 0
			n, err := readSome(r.src, p)
			r.err = err
			if n == 0 {
				return 0, err
			}
			return n, nil
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.pos:])
	r.pos += n
	return n, nil
}

// ReadByte lets package flate stop exactly behind a stream.
func (r *rawReader) ReadByte() (byte, error) {
	if r.pos == len(r.buf) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	c := r.buf[r.pos]
	r.pos++
	return c, nil
}

// peek returns the next n bytes without handing them out, or fewer at the end of the body or at its failure.
func (r *rawReader) peek(n int) []byte {
	for len(r.buf)-r.pos < n && r.err == nil {
		if !r.keep && r.pos > 0 {
			r.buf = r.buf[:copy(r.buf, r.buf[r.pos:])]
			r.pos = 0
		}
		if r.buf == nil {
			r.buf = getBuffer()
		}
		if len(r.buf) == cap(r.buf) {
			r.buf = growBuffer(r.buf)
		}
		m, err := readSome(r.src, r.buf[len(r.buf):cap(r.buf)])
		r.buf, r.err = r.buf[:len(r.buf)+m], err
	}
	return r.buf[r.pos:min(r.pos+n, len(r.buf))]
}

// buffered is how many bytes have arrived that no one has asked for yet: with none left, the next read may wait for the upstream.
func (r *rawReader) buffered() int { return len(r.buf) - r.pos }

// Buffered is buffered under the name that package splice looks for.
func (r *rawReader) Buffered() int { return r.buffered() }

// rewind makes the body start again at its first byte; it must not have been forgotten.
func (r *rawReader) rewind() { r.pos = 0 }

// forget gives up the bytes handed out so far.
func (r *rawReader) forget() { r.keep = false }

// close returns the buffer to its pool; reads fail from now on.
func (r *rawReader) close() {
	putBuffer(r.buf)
	r.buf, r.pos, r.err = nil, 0, errClosed
}

// readSome reads at least one byte into p, which has room, or returns an error. Bytes and an error may come together.
func readSome(src io.Reader, p []byte) (int, error) {
	for range idleReads {
		if n, err := src.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}
