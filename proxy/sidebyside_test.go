package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zchatproxy/proxy/wire"
)

// The benchmarks of this file set whole processes side by side: the program as it is run, and beside it a bare ReverseProxy on the
// standard transport with the same settings and buffers (or, for tokens, a handler with a fixed body in the program's own kind of
// server), each on its own, with the same connections and requests, in rounds that take turns. What they report are medians over the
// rounds: throughput and CPU time per request, as ratios to the bare one.
//
//	go test -run '^$' -bench SideBySide -benchtime 1x ./proxy

const (
	sideRounds = 7
	sideRound  = 700 * time.Millisecond
	sideConns  = 64
	roleEnv    = "ZCHATPROXY_TEST_ROLE" // makes the test binary one of the processes beside the program
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "bare":
		serveRole(bareProxy(os.Getenv("UPSTREAM")))
	case "fixed":
		serveGuarded(http.HandlerFunc(fixedBody))
	}
	os.Exit(m.Run())
}

// serveRole serves until the process is killed.
func serveRole(h http.Handler) { panic(http.ListenAndServe(os.Getenv("LISTEN"), h)) }

// serveGuarded is serveRole with what the program does for each connection.
func serveGuarded(h http.Handler) {
	ln, err := net.Listen("tcp", os.Getenv("LISTEN"))
	if err != nil {
		panic(err)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 128 << 10,
		ConnState: wire.ConnState, ConnContext: wire.ConnContext,
	}
	panic(server.Serve(wire.Listener(ln, wire.Config{MaxHeaderBytes: 128 << 10})))
}

// contender is a running process that answers requests.
type contender struct {
	name string
	addr string
	pid  int
}

func startRole(b *testing.B, role string, env ...string) *contender {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	addr := freeAddress(b)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), append(env, roleEnv+"="+role, "LISTEN="+addr)...)
	return startServer(b, role, addr, cmd)
}

// program is the binary as users build it.
func program(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "zchatproxy")
	if out, err := exec.Command("go", "build", "-o", path, "zchatproxy/cmd/zchatproxy").CombinedOutput(); err != nil {
		b.Fatalf("building: %v\n%s", err, out)
	}
	return path
}

func startProgram(b *testing.B, path, upstream string, env ...string) *contender {
	b.Helper()
	addr := freeAddress(b)
	cmd := exec.Command(path, "serve")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "ZCHAT_LISTEN=" + addr, "ZCHAT_ADMIN_LISTEN=off",
		"ZCHAT_UPSTREAM=" + upstream, "ZCHAT_SECRET=" + testSecret}, env...)
	return startServer(b, "ours", addr, cmd)
}

func freeAddress(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// startServer starts a process and waits until it listens. What it writes is read and thrown away, as a log collector would.
func startServer(b *testing.B, name, addr string, cmd *exec.Cmd) *contender {
	b.Helper()
	var said first
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) // SIGKILL would leave an Apache's children behind
		<-ended
	})
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return &contender{name: name, addr: addr, pid: cmd.Process.Pid}
		}
		select {
		case err := <-ended:
			ended <- err
			b.Fatalf("%s did not start: %v\n%s", name, err, said.text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// first keeps the beginning of what is written.
type first struct{ text []byte }

func (f *first) Write(p []byte) (int, error) {
	f.text = append(f.text, p[:min(len(p), 4<<10-len(f.text))]...)
	return len(p), nil
}

// cpu is the processor time that a process and its children have used.
func (c *contender) cpu(b *testing.B) time.Duration {
	b.Helper()
	var ticks int64
	for _, pid := range family(c.pid) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // a child has ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, f := range fields[11:13] { // utime and stime, proc(5)
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}

// family is a process with all of its descendants.
func family(pid int) []int {
	all := []int{pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range tasks {
		children, _ := os.ReadFile(name)
		for f := range strings.FieldsSeq(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, family(child)...)
			}
		}
	}
	return all
}

// load sends the same request over many connections for a while and counts the answers.
func load(b *testing.B, c *contender, request string, conns int, during time.Duration) (answers int64) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), during)
	defer cancel()
	var wg sync.WaitGroup
	var n atomic.Int64
	var failed sync.Once
	for range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", c.addr)
			if err != nil {
				failed.Do(func() { b.Error(err) })
				return
			}
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 64<<10)
			for ctx.Err() == nil {
				if _, err = io.WriteString(conn, request); err == nil {
					err = readAnswer(r)
				}
				if err != nil {
					failed.Do(func() { b.Errorf("%s: %v", c.name, err) })
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return n.Load()
}

// readAnswer reads one response as cheaply as can be: the client must not be what is measured.
func readAnswer(r *bufio.Reader) error {
	length, chunked := int64(-1), false
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case first && !bytes.Contains(line, []byte(" 200 ")):
			return fmt.Errorf("answered %q", line)
		case len(line) <= 2:
			switch {
			case chunked:
				return readChunks(r)
			case length < 0:
				return errors.New("an answer without a length")
			}
			_, err = r.Discard(int(length))
			return err
		case hasName(line, "content-length:"):
			length, err = strconv.ParseInt(strings.TrimSpace(string(line[len("content-length:"):])), 10, 64)
			if err != nil {
				return err
			}
		case hasName(line, "transfer-encoding:"):
			chunked = true
		}
	}
}

