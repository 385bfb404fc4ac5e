package proxy

import (
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the process's counters. All labels are bounded: sites, results and reasons are fixed sets.
type metrics struct {
	registry    *prometheus.Registry
	misdirected prometheus.Counter
	reloads     *prometheus.CounterVec
	reloaded    prometheus.Gauge

	requests, pages, tokens, identities, upstreamErrors, bytes *prometheus.CounterVec
	upstreamSeconds                                            *prometheus.HistogramVec
	inFlight                                                   *prometheus.GaugeVec

	refusals refusals

	mu    sync.Mutex
	sites map[string]*siteMetrics
}

// siteMetrics are the counters of one site, looked up once. They outlive reloads, under the site's name.
type siteMetrics struct {
	m               *metrics
	site, kind      string
	classes         [6]prometheus.Counter // by hundreds of the status; 0 for none
	inFlight        prometheus.Gauge
	injected        prometheus.Counter
	upstreamSeconds prometheus.Observer
	bytes           prometheus.Counter
	signed          prometheus.Counter
	known           prometheus.Counter
}

func newMetrics(version, commit string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zchatproxy_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry:       prometheus.NewRegistry(),
		misdirected:    prometheus.NewCounter(prometheus.CounterOpts{Name: "zchatproxy_misdirected_requests_total", Help: "Requests for a host that no site has (421)."}),
		reloads:        counter("reloads_total", "Configuration reloads.", "result"),
		reloaded:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "zchatproxy_last_reload_successful", Help: "0 while the configuration in use is not the one that is written, since the last reload was refused."}),
		requests:       counter("requests_total", "Requests by class of the answer's status.", "site", "class"),
		pages:          counter("pages_total", "HTML responses: injected, or skipped and why.", "site", "result", "reason"),
		tokens:         counter("tokens_total", "Answers of the token routes.", "site", "kind", "result"),
		identities:     counter("identity_total", "Outcomes of asking who the visitor is.", "site", "result"),
		upstreamErrors: counter("upstream_errors_total", "Requests that the upstream did not answer.", "site", "kind"),
		bytes:          counter("response_bytes_total", "Body bytes sent to visitors.", "site"),
		upstreamSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "zchatproxy_upstream_seconds", Help: "Time until the upstream's response header.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"site"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zchatproxy_requests_in_flight", Help: "Requests under way, upgraded connections and event streams included."}, []string{"site"}),
		sites:    make(map[string]*siteMetrics),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "zchatproxy_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()}})
	build.Set(1)
	m.reloaded.Set(1)
	m.reloads.WithLabelValues("done")
	m.reloads.WithLabelValues("refused")
	m.registry.MustRegister(m.misdirected, m.reloads, m.reloaded, m.requests, m.pages, m.tokens, m.identities, m.upstreamErrors, m.bytes,
		m.upstreamSeconds, m.inFlight, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) reload(ok bool) {
	if ok {
		m.reloads.WithLabelValues("done").Inc()
		m.reloaded.Set(1)
		return
	}
	m.reloads.WithLabelValues("refused").Inc()
	m.reloaded.Set(0)
}

// site finds the counters of a site; kind is that of the tokens it mostly signs.
func (m *metrics) site(name, kind string) *siteMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sites[name]; s != nil && s.kind == kind {
		return s
	}
	s := &siteMetrics{
		m: m, site: name, kind: kind,
		injected:        m.pages.WithLabelValues(name, "injected", ""),
		inFlight:        m.inFlight.WithLabelValues(name),
		upstreamSeconds: m.upstreamSeconds.WithLabelValues(name),
		bytes:           m.bytes.WithLabelValues(name),
		signed:          m.tokens.WithLabelValues(name, kind, "signed"),
		known:           m.identities.WithLabelValues(name, "known"),
	}
	for i := range s.classes {
		class := "none"
		if i > 0 {
			class = strconv.Itoa(i) + "xx"
		}
		s.classes[i] = m.requests.WithLabelValues(name, class)
	}
	// What alerts look at begins at 0: a series that begins at 1 has no increase, so the first failure would be lost.
	for result := range refusalTexts {
		if result != "conflict" { // which is found before the route is looked at
			m.tokens.WithLabelValues(name, kind, result)
		}
	}
	for _, kind := range errorKinds {
		m.upstreamErrors.WithLabelValues(name, kind)
	}
	m.sites[name] = s
	return s
}

func (s *siteMetrics) request(status int, bytes int64) {
	class := status / 100
	if class < 0 || class >= len(s.classes) {
		class = 0
	}
	s.classes[class].Inc()
	s.bytes.Add(float64(bytes))
}

func (s *siteMetrics) page(reason Reason) {
	if reason == "" {
		s.injected.Inc()
		return
	}
	s.m.pages.WithLabelValues(s.site, "skipped", string(reason)).Inc()
}

func (s *siteMetrics) token(kind, result string, now time.Time) {
	if kind == s.kind && result == "signed" {
		s.signed.Inc()
		return
	}
	if result != "signed" {
		s.refused("token", result, now)
	}
	s.m.tokens.WithLabelValues(s.site, kind, result).Inc()
}

func (s *siteMetrics) identityResult(result string) {
	if result == "known" {
		s.known.Inc()
		return
	}
	s.m.identities.WithLabelValues(s.site, result).Inc()
}

// refused remembers a refusal for the status page.
func (s *siteMetrics) refused(what, reason string, now time.Time) {
	s.m.refusals.add(refusal{At: now, Site: s.site, What: what, Reason: reason, Text: refusalText(reason)})
}

func (s *siteMetrics) upstreamError(kind string) {
	s.m.upstreamErrors.WithLabelValues(s.site, kind).Inc()
}

func (s *siteMetrics) upstreamAnswered(took time.Duration) {
	s.upstreamSeconds.Observe(took.Seconds())
}
