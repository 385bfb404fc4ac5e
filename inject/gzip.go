package inject

import (
	"sync"

	"zchatproxy/inject/splice"
)

// A gzipReader inserts into a gzip body without compressing the rest again. What package splice cannot take does not come here: its own
// decoder has read the beginning, up to behind the place, and so has found out.
type gzipReader struct {
	raw *rawReader
	mu  sync.Mutex // as in plainReader
	s   *splice.Reader
}

func newGzipReader(d *Document, element *Element) *gzipReader {
	d.head.release()
	d.dec.release() // what follows may take its time, on a slow line
	d.raw.rewind()
	d.raw.forget()
	return &gzipReader{raw: &d.raw, s: splice.NewReader(&d.raw, d.place.Offset, element.piece())}
}

// Read gives what the splice gives.
func (r *gzipReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raw.err == errClosed {
		return 0, errClosed
	}
	return r.s.Read(p)
}

// Close closes the source. It may be called while a Read waits for the upstream.
func (r *gzipReader) Close() error {
	err := r.raw.src.Close()
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.raw.close()
	}
	return err
}
