// Package demo runs the whole arrangement on one machine: a small legacy site, zchatproxy in front of it, a
// stand-in single sign-on gateway in front of that, and a stand-in for the chat widget.
//
// Each part listens on a loopback port of its own and talks to the next one over HTTP, as the real ones do; only
// the gateway's address is for people.
package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"zchatproxy/cmd/zchatproxy/demo/gateway"
)

// defaultListen is where the demonstration is found, unless something else is there already.
const defaultListen = "127.0.0.1:8090"

// Options says how to run the demonstration. The zero value is ready to use.
type Options struct {
	// Listen is the gateway's address. Empty means 127.0.0.1:8090, or any free port where that one is taken.
	Listen string
	// Widget is the kind of widget that the site uses: "classic", "messaging" or "chat". Empty means "classic".
	Widget string
	// Log receives what the parts have to say. Nil discards it.
	Log *slog.Logger
	// Version is shown on zchatproxy's status page.
	Version string

	// wrapSite lets tests see what the site itself sends.
	wrapSite func(http.Handler) http.Handler
	// upstream lets tests put the proxy in front of another site than the embedded one, and upstreamHost lets that go
	// by a name of its own.
	upstream, upstreamHost string
}

// Demo is a running demonstration.
type Demo struct {
	parts   *parts
	secrets secrets
	url     string // the gateway's, with a slash at the end, as the others
	site    string // without the proxy
	admin   string // zchatproxy's status page
}

// Start starts all parts and returns when they accept connections. They stop when ctx ends, or when one of them
// fails: see Wait.
func Start(ctx context.Context, o Options) (*Demo, error) {
	kind, err := widgetKind(o.Widget)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &parts{}
	front, err := listenFront(o.Listen)
	if err != nil {
		return nil, err
	}
	p.add("gateway", front)
	for _, name := range []string{"zchatproxy", "admin", "site"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			p.closeListeners()
			return nil, fmt.Errorf("listening for the %s: %w", name, err)
		}
		p.add(name, l)
	}
	d := &Demo{parts: p, secrets: newSecrets(), url: visitorURL(front.Addr()), site: p.url("site"), admin: p.url("admin")}
	if err := d.furnish(o, kind); err != nil {
		p.closeListeners()
		return nil, err
	}
	p.serve(ctx, o.Log)
	return d, nil
}

// URL is the gateway's landing page: the address to open in a browser.
func (d *Demo) URL() string { return strings.TrimSuffix(d.url, "/") + gateway.Prefix }

// Wait blocks until all parts have stopped, and returns the error of the part that made them, if one did.
func (d *Demo) Wait() error { return d.parts.wait() }

// listenFront opens the one address that is for people.
func listenFront(address string) (net.Listener, error) {
	if address != "" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listening for visitors: %w: name another address, or none to have one chosen", err)
		}
		return l, nil
	}
	if l, err := net.Listen("tcp", defaultListen); err == nil {
		return l, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for visitors: %w", err)
	}
	return l, nil
}

// visitorURL is how a browser on this machine reaches a listener, which may listen on all addresses.
func visitorURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String() + "/"
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/"}).String()
}
