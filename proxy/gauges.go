package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"zchatproxy/signer"
)

// gauges is what is true at the moment when somebody asks for the metrics. The sites are those of the configuration in
// use, so a site that a reload has taken away is gone from here.
type gauges struct{ h *Handler }

var (
	readyDesc  = prometheus.NewDesc("zchatproxy_ready", "1 where /readyz says so, else 0.", nil, nil)
	usableDesc = prometheus.NewDesc("zchatproxy_secret_usable", "1 where the secret can sign, 0 where it is missing, empty or unreadable.", []string{"site", "secret"}, nil)
	sinceDesc  = prometheus.NewDesc("zchatproxy_secret_since_timestamp_seconds", "When this process first saw the secret's present value. Absent without one.", []string{"site", "secret"}, nil)
)

// Describe implements [prometheus.Collector].
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- readyDesc
	ch <- usableDesc
	ch <- sinceDesc
}

// Collect implements [prometheus.Collector].
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	truth := func(d *prometheus.Desc, is bool, labels ...string) {
		if is {
			gauge(d, 1, labels...)
		} else {
			gauge(d, 0, labels...)
		}
	}
	truth(readyDesc, len(g.h.notReady()) == 0)
	secret := func(site, kind string, s *signer.Secret) {
		since := s.Since()
		truth(usableDesc, !since.IsZero(), site, kind)
		if !since.IsZero() {
			gauge(sinceDesc, float64(since.UnixMilli())/float64(time.Second/time.Millisecond), site, kind)
		}
	}
	for _, s := range g.h.state.Load().sites {
		secret(s.name, s.tokenKind, s.secret)
		if s.helpCenterSecret != nil {
			secret(s.name, "help-center", s.helpCenterSecret)
		}
	}
}
