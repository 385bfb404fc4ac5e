package splice

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// The flags of a gzip header, RFC 1952 section 2.3.1.
const (
	flagCRC      = 1 << 1
	flagExtra    = 1 << 2
	flagName     = 1 << 3
	flagComment  = 1 << 4
	flagReserved = 7 << 5
)

const (
	headerSize  = 10 // without the optional fields
	trailerSize = 8
)

// magic begins every gzip member: two bytes of identification and the only
// compression method.
const magic = "\x1f\x8b\x08"

// errMore says that the input at hand ends before what is to be read does.
var errMore = errors.New("more input needed")

// header passes the header of a member on, as far as it has come. Its bytes do
// not change, so neither does the checksum over them, which is left to the
// client to check.
func (s *stream) header() error {
	b := s.in[s.pos>>3 : s.n]
	switch {
	case s.skip > 0:
		k := min(s.skip, len(b))
		if k == 0 {
			return errMore
		}
		s.skip -= k
		s.pos += 8 * k
	case !s.begun:
		if k := min(len(magic), len(b)); string(b[:k]) != magic[:k] {
			return ErrHeader
		}
		if len(b) < headerSize {
			return errMore
		}
		if s.flags = b[3]; s.flags&flagReserved != 0 {
			return ErrHeader
		}
		s.begun = true
		s.loose = zlibHeader(b[8], b[9])
		s.pos += 8 * headerSize
	case s.flags&flagExtra != 0:
		if len(b) < 2 {
			return errMore
		}
		s.skip = int(binary.LittleEndian.Uint16(b))
		s.flags &^= flagExtra
		s.pos += 8 * 2
	case s.flags&(flagName|flagComment) != 0:
		k := bytes.IndexByte(b, 0) + 1
		if k == 0 {
			s.pos += 8 * len(b)
			return errMore
		}
		if s.flags&flagName != 0 {
			s.flags &^= flagName
		} else {
			s.flags &^= flagComment
		}
		s.pos += 8 * k
	case s.flags&flagCRC != 0:
		s.skip = 2
		s.flags &^= flagCRC
	default:
		s.phase = atBlock
	}
	return nil
}

// trailer checks and writes what ends a member: the CRC-32 and the length of
// its text, which change if the piece is in it.
func (s *stream) trailer() error {
	b := s.in[s.pos>>3 : s.n]
	if len(b) < trailerSize {
		return errMore
	}
	crc, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if size != uint32(s.size+s.after) {
		return s.noTrailer()
	}
	s.pos += 8 * trailerSize
	switch s.place {
	case before:
		s.sum()
		if crc != s.crc {
			return s.noTrailer()
		}
		s.want -= s.size
	case within:
		var t [trailerSize]byte
		s.fix.trailer(t[:], crc, size)
		s.w.bytes(t[:])
		s.done = s.pos
		s.noteGrowth()
		s.place = behind
	}
	s.size, s.seen, s.after, s.crc, s.summed = 0, 0, 0, 0, 0
	s.hist = s.hist[:0]
	s.begun = false
	s.phase = betweenMembers
	return nil
}

// noTrailer is for a member with something else behind its data, which is an
// error unless the member is loose: then that is passed on.
func (s *stream) noTrailer() error {
	switch {
	case !s.loose:
		return ErrCorrupt
	case s.place == before:
		return ErrOffset
	}
	s.noteGrowth()
	s.place, s.phase = behind, inGarbage
	return nil
}

// zlibHeader reports whether the last bytes of a gzip header, one with flags of
// the compression and one for the system, are those that begin a zlib stream
// (RFC 1950 section 2.2). As flags the first would be nonsense.
func zlibHeader(xfl, os byte) bool {
	return xfl&0xf == 8 && xfl>>4 <= 7 && (int(xfl)<<8|int(os))%31 == 0
}

// between decides whether another member follows. What is not one is no part
// of the stream; it is passed on, for the client to ignore or to reject just as
// it would have without the piece.
func (s *stream) between() error {
	b := s.in[s.pos>>3 : s.n]
	k := min(2, len(b))
	switch {
	case string(b[:k]) != magic[:k] && s.place == before:
		return ErrOffset
	case string(b[:k]) != magic[:k]:
		s.phase = inGarbage
	case k < 2:
		return errMore
	default:
		s.phase = inHeader
	}
	return nil
}

// A fixer turns the trailer of a member into that of the member with the piece.
type fixer struct {
	delta  uint32 // CRC-32 of the text up to the piece, without it XOR with it
	prefix uint32 // how long that text is, modulo 2^32
	piece  uint32 // how long the piece is, modulo 2^32
}

// trailer writes the trailer into b. The CRC-32 of the text behind the piece
// is contained in crc and needs not be known: whatever made crc wrong before
// makes it wrong by the same bits afterwards.
func (f *fixer) trailer(b []byte, crc, size uint32) {
	binary.LittleEndian.PutUint32(b, crc^shift(f.delta, size-f.prefix))
	binary.LittleEndian.PutUint32(b[4:], size+f.piece)
}
