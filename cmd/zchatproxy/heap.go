package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// leastGrowth is how much may be allocated between two collections of garbage, in bytes. The runtime's rule, as much as
	// is in use, makes a proxy with a few megabytes in use collect fifty times a second under load; this is a sixth of the time
	// that a small page takes. GOGC in the environment leaves everything to the runtime, and GOMEMLIMIT is kept in any case.
	leastGrowth = 16 << 20

	usualGrowth = 100 // percent; the runtime's own setting
)

// tuneHeap applies leastGrowth from now on: after each collection it looks at what is in use.
func tuneHeap() {
	t := &heapTuner{percent: usualGrowth, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	t.arm()
}

type heapTuner struct {
	percent int
	live    []metrics.Sample
}

// arm lets the next collection call collected, by an object that nothing holds.
func (t *heapTuner) arm() { runtime.AddCleanup(new([4]*heapTuner), (*heapTuner).collected, t) }

func (t *heapTuner) collected() {
	metrics.Read(t.live)
	if percent := growthFor(t.live[0].Value.Uint64()); percent != t.percent {
		t.percent = percent
		debug.SetGCPercent(percent)
	}
	t.arm()
}

// growthFor returns the percentage for a heap of which live bytes are in use. It is a power of two times the usual one, since setting
// it stops the process for a moment.
func growthFor(live uint64) (percent int) {
	percent = usualGrowth
	for live*uint64(percent)/100 < leastGrowth && percent < 32*usualGrowth {
		percent *= 2
	}
	return percent
}
