package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"zchatproxy/proxy"
)

// inside is a proxy that listens on nothing but pipes inside this process, over which requests come from any address.
type inside struct {
	server *http.Server
	pipes  *pipeListener
}

func (d *doctor) startInside() (*inside, error) {
	log := slog.New(slog.DiscardHandler)
	c := d.config.proxyConfig(log)
	c.Now = d.now
	handler, err := proxy.New(c)
	if err != nil {
		return nil, err
	}
	in := &inside{pipes: &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}}
	in.server = &http.Server{Handler: handler, ErrorLog: serverLog(log), MaxHeaderBytes: maxHeaderBytes}
	go in.server.Serve(in.pipes)
	return in, nil
}

func (in *inside) close() { in.server.Close() }

// client sends requests that come from an address. It follows no redirects.
func (in *inside) client(from string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableCompression: true,
			DisableKeepAlives:  true,
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return in.pipes.dial(from) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// pipeListener hands one end of each dialled pipe to Accept.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(from string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- pipeConn{server, pipeAddr(from)}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return pipeAddr("inside") }

type pipeConn struct {
	net.Conn
	from pipeAddr
}

func (c pipeConn) RemoteAddr() net.Addr { return c.from }

type pipeAddr string

func (a pipeAddr) Network() string { return "tcp" }
func (a pipeAddr) String() string  { return string(a) }
