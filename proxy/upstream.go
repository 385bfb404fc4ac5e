package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"zchatproxy/proxy/direct"
	"zchatproxy/proxy/wire"
)

// upstream is a connection pool to one origin.
type upstream struct {
	key       upstreamKey
	base      string // "http://host:port"; for a Unix socket a name that stands for it
	scheme    string
	host      string
	transport *direct.Transport // its connections are shared by visitors
	alone     *http.Transport   // each request has a connection of its own
	streams   atomic.Bool       // the upstream has spoken HTTP/2
}

// upstreamKey is everything that makes two upstreams different; a reload keeps the pools whose key is
// still there.
type upstreamKey struct {
	target, ca string
	insecure   bool
	timeout    time.Duration
}

// upstreamPool hands out one upstream for each key, an earlier configuration's where there is one.
type upstreamPool struct {
	byKey map[upstreamKey]*upstream
}

func newUpstreamPool(old *state) *upstreamPool {
	p := &upstreamPool{byKey: make(map[upstreamKey]*upstream)}
	if old != nil {
		for _, s := range old.sites {
			p.byKey[s.upstream.key] = s.upstream
		}
	}
	return p
}

func (p *upstreamPool) get(key upstreamKey, target *url.URL) *upstream {
	u := p.byKey[key]
	if u == nil {
		u = newUpstream(key, target)
		p.byKey[key] = u
	}
	return u
}

// closeUnused closes the idle connections of upstreams that a reload left without a site. Those in use
// end with their requests.
func closeUnused(old, st *state) {
	used := make(map[*upstream]bool, len(st.sites))
	for _, s := range st.sites {
		used[s.upstream] = true
	}
	for _, s := range old.sites {
		if !used[s.upstream] {
			s.upstream.transport.Retire()
		}
	}
}

const (
	idlePerUpstream = 256              // connections kept for reuse: as many as an Apache has workers, unless told otherwise
	idleTimeout     = 90 * time.Second // most servers close sooner, and the transport notices
	dialTimeout     = 10 * time.Second
	expectTimeout   = 3 * time.Second // clients wait for one, and then send the body unasked
	copyBufferSize  = 32 << 10

	// eventBufferSize is for event streams: there may be one for each visitor, each holds its buffer for as long as it
	// lasts, and hardly anything is ever in it.
	eventBufferSize = 2 << 10
)

func newUpstream(key upstreamKey, target *url.URL) *upstream {
	u := &upstream{key: key, scheme: target.Scheme, host: target.Host}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	standard := &http.Transport{
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   idlePerUpstream,
		IdleConnTimeout:       idleTimeout,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: key.timeout,
		// The visitor's 100 Continue comes from the upstream: the body is not asked for before it does. But old servers
		// know nothing of it and wait for the body, which the visitor may long have sent.
		ExpectContinueTimeout: min(expectTimeout, key.timeout),
		// Codings are negotiated between visitor and upstream; the transport must not join in.
		DisableCompression: true,
		// Every connection holds these, idle ones too. Below 8 KiB chunked bodies cost half as much time again, above it
		// nothing gets faster; what is written in larger pieces than its buffer does not go through it.
		ReadBufferSize:         8 << 10,
		WriteBufferSize:        4 << 10,
		MaxResponseHeaderBytes: 1 << 20,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: key.insecure},
	}
	if key.ca != "" {
		standard.TLSClientConfig.RootCAs = x509.NewCertPool()
		standard.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(key.ca))
	}
	if target.Scheme == "unix" {
		path := target.Path
		u.scheme, u.host = "http", "localhost"
		standard.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	}
	u.transport = &direct.Transport{Other: standard}
	u.alone = standard.Clone()
	u.alone.DisableKeepAlives = true
	u.base = u.scheme + "://" + u.host
	return u
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte {
	if p, _ := b.pool.Get().(*[copyBufferSize]byte); p != nil {
		return p[:]
	}
	return make([]byte, copyBufferSize)
}

func (b *bufferPool) Put(p []byte) { b.pool.Put((*[copyBufferSize]byte)(p)) }

// copyBuffers is shared by all sites: buffers hold nothing between uses.
var copyBuffers = &bufferPool{}

// bodyBuffers lends the buffer for one response's body. ReverseProxy asks for it when ModifyResponse is through.
type bodyBuffers struct{ ex *exchange }

func (b bodyBuffers) Get() []byte {
	if b.ex.events {
		return make([]byte, eventBufferSize)
	}
	return copyBuffers.Get()
}

func (b bodyBuffers) Put(p []byte) {
	if len(p) == copyBufferSize {
		copyBuffers.Put(p)
	}
}

func newReverseProxy(s *site) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        s.rewrite,
		Transport:      s.upstream,
		ModifyResponse: s.modifyResponse,
		ErrorHandler:   s.upstreamFailed,
		ErrorLog:       quietLog(s.log, s.name),
	}
}

// rewrite makes the request for the upstream.
func (s *site) rewrite(pr *httputil.ProxyRequest) {
	ex := exchangeOf(pr.In.Context())
	out := pr.Out
	out.URL.Scheme, out.URL.Host = s.upstream.scheme, s.upstream.host
	exactTarget(out.URL, pr.In)
	out.Host = s.hostUp(pr.In.Host)
	setForwarded(out.Header, pr.In, ex)
	if s.upstreamHost != "" {
		s.renameRequest(ex, out.Header)
	}
	if b, ok := pr.In.Body.(*requestBody); ok {
		out.Trailer = b.trailer
	}
}

