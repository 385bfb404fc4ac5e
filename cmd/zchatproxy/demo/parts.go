package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// grace is how long open requests may go on once the demonstration is to end. Pages keep event streams open, which
// never end by themselves, so it is short.
const grace = 2 * time.Second

// part is one of the servers.
type part struct {
	name     string
	listener net.Listener
	server   *http.Server
}

// parts starts and stops the servers together, in the order in which they were added: the gateway first, so that
// nothing new comes in while the ones behind it finish.
type parts struct {
	list []*part
	done chan struct{}
	err  error // read after done
}

func (p *parts) add(name string, l net.Listener) {
	p.list = append(p.list, &part{name: name, listener: l, server: &http.Server{ReadHeaderTimeout: 10 * time.Second}})
}

func (p *parts) get(name string) *part {
	for _, q := range p.list {
		if q.name == name {
			return q
		}
	}
	panic("demo: there is no part called " + name)
}

// url is the address of a part that listens on a loopback address.
func (p *parts) url(name string) string {
	return "http://" + p.get(name).listener.Addr().String() + "/"
}

// handle gives a part its work.
func (p *parts) handle(name string, h http.Handler) { p.get(name).server.Handler = h }

// closeListeners undoes add for parts that were never served.
func (p *parts) closeListeners() {
	for _, q := range p.list {
		q.listener.Close()
	}
}

// serve runs all parts until ctx ends or one fails.
func (p *parts) serve(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.done = make(chan struct{})
	var running sync.WaitGroup
	for _, q := range p.list {
		q.server.ErrorLog = slog.NewLogLogger(log.With("part", q.name).Handler(), slog.LevelDebug)
		running.Go(func() {
			if err := q.server.Serve(q.listener); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("the %s stopped: %w", q.name, err))
			}
		})
	}
	go func() {
		defer close(p.done)
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
			p.err = cause
		}
		p.stop()
		running.Wait()
		cancel(nil)
	}()
}

// stop lets open requests finish for a moment, front to back, and then closes what is left.
func (p *parts) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for _, q := range p.list {
		if q.server.Shutdown(ctx) != nil {
			q.server.Close()
		}
	}
}

func (p *parts) wait() error {
	<-p.done
	return p.err
}
