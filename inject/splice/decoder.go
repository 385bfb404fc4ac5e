package splice

import (
	"errors"
	"io"
	"math"
)

// textStep is how much text a Decoder decodes at once, more or less: the head
// of a page is seldom longer than two of these.
const textStep = 2 << 10

// errPause says that there is text for the caller to take.
var errPause = errors.New("text to take")

// A Decoder gives the text of a gzip stream in small steps. Decoders made for
// whole streams decode their window of 32 KiB before they give any of it; this
// one is for looking at the beginning of a page, and waits for no input while
// it has text to give. It is not safe for concurrent use.
//
// What is behind the last member is no part of the text.
type Decoder struct {
	raw  io.Reader
	s    *stream
	text []byte // of s.hist: what the caller does not have yet
	err  error
}

// NewDecoder returns a Decoder of the gzip stream raw.
func NewDecoder(raw io.Reader) *Decoder {
	d := &Decoder{raw: raw, s: newStream(math.MaxInt64, nil)}
	d.s.textOnly = true
	return d
}

// Read gives the next part of the text. The errors are those of [Reader.Read].
func (d *Decoder) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for idle := 0; len(d.text) == 0; {
		if d.err != nil {
			return 0, d.err
		}
		if d.advance() {
			idle = 0
		} else if idle++; idle == maxIdle {
			return 0, io.ErrNoProgress
		}
	}
	n := copy(p, d.text)
	d.text = d.text[n:]
	return n, nil
}

// advance decodes what has come, or else reads. It reports whether it got
// anywhere.
func (d *Decoder) advance() bool {
	s := d.s
	s.w.reset()
	s.seen = s.size
	status := s.run()
	d.text = s.hist[len(s.hist)-int(s.size-s.seen):]
	switch {
	case status == errPause, len(d.text) > 0:
		return true
	case status == ErrOffset: // something else than a member follows
		d.err = io.EOF
		return true
	case status != errMore:
		d.err = status
		return true
	}
	n, err := s.fill(d.raw)
	switch {
	case n > 0:
		return true // an error that came with it will come again
	case err == io.EOF:
		if d.err = s.end(); d.err == ErrOffset {
			d.err = io.EOF
		}
	case err != nil:
		d.err = err
	}
	return err != nil
}

// Release gives back what d has borrowed. Afterwards Read fails.
func (d *Decoder) Release() {
	if d.s != nil {
		d.s.release()
	}
	*d = Decoder{err: io.ErrClosedPipe}
}