// exactTarget makes the request target go up byte for byte: ReverseProxy drops query parameters that it
// cannot parse, and net/url writes some characters in another way than they came.
func exactTarget(u *url.URL, in *http.Request) {
	u.RawQuery = in.URL.RawQuery
	path := rawPath(in)
	// net/http takes an Opaque that begins with two slashes for an authority; such a path goes up as
	// net/url writes it.
	if path != u.EscapedPath() && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		u.Opaque = path
	}
}

// dropForeignUpgrades removes the offers to switch to another HTTP or to TLS: a tunnel of that kind would
// carry requests past every rule of the proxy. What is no protocol's name and version (RFC 9110 section 7.8) goes with
// them, since an upstream may find one in it.
func dropForeignUpgrades(h http.Header) {
	values := h["Upgrade"]
	if len(values) == 0 {
		return
	}
	var kept []string
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			part = strings.Trim(part, " \t")
			name, version, versioned := strings.Cut(strings.ToLower(part), "/")
			if !isToken(name) || versioned && !isToken(version) || name == "http" || name == "tls" || strings.HasPrefix(name, "h2") {
				continue
			}
			kept = append(kept, part)
		}
	}
	delete(h, "Http2-Settings")
	if len(kept) == 0 {
		delete(h, "Upgrade")
		return
	}
	h["Upgrade"] = []string{strings.Join(kept, ", ")}
}

// requestBody passes a request's body up. It remembers whether it was the visitor's side that broke off,
// and hands over the trailers that may pass.
type requestBody struct {
	io.ReadCloser
	ex      *exchange
	in      *http.Request // whose Trailer net/http fills when the body ends
	trailer http.Header   // sent up; filled before the transport sees the end of the body
	ended   atomic.Bool   // the body was read to its end
}

func newRequestBody(ex *exchange, r *http.Request) *requestBody {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	b := &requestBody{ReadCloser: r.Body, ex: ex, in: r}
	if r.ContentLength < 0 {
		b.trailer = make(http.Header, len(r.Trailer))
		for name := range r.Trailer {
			if b.passesTrailer(name) {
				b.trailer[name] = nil // announced
			}
		}
	}
	return b
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case err == io.EOF:
		b.takeTrailer()
		b.ended.Store(true)
	default:
		b.ex.bodyFailed.Store(true)
	}
	return n, err
}

const (
	leaveTime  = 250 * time.Millisecond
	leaveBytes = 256 << 10
)

// leave ends with a body that was answered before its end: the answer goes out, and what is coming already is read, for
// a moment, since closing at once could take the answer from the visitor (RFC 9112 section 9.6). net/http would wait for
// the rest as long as the visitor likes.
func (b *requestBody) leave(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(leaveTime))
	io.CopyN(io.Discard, b.ReadCloser, leaveBytes)
}

// takeTrailer lets through the trailers that may pass.
func (b *requestBody) takeTrailer() {
	if b.trailer == nil {
		return
	}
	for name, v := range b.in.Trailer {
		if b.passesTrailer(name) {
			b.trailer[name] = v
		}
	}
}

// passesTrailer reports whether a trailer is no identity and no framing (RFC 9110 section 6.5.1).
func (b *requestBody) passesTrailer(name string) bool {
	switch name {
	case "Transfer-Encoding", "Content-Length", "Trailer", "Host", "Cookie", "Authorization":
		return false
	}
	return !framesAnyway(name) && !b.ex.site.identity.Guards(name)
}

// upstreamFailed answers for an upstream that did not.
func (s *site) upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	ex := exchangeOf(r.Context())
	switch {
	case ex.bodyFailed.Load() || wire.BodyFault(r.Context()) != nil:
		ex.result = "bad-request-body"
		writeProblem(w, r, problem{status: http.StatusBadRequest, detail: "The request's body broke off or is malformed."})
		return
	case r.Context().Err() != nil:
		ex.result = "client-gone"
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	}
	kind := errorKind(err)
	s.metrics.upstreamError(kind)
	s.log.Error("the upstream failed", "site", s.name, "kind", kind, "cause", causeOf(err))
	ex.result = "upstream-" + kind
	if kind == "timeout" {
		writeProblem(w, r, problem{status: http.StatusGatewayTimeout, detail: "The site behind this address took too long to answer. Please try again in a moment."})
		return
	}
	writeProblem(w, r, problem{status: http.StatusBadGateway, detail: "The site behind this address cannot be reached. Please try again in a moment."})
}

// quotation is a Go string literal in the text of an error.
var quotation = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// causeOf is an error's text for the log, without what it quotes: where an answer was malformed, that is a piece of it,
// perhaps somebody's cookie.
func causeOf(err error) string { return quotation.ReplaceAllString(err.Error(), `"…"`) }

// errorKinds are what errorKind returns.
var errorKinds = []string{"timeout", "certificate", "connect", "protocol"}

// errorKind is the bounded label of an upstream error.
func errorKind(err error) string {
	var netErr net.Error
	var opErr *net.OpError
	var certErr *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.As(err, &certErr):
		return "certificate"
	case errors.As(err, &opErr) && opErr.Op == "dial":
		return "connect"
	}
	return "protocol"
}
