package proxy

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"zchatproxy/signer"
)

//go:embed status.html
var statusPage string

// refusal is one thing that the proxy declined to do, without anything personal.
type refusal struct {
	At     time.Time `json:"at"`
	Site   string    `json:"site"`
	What   string    `json:"what"`   // "token" or "request"
	Reason string    `json:"reason"` // a bounded label
	Text   string    `json:"text"`   // what to do about it
}

const keptRefusals = 50

// refusals remembers the last few. It is safe for concurrent use.
type refusals struct {
	mu   sync.Mutex
	ring [keptRefusals]refusal
	next int
}

func (l *refusals) add(r refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.next%keptRefusals] = r
	l.next++
}

// newest returns what is remembered, the newest first.
func (l *refusals) newest() []refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]refusal, 0, keptRefusals)
	for i := l.next - 1; i >= 0 && i >= l.next-keptRefusals; i-- {
		out = append(out, l.ring[i%keptRefusals])
	}
	return out
}

// status is what the status page shows: counts since the process began, and the configuration without its
// secrets.
type status struct {
	Version  string       `json:"version"`
	Since    time.Time    `json:"since"`
	Now      time.Time    `json:"now"`
	Ready    bool         `json:"ready"`
	Reasons  []string     `json:"reasons"` // why it is not ready
	Trusted  string       `json:"trusted"`
	Prefix   string       `json:"prefix"`
	Sites    []siteStatus `json:"sites"`
	Refusals []refusal    `json:"refusals"`
}

type siteStatus struct {
	Name     string      `json:"name"`
	Settings [][2]string `json:"settings"` // label and value, in the order to show

	Requests count   `json:"requests"` // by class of status
	Injected int     `json:"injected"`
	Skipped  []tally `json:"skipped"`
	Signed   int     `json:"signed"`
	Refused  []tally `json:"refused"`
	Errors   []tally `json:"errors"`
	P50      float64 `json:"p50"` // seconds, of the upstream's answers; 0 without any
	P95      float64 `json:"p95"`
}

type count map[string]int

type tally struct {
	Label string `json:"label"`
	Count int    `json:"count"`
	Text  string `json:"text,omitempty"`
}

// status reads everything once.
func (h *Handler) status() status {
	st := h.state.Load()
	reasons := h.notReady()
	out := status{
		Version: st.version, Since: h.started, Now: st.now(), Ready: len(reasons) == 0, Reasons: reasons,
		Trusted: st.trusted.String(), Prefix: st.routePrefix, Refusals: h.metrics.refusals.newest(),
	}
	byName := make(map[string]*siteStatus, len(st.sites))
	for _, s := range st.sites {
		out.Sites = append(out.Sites, siteStatus{Name: s.name, Settings: s.shown(), Requests: count{}})
	}
	for i := range out.Sites {
		byName[out.Sites[i].Name] = &out.Sites[i]
	}
	families, err := h.metrics.registry.Gather()
	if err != nil {
		return out // a collector failed; the settings are still worth showing
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := make(map[string]string, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if s := byName[labels["site"]]; s != nil {
				s.take(f.GetName(), labels, m)
			}
		}
	}
	for _, s := range byName {
		for _, tallies := range [][]tally{s.Skipped, s.Refused, s.Errors} {
			slices.SortFunc(tallies, func(a, b tally) int {
				return cmp.Or(b.Count-a.Count, strings.Compare(a.Label, b.Label))
			})
		}
	}
	return out
}

// take puts one metric where the page shows it.
func (s *siteStatus) take(family string, labels map[string]string, m *dto.Metric) {
	n := int(m.GetCounter().GetValue())
	if m.Counter != nil && n == 0 {
		return // what has not happened is no row of a table
	}
	switch family {
	case "zchatproxy_requests_total":
		s.Requests[labels["class"]] += n
	case "zchatproxy_pages_total":
		if reason := labels["reason"]; reason == "" {
			s.Injected += n
		} else {
			s.Skipped = append(s.Skipped, tally{reason, n, ReasonText(reason)})
		}
	case "zchatproxy_tokens_total":
		if result := labels["result"]; result == "signed" {
			s.Signed += n
		} else {
			s.Refused = append(s.Refused, tally{result, n, refusalText(result)})
		}
	case "zchatproxy_upstream_errors_total":
		s.Errors = append(s.Errors, tally{Label: labels["kind"], Count: n})
	case "zchatproxy_upstream_seconds":
		s.P50, s.P95 = quantile(m.GetHistogram(), .5), quantile(m.GetHistogram(), .95)
	}
}

// quantile estimates a quantile from a histogram's buckets, as far as their bounds allow.
func quantile(h *dto.Histogram, q float64) float64 {
	want := q * float64(h.GetSampleCount())
	if want == 0 {
		return 0
	}
	var below, lower float64
	for _, b := range h.GetBucket() {
		n := float64(b.GetCumulativeCount())
		if n >= want {
			return lower + (b.GetUpperBound()-lower)*(want-below)/(n-below)
		}
		below, lower = n, b.GetUpperBound()
	}
	return lower
}

// shown is a site's configuration as a person wants to read it.
func (s *site) shown() [][2]string {
	upstreamHost := cmp.Or(s.upstreamHost, "the visitor's")
	policy := "patched where needed"
	if !s.patchCSP {
		policy = "left alone"
	}
	rows := [][2]string{
		{"Hosts", cmp.Or(strings.Join(s.hosts, ", "), "any")},
		{"Upstream", s.upstream.key.target + " (Host: " + upstreamHost + ")"},
		{"Widget", s.widget},
		{"Identity", s.identity.Describe()},
		{"Injection", s.mode},
		{"Content-Security-Policy", policy},
		{"Secret", shownSecret(s.secret)},
	}
	if s.helpCenterSecret != nil {
		rows = append(rows, [2]string{"Help Center secret", shownSecret(s.helpCenterSecret)})
	}
	return rows
}

func shownSecret(s *signer.Secret) string {
	if err := s.Err(); err != nil {
		return "not usable: " + err.Error()
	}
	return fmt.Sprintf("fingerprint %s, %d bytes", s.Fingerprint(), s.Len())
}

// serveStatus serves the page for people.
func (h *Handler) serveStatus(policy string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", policy)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		_ = writeStatusPage(w, h.status()) // it fails where the reader has gone
	}
}

// statusPolicy lets the page's one script and style run, and nothing else.
func statusPolicy(page string) string {
	_, rest, _ := strings.Cut(page, "<script>")
	script, _, _ := strings.Cut(rest, "</script>")
	sum := sha256.Sum256([]byte(script))
	return "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; script-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

const statusInterval = 2 * time.Second

// serveEvents streams the status to the page until it is closed.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	ticker := time.NewTicker(statusInterval)
	defer ticker.Stop()
	for {
		data, err := json.Marshal(h.status())
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
		if h.draining.Load() {
			return // an open status page must not hold up the end of the process
		}
	}
}
