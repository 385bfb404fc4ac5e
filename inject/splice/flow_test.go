package splice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	stdgzip "compress/gzip"
)

// A trickle gives portions. Before it waits for the next one it calls wait.
type trickle struct {
	portions [][]byte
	wait     func(portions int)
	given    int
	rest     []byte // of the last one given
}

func (t *trickle) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		if t.given > 0 {
			t.wait(t.given)
		}
		if t.given == len(t.portions) {
			return 0, io.EOF
		}
		t.rest = t.portions[t.given]
		t.given++
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// TestTrickle checks that all text the upstream has flushed can be decoded
// before more comes, wherever the stream is: in front of and behind 32 KiB of
// text, with or without matches.
func TestTrickle(t *testing.T) {
	p := Prepare(script)
	for _, e := range encoders() {
		if strings.HasSuffix(e.name, "-final") {
			continue // what it has put out by a flush cannot be told
		}
		if e.name == "klauspost-3" {
			// Its flush is no flush block but a stored block, if it is one: 11 bytes of that wait for more.
			e.late = 1000
		}
		text := page(newRand(9), 90_000)
		const at = 300
		var flushes []int
		for n := 500; n < len(text); n += 300 + n/4 {
			flushes = append(flushes, n, n+1)
		}
		// The portions are what the encoder has put out by each flush.
		var coded [][]byte
		whole, from := e.encode(text, flushes), 0
		for i := range flushes {
			part := e.encode(text[:flushes[i]], flushes[:i+1])
			to := len(commonPrefix(part, whole))
			coded, from = append(coded, whole[from:to]), to
		}
		coded = append(coded, whole[from:])

		var out bytes.Buffer
		in := &trickle{portions: coded}
		in.wait = func(n int) {
			if n > len(flushes) {
				return // the trailer waits for the end
			}
			want := flushes[n-1]
			z, err := stdgzip.NewReader(bytes.NewReader(out.Bytes()))
			if err != nil {
				t.Fatalf("%s: after flush %d: %v", e.name, n, err)
			}
			got, err := io.ReadAll(z)
			all := inserted(text[:want], at, script)
			late := len(all) - len(got)
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || late > e.late || !bytes.HasPrefix(all, got) {
				t.Fatalf("%s: after flush %d there are %d bytes of text, want %d (%v)", e.name, n, len(got), len(all), err)
			}
		}
		r := NewReader(in, at, p)
		if _, err := io.CopyBuffer(struct{ io.Writer }{&out}, r, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		if got, err := gunzip(out.Bytes()); err != nil || !bytes.Equal(got, inserted(text, at, script)) {
			t.Fatal(e.name, err)
		}
	}
}

func commonPrefix(a, b []byte) []byte {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// A counter counts the calls of Read, and says how much it has left.
type counter struct {
	b     []byte
	calls int
}

func (c *counter) Buffered() int { return len(c.b) }

func (c *counter) Read(p []byte) (int, error) {
	c.calls++
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b)
	c.b = c.b[n:]
	return n, nil
}

// TestFirstRead checks that what has come leaves together.
func TestFirstRead(t *testing.T) {
	text, stream := benchPage(120_000)
	p := Prepare(script)
	want := checkSplice(t, stream, text, benchAt, p)
	r := NewReader(&counter{b: stream}, benchAt, p)
	buf := make([]byte, 64<<10)
	n, err := r.Read(buf)
	if err != nil || n < len(want)-maxTail {
		t.Fatalf("the first Read gives %d of %d bytes, %v", n, len(want), err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(buf[:n:n], rest...), want) {
		t.Fatal("the bytes differ", err)
	}
}

// TestHeld checks that nothing is output before the piece, so that there is a
// way back.
func TestHeld(t *testing.T) {
	_, stream := benchPage(120_000)
	stream[5000] ^= 0x55
	text, bad := gunzip(stream)
	if bad == nil {
		t.Fatal("the stream should be corrupt")
	}
	out, err := splice(stream, len(text)+30_000, Prepare(script))
	if err == nil || len(out) > 0 {
		t.Fatalf("%d bytes came in front of error %v", len(out), err)
	}
}

// TestReadError checks that an error of the input comes as it is, wherever it
// comes, behind what came before it.
func TestReadError(t *testing.T) {
	_, stream := benchPage(120_000)
	fault := errors.New("connection reset")
	whole, err := splice(stream, benchAt, Prepare(script))
	if err != nil {
		t.Fatal(err)
	}
	p := Prepare(script)
	for n := 0; n <= len(stream); n += 1 + len(stream)/40 {
		in := io.MultiReader(bytes.NewReader(stream[:n]), iotest.ErrReader(fault))
		out, err := io.ReadAll(NewReader(in, benchAt, p))
		if !errors.Is(err, fault) || !bytes.HasPrefix(whole, out) || n > 2000 && len(out) < n-maxTail {
			t.Errorf("behind %d bytes: %d bytes and error %v", n, len(out), err)
		}
	}
	if _, err := NewReader(idle{}, 0, Prepare(nil)).Read(make([]byte, 9)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// TestAllocs locks the allocations of a stream: the Reader alone.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget under the race detector")
	}
	p := Prepare(script)
	buf := make([]byte, 64<<10)
	for _, size := range benchSizes {
		_, stream := benchPage(size)
		in := bytes.NewReader(nil)
		if n := testing.AllocsPerRun(50, func() {
			in.Reset(stream)
			if _, err := io.CopyBuffer(plainWriter{}, NewReader(in, benchAt, p), buf); err != nil {
				t.Fatal(err)
			}
		}); n > 1 {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}

// TestMemory bounds what a stream keeps while its client is slow.
func TestMemory(t *testing.T) {
	const readers = 300
	_, stream := benchPage(700_000)
	p := Prepare(script)
	buf := make([]byte, 64<<10)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	all := make([]*Reader, readers)
	start := heap()
	for i := range all {
		all[i] = NewReader(bytes.NewReader(stream), benchAt, p)
		if _, err := all[i].Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if each := (int64(heap()) - int64(start)) / readers; each > 1024 {
		t.Errorf("a stream that is copied keeps %d bytes", each)
	}
	runtime.KeepAlive(all)
}

// ExampleNewReader puts a script in front of the end of the head.
func ExampleNewReader() {
	var page bytes.Buffer
	w := stdgzip.NewWriter(&page)
	io.WriteString(w, "<head></head><body>Hello</body>")
	w.Close()

	piece := Prepare([]byte("<script></script>"))
	r, err := stdgzip.NewReader(NewReader(&page, int64(len("<head>")), piece))
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(r)
	fmt.Printf("%s %v\n", text, err)
	// Output: <head><script></script></head><body>Hello</body> <nil>
}
