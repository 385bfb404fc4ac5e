package inject

import "io"

// headLimit is how many decoded bytes are searched for the place.
const headLimit = 256 << 10

// A prefix is the beginning of the decoded body, read on demand.
type prefix struct {
	src io.Reader
	buf []byte // pooled unless shared with the raw reader
	raw *rawReader
	err error // why there is no more: io.EOF, the body's failure; nil while there is, or when headLimit is reached
}

// newPrefix reads from src. A body without coding is not copied: the prefix then looks into the raw reader's own buffer.
func newPrefix(src io.Reader) *prefix {
	p := &prefix{src: src}
	p.raw, _ = src.(*rawReader)
	return p
}

// more reads at least one byte more. It returns false at the end of the body, at its failure, and at headLimit.
func (p *prefix) more() bool {
	if p.err != nil || len(p.buf) >= headLimit {
		return false
	}
	if p.raw != nil {
		return p.moreRaw()
	}
	if p.buf == nil {
		p.buf = getBuffer()
	}
	if len(p.buf) == cap(p.buf) {
		p.buf = growBuffer(p.buf)
	}
	n, err := readSome(p.src, p.buf[len(p.buf):min(cap(p.buf), headLimit)])
	p.buf, p.err = p.buf[:len(p.buf)+n], err
	return n > 0
}

func (p *prefix) moreRaw() bool {
	p.raw.pos = len(p.raw.buf)
	if err := p.raw.fill(); err != nil {
		p.err = err
		return false
	}
	// What lies beyond the limit must not be seen: the place would depend on how the bytes came in pieces.
	p.buf = p.raw.buf[:min(len(p.raw.buf), headLimit)]
	return true
}

// need makes sure that n bytes are there, and reports whether they are.
func (p *prefix) need(n int) bool {
	for len(p.buf) < n {
		if !p.more() {
			return false
		}
	}
	return true
}

// begins reports whether the body begins with s, and reads no further than it takes to tell.
func (p *prefix) begins(s string) bool {
	for i := range len(s) {
		if !p.need(i+1) || p.buf[i] != s[i] {
			return false
		}
	}
	return true
}

// needMark reads as much as a byte order mark takes, if there is one.
func (p *prefix) needMark() {
	_ = p.begins("\xef\xbb\xbf") || p.begins("\xff\xfe") || p.begins("\xfe\xff")
}

// ended reports whether the body ended or failed within the prefix, as against the limit.
func (p *prefix) ended() bool { return p.err != nil }

// release gives back a buffer of its own.
func (p *prefix) release() {
	if p != nil && p.raw == nil {
		putBuffer(p.buf)
		p.buf = nil
	}
}

// complete reports whether the body ended, whole, within the prefix.
func (p *prefix) complete() bool { return p.err == io.EOF }
