package proxy

import (
	"log"
	"log/slog"
	"net/http"

	"zchatproxy/proxy/identity"
	"zchatproxy/proxy/wire"
)

// recorder notes what an answer was, for the access log and the metrics. It keeps the whole contract of a
// ResponseWriter: informational responses pass and are not the status, and Unwrap lets
// http.ResponseController reach the server's own Flush and Hijack.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	strip  *identity.Source // removes its headers from informational responses; nil for none
	old    bool             // the client speaks HTTP/1.0, which knows no informational responses (RFC 9110 section 15.2)
	// The client expects 100 Continue. When the upstream has sent it, the transport begins to read the body, at which
	// net/http sends it by itself; ReverseProxy would send another one.
	continues bool
	body      *requestBody     // being read while the answer is written; nil for none
	reason    func(status int) // gives an answer the upstream's own reason phrase; nil for the standard's

	out *wire.Gatherer

	// What the upstream has flushed leaves at once: with prompt set, every write is flushed. ReverseProxy does the same
	// for bodies of unknown length only, with a timer that may send the header in a packet of its own. The write that
	// completes a body of known length is flushed only where it is gathered; elsewhere the server sends it by itself, with
	// the end of the stream where there is one.
	prompt bool
	length int64 // -1 where it is not known
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(code int) {
	h := w.Header()
	if code >= 100 && code < 200 && code != http.StatusSwitchingProtocols {
		if w.old || w.continues && code == http.StatusContinue {
			return
		}
		if w.strip != nil {
			w.strip.StripResponse(h)
		}
		w.ResponseWriter.WriteHeader(code)
		return
	}
	if w.status == 0 {
		w.status = code
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // else net/http would guess one from the body
	}
	if w.body != nil && !w.body.ended.Load() {
		// An answer before the end of the body is the connection's last: under EnableFullDuplex net/http would take
		// what is left of the body, if reading it was interrupted, for the next request.
		h["Connection"] = []string{"close"}
	}
	if w.reason != nil {
		w.reason(code)
		w.reason = nil // it is for one status line
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.out.Begin()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	if w.prompt && err == nil && (w.bytes != w.length || w.out != nil) {
		err = http.NewResponseController(w.ResponseWriter).Flush()
	}
	if e := w.out.End(); err == nil {
		err = e
	}
	return n, err
}

// finish writes the access log's line and counts the request. The line holds no query string, which may
// hold anything, no header and no address.
func (h *Handler) finish(ex *exchange, r *http.Request) {
	w := ex.answer
	status := w.status
	if ex.switched {
		status = http.StatusSwitchingProtocols
	}
	name := ""
	if ex.site != nil {
		name = ex.site.name
		ex.site.metrics.request(status, w.bytes)
		ex.site.metrics.inFlight.Dec()
	} else {
		h.metrics.misdirected.Inc()
	}
	log := ex.state.log
	if !log.Enabled(r.Context(), slog.LevelInfo) {
		return
	}
	attrs := [...]slog.Attr{
		slog.String("site", name),
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", ex.state.now().Sub(ex.came)),
		slog.String("page", ex.result),
	}
	n := len(attrs)
	if ex.result == "" {
		n--
	}
	log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs[:n]...)
}

// quietLog takes what ReverseProxy has to say besides errors: copies that clients broke off.
func quietLog(l *slog.Logger, site string) *log.Logger {
	return slog.NewLogLogger(l.With("site", site).Handler(), slog.LevelDebug)
}
