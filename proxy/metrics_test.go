package proxy_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"zchatproxy/proxy"
	"zchatproxy/signer"
)

var (
	sampleLine = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// sample is one line of /metrics.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// scrape reads /metrics as it is: own metrics alone, by their whole series.
func scrape(t *testing.T, h *proxy.Handler) map[string]sample {
	t.Helper()
	text := serve(h.Admin(), "/metrics").Body.String()
	out := make(map[string]sample)
	for line := range strings.Lines(text) {
		m := sampleLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !strings.HasPrefix(m[1], "zchatproxy_") {
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		s := sample{name: m[1], labels: map[string]string{}, value: value}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			s.labels[pair[1]] = pair[2]
		}
		out[m[1]+"{"+m[2]+"}"] = s
	}
	if len(out) == 0 {
		t.Fatalf("no metrics:\n%s", text)
	}
	return out
}

// TestMetricsAreThese holds every metric against the labels that dashboards and alerts rely on. What is about visitors
// says which site; what is not about a site is listed as such.
func TestMetricsAreThese(t *testing.T) {
	want := map[string]string{
		"zchatproxy_build_info":                     "commit goversion version",
		"zchatproxy_connections":                    "",
		"zchatproxy_identity_total":                 "result site",
		"zchatproxy_last_reload_successful":         "",
		"zchatproxy_misdirected_requests_total":     "",
		"zchatproxy_pages_total":                    "reason result site",
		"zchatproxy_ready":                          "",
		"zchatproxy_reloads_total":                  "result",
		"zchatproxy_requests_in_flight":             "site",
		"zchatproxy_requests_total":                 "class site",
		"zchatproxy_response_bytes_total":           "site",
		"zchatproxy_secret_since_timestamp_seconds": "secret site",
		"zchatproxy_secret_usable":                  "secret site",
		"zchatproxy_tokens_total":                   "kind result site",
		"zchatproxy_upstream_errors_total":          "kind site",
		"zchatproxy_upstream_seconds_bucket":        "le site",
		"zchatproxy_upstream_seconds_sum":           "site",
		"zchatproxy_upstream_seconds_count":         "site",
	}
	g := busyRig(t)
	g.handler.CountConnections(func() int { return 3 })
	have := map[string]string{}
	for series, s := range scrape(t, g.handler) {
		labels := strings.Join(slices.Sorted(maps.Keys(s.labels)), " ")
		if before, seen := have[s.name]; seen && before != labels {
			t.Errorf("%s has other labels than %q", series, before)
		}
		have[s.name] = labels
		if site, ok := s.labels["site"]; ok && site != "*" {
			t.Errorf("%s is of no site that is configured", series)
		}
	}
	for name, labels := range want {
		if got, ok := have[name]; !ok || got != labels {
			t.Errorf("%s: labels %q (present: %v), want %q", name, got, ok, labels)
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is not expected; add it here and to the dashboard", name)
		}
	}
}

func TestMetricsCount(t *testing.T) {
	g := busyRig(t)
	g.send(withHost(g.request("GET", "/", nil), "127.0.0.1:1"))
	have := scrape(t, g.handler)
	for series, want := range map[string]float64{
		`zchatproxy_requests_total{class="2xx",site="*"}`:                     12,
		`zchatproxy_requests_total{class="4xx",site="*"}`:                     3,
		`zchatproxy_requests_total{class="5xx",site="*"}`:                     0,
		`zchatproxy_pages_total{reason="",result="injected",site="*"}`:        6,
		`zchatproxy_pages_total{reason="frame",result="skipped",site="*"}`:    1,
		`zchatproxy_tokens_total{kind="chat",result="signed",site="*"}`:       5,
		`zchatproxy_tokens_total{kind="chat",result="anonymous",site="*"}`:    1,
		`zchatproxy_tokens_total{kind="chat",result="cross-origin",site="*"}`: 1,
		`zchatproxy_tokens_total{kind="chat",result="no-secret",site="*"}`:    0,
		`zchatproxy_identity_total{result="known",site="*"}`:                  5,
		`zchatproxy_identity_total{result="no-identity-headers",site="*"}`:    1,
		`zchatproxy_identity_total{result="conflict",site="*"}`:               1,
		`zchatproxy_upstream_seconds_count{site="*"}`:                         7,
		`zchatproxy_upstream_errors_total{kind="connect",site="*"}`:           0,
		`zchatproxy_requests_in_flight{site="*"}`:                             0,
		`zchatproxy_reloads_total{result="refused"}`:                          0,
		`zchatproxy_last_reload_successful{}`:                                 1,
		`zchatproxy_ready{}`:                                                  1,
		`zchatproxy_secret_usable{secret="chat",site="*"}`:                    1,
	} {
		if s, ok := have[series]; !ok || s.value != want {
			t.Errorf("%s is %v (present: %v), want %v", series, s.value, ok, want)
		}
	}
	if got := have[`zchatproxy_response_bytes_total{site="*"}`].value; got < 7*float64(len(plainPage)) {
		t.Errorf("%v bytes are counted for seven pages of %d", got, len(plainPage))
	}

	g.upstream.Close()
	g.get("/")
	have = scrape(t, g.handler)
	if got := have[`zchatproxy_upstream_errors_total{kind="connect",site="*"}`].value; got != 1 {
		t.Errorf("%v connect errors, want 1", got)
	}
	if got := have[`zchatproxy_requests_total{class="5xx",site="*"}`].value; got != 1 {
		t.Errorf("%v answers 5xx, want 1", got)
	}
}

func withHost(r *http.Request, host string) *http.Request {
	r.Host = host
	return r
}

// What visitors and upstreams can choose freely never becomes a label: the number of series stays what it is.
func TestMetricsAreBounded(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		w.Header().Set("Content-Encoding", r.URL.Query().Get("coding"))
		w.WriteHeader(max(status, 200))
		io.WriteString(w, plainPage)
	}))
	variety := func(i int) {
		g.get(fmt.Sprintf("/p%d?status=%d&type=text/html;charset=x%d", i, 200+i*40%760+i/19, i))
		g.get(fmt.Sprintf("/p%d?type=text/html&coding=c%d", i, i))
		g.do(fmt.Sprintf("METHOD%d", i), "/?type=text/html", fmt.Sprintf("Host: h%d.example", i))
		g.do(fmt.Sprintf("METHOD%d", i), "/__zchat/jwt")
		g.get("/__zchat/jwt", fmt.Sprintf("X-Forwarded-User: u%d", i), fmt.Sprintf("X-Forwarded-Email: u%d@example.com", i))
		g.get("/__zchat/jwt", fmt.Sprintf("Origin: https://o%d.example", i))
		g.get(fmt.Sprintf("/__zchat/other%d", i), fmt.Sprintf("Sec-Fetch-Dest: d%d", i))
	}
	for i := range 19 {
		variety(i) // every class of status among them
	}
	before := scrape(t, g.handler)
	for i := range 60 {
		variety(100 + i)
	}
	for series, s := range scrape(t, g.handler) {
		if _, ok := before[series]; !ok {
			t.Errorf("%s has come up", series)
		}
		if reason := s.labels["reason"]; reason != "" && !slices.Contains(proxy.Reasons(), reason) {
			t.Errorf("%s: nobody can explain the reason", series)
		}
	}
}

