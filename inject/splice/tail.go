package splice

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

const (
	// maxTail is how much is held of what is copied: a trailer, and what may
	// be the beginning of the member behind it.
	maxTail = trailerSize + len(magic)

	// maxRatio is the most that deflate compresses: 258 bytes in two bits.
	maxRatio = 1032

	// evidence is how many bytes behind what looks like a header must look
	// like the rest of a member, before they are taken for one. The header of
	// a dynamic block alone is met by chance once in millions of times.
	evidence = 128

	// maxDoubt is how many bytes are held at most until that is decided: an
	// extra field of a header may have 64 KiB.
	maxDoubt = 128 << 10
)

// A tail copies the rest of a member, which needs no change but in its
// trailer, and finds that without following the symbols: it ends the input, or
// stands in front of what begins like a member. The length in the trailer tells
// the real one from chance: it can be neither less than the text already seen,
// nor more than deflate can pack into the bytes that came.
type tail struct {
	fix  fixer
	text int64 // length of the text seen
	came int64 // bytes of the member that have come
	hold []byte
	own  [maxTail]byte // where hold begins
	look int           // how much must be held to look at a header again
}

// plausible reports whether b can be the trailer behind came bytes.
func (t *tail) plausible(b []byte, came int64) bool {
	size := int64(binary.LittleEndian.Uint32(b[4:]))
	return size >= t.text && size <= maxRatio*came
}

// patch turns the trailer b into that of the member with the piece.
func (t *tail) patch(b []byte) {
	t.fix.trailer(b, binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]))
}

// scan looks at b, which is what has been held with what came behind it, and
// returns how much of it can go. Where member is true, another member begins
// there. It has then patched the trailer in front of it, as it does for one at
// the end of the input.
func (t *tail) scan(b []byte, end bool) (n int, member bool, err error) {
	for i := trailerSize; i < len(b); i++ {
		k := bytes.Index(b[i:], []byte(magic))
		if k < 0 {
			break
		}
		i += k
		if !t.plausible(b[i-trailerSize:i], t.came-int64(len(b)-i)) {
			continue
		}
		if !end && len(b)-i < t.look {
			return i - trailerSize, false, nil
		}
		t.look = 0
		switch looksLikeMember(b[i:]) {
		case maybe:
			if end {
				break // a member that is cut off leaves no trailer at the end
			}
			t.look = len(b) - i + (len(b)-i)/8 + 1
			return i - trailerSize, false, nil
		case yes:
			t.patch(b[i-trailerSize : i])
			return i, true, nil
		}
	}
	switch {
	case end && len(b) < trailerSize:
		return 0, false, io.ErrUnexpectedEOF
	case end && !t.plausible(b[len(b)-trailerSize:], t.came):
		return len(b) - trailerSize, false, ErrTrailer
	case end:
		t.patch(b[len(b)-trailerSize:])
		return len(b), false, io.EOF
	case bytes.HasSuffix(b, []byte("\x00\x00\xff\xff")):
		// A flush of the upstream (or, once in 2^32 members, a piece of a
		// trailer: then an error follows). As the length in a trailer these
		// bytes would say 4 GiB less 64 KiB.
		return len(b), false, nil
	}
	return max(0, len(b)-maxTail), false, nil
}

type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// looksLikeMember judges whether b, which begins with the magic bytes, is the
// beginning of a member. That happens seldom: in streams that do have more
// than one, and by chance once in millions of pages.
func looksLikeMember(b []byte) answer {
	if len(b) > len(magic) && b[len(magic)]&flagReserved != 0 || len(b) > maxDoubt {
		return no
	}
	data, ok := behindHeader(b)
	if !ok {
		return maybe
	}
	r, sum := bytes.NewReader(data), crc32.NewIEEE()
	n, err := io.Copy(sum, flate.NewReader(r))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && len(data) >= evidence:
		return yes
	case errors.Is(err, io.ErrUnexpectedEOF), err == nil && r.Len() < trailerSize:
		return maybe
	case err != nil:
		return no
	}
	t := data[len(data)-r.Len():]
	if binary.LittleEndian.Uint32(t) != sum.Sum32() || binary.LittleEndian.Uint32(t[4:]) != uint32(n) {
		return no
	}
	return yes
}

// behindHeader returns what stands behind the header that b begins with, if
// all of that has come. (Package gzip takes no names of more than 511 bytes.)
func behindHeader(b []byte) (data []byte, ok bool) {
	if len(b) < headerSize {
		return nil, false
	}
	flags, b := b[len(magic)], b[headerSize:]
	if flags&flagExtra != 0 {
		if len(b) < 2 {
			return nil, false
		}
		k := 2 + int(binary.LittleEndian.Uint16(b))
		if len(b) < k {
			return nil, false
		}
		b = b[k:]
	}
	for _, f := range [...]byte{flagName, flagComment} {
		if flags&f != 0 {
			k := bytes.IndexByte(b, 0)
			if k < 0 {
				return nil, false
			}
			b = b[k+1:]
		}
	}
	if flags&flagCRC != 0 {
		if len(b) < 2 {
			return nil, false
		}
		b = b[2:]
	}
	return b, true
}
