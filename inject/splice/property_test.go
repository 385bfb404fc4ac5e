package splice

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// thorough asks for the tests that take long or need other programs.
func thorough() bool { return os.Getenv("ZCHATPROXY_TEST_ALL") == "1" }

// randText makes a text of one of the kinds that encoders treat differently.
func randText(r *rand.Rand, n int) []byte {
	switch r.IntN(6) {
	case 0: // incompressible
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 1: // runs, whose matches overlap themselves
		var b []byte
		for len(b) < n {
			b = append(b, bytes.Repeat([]byte{byte('a' + r.IntN(4))}, 1+r.IntN(500))...)
		}
		return b[:n]
	case 2: // matches at the longest distances
		b := page(r, min(n, window-300+r.IntN(600)))
		for len(b) < n {
			b = append(b, b[len(b)-min(len(b), window-r.IntN(300)):][:min(len(b), 3+r.IntN(300))]...)
			b = append(b, byte(r.Uint32()))
		}
		return b[:n]
	case 3: // few symbols
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab"[r.IntN(2)]
		}
		return b
	}
	return page(r, n)
}

// randPiece makes a piece of any size, now and then larger than the window.
func randPiece(r *rand.Rand) []byte {
	switch r.IntN(8) {
	case 0:
		return nil
	case 1:
		return []byte("z")
	case 2:
		return randText(r, 20_000+r.IntN(60_000))
	case 3:
		return randText(r, r.IntN(300))
	}
	return script
}

// withHeader gives a member a header with the fields of flags.
func withHeader(r *rand.Rand, member []byte, flags byte) []byte {
	h := bytes.Clone(member[:headerSize])
	h[3] = flags
	h[9] = byte(r.Uint32())
	if flags&flagExtra != 0 {
		extra := make([]byte, r.IntN(300))
		h = append(binary.LittleEndian.AppendUint16(h, uint16(len(extra))), extra...)
	}
	for _, f := range []byte{flagName, flagComment} {
		if flags&f != 0 {
			h = append(h, fmt.Sprintf("name-%d%s\x00", r.IntN(1000), strings.Repeat("x", r.IntN(490)*r.IntN(2)))...)
		}
	}
	if flags&flagCRC != 0 {
		h = binary.LittleEndian.AppendUint16(h, uint16(crc32.ChecksumIEEE(h)))
	}
	return append(h, member[headerSize:]...)
}

// randStream makes a stream of up to three members from different encoders,
// with flushes and header fields, and the text of it.
func randStream(r *rand.Rand, encoders []encoder, size int) (stream, text []byte, name string) {
	for range 1 + r.IntN(4)*r.IntN(2) {
		t := randText(r, r.IntN(size))
		var flushes []int
		for at := r.IntN(len(t) + 1); r.IntN(3) > 0; at += r.IntN(len(t) - at + 1) {
			flushes = append(flushes, at)
		}
		e := encoders[r.IntN(len(encoders))]
		member := e.encode(t, flushes)
		if member[3] == 0 && r.IntN(2) == 0 {
			member = withHeader(r, member, byte(r.Uint32())&(flagCRC|flagExtra|flagName|flagComment|1))
		}
		stream, text = append(stream, member...), append(text, t...)
		name += fmt.Sprintf("%s(%d, %v) ", e.name, len(t), flushes)
	}
	return stream, text, name
}

// TestRandom is the property this package stands for: decoded, what comes out
// is what goes in with the piece in it. The size of a text is now and then
// beyond what is followed.
func TestRandom(t *testing.T) {
	cases := 100
	all := encoders()
	if thorough() {
		cases = 1000
		all = append(all, toolEncoders(t)...)
	}
	zlib := newZlibCheck(t)
	for seed := range cases {
		r := newRand(uint64(1000 + seed))
		stream, text, name := randStream(r, all, []int{400, 4000, 60_000, 200_000}[r.IntN(4)])
		p := Prepare(randPiece(r))
		for i := range 4 {
			at := r.IntN(len(text) + 1)
			switch i {
			case 0:
				at = min(len(text), r.IntN(1000))
			case 1:
				at = max(0, len(text)-r.IntN(300))
			}
			if at == len(text) && i == 3 {
				at = 0
			}
			t.Run(fmt.Sprintf("%d/%d", seed, at), func(t *testing.T) {
				defer func() {
					if t.Failed() {
						t.Log(name, "piece of", len(p.text))
					}
				}()
				out := checkSplice(t, stream, text, at, p)
				zlib.add(out, inserted(text, at, p.text))
				if i > 0 {
					return
				}
				split, err := io.ReadAll(NewReader(iotest.OneByteReader(bytes.NewReader(stream)), int64(at), p))
				if err != nil || !bytes.Equal(split, out) {
					t.Errorf("byte by byte: %d bytes, want %d, %v", len(split), len(out), err)
				}
			})
		}
	}
	zlib.run()
}

