// Package demo runs the whole arrangement on one machine: a small legacy site, zchatproxy in front of it, a
// stand-in single sign-on gateway in front of that, and a stand-in for the chat widget.
//
// Each part listens on a loopback port of its own and talks to the next one over HTTP, as the real ones do; only
// the gateway's address is for people.
package demo

import (
	"context"
	"errors"
	"log/slog"
)

// Options says how to run the demonstration. The zero value is ready to use.
type Options struct {
	// Listen is the gateway's address. Empty means 127.0.0.1:8090, or any free port where that one is taken.
	Listen string
	// Widget is the kind of widget that the site uses: "classic", "messaging" or "chat". Empty means "classic".
	Widget string
	// Log receives what the parts have to say. Nil discards it.
	Log *slog.Logger
}

// Demo is a running demonstration.
type Demo struct{}

// Start starts all parts and returns when the gateway accepts connections. The parts stop when ctx ends.
func Start(ctx context.Context, o Options) (*Demo, error) {
	return nil, errors.New("the demonstration is not wired up yet")
}

// URL is the address to open in a browser.
func (d *Demo) URL() string { return "" }

// AdminURL is the address of zchatproxy's status page.
func (d *Demo) AdminURL() string { return "" }

// Wait blocks until all parts have stopped, and returns the first error that was not a request to stop.
func (d *Demo) Wait() error { return nil }
