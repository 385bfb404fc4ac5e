package splice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	stdgzip "compress/gzip"

	"github.com/klauspost/compress/gzip"
)

// gunzip decodes with the standard library, all members.
func gunzip(b []byte) ([]byte, error) {
	z, err := stdgzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// splice runs a Reader over b to the end.
func splice(b []byte, at int, p *Piece) ([]byte, error) {
	return io.ReadAll(NewReader(bytes.NewReader(b), int64(at), p))
}

// inserted is what a splice must decode to.
func inserted(text []byte, at int, piece []byte) []byte {
	return append(append(bytes.Clone(text[:at]), piece...), text[at:]...)
}

// checkSplice splices piece into the stream of text and decodes the result.
func checkSplice(tb testing.TB, stream, text []byte, at int, p *Piece) []byte {
	tb.Helper()
	out, err := splice(stream, at, p)
	if err != nil {
		tb.Fatalf("splice at %d of %d: %v", at, len(text), err)
	}
	got, err := gunzip(out)
	if err != nil {
		tb.Fatalf("splice at %d of %d: the result does not decode: %v", at, len(text), err)
	}
	if want := inserted(text, at, p.text); !bytes.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		tb.Fatalf("splice at %d of %d: the text differs from byte %d on (%d bytes, want %d)", at, len(text), i, len(got), len(want))
	}
	return out
}

// An encoder makes a gzip stream of text, with a flush behind every offset of
// flushes.
type encoder struct {
	name   string
	encode func(text []byte, flushes []int) []byte
	late   int // how many bytes of text may be late behind a flush
}

type flushWriter interface {
	io.WriteCloser
	Flush() error
}

// withFlushes writes text to what open returns.
func withFlushes(open func(io.Writer) (flushWriter, error)) func([]byte, []int) []byte {
	return func(text []byte, flushes []int) []byte {
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			panic(err)
		}
		from := 0
		for _, to := range flushes {
			w.Write(text[from:to])
			w.Flush()
			from = to
		}
		w.Write(text[from:])
		w.Close()
		return b.Bytes()
	}
}

// encoders are all levels of the two libraries.
func encoders() (all []encoder) {
	for level := stdgzip.HuffmanOnly; level <= stdgzip.BestCompression; level++ {
		all = append(all, encoder{name: fmt.Sprintf("std%d", level), encode: withFlushes(func(w io.Writer) (flushWriter, error) {
			return stdgzip.NewWriterLevel(w, level)
		})})
	}
	for level := gzip.StatelessCompression; level <= gzip.BestCompression; level++ {
		all = append(all, encoder{name: fmt.Sprintf("klauspost%d", level), encode: withFlushes(func(w io.Writer) (flushWriter, error) {
			return gzip.NewWriterLevel(w, level)
		})})
	}
	return append(all, asZlib(all[3]), asZlib(all[8]), asZlib(all[0]), asZlib(all[14]))
}