// TestCorrupt changes bytes of streams. What no longer decodes must not do so
// afterwards either, unless the harm was to bytes that nothing depends on.
func TestCorrupt(t *testing.T) {
	cases := 500
	if thorough() {
		cases = 100_000
	}
	p := Prepare(script)
	all := encoders()
	const each = 10 // of a stream: making one takes longer than splicing it
	for seed := range cases / each {
		r := newRand(uint64(seed))
		stream, text, name := randStream(r, all, []int{300, 3000, 80_000}[r.IntN(3)])
		for range each {
			at := r.IntN(min(len(text), 2000) + 1)
			i := r.IntN(len(stream))
			bit := byte(1) << r.IntN(8)
			stream[i] ^= bit
			checkCorrupt(t, stream, at, p, name)
			stream[i] ^= bit
		}
	}
}

// checkCorrupt splices a stream that may be corrupt.
func checkCorrupt(tb testing.TB, stream []byte, at int, p *Piece, name string) {
	tb.Helper()
	text, bad := gunzip(stream)
	out, err := splice(stream, at, p)
	if bad == nil && at <= len(text) {
		if err != nil && len(out) == 0 && !errors.Is(err, ErrHeader) {
			// Decoders differ in the reserved flags alone.
			tb.Fatalf("%s at %d: a good stream: %v", name, at, err)
		}
		if err == nil {
			checkSplice(tb, stream, text, at, p)
		}
		return
	}
	if err != nil {
		return
	}
	if got, worse := gunzip(out); worse == nil {
		tb.Fatalf("%s at %d: a stream with %v was made to decode to %d bytes", name, at, bad, len(got))
	}
}

// TestErrors has an input for every error.
func TestErrors(t *testing.T) {
	p := Prepare(script)
	long := page(newRand(5), 200_000)
	stream := encoders()[8].encode(long, nil)
	reserved := bytes.Clone(stream)
	reserved[3] = 0x80
	last := bytes.Clone(stream)
	last[len(last)-1] ^= 0x80
	small := encoders()[8].encode([]byte("<head></head>"), nil)
	wrongSum := bytes.Clone(small)
	wrongSum[len(wrongSum)-8]++
	wrongLen := bytes.Clone(small)
	wrongLen[len(wrongLen)-4]++
	badType := append(bytes.Clone(stream[:headerSize]), 7, 7, 7)
	badStored := append(bytes.Clone(stream[:headerSize]), 1, 3, 0, 3, 0, 'a', 'b', 'c')
	for _, c := range []struct {
		name string
		in   []byte
		at   int64
		want error
	}{
		{"empty", nil, 0, io.ErrUnexpectedEOF},
		{"no gzip", []byte("<!DOCTYPE html>"), 0, ErrHeader},
		{"method", []byte("\x1f\x8b\x07"), 0, ErrHeader},
		{"reserved flag", reserved, 0, ErrHeader},
		{"block type", badType, 0, ErrCorrupt},
		{"stored length", badStored, 0, ErrCorrupt},
		{"checksum in front", append(bytes.Clone(wrongSum), small...), 15, ErrCorrupt},
		{"length in front", append(bytes.Clone(wrongLen), small...), 15, ErrCorrupt},
		{"length", wrongLen, 3, ErrCorrupt},
		{"length of a long one", last, 3, ErrTrailer},
		{"offset", small, 14, ErrOffset},
		{"offset below", small, -1, ErrOffset},
		{"garbage in front", append(bytes.Clone(small), "garbage"...), 14, ErrOffset},
		{"garbage behind a long one", append(bytes.Clone(stream), "<!-- served -->"...), 3, ErrTrailer},
		{"newline behind a long one", append(bytes.Clone(stream), '\n'), 3, ErrTrailer},
		{"zeros behind a long one", append(bytes.Clone(stream), make([]byte, 100)...), 3, ErrTrailer},
		{"magic behind", append(bytes.Clone(small), magic...), 3, io.ErrUnexpectedEOF},
	} {
		r := NewReader(bytes.NewReader(c.in), c.at, p)
		if _, err := io.ReadAll(r); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
		if n, err := r.Read(make([]byte, 10)); n != 0 || !errors.Is(err, c.want) {
			t.Errorf("%s: then %d bytes and %v", c.name, n, err)
		}
	}
}

