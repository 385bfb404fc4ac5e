package wire

import (
	"net"
	"os"
	"sync"
	"time"
)

// deadline knows a connection's read deadline, for a read that waits for nothing else. It is safe
// for concurrent use.
type deadline struct {
	mu     sync.Mutex
	at     time.Time // zero for none
	closed bool
	// changed is closed at the next change; nil while nobody waits.
	changed chan struct{}
}

// set notes a new deadline.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	d.at = t
	d.wakeLocked()
	d.mu.Unlock()
}

// close ends all waiting.
func (d *deadline) close() {
	d.mu.Lock()
	d.closed = true
	d.wakeLocked()
	d.mu.Unlock()
}

func (d *deadline) wakeLocked() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// wait returns when the deadline has passed, with os.ErrDeadlineExceeded, or when the
// connection is closed, with net.ErrClosed.
func (d *deadline) wait() error {
	for {
		d.mu.Lock()
		at, closed := d.at, d.closed
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()
		if closed {
			return net.ErrClosed
		}
		var expired <-chan time.Time // never, without a deadline
		if !at.IsZero() {
			timer := time.NewTimer(time.Until(at))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-expired:
			return os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}
