package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestGrowthFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 3200, 1 << 20: 1600, 4 << 20: 400, 12 << 20: 200, 16 << 20: 100, 4 << 30: 100} {
		if got := growthFor(live); got != want {
			t.Errorf("%d MiB in use: %d %%, want %d %%", live>>20, got, want)
		}
	}
}

// A collection sets the percentage by what is in use, and the next one sets it anew.
func TestTuneHeap(t *testing.T) {
	before := debug.SetGCPercent(usualGrowth)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	tuneHeap()
	wait := func(want func(percent int) bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			runtime.GC()
			now := debug.SetGCPercent(usualGrowth)
			debug.SetGCPercent(now)
			if want(now) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the percentage is %d", now)
			}
		}
	}
	wait(func(percent int) bool { return percent > usualGrowth })
	held := make([]byte, 32<<20)
	wait(func(percent int) bool { return percent == usualGrowth })
	runtime.KeepAlive(held)
	wait(func(percent int) bool { return percent > usualGrowth })
}
