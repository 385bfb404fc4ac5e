package inject

import (
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/andybalholm/brotli/matchfinder"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// An encoder puts a coding on again. Flush makes everything written so far readable at the other end.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// The levels, measured on a dozen of pages of 45 to 127 KB that were flushed every 32 KiB, at one core: MB/s of text, and what is left of it.
//
//	deflate 2: 215, 31.2 %    5: 114, 28.6 %    6: 30, 28.2 %    9: 13, 27.1 %
//	br      2:  84, 29.3 %    4:  38, 27.9 %    5: 16, 26.4 %    6: 18, 26.1 %
//	zstd    fastest: 245, 30.9 %    default: 207, 29.1 %    better: 152, 28.2 %    best: 20, 27.0 %
//
// Each is the last before time grows faster than size shrinks: a page of 100 KB costs about 1 ms, with br 2.5 ms. For br, 5 would cost
// 6 ms, to save 1.5 KB. The windows hold a page of that size; larger ones did not make these pages any smaller, but take memory.
const (
	deflateLevel = 5
	brotliLevel  = 4
	brotliWindow = 18 // a power of two

	wholeBrotliLevel = 2
	zstdLevel        = zstd.SpeedDefault
	zstdWindow       = 256 << 10
)

// The encoders' pools. Reset clears what they hold.
var (
	zlibWriters   = sync.Pool{New: func() any { z, err := zlib.NewWriterLevel(nil, deflateLevel); return must(z, err) }}
	flateWriters  = sync.Pool{New: func() any { z, err := flate.NewWriter(nil, deflateLevel); return must(z, err) }}
	brotliWriters = sync.Pool{New: func() any {
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: brotliLevel, LGWin: brotliWindow})
	}}
	wholeBrotliWriters = sync.Pool{New: func() any { return wholeBrotli{brotli.NewWriterV2(nil, wholeBrotliLevel)} }}
	zstdWriters        = sync.Pool{New: func() any {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstdLevel),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		return must(z, err)
	}}
)

// wholeBrotli is the library's newer encoder: on a page of 90 KB three times as fast as the other, and 5 % better, but it cannot flush. So
// it is for pages that have arrived whole.
type wholeBrotli struct{ *matchfinder.Writer }

// Flush has nothing to do: what has arrived whole waits for nobody.
func (wholeBrotli) Flush() error { return nil }

// must is for constructors whose options are constants.
func must[T any](v T, err error) T {
	if err != nil {
		panic("inject: " + err.Error())
	}
	return v
}

// pool returns where the encoders of a decoder's coding come from.
func (d *decoder) pool() *sync.Pool {
	switch {
	case d.kind == codingDeflate && d.wrapped:
		return &zlibWriters
	case d.kind == codingDeflate:
		return &flateWriters
	case d.kind == codingBrotli:
		return &brotliWriters
	}
	return &zstdWriters
}
