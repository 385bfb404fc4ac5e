package proxy

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
)

// Visitors share the connections to an upstream of HTTP/1.1, which is safe as long as a request stands for itself and
// both ends agree where each message ends. Not every old site keeps to that, and then one visitor's answer would be
// given to another. Without a proxy between them it would not: each browser has connections of its own.
//
//   - NTLM, and Negotiate as some servers do it, authenticate a connection: whatever comes over it afterwards is
//     answered as that visitor's. So a visitor's connection that carries such a log-in has upstream connections of its
//     own from then on.
//   - A server that does not read the body of a request takes it for the next request, and one that sends a body with
//     the answer to HEAD leaves it in front of the next answer. So after a body or HEAD a connection is closed.

// ownConns holds the upstream connections that belong to one connection of a visitor.
type ownConns struct {
	mu    sync.Mutex
	pools map[*upstream]*http.Transport
}

type ownConnsKey struct{}

// ConnContext is for http.Server.ConnContext: it lets one visitor's log-in by NTLM or Negotiate pass. Without it nothing
// is shared that must not be, but such log-ins fail.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, ownConnsKey{}, &ownConns{})
}

// RoundTrip sends a visitor's request up, over a connection that may carry it.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	if own := u.ownPool(r); own != nil {
		return own.RoundTrip(r)
	}
	if u.mayLoseStep(r) {
		last := *r
		last.Close = true
		r = &last
	}
	res, err := u.transport.RoundTrip(r)
	if err == nil && res.ProtoMajor >= 2 && !u.streams.Load() {
		u.streams.Store(true)
	}
	return res, err
}

// ownPool returns the connections that belong to the visitor's connection on which r came, nil where shared ones will do.
func (u *upstream) ownPool(r *http.Request) *http.Transport {
	own, _ := r.Context().Value(ownConnsKey{}).(*ownConns)
	logsIn := authenticatesConnection(r.Header)
	if own == nil {
		if logsIn {
			return u.alone
		}
		return nil
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	pool := own.pools[u]
	if pool == nil && logsIn {
		pool = u.transport.Other.Clone()
		// Soon after the visitor's connection, or else idleTimeout after the last request.
		runtime.AddCleanup(own, (*http.Transport).CloseIdleConnections, pool)
		if own.pools == nil {
			own.pools = make(map[*upstream]*http.Transport)
		}
		own.pools[u] = pool
	}
	return pool
}

// authenticatesConnection reports a log-in that may hold for the connection instead of the request (RFC 4559 section 6,
// and NTLM, which has no RFC).
func authenticatesConnection(h http.Header) bool {
	for _, v := range h["Authorization"] {
		scheme, _, _ := strings.Cut(strings.TrimLeft(v, " \t"), " ")
		if strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate") {
			return true
		}
	}
	return false
}

// mayLoseStep reports whether an upstream may have another idea than we of where r or the answer to it ends. Streams of
// HTTP/2 have one end only.
func (u *upstream) mayLoseStep(r *http.Request) bool {
	return (r.ContentLength != 0 || r.Method == http.MethodHead) && !u.streams.Load()
}
