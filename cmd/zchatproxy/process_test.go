package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should come at once on a machine that is busy with other things.
const patience = 2 * time.Minute

// thorough reports whether tests may take their time.
func thorough() bool { return os.Getenv("ZCHATPROXY_TEST_ALL") == "1" }

// process is the program running as users run it.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string // of the proxy; "" for a Unix socket
	admin string

	mu    sync.Mutex
	lines []map[string]any // the log so far
	plain []string         // what was no JSON
	more  chan struct{}    // closed and replaced with every line
	done  chan struct{}    // closed when standard error has ended

	quiet    bool           // keep no lines of the access log
	meter    io.WriteCloser // where the meter is asked, nil without one
	readings int            // of the meter, so far
}

// spawn starts the program with an environment of nothing but env, on free ports unless env says otherwise.
func spawn(t *testing.T, env ...string) *process {
	t.Helper()
	return spawnProgram(t, "zchatproxy", env...)
}

// spawnProgram starts one of the programs that testscript.Main has put in front of PATH.
func spawnProgram(t *testing.T, name string, env ...string) *process {
	t.Helper()
	p := &process{t: t, more: make(chan struct{}), done: make(chan struct{}), quiet: name == meteredProgram}
	p.cmd = exec.Command(name)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "ZCHAT_LISTEN=127.0.0.1:0", "ZCHAT_ADMIN_LISTEN=127.0.0.1:0", "ZCHAT_LOG_LEVEL=debug"}, env...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if name == meteredProgram {
		if p.meter, err = p.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(stderr)
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	return p
}

// start starts the program and waits until it listens.
func start(t *testing.T, env ...string) *process {
	t.Helper()
	p := spawn(t, env...)
	p.waitListening()
	return p
}

// waitListening waits until the program listens, and notes where.
func (p *process) waitListening() {
	p.t.Helper()
	line := p.waitLog("listening")
	scheme := "http://"
	if line["tls"] == true {
		scheme = "https://"
	}
	p.url = scheme + line["address"].(string)
	if admin, ok := line["admin"].(string); ok {
		p.admin = "http://" + admin
	}
}

func (p *process) read(r io.Reader) {
	defer close(p.done)
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if p.quiet && bytes.Contains(scanner.Bytes(), []byte(`"msg":"request"`)) {
			continue
		}
		line := map[string]any{}
		err := json.Unmarshal(scanner.Bytes(), &line)
		p.mu.Lock()
		if err != nil {
			p.plain = append(p.plain, scanner.Text())
		} else {
			p.lines = append(p.lines, line)
		}
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// waitLog waits for a line of the log whose message contains text, and returns it.
func (p *process) waitLog(text string) map[string]any {
	p.t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if message, _ := lines[seen]["msg"].(string); strings.Contains(message, text) {
				return lines[seen]
			}
		}
		select {
		case <-more:
		case <-p.done:
			p.t.Fatalf("the program ended without the line %q:\n%s", text, p.output())
		case <-deadline:
			p.t.Fatalf("no line %q in the log:\n%s", text, p.output())
		}
	}
}

// output is everything on standard error so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, line := range p.lines {
		text, _ := json.Marshal(line)
		b.Write(append(text, '\n'))
	}
	return b.String() + strings.Join(p.plain, "\n")
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if runtime.GOOS == "windows" && s != os.Kill {
		p.t.Skip("Windows sends no signals")
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	ended := make(chan error, 1)
	go func() {
		<-p.done
		ended <- p.cmd.Wait()
	}()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.signal(syscall.SIGABRT)
		<-p.done
		p.t.Fatalf("the program does not end:\n%s", p.output())
		return -1
	}
}

// get returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// pollEvery is how long eventually waits at least before it looks again.
const pollEvery = 20 * time.Millisecond

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

const testPage = "<!DOCTYPE html><html><head><title>Old site</title></head><body>Hello</body></html>"

// site starts an upstream.
func startSite(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	if handle == nil {
		handle = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, testPage)
		}
	}
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s
}

// call runs one command line inside this process.
func call(env []string, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, env, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}
