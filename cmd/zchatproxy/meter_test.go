package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"
)

// meteredProgram is the program with a meter: for the line askUsage on its standard input it collects garbage and writes
// what it then holds as a line of its log; for askGoroutines it writes what its goroutines are doing.
const meteredProgram = "zchatproxy-metered"

const (
	askUsage      = "usage"
	askGoroutines = "goroutines"
)

// usage is what a process holds.
type usage struct {
	Heap        int64 // bytes that are reachable
	Stack       int64 // bytes of goroutines' stacks
	Resident    int64 // bytes of memory that the kernel has given it; 0 where it does not tell
	Goroutines  int
	Descriptors int // -1 where the kernel does not tell
}

// memory is what connections and requests add to: what garbage there is between two collections depends on GOGC.
func (u usage) memory() int64 { return u.Heap + u.Stack }

func metered() {
	go func() {
		asked := bufio.NewScanner(os.Stdin)
		for n := 1; asked.Scan(); n++ {
			var reading any
			if asked.Text() == askGoroutines {
				pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			} else {
				reading = takeReading()
			}
			line, _ := json.Marshal(map[string]any{"msg": readingTitle(n), "reading": reading})
			fmt.Fprintf(os.Stderr, "%s\n", line)
		}
	}()
	main()
}

func takeReading() (u usage) {
	for range 3 { // what is in pools goes with the second one, what that made unreachable with the third
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap, u.Stack = int64(m.HeapAlloc), int64(m.StackInuse)
	u.Goroutines, u.Descriptors = runtime.NumGoroutine(), -1
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.Descriptors = len(entries) - 1 // without that of the directory
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			u.Resident = pages * int64(os.Getpagesize())
		}
	}
	return u
}

// startMetered starts the program with a meter and waits until it listens.
func startMetered(t *testing.T, env ...string) *process {
	t.Helper()
	p := spawnProgram(t, meteredProgram, append([]string{"ZCHAT_LOG_LEVEL=info"}, env...)...)
	p.waitListening()
	return p
}

func readingTitle(n int) string { return fmt.Sprintf("reading %d.", n) }

// read asks the meter for a reading, and returns when it has been written.
func (p *process) readMeter(ask string) map[string]any {
	p.t.Helper()
	p.readings++
	if _, err := fmt.Fprintln(p.meter, ask); err != nil {
		p.t.Fatal(err)
	}
	return p.waitLog(readingTitle(p.readings))
}

// usage reads what the process holds now.
func (p *process) usage() (u usage) {
	p.t.Helper()
	line, _ := json.Marshal(p.readMeter(askUsage)["reading"])
	if err := json.Unmarshal(line, &u); err != nil {
		p.t.Fatal(err)
	}
	return u
}

// goroutines reads what the process's goroutines are doing.
func (p *process) goroutines() string {
	p.t.Helper()
	p.readMeter(askGoroutines)
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.plain, "\n")
}

// settled waits until the program has given back all goroutines and descriptors that it did not have before, and returns
// what it holds then.
func (p *process) settled(t *testing.T, before usage) (now usage) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for now = p.usage(); now.Goroutines > before.Goroutines || now.Descriptors > before.Descriptors; now = p.usage() {
		if time.Now().After(deadline) {
			t.Fatalf("not everything is given back: %+v before, %+v now\n%s", before, now, p.goroutines())
		}
	}
	return now
}

// returned waits like settled, and wants the memory back too. What the program held at most says how much the runtime
// may keep for itself: it never gives up the descriptor of a goroutine, and a map does not shrink.
func (p *process) returned(t *testing.T, before, most usage) {
	t.Helper()
	if grown := p.settled(t, before).Heap - before.Heap; grown > 1<<20+int64(most.Goroutines)<<10 {
		t.Errorf("%d bytes more than before are in use", grown)
	}
}
