package inject

import (
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// An encoder puts a coding on again. Flush makes everything written so far readable at the other end.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// The levels.
const (
	deflateLevel = 5
	brotliLevel  = 4
	brotliWindow = 19
	zstdLevel    = zstd.SpeedDefault
	zstdWindow   = 1 << 20
)

var (
	gzipWriters   = sync.Pool{New: func() any { z, err := gzip.NewWriterLevel(nil, deflateLevel); return must(z, err) }}
	zlibWriters   = sync.Pool{New: func() any { z, err := zlib.NewWriterLevel(nil, deflateLevel); return must(z, err) }}
	flateWriters  = sync.Pool{New: func() any { z, err := flate.NewWriter(nil, deflateLevel); return must(z, err) }}
	brotliWriters = sync.Pool{New: func() any {
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: brotliLevel, LGWin: brotliWindow})
	}}
	zstdWriters = sync.Pool{New: func() any {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstdLevel),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		return must(z, err)
	}}
)

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
	case d.kind == codingGzip:
		return &gzipWriters
	case d.kind == codingDeflate && d.wrapped:
		return &zlibWriters
	case d.kind == codingDeflate:
		return &flateWriters
	case d.kind == codingBrotli:
		return &brotliWriters
	}
	return &zstdWriters
}