// TestGarbage checks that bytes behind the last member stay, where its end has
// been followed.
func TestGarbage(t *testing.T) {
	small := encoders()[8].encode([]byte("<head></head>"), nil)
	out, err := splice(append(bytes.Clone(small), "garbage"...), 6, Prepare(script))
	if err != nil || !bytes.HasSuffix(out, []byte("garbage")) {
		t.Fatalf("%q, %v", out, err)
	}
	if out = checkSplice(t, small, []byte("<head></head>"), 6, Prepare(script)); bytes.HasSuffix(out, []byte("garbage")) {
		t.Fatal("garbage from nowhere")
	}
}

// TestLoose has members that scripts put together from zlib streams, with what
// they leave behind the data.
func TestLoose(t *testing.T) {
	const header = "\x1f\x8b\x08\x00\x00\x00\x00\x00"
	p := Prepare(script)
	for _, size := range []int{1, 2000, 120_000} {
		text := page(newRand(9), size)
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		w.Write(text)
		w.Close()
		data := append([]byte(header), b.Bytes()[:b.Len()-4]...)
		adler := b.Bytes()[b.Len()-4:]
		trailer := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(text)), uint32(len(text)))
		for name, behind := range map[string][]byte{"nothing": nil, "line end": []byte("\n"), "Adler-32": adler, "both": append(bytes.Clone(adler), trailer...)} {
			stream := append(bytes.Clone(data), behind...)
			for _, at := range []int{0, size / 100, min(size, 70_000), size} {
				out, err := splice(stream, at, p)
				if err != nil {
					t.Fatalf("%s behind %d bytes, at %d: %v", name, size, at, err)
				}
				r := bytes.NewReader(out[headerSize:])
				got, err := io.ReadAll(flate.NewReader(r))
				if err != nil || !bytes.Equal(got, inserted(text, at, p.text)) {
					t.Fatalf("%s behind %d bytes, at %d: another text, %v", name, size, at, err)
				}
				if rest := out[len(out)-r.Len():]; !bytes.Equal(rest, behind) {
					t.Errorf("%s behind %d bytes became %q", name, size, rest)
				}
				split, err := io.ReadAll(NewReader(iotest.OneByteReader(bytes.NewReader(stream)), int64(at), p))
				if err != nil || !bytes.Equal(split, out) {
					t.Errorf("%s behind %d bytes, byte by byte: %d bytes, want %d, %v", name, size, len(split), len(out), err)
				}
			}
			got, err := io.ReadAll(NewDecoder(bytes.NewReader(stream)))
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s behind %d bytes: %d bytes decoded, %v", name, size, len(got), err)
			}
		}
		checkSplice(t, append(bytes.Clone(data), trailer...), text, size/2, p)
		for n := len(magic); n < len(data); n += 1 + len(data)/2000 {
			if _, err := splice(data[:n], 0, p); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%d of %d bytes: error %v", n, len(data), err)
			}
		}
	}
}

// TestMembersBehind checks members that come behind copied bytes.
func TestMembersBehind(t *testing.T) {
	p := Prepare(script)
	r := newRand(6)
	var stream, text []byte
	for i, e := range encoders() {
		part := page(r, []int{150_000, 20, 0, 3000, 70_000}[i%5])
		stream, text = append(stream, withHeader(r, e.encode(part, nil), byte(i)&(flagCRC|flagExtra|flagName|flagComment))...), append(text, part...)
	}
	want := checkSplice(t, stream, text, 300, p)
	for _, cut := range []int{1, 8, 9, 100, 5000, 30_000} {
		if out, err := splice(stream[:len(stream)-cut], 300, p); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("without the last %d bytes: %d bytes and error %v", cut, len(out), err)
		}
	}
	in := &randReader{r, bytes.NewReader(stream)}
	got, err := io.ReadAll(NewReader(in, 300, p))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("in portions: %v, %d bytes, want %d", err, len(got), len(want))
	}
	for _, size := range []int{1, 7, 300, 500, minDirect + 3, 600, 5000} {
		in := &randReader{r, bytes.NewReader(stream)}
		var got bytes.Buffer
		_, err := io.CopyBuffer(struct{ io.Writer }{&got}, NewReader(in, 300, p), make([]byte, size))
		if err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("read by %d bytes: %v, %d bytes, want %d", size, err, got.Len(), len(want))
		}
	}
}

