package wire

import (
	"io"
	"sync"
)

// An upgraded connection is copied with a small buffer for as long as little comes at once: there are many of
// them, and they wait most of the time.
const (
	relaySmall = 2 << 10
	relayLarge = 32 << 10
)

var relayBuffers = sync.Pool{New: func() any { return new([relayLarge]byte) }}

// relay is io.Copy with a buffer that is large only while reads fill the small one.
func relay(w io.Writer, r io.Reader) (written int64, err error) {
	small := make([]byte, relaySmall)
	buf := small
	var large *[relayLarge]byte
	defer func() {
		if large != nil {
			relayBuffers.Put(large)
		}
	}()
	for {
		n, readErr := r.Read(buf)
		if n > 0 {
			m, err := w.Write(buf[:n])
			written += int64(m)
			if err != nil {
				return written, err
			}
			if m < n {
				return written, io.ErrShortWrite
			}
		}
		switch {
		case readErr == io.EOF:
			return written, nil
		case readErr != nil:
			return written, readErr
		case n < relaySmall && large != nil:
			relayBuffers.Put(large)
			buf, large = small, nil
		case n == relaySmall && large == nil:
			large = relayBuffers.Get().(*[relayLarge]byte)
			buf = large[:]
		}
	}
}
