package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// inPieces gives pieces of any size, as far as there is room.
type inPieces struct {
	rest   []byte
	sizes  *rand.Rand
	last   int  // how much the last Read gave
	waited bool // a large buffer was brought behind a piece that had not filled a small one
}

func (r *inPieces) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	r.waited = r.waited || len(p) > relaySmall && r.last < relaySmall
	r.last = copy(p, r.rest[:min(len(r.rest), 1+r.sizes.IntN(1<<r.sizes.IntN(17)))])
	r.rest = r.rest[r.last:]
	return r.last, nil
}

// However the bytes come, they arrive, and behind few of them nobody waits with a large buffer.
func TestRelay(t *testing.T) {
	data := make([]byte, 4<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	var got bytes.Buffer
	r := &inPieces{rest: data, sizes: random}
	n, err := relay(&got, r)
	if n != int64(len(data)) || err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d of %d bytes, %v", n, len(data), err)
	}
	if r.waited {
		t.Error("a large buffer waits where few bytes come")
	}
}

func TestRelayErrors(t *testing.T) {
	broken := errors.New("broken")
	var got bytes.Buffer
	if n, err := relay(&got, io.MultiReader(bytes.NewReader(make([]byte, 5000)), iotest.ErrReader(broken))); n != 5000 || err != broken || got.Len() != 5000 {
		t.Errorf("reading fails: %d, %v", n, err)
	}
	if n, err := relay(writerFunc(func(p []byte) (int, error) { return 7, broken }), bytes.NewReader(make([]byte, 5000))); n != 7 || err != broken {
		t.Errorf("writing fails: %d, %v", n, err)
	}
	if n, err := relay(writerFunc(func(p []byte) (int, error) { return 7, nil }), bytes.NewReader(make([]byte, 5000))); n != 7 || err != io.ErrShortWrite {
		t.Errorf("a short write: %d, %v", n, err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
