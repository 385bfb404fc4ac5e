package inject

import (
	"errors"
	"io"
	"time"
)

const (
	// pieceSize is how much is read and handed on at once behind the place, and the most that a buffer going back to its pool may hold.
	pieceSize = 64 << 10
	// rawLimit bounds the coded bytes kept while the place is sought. A decoder turns 256 KiB out of fewer bytes than this unless they
	// are padded with empty blocks, members or frames, of which there can be any number.
	rawLimit = 512 << 10
	// minDirect is the room that is worth a read of its own.
	minDirect = 4 << 10
	// aheadSize is how much is read by a goroutine of its own while it is uncertain whether anything comes.
	aheadSize = 2 << 10
	// idleReads is how often in a row a reader may return nothing and no error, as in package bufio.
	idleReads = 100
)

// errRawLimit ends the decoding, not the body: what was read can still be passed on.
var errRawLimit = errors.New("inject: too many coded bytes before the place of the script")

// errLate ends the decoding too, and no more: the source has sent nothing in the time there was.
var errLate = errors.New("inject: nothing more came in time")

// A rawReader hands the coded body to a decoder byte by byte or in pieces, never further than the decoder asks, and keeps what it
// has handed out until forget is called, so that the body can still go out as it came.
type rawReader struct {
	src  io.ReadCloser
	buf  []byte // pooled; buf[:pos] was handed out, buf[pos:] is yet to be
	pos  int
	keep bool  // buf[:pos] is needed again
	err  error // of src, sticky; reported once buf is used up
	// ahead is a read that somebody did not wait for to the end; nil for none. What it gives comes before anything else of src.
	ahead  *aheadRead
	timeUp <-chan time.Time // nil: there is no hurry
	late   bool             // a read gave up
}

// An aheadRead is one read of the source, under way or done.
type aheadRead struct {
	done chan struct{} // closed when the rest is valid
	buf  []byte        // what is left of what it gave
	err  error         // comes with the last of it
}

// hurry makes reads give up with errLate where nothing comes before time is up, until relax is called.
func (r *rawReader) hurry(timeUp <-chan time.Time) { r.timeUp = timeUp }

// relax lets reads take their time again, and reports whether one gave up.
func (r *rawReader) relax() (late bool) {
	late = r.late
	r.timeUp, r.late = nil, false
	return late
}

// arrives waits for something to read, or the end of the body, until time is up.
func (r *rawReader) arrives() bool {
	if r.ahead == nil {
		a, src := &aheadRead{done: make(chan struct{})}, r.src
		go func() {
			buf := make([]byte, aheadSize)
			n, err := readSome(src, buf)
			a.buf, a.err = buf[:n], err
			close(a.done)
		}()
		r.ahead = a
	}
	select {
	case <-r.ahead.done:
		return true
	case <-r.timeUp:
		return false
	}
}

// read reads at least one byte of the source into p, which has room, or returns an error, as readSome does.
func (r *rawReader) read(p []byte) (int, error) {
	if r.timeUp != nil && (r.late || !r.arrives()) {
		r.late = true
		return 0, errLate
	}
	a := r.ahead
	if a == nil {
		return readSome(r.src, p)
	}
	<-a.done
	n := copy(p, a.buf)
	if a.buf = a.buf[n:]; len(a.buf) > 0 {
		return n, nil
	}
	r.ahead = nil
	return n, a.err
}

// append reads at least one byte behind what is buffered, where there is room, or returns why there is none.
func (r *rawReader) append() error {
	n, err := r.read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if err != errLate {
		r.err = err
	}
	if n > 0 {
		return nil
	}
	return err
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
	return r.append()
}

// Read gives what is buffered, or one piece of the source.
func (r *rawReader) Read(p []byte) (int, error) {
	if r.pos == len(r.buf) {
		if !r.keep && len(p) >= minDirect && r.err == nil {
			// Nothing is kept any more and the caller has room: no detour through the buffer, and nobody waits for a slow
			// visitor with it in hand.
			putBuffer(r.buf)
			r.buf, r.pos = nil, 0
			n, err := r.read(p)
			r.err = err // never errLate: there is no hurry once nothing is kept
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
		if r.append() == errLate {
			break
		}
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
	r.buf, r.pos, r.err, r.ahead = nil, 0, errClosed, nil
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