func hasName(line []byte, name string) bool {
	return len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name))
}

func readChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := r.Discard(int(n) + 2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// figures are what one contender reached.
type figures struct {
	rate []float64 // answers in a second, a round each
	cpu  []float64 // seconds of processor time for an answer
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// sideBySide drives the contenders in rounds that take turns.
func sideBySide(b *testing.B, request string, contenders ...*contender) []figures {
	b.Helper()
	all := make([]figures, len(contenders))
	for _, c := range contenders {
		load(b, c, request, sideConns, sideRound) // connections of the pool, heap, branch predictors
	}
	for round := range sideRounds {
		for k := range contenders {
			i := (k + round) % len(contenders)
			c := contenders[i]
			before, start := c.cpu(b), time.Now()
			n := load(b, c, request, sideConns, sideRound)
			if b.Failed() {
				b.FailNow()
			}
			all[i].rate = append(all[i].rate, float64(n)/time.Since(start).Seconds())
			all[i].cpu = append(all[i].cpu, (c.cpu(b)-before).Seconds()/float64(n))
		}
	}
	return all
}

// ratios reports a contender's medians over the first one's, round by round.
func ratios(b *testing.B, base, f figures, name string) {
	b.Helper()
	var rate, cpu []float64
	for i := range f.rate {
		rate = append(rate, f.rate[i]/base.rate[i])
		cpu = append(cpu, f.cpu[i]/base.cpu[i])
	}
	b.ReportMetric(median(rate), name+"-throughput")
	b.ReportMetric(median(cpu), name+"-cpu")
	b.ReportMetric(median(f.cpu)*1e6, name+"-µs")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSideBySide is the program beside a bare ReverseProxy.
func BenchmarkSideBySide(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	path := program(b)
	for _, w := range workloads(b) {
		b.Run(w.name, func(b *testing.B) {
			upstream := cannedUpstream(b, w.response)
			base := startRole(b, "bare", "UPSTREAM="+upstream)
			ours := startProgram(b, path, upstream)
			for b.Loop() {
				f := sideBySide(b, w.request, base, ours)
				ratios(b, f[0], f[1], "ours")
			}
		})
	}
	b.Run("token", func(b *testing.B) {
		base := startRole(b, "fixed")
		ours := startProgram(b, path, "http://127.0.0.1:1", "ZCHAT_TOKEN_LIMIT=off")
		request := strings.Replace(benchRequest, "/part", "/__zchat/jwt", 1)
		for b.Loop() {
			f := sideBySide(b, request, base, ours)
			ratios(b, f[0], f[1], "ours")
		}
	})
}

// workload is one kind of response to pass on.
type workload struct {
	name     string
	response []byte
	request  string
}

func workloads(b *testing.B) (all []workload) {
	add := func(name, contentType, coding string, body []byte) {
		request := benchRequest
		if coding != "" {
			request = strings.Replace(request, "Accept-Encoding: gzip", "Accept-Encoding: gzip, br, zstd", 1)
		}
		all = append(all, workload{name, canned(contentType, coding, body), request})
	}
	const html = "text/html; charset=utf-8"
	for _, kb := range []int{2, 30, 120, 700} {
		add(fmt.Sprintf("page=%dK", kb), html, "", benchPage(kb<<10))
	}
	for _, kb := range []int{30, 120, 700} {
		add(fmt.Sprintf("gzip=%dK", kb), html, "gzip", gzipped(b, benchPage(kb<<10)))
	}
	add("br=30K", html, "br", brotlied(b, benchPage(30<<10)))
	add("zstd=30K", html, "zstd", zstandarded(b, benchPage(30<<10)))
	add("json=30K", "application/json", "", []byte(strings.Repeat(`{"a":1},`, 3840)))
	add("binary=1M", "application/octet-stream", "", make([]byte, 1<<20))
	return all
}

// fixedBody is what the token route is held against.
func fixedBody(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Type"] = []string{"application/jwt"}
	h["Cache-Control"] = []string{"no-store"}
	io.WriteString(w, fixedToken)
}

var fixedToken = strings.Repeat("x", 280)