func TestRequestsInFlight(t *testing.T) {
	arrived, leave := make(chan struct{}), make(chan struct{})
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-leave
		if r.URL.Path == "/broken" {
			w.Header().Set("Content-Length", "100")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	const series = `zchatproxy_requests_in_flight{site="*"}`
	for _, path := range []string{"/", "/broken"} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			res, err := plainClient.Do(g.request("POST", path, nil)) // a GET would be tried again
			if err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		<-arrived
		if got := scrape(t, g.handler)[series].value; got != 1 {
			t.Errorf("%s: %v requests under way, want 1", path, got)
		}
		leave <- struct{}{}
		<-done
		eventually(t, "no request is under way", func() bool { return scrape(t, g.handler)[series].value == 0 })
	}
}

func TestMetricsOfSecretsAndReloads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(testSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := signer.SecretFile(file)
	g := newRig(t, pageHandler(plainPage), site(func(s *proxy.Site) {
		s.Secret, s.HelpCenterSecret = secret, signer.NewSecret("another-"+testSecret)
	}))
	value := func(series string) float64 {
		t.Helper()
		s, ok := scrape(t, g.handler)[series]
		if !ok {
			return -1
		}
		return s.value
	}
	const usable, since = `zchatproxy_secret_usable{secret="chat",site="*"}`, `zchatproxy_secret_since_timestamp_seconds{secret="chat",site="*"}`
	if got, want := value(since), float64(secret.Since().UnixMilli())/1000; got != want {
		t.Errorf("in use since %v, want %v", got, want)
	}
	if got := value(`zchatproxy_secret_usable{secret="help-center",site="*"}`); got != 1 {
		t.Errorf("the help center's secret is %v, want 1", got)
	}

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if secret.Reload() == nil {
		t.Fatal("the secret can be used without its file")
	}
	if a, b, c := value(usable), value(since), value(`zchatproxy_ready{}`); a != 0 || b != -1 || c != 0 {
		t.Errorf("without the file: usable %v, since %v, ready %v; want 0, nothing, 0", a, b, c)
	}

	broken := g.config
	broken.Sites = nil
	if g.handler.Reload(broken) == nil {
		t.Fatal("a configuration without sites is taken")
	}
	if a, b := value(`zchatproxy_reloads_total{result="refused"}`), value(`zchatproxy_last_reload_successful{}`); a != 1 || b != 0 {
		t.Errorf("after a refused reload: %v refused, last successful %v; want 1 and 0", a, b)
	}
	if err := g.handler.Reload(g.config); err != nil {
		t.Fatal(err)
	}
	if a, b := value(`zchatproxy_reloads_total{result="done"}`), value(`zchatproxy_last_reload_successful{}`); a != 1 || b != 1 {
		t.Errorf("after a reload: %v done, last successful %v; want 1 and 1", a, b)
	}
	g.handler.RefuseReload()
	if got := value(`zchatproxy_last_reload_successful{}`); got != 0 {
		t.Errorf("after a reload that the caller refused the last one counts as successful: %v", got)
	}
}

// Two sites of one name would write the same series.
func TestSitesHaveNamesOfTheirOwn(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	two := g.config
	two.Sites = []proxy.Site{g.config.Sites[0], g.config.Sites[0]}
	for i := range two.Sites {
		two.Sites[i].Name, two.Sites[i].Hosts = "shop", []string{fmt.Sprintf("%d.example", i)}
	}
	if _, err := proxy.New(two); err == nil || !strings.Contains(err.Error(), `site 1: Name: "shop"`) {
		t.Errorf("two sites called shop: %v", err)
	}
}
