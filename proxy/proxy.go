// Package proxy is the reverse proxy in front of a site: it finds the site by host, decides who is
// asking, answers its own routes, passes everything else to the upstream, and puts one script into
// the head of the pages that come back.
//
// A request walks through [Handler.ServeHTTP] front to back; its response walks back through the
// site's ModifyResponse. Bodies are rewritten on the reader side, so that flushes, upgrades, 1xx
// responses and trailers stay the business of net/http/httputil.
package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"zchatproxy/proxy/identity"
	"zchatproxy/proxy/wire"
)

// Handler is the proxy. It is safe for concurrent use, and its configuration can be replaced while
// requests are under way; each request keeps the snapshot it began with.
type Handler struct {
	state    atomic.Pointer[state]
	metrics  *metrics
	started  time.Time
	draining atomic.Bool
}

// state is one validated configuration, immutable once published.
type state struct {
	sites       []*site
	hosts       hostTable
	trusted     identity.Peers
	routePrefix string // without a trailing slash
	log         *slog.Logger
	now         func() time.Time
	version     string
}

// New validates the whole configuration and builds a handler for it. The error joins one [*ConfigError]
// for each thing that is wrong.
func New(cfg Config) (*Handler, error) {
	h := &Handler{metrics: newMetrics(cfg.Version, cfg.Commit)}
	st, err := newState(cfg, nil, h.metrics)
	if err != nil {
		return nil, err
	}
	h.state.Store(st)
	h.started = st.now()
	h.metrics.registry.MustRegister(gauges{h})
	return h, nil
}

// Reload validates cfg and, if all of it is usable, replaces the configuration in one step. On an
// error the handler goes on with what it had. Requests under way are not touched, and the connection
// pools of upstreams that did not change are kept. One call must end before the next.
func (h *Handler) Reload(cfg Config) error {
	old := h.state.Load()
	st, err := newState(cfg, old, h.metrics)
	if err != nil {
		h.metrics.reload(false)
		return err
	}
	h.state.Store(st)
	h.metrics.reload(true)
	closeUnused(old, st)
	return nil
}

// RefuseReload counts a reload that the caller has refused by itself: what it read does not amount to a Config.
func (h *Handler) RefuseReload() { h.metrics.reload(false) }

// CountConnections makes metrics show how many connections of visitors are open. It is called once, by who accepts them.
func (h *Handler) CountConnections(open func() int) {
	h.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "zchatproxy_connections", Help: "Open connections of visitors.",
	}, func() float64 { return float64(open()) }))
}

// Drain makes readiness fail from now on, so that load balancers send new visitors elsewhere while
// requests under way end. Requests are still answered.
func (h *Handler) Drain() { h.draining.Store(true) }

// exchange is what is known of one request while it is under way. It rides in the request's context.
type exchange struct {
	state   *state
	site    *site
	visitor identity.Outcome
	origin  origin // scheme and host as the visitor's browser sees them
	trusted bool

	answer    *recorder
	cookie    string // value of the visitor cookie as it came
	hasCookie bool
	class     requestClass
	preview   previewState
	etags     etagState
	explain   bool // a trusted peer wants to be told why

	skip       Reason      // why the configuration keeps the script out, "" where it does not
	came       time.Time   // the request
	switched   bool        // the connection was upgraded
	events     bool        // the response is a stream of server-sent events
	result     string      // what became of a page, for the access log: "injected" or a Reason
	bodyFailed atomic.Bool // the visitor's request body was malformed or broke off; set by the transport
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	ex, _ := ctx.Value(exchangeKey{}).(*exchange)
	return ex
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st := h.state.Load()
	rec := &recorder{ResponseWriter: w, old: !r.ProtoAtLeast(1, 1), continues: r.ContentLength != 0 && r.Header["Expect"] != nil}
	if !rec.continues {
		rec.out = wire.GathererOf(r.Context()) // 100 Continue is written by who reads the body
	}
	ex := &exchange{state: st, came: st.now(), answer: rec}
	// A panic is http.ErrAbortHandler where the upstream broke off: it is recorded, and goes on, since only
	// the server can cut the connection.
	defer h.finish(ex, r)
	h.serve(ex, rec, r)
}

func (h *Handler) serve(ex *exchange, w *recorder, r *http.Request) {
	st := ex.state
	own, route := st.ownRoute(r)
	if own {
		protect(w.Header())
	}
	ex.site = st.hosts.find(r.Host)
	if ex.site == nil {
		writeProblem(w, r, problem{status: http.StatusMisdirectedRequest, asJSON: own,
			detail: "No site is configured for this host name. Add it to ZCHAT_HOSTS (or ZCHAT_SITES_<n>_HOSTS) of the site it belongs to."})
		return
	}
	ex.site.metrics.inFlight.Inc()
	if why := malformed(r); why != "" {
		writeProblem(w, r, problem{status: http.StatusBadRequest, asJSON: own, detail: why})
		return
	}
	if !own && (r.Method == http.MethodTrace || r.Method == http.MethodConnect) {
		// TRACE echoes cookies and identity headers; CONNECT would make an open tunnel.
		w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		writeProblem(w, r, problem{status: http.StatusMethodNotAllowed, detail: "The method " + r.Method + " is not passed on."})
		return
	}
	nameUnixPeer(r)
	ex.trusted = st.trusted.Trusts(r.RemoteAddr)
	outcome, err := ex.site.identity.Request(r, ex.trusted)
	if err != nil {
		ex.site.metrics.identityResult("conflict")
		ex.site.metrics.refused("request", "conflict", st.now())
		st.log.Warn("request refused: "+err.Error(), "site", ex.site.name)
		writeProblem(w, r, problem{status: http.StatusBadRequest, asJSON: own, detail: err.Error()})
		return
	}
	ex.visitor = outcome
	ex.origin = originOf(r, ex.trusted)
	takeOwnCookies(ex, r)
	ex.explain = ex.trusted && r.Header.Get(explainHeader) == "1"
	r.Header.Del(explainHeader)
	ex.site.readPreview(ex, r)

	if own {
		ex.site.serveRoute(ex, w, r, route)
		return
	}
	if r.Method != http.MethodOptions && r.RequestURI == "*" {
		writeProblem(w, r, problem{status: http.StatusBadRequest, detail: "The request target * goes with OPTIONS only."})
		return
	}
	ex.site.pass(ex, w, r)
}