// TestLongHeader has a member behind copied bytes with more in its header than
// package gzip takes.
func TestLongHeader(t *testing.T) {
	p := Prepare(script)
	e := encoders()[8]
	text := page(newRand(10), 150_000)
	first, second := e.encode(text, nil), e.encode(text[:1000], nil)
	for _, field := range []string{"\x04\xff\x1f" + strings.Repeat("e", 0x1fff), "\x08" + strings.Repeat("n", 3000) + "\x00", "\x12" + strings.Repeat("c", 600) + "\x00hc"} {
		behind := []byte("\x1f\x8b\x08" + field[:1] + "\x00\x00\x00\x00\x00\xff" + field[1:] + string(second[headerSize:]))
		stream := append(bytes.Clone(first), behind...)
		want := append(checkSplice(t, first, text, 300, p), behind...)
		for _, in := range []io.Reader{bytes.NewReader(stream), &portions{stream, 1}, &portions{stream, 5000}} {
			out, err := io.ReadAll(NewReader(in, 300, p))
			if err != nil || !bytes.Equal(out, want) {
				t.Errorf("flags %#x, %T: %d bytes, want %d, %v", field[0], in, len(out), len(want), err)
			}
		}
	}
}

// TestFalseMember has the magic bytes in a stored block, where they mean
// nothing, with what passes for a length in front of them or not.
func TestFalseMember(t *testing.T) {
	p := Prepare(script)
	for _, behind := range []string{"\x00", "\xff", "\x00\x00\x00\x00\x00\x00\x03\x07", "\x04\x00\x00\x00\x00\x00\x00\xff\xff" + string(make([]byte, 65536))} {
		for _, size := range []uint32{0, 50_000, 1 << 31} {
			text := randText(newRand(7), 0)
			text = append(text, bytes.Repeat([]byte("abcdefghijkl"), 4000)...)
			text = binary.LittleEndian.AppendUint32(append(text, "crc."...), size)
			text = append(append(text, magic...), behind...)
			text = append(text, bytes.Repeat([]byte("xyz"), 20_000)...)
			stream := encoders()[2].encode(text, nil) // stored
			checkSplice(t, stream, text, 10, p)
			for _, n := range []int{1, 100} {
				got, err := io.ReadAll(NewReader(&portions{stream, n}, 10, p))
				if err != nil {
					t.Fatal(err)
				}
				if got, err = gunzip(got); err != nil || !bytes.Equal(got, inserted(text, 10, p.text)) {
					t.Fatalf("%q, size %d, portions of %d: %v", behind[:1], size, n, err)
				}
			}
		}
	}
}

// portions gives n bytes at a time.
type portions struct {
	b []byte
	n int
}

func (r *portions) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b[:min(len(r.b), r.n)])
	r.b = r.b[n:]
	return n, nil
}

// FuzzSplice takes any bytes for a stream.
func FuzzSplice(f *testing.F) {
	r := newRand(8)
	for i, e := range encoders() {
		stream, text, _ := randStream(r, []encoder{e}, 500)
		f.Add(stream, uint16(len(text)/2), byte(i))
	}
	f.Add(append(append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), padBlock[:(padBlockBits+7)/8]...), 0, 0), uint16(0), byte(0))
	var pieces []*Piece
	for _, text := range [][]byte{nil, []byte("x"), script, randText(r, 3000), randText(r, 40_000)} {
		pieces = append(pieces, Prepare(text))
	}
	f.Fuzz(func(t *testing.T, stream []byte, at uint16, piece byte) {
		if len(stream) < headerSize+trailerSize || len(stream) > 2000 {
			return // longer ones are for TestRandom, and zip bombs for nobody
		}
		p := pieces[int(piece)%len(pieces)]
		checkCorrupt(t, stream, int(at), p, "fuzz")
		// Repair the trailer, so that the fuzzer need not find checksums.
		text, _ := gunzip(stream)
		fixed := bytes.Clone(stream)
		binary.LittleEndian.PutUint32(fixed[len(fixed)-8:], crc32.ChecksumIEEE(text))
		binary.LittleEndian.PutUint32(fixed[len(fixed)-4:], uint32(len(text)))
		checkCorrupt(t, fixed, int(at), p, "fuzz, repaired")
	})
}