// asZlib is e, with the last block that has text marked as the final one, as
// zlib does it; the libraries put an empty block behind it.
func asZlib(e encoder) encoder {
	return encoder{name: e.name + "-final", late: e.late, encode: func(text []byte, flushes []int) []byte {
		stream := e.encode(text, flushes)
		b := append(stream[headerSize:len(stream):len(stream)], make([]byte, slack)...)
		c := new(codes)
		last, end := -1, 0
		for pos, final := 0, false; !final; {
			x, start, block := load(b, pos), pos, c
			switch {
			case x>>1&3 == typeStored:
				pos = (pos + 3 + 7) &^ 7
				n := int(load(b, pos) & 0xffff)
				pos += 32 + 8*n
			case x>>1&3 == typeFixed:
				pos, _, _ = fixedCodes.tokenize(b, pos+3, 8*len(b), nil)
			default:
				pos, _ = block.read(b, pos+3, 8*len(b))
				pos, _, _ = block.tokenize(b, pos, 8*len(b), nil)
			}
			if final = x&1 != 0; !final {
				last, end = start, pos
			}
		}
		if last < 0 {
			return stream
		}
		b[last/8] |= 1 << (last % 8)
		b[(end-1)/8] &= 0xff >> (7 - (end-1)%8)
		return append(append(stream[:headerSize:headerSize], b[:(end+7)/8]...), stream[len(stream)-trailerSize:]...)
	}}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// script is about what is inserted in earnest.
var script = []byte(`<script data-zchatproxy="">(function(w,d){var k="8f2c1a",u="/__zchat/token";function l(s,a){var e=d.createElement("script");e.id=a;e.async=true;e.src=s;(d.head||d.documentElement).appendChild(e)}` +
	`function t(cb){var x=new XMLHttpRequest;x.open("GET",u,true);x.setRequestHeader("Accept","application/json");x.onload=function(){if(x.status===200){try{cb(JSON.parse(x.responseText).jwt)}catch(_){}}};x.send()}` +
	`w.zESettings={webWidget:{authenticate:{chat:{jwtFn:function(cb){t(cb)}},jwtFn:function(cb){t(cb)}},contactForm:{fields:[]}}};w.addEventListener("pageshow",function(e){if(e.persisted&&w.zE){w.zE("webWidget","chat:reauthenticate")}});` +
	`l("https://static.zdassets.com/ekr/snippet.js?key="+k,"ze-snippet")})(window,document)</script>`)

// TestEverywhere inserts at every place of small texts, whatever they were
// encoded by.
func TestEverywhere(t *testing.T) {
	text := page(newRand(1), 500)
	run := append(bytes.Repeat([]byte("a"), 270), bytes.Repeat([]byte("abcab"), 20)...)
	for _, e := range encoders() {
		for i, text := range [][]byte{text, run, nil, []byte("x")} {
			t.Run(fmt.Sprint(e.name, "/", i), func(t *testing.T) {
				t.Parallel()
				for _, flushes := range [][]int{nil, {len(text) / 3, len(text) / 3, len(text) / 2}} {
					stream := e.encode(text, flushes)
					for _, piece := range [][]byte{[]byte("!"), script} {
						p := Prepare(piece)
						for at := 0; at <= len(text); at++ {
							checkSplice(t, stream, text, at, p)
						}
					}
				}
			})
		}
	}
}

// TestSplits checks that the bytes do not depend on how the input comes or in
// what portions it is read.
func TestSplits(t *testing.T) {
	r := newRand(2)
	p := Prepare(script)
	for _, size := range []int{3000, 120_000} {
		text := page(r, size)
		for _, e := range encoders() {
			for _, flushes := range [][]int{nil, {500, 40_000 % size, size - 3}} {
				stream := e.encode(text, flushes)
				at := r.IntN(2000)
				want := checkSplice(t, stream, text, at, p)
				for _, in := range []io.Reader{
					iotest.OneByteReader(bytes.NewReader(stream)),
					iotest.HalfReader(bytes.NewReader(stream)),
					iotest.DataErrReader(bytes.NewReader(stream)),
					&randReader{r, bytes.NewReader(stream)},
				} {
					var got bytes.Buffer
					_, err := io.CopyBuffer(struct{ io.Writer }{&got}, NewReader(in, int64(at), p), make([]byte, 1+r.IntN(3000)))
					if err != nil || !bytes.Equal(got.Bytes(), want) {
						t.Fatalf("%s, %d bytes at %d, %T: err %v, %d bytes out, want %d", e.name, size, at, in, err, got.Len(), len(want))
					}
				}
			}
		}
	}
}

// randReader gives portions of random size.
type randReader struct {
	r *rand.Rand
	b io.Reader
}

func (r *randReader) Read(p []byte) (int, error) {
	return r.b.Read(p[:r.r.IntN(min(len(p), 700)+1)])
}

// TestTruncated cuts streams off everywhere.
func TestTruncated(t *testing.T) {
	p := Prepare(script)
	for _, e := range encoders() {
		text := page(newRand(3), 2000)
		stream := e.encode(text, []int{900})
		for n := range stream {
			if out, err := splice(stream[:n], 1000, p); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s: %d of %d bytes: %d bytes and error %v", e.name, n, len(stream), len(out), err)
			}
		}
	}
}
