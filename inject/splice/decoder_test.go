package splice

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// decoded runs a Decoder to the end.
func decoded(r io.Reader) ([]byte, error) {
	d := NewDecoder(r)
	defer d.Release()
	return io.ReadAll(d)
}

// checkDecoder decodes a stream whose text is known, whole and in pieces, and every beginning of it.
func checkDecoder(tb testing.TB, stream, text []byte) {
	tb.Helper()
	for _, r := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream)), iotest.DataErrReader(bytes.NewReader(stream))} {
		if got, err := decoded(r); err != nil || !bytes.Equal(got, text) {
			tb.Fatalf("decoded %d of %d bytes, %v", len(got), len(text), err)
		}
	}
}

func TestDecoder(t *testing.T) {
	r, all := newRand(11), encoders()
	n := 60
	if thorough() {
		n = 1500
	}
	for range n {
		stream, text, name := randStream(r, all, 90_000)
		if len(stream) == 0 {
			continue
		}
		t.Log(name)
		checkDecoder(t, stream, text)
		// What is behind the last member is no part of the text.
		if got, err := decoded(bytes.NewReader(append(bytes.Clone(stream), "\x00garbage"...))); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("with garbage behind: %d of %d bytes, %v", len(got), len(text), err)
		}
		cut := r.IntN(len(stream))
		got, err := decoded(bytes.NewReader(stream[:cut]))
		if !bytes.HasPrefix(text, got) {
			t.Fatalf("cut at %d of %d: not the beginning of the text", cut, len(stream))
		}
		// Between two members a cut cannot be told from the end.
		if whole, werr := gunzip(stream[:cut]); (err == nil) != (werr == nil) || err == nil && !bytes.Equal(got, whole) {
			t.Fatalf("cut at %d of %d: %v, the standard library says %v", cut, len(stream), err, werr)
		}
		broken := bytes.Clone(stream)
		broken[r.IntN(len(broken))] ^= 1 << r.IntN(8)
		got, err = decoded(bytes.NewReader(broken))
		if err == nil && !bytes.Equal(got, text) {
			if whole, werr := gunzip(broken); werr != nil || !bytes.Equal(got, whole) {
				t.Fatalf("%d other bytes taken for whole; the standard library says %v", len(got), werr)
			}
		}
	}
}

// The beginning is there as soon as its bytes are, whether or not they were flushed.
func TestDecoderDoesNotWait(t *testing.T) {
	r := newRand(12)
	text := page(r, 60_000)
	for _, e := range encoders() {
		stream := e.encode(text, nil)
		half := stream[:len(stream)/2]
		d := NewDecoder(io.MultiReader(bytes.NewReader(half), iotest.ErrReader(io.ErrNoProgress)))
		got, err := io.ReadAll(d)
		if err != io.ErrNoProgress || len(got) < len(text)/4 || !bytes.HasPrefix(text, got) {
			t.Errorf("%s: half of the stream gives %d of %d bytes, %v", e.name, len(got), len(text), err)
		}
		d.Release()
		d = NewDecoder(bytes.NewReader(stream))
		n, err := d.Read(make([]byte, 64<<10))
		if err != nil || n > inSize+maxMatch {
			t.Errorf("%s: the first step gives %d bytes, %v", e.name, n, err)
		}
		d.Release()
		if _, err := d.Read(make([]byte, 1)); err == nil {
			t.Error("Read after Release")
		}
	}
}
