package splice

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// tool returns the path of a program the tests need. Without it they are
// skipped, or fail if all tests were asked for.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if thorough() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

// filter encodes by a program that reads standard input.
func filter(t *testing.T, name string, args ...string) encoder {
	path := tool(t, name)
	return encoder{name: fmt.Sprint(name, args), encode: func(text []byte, _ []int) []byte {
		cmd := exec.Command(path, args...)
		cmd.Stdin = bytes.NewReader(text)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, args, err)
		}
		return out
	}}
}

// zlibScript encodes with zlib: level, memory level (the size of blocks),
// window, strategy, the kind of flush, and the offsets of flushes.
const zlibScript = `
import sys, zlib
level, mem, window, strategy, kind = map(int, sys.argv[1:6])
z = zlib.compressobj(level, 8, 16 + window, mem, strategy)
text, at, out = sys.stdin.buffer.read(), 0, b""
for to in map(int, sys.argv[6:]):
    out += z.compress(text[at:to]) + z.flush(kind)
    at = to
sys.stdout.buffer.write(out + z.compress(text[at:]) + z.flush())
`

// zlibEncoder encodes with zlib, by way of Python.
func zlibEncoder(t *testing.T, level, mem, window, strategy, kind int) encoder {
	name := fmt.Sprintf("zlib(%d,%d,%d,%d,%d)", level, mem, window, strategy, kind)
	return encoder{name: name, encode: func(text []byte, flushes []int) []byte {
		args := []string{"-c", zlibScript}
		for _, n := range append([]int{level, mem, window, strategy, kind}, flushes...) {
			args = append(args, fmt.Sprint(n))
		}
		return filter(t, "python3", args...).encode(text, nil)
	}}
}

// zlibEncoders vary what zlib lets vary, with all kinds of flush: partial,
// sync, full and block.
func zlibEncoders(t *testing.T) (all []encoder) {
	for _, kind := range []int{1, 2, 3, 5} {
		for strategy := range 5 { // default, filtered, Huffman only, RLE, fixed
			all = append(all, zlibEncoder(t, 6, 8, 15, strategy, kind))
		}
		all = append(all, zlibEncoder(t, 1, 1, 15, 0, kind), zlibEncoder(t, 9, 9, 9, 0, kind), zlibEncoder(t, 0, 8, 15, 0, kind))
	}
	return all
}

// toolEncoders are the encoders that Debian has.
func toolEncoders(t *testing.T) (all []encoder) {
	for level := 1; level <= 9; level++ {
		flag := fmt.Sprint("-", level)
		all = append(all,
			filter(t, "gzip", flag), filter(t, "pigz", flag, "-b", "128"), filter(t, "pigz", flag, "-i"),
			filter(t, "libdeflate-gzip", flag, "-c"),
			filter(t, "7z", "a", "-si", "-so", "-tgzip", "-an", fmt.Sprint("-mx=", level)))
	}
	all = append(all, filter(t, "libdeflate-gzip", "-12", "-c"), filter(t, "pigz", "-H"), filter(t, "pigz", "-U"), zopfli(t))
	return append(all, zlibEncoders(t)...)
}

// zopfli reads a file. It is slow, so long texts go to gzip.
func zopfli(t *testing.T) encoder {
	path := tool(t, "zopfli")
	return encoder{name: "zopfli", encode: func(text []byte, _ []int) []byte {
		if len(text) > 20_000 {
			return filter(t, "gzip", "-9").encode(text, nil)
		}
		name := filepath.Join(t.TempDir(), "text")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "-c", "--i5", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}}
}

// TestTools splices what the programs encode, at many places.
func TestTools(t *testing.T) {
	if !thorough() {
		t.Skip("ZCHATPROXY_TEST_ALL is not 1")
	}
	zlib := newZlibCheck(t)
	p := Prepare(script)
	for i, e := range toolEncoders(t) {
		r := newRand(uint64(i))
		for _, size := range []int{0, 1, 800, 15_000, 150_000} {
			text := page(r, size)
			stream := e.encode(text, []int{size / 3, size / 2, size / 2})
			for range 40 {
				at := r.IntN(min(size, 40_000) + 1)
				zlib.add(checkSplice(t, stream, text, at, p), inserted(text, at, script))
			}
		}
	}
	zlib.run()
}

// decodeScript decodes members by zlib, with their trailers checked.
const decodeScript = `
import sys, zlib
b = sys.stdin.buffer.read()
while b:
    z = zlib.decompressobj(31)
    sys.stdout.buffer.write(z.decompress(b))
    if not z.eof:
        sys.exit("truncated")
    b = z.unused_data
`

// A zlibCheck has zlib decode results, many at a time.
type zlibCheck struct {
	t          *testing.T
	path       string
	coded      bytes.Buffer
	text       bytes.Buffer
	count, sum int
}

func newZlibCheck(t *testing.T) *zlibCheck {
	c := &zlibCheck{t: t}
	path, err := exec.LookPath("python3")
	if err != nil && thorough() {
		t.Fatal(err)
	}
	c.path = path // without it, Go's decoder must do
	return c
}

func (c *zlibCheck) add(coded, text []byte) {
	c.coded.Write(coded)
	c.text.Write(text)
	if c.count++; c.coded.Len() > 4<<20 {
		c.run()
	}
}

func (c *zlibCheck) run() {
	c.t.Helper()
	if c.path != "" {
		cmd := exec.Command(c.path, "-c", decodeScript)
		cmd.Stdin = &c.coded
		cmd.Stderr = os.Stderr
		if out, err := cmd.Output(); err != nil || !bytes.Equal(out, c.text.Bytes()) {
			c.t.Fatalf("zlib decodes %d streams to %d bytes (%v), want %d", c.count, len(out), err, c.text.Len())
		}
	}
	c.sum += c.count
	c.count = 0
	c.coded.Reset()
	c.text.Reset()
}

// TestPad has every decoder there is read the blocks of no text that put the
// output in phase; they are the only ones made here and not by an encoder.
func TestPad(t *testing.T) {
	text := []byte("<head></head>")
	var stream []byte
	for n := range 8 {
		var w bitWriter
		w.bytes([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"))
		w.put(emptyFixed, emptyFixedBits) // not to begin at a byte boundary
		before := int(8*w.offset()) + int(w.n)
		w.pad(n)
		if grown := int(8*w.offset()) + int(w.n) - before; grown&7 != n || grown > 128 {
			t.Errorf("pad(%d) takes %d bits", n, grown)
		}
		w.storedBlocks(text)
		w.put(emptyFixedFinal, emptyFixedBits)
		w.align()
		w.bytes(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(text)))
		w.bytes(binary.LittleEndian.AppendUint32(nil, uint32(len(text))))
		stream = append(stream, w.buf...)
	}
	want := bytes.Repeat(text, 8)
	if got, err := gunzip(stream); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the standard library: %q, %v", got, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
		t.Errorf("klauspost: %q, %v", got, err)
	}
	for _, args := range [][]string{{"gzip", "-dc"}, {"pigz", "-dc"}, {"libdeflate-gzip", "-dc"}, {"7z", "x", "-si", "-so", "-tgzip"}, {"python3", "-c", decodeScript}} {
		t.Run(args[0], func(t *testing.T) {
			if got := filter(t, args[0], args[1:]...).encode(stream, nil); !bytes.Equal(got, want) {
				t.Errorf("%q", got)
			}
		})
	}
}
