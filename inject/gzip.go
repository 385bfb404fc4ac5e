package inject

import (
	"io"
	"sync"

	"zchatproxy/inject/splice"
)

// A gzipReader inserts into a gzip body without compressing the rest again. Where that cannot be done, which shows before the first byte
// has gone out, the body is transcoded instead.
type gzipReader struct {
	d     *Document
	mu    sync.Mutex // as in plainReader
	piece *Element
	s     *splice.Reader
	t     *transcoder // instead of s
	begun bool
}

func newGzipReader(d *Document, element *Element) *gzipReader {
	r := &gzipReader{d: d, piece: element}
	d.head.release()
	d.dec.release() // what follows may take its time, on a slow line
	d.raw.rewind()
	r.s = splice.NewReader(&d.raw, d.place.Offset, element.piece())
	return r
}

// Read gives what the splice gives. The raw reader keeps the body's beginning until the first byte is there.
func (r *gzipReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.d.raw.err == errClosed {
		return 0, errClosed
	}
	if r.t != nil {
		return r.t.Read(p)
	}
	n, err := r.s.Read(p)
	switch {
	case n > 0 && !r.begun:
		r.begun = true
		r.d.raw.forget()
	case n == 0 && len(p) > 0 && err != nil && err != io.EOF && !r.begun:
		if err = r.transcode(); err == nil {
			return r.t.Read(p)
		}
	}
	return n, err
}

// transcode starts anew at the body's first byte, with a decoder.
func (r *gzipReader) transcode() error {
	d := r.d
	d.raw.rewind()
	d.dec = newDecoder(codingGzip, &d.raw)
	d.dec.whole = true
	d.head = newPrefix(d.dec)
	if !d.head.need(int(d.place.Offset)) {
		return d.head.err
	}
	r.t = newTranscoder(d, r.piece.text)
	return nil
}

// Close closes the source. It may be called while a Read waits for the upstream.
func (r *gzipReader) Close() error {
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		if r.t != nil {
			return r.t.Close()
		}
		err := r.d.raw.src.Close()
		if r.d.raw.err != errClosed {
			r.d.dec.release()
			r.d.raw.close()
		}
		return err
	}
	return r.d.raw.src.Close()
}
