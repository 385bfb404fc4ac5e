package inject

import (
	"errors"
	"io"
	"sync"
)

var errClosed = errors.New("inject: read after close")

// A plainReader returns the raw body, with a piece put in where there is one.
type plainReader struct {
	raw   *rawReader
	mu    sync.Mutex // held by Read; Close waits for nobody, but gives buffers back only when no Read uses them
	piece []byte     // the caller's; what is still to go out of it
	until int        // how much of raw's buffer goes out before piece
}

// newPlainReader starts at the first byte of a body of which raw has kept everything.
func newPlainReader(raw *rawReader, at int, piece []byte) *plainReader {
	raw.rewind()
	raw.forget()
	return &plainReader{raw: raw, piece: piece, until: at}
}

// Read gathers the prefix, the piece and what has arrived; only with nothing at hand does it wait for the upstream.
func (r *plainReader) Read(p []byte) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raw.err == errClosed {
		return 0, errClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.until > 0 {
		c := copy(p, r.raw.buf[r.raw.pos:r.raw.pos+r.until])
		r.raw.pos, r.until, n = r.raw.pos+c, r.until-c, c
	}
	if r.until == 0 && len(r.piece) > 0 {
		c := copy(p[n:], r.piece)
		r.piece, n = r.piece[c:], n+c
	}
	if n < len(p) && r.raw.buffered() > 0 {
		c := copy(p[n:], r.raw.buf[r.raw.pos:])
		r.raw.pos, n = r.raw.pos+c, n+c
	}
	if n > 0 {
		return n, nil
	}
	return r.raw.Read(p)
}

// Close closes the source. It may be called while a Read waits for the upstream.
func (r *plainReader) Close() error {
	err := r.raw.src.Close()
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.raw.close()
	}
	return err
}

// A transcoder returns a coded body decoded, with a piece put in, and coded again.
type transcoder struct {
	d     *Document
	enc   encoder
	pool  *sync.Pool // of enc
	mu    sync.Mutex // as in plainReader
	head  []byte     // decoded bytes before the place
	piece []byte
	tail  []byte // decoded bytes that were read behind the place
	out   []byte // pooled; what the encoder has written
	pos   int    // how much of out is handed out
	in    []byte // pooled; one decoded piece
	ended bool   // the decoded body has ended
	err   error
}

func newTranscoder(d *Document, piece []byte) *transcoder {
	d.raw.forget()
	t := &transcoder{d: d, piece: piece, out: getBuffer(), in: getBuffer()}
	t.head, t.tail = d.head.buf[:d.place.Offset], d.head.buf[d.place.Offset:]
	t.pool = d.dec.pool()
	if d.coding == codingBrotli && t.arrived() {
		t.pool = &wholeBrotliWriters
	}
	t.enc = t.pool.Get().(encoder)
	t.enc.Reset(outWriter{t})
	return t
}

// outWriter is the transcoder as its encoder sees it.
type outWriter struct{ t *transcoder }

func (w outWriter) Write(p []byte) (int, error) {
	w.t.out = append(w.t.out, p...)
	return len(p), nil
}

// ahead is how much is made at a time of a body that has arrived. It is less than what the coding holds, and so the end comes before a
// visitor on a slow line has read the beginning of most pages.
const ahead = 256 << 10

// Read returns coded bytes, and makes them only when all made before are gone.
func (t *transcoder) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for t.pos == len(t.out) {
		if t.err != nil {
			return 0, t.err
		}
		t.out, t.pos = t.out[:0], 0
		for t.step(); t.err == nil && t.arrived() && len(t.out) < ahead; {
			t.step()
		}
		if t.err != nil {
			t.retire()
		}
	}
	n := copy(p, t.out[t.pos:])
	t.pos += n
	return n, nil
}

// step writes the first bytes, or one decoded piece, to the encoder, and flushes it where the upstream has sent no more for now: what
// the upstream flushed must not wait here. An error ends the output where it is: without the coding's own end, so that nobody takes
// it for whole.
func (t *transcoder) step() {
	switch {
	case t.head != nil:
		t.write(t.head)
		t.write(t.piece)
		t.write(t.tail)
		t.head, t.piece, t.tail = nil, nil, nil
		t.d.head.release()
	case t.ended:
		t.err = t.finish()
	default:
		n, err := t.d.dec.Read(t.in[:cap(t.in)])
		t.write(t.in[:n])
		if err == io.EOF {
			t.ended = true
		} else if err != nil {
			t.flush() // as much as came, as without a coding
			if t.err == nil {
				t.err = err
			}
		}
	}
	if t.waits() {
		t.flush()
	}
}

// flush makes what has been written so far readable at the other end.
func (t *transcoder) flush() {
	if t.err == nil {
		t.err = t.enc.Flush()
	}
}

// arrived reports whether all of the body is here.
func (t *transcoder) arrived() bool { return t.d.raw.err == io.EOF }

// waits reports whether the next step may wait for the upstream.
func (t *transcoder) waits() bool {
	return t.d.raw.err == nil && (t.ended || t.d.raw.buffered() == 0)
}

func (t *transcoder) write(p []byte) {
	if t.err == nil && len(p) > 0 {
		_, t.err = t.enc.Write(p)
	}
}

// finish ends the coding once the body has ended: one that breaks off behind the end of its coding is not whole, and trailers come at its
// end. What stands there is no content, and is left out.
func (t *transcoder) finish() error {
	for {
		if _, err := t.d.raw.Read(t.in[:cap(t.in)]); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	if err := t.enc.Close(); err != nil {
		return err
	}
	return io.EOF
}

// Close closes the source. It may be called while a Read waits for the upstream.
func (t *transcoder) Close() error {
	err := t.d.raw.src.Close()
	if t.mu.TryLock() {
		defer t.mu.Unlock()
		t.release()
	}
	return err
}

func (t *transcoder) release() {
	t.retire()
	putBuffer(t.out)
	t.out, t.pos, t.err = nil, 0, errClosed
}

// retire gives back what only making more takes.
func (t *transcoder) retire() {
	if t.enc == nil {
		return
	}
	t.enc.Reset(nil)
	t.pool.Put(t.enc)
	t.enc = nil
	putBuffer(t.in)
	t.in, t.head, t.tail = nil, nil, nil
	t.d.head.release()
	t.d.dec.release()
	t.d.raw.close()
}
