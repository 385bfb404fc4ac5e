package inject

import (
	"errors"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"zchatproxy/inject/splice"
)

// maxZstdWindow is the most that a zstd-coded response may ask of its reader (RFC 9659, section 3).
const maxZstdWindow = 8 << 20

var errDictionary = errors.New("inject: the body needs a dictionary")

// A decoder takes one coding off a body. It reads no further than it needs where the coding has an end of its own (deflate), so
// what follows is left in the raw reader.
type decoder struct {
	kind    coding
	raw     *rawReader
	z       io.Reader // nil before the first Read
	wrapped bool      // deflate in its zlib form, as the standard has it, as against the bare stream some servers send
	err     error
}

// The decoders' pools: windows and tables are worth keeping, and Reset clears them.
var (
	flateReaders  = sync.Pool{New: func() any { return flate.NewReader(nil) }}
	brotliReaders = sync.Pool{New: func() any { return brotli.NewReader(nil) }}
	zstdReaders   = sync.Pool{New: func() any {
		// One goroutine, the caller's: it reads no further ahead than one block, and leaves nothing behind.
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			panic("inject: zstd options: " + err.Error()) // they are constants
		}
		return z
	}}
)

func newDecoder(kind coding, raw *rawReader) *decoder { return &decoder{kind: kind, raw: raw} }

// Read returns what one step of decoding gives, so that a flush of the upstream's arrives as one. Errors are sticky.
func (d *decoder) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.z == nil {
		if d.err = d.start(); d.err != nil {
			return 0, d.err
		}
	}
	n, err := d.z.Read(p)
	if err == io.EOF && d.raw.err != nil {
		err = d.raw.err // package zstd takes io.ErrUnexpectedEOF between two frames for the end
	}
	d.err = err
	return n, err
}

// start looks at the first bytes. An empty body is the end, not an error.
func (d *decoder) start() error {
	first := d.raw.peek(2)
	if len(first) == 0 {
		return d.raw.err
	}
	switch d.kind {
	case codingGzip:
		d.z = splice.NewDecoder(d.raw)
		return nil
	case codingDeflate:
		return d.startDeflate()
	case codingBrotli:
		z := brotliReaders.Get().(*brotli.Reader)
		d.z = z
		return z.Reset(d.raw)
	default:
		z := zstdReaders.Get().(*zstd.Decoder)
		d.z = z
		return z.Reset(d.raw)
	}
}

// startDeflate tells the zlib form from the bare one, which some old servers send under the same name. A zlib header also reads as a
// bare stored block, but then its length and the length's complement would have to match.
func (d *decoder) startDeflate() error {
	first := d.raw.peek(5)
	stored := len(first) == 5 && first[0]&6 == 0 && first[1] == ^first[3] && first[2] == ^first[4]
	d.wrapped = len(first) >= 2 && first[0]&0x0f == 8 && first[0]>>4 <= 7 && (int(first[0])<<8|int(first[1]))%31 == 0 && !stored
	if !d.wrapped {
		z := flateReaders.Get().(io.ReadCloser)
		d.z = z
		return z.(flate.Resetter).Reset(d.raw, nil)
	}
	if first[1]&0x20 != 0 {
		return errDictionary
	}
	z, err := zlib.NewReader(d.raw)
	d.z = z
	return err
}

// release gives the decoder back to its pool.
func (d *decoder) release() {
	switch z := d.z.(type) {
	case *splice.Decoder:
		z.Release()
	case *brotli.Reader:
		_ = z.Reset(nil) // drops its hold on the body; the error is always nil
		brotliReaders.Put(z)
	case *zstd.Decoder:
		_ = z.Reset(nil) // likewise
		zstdReaders.Put(z)
	default:
		if d.kind == codingDeflate && z != nil && !d.wrapped {
			flateReaders.Put(z)
		}
	}
	d.z = nil
	if d.err == nil {
		d.err = errClosed
	}
}

// unsupported reports whether a decoder gave up on something valid that only a browser with more at hand can read.
func unsupported(err error) bool {
	return errors.Is(err, errDictionary) || errors.Is(err, zlib.ErrDictionary) ||
		errors.Is(err, zstd.ErrUnknownDictionary) || errors.Is(err, zstd.ErrWindowSizeExceeded)
}
