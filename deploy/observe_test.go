package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"zchatproxy/proxy"
)

// families are the metrics of a running proxy: name → label → the values that it can have. A label that visitors or the
// configuration choose has no values here.
type families map[string]map[string][]string

// targetLabels are what Prometheus itself adds to a series.
var targetLabels = []string{"job", "instance", "namespace"}

// exposition is /metrics of the program after a bit of everything that the dashboard shows.
var exposition = sync.OnceValues(func() (string, error) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!DOCTYPE html><title>Shop</title><p>Hello")
	}))
	defer site.Close()
	path, err := built()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path, "serve")
	cmd.Env = []string{
		"ZCHAT_LISTEN=127.0.0.1:0", "ZCHAT_ADMIN_LISTEN=127.0.0.1:0", "ZCHAT_HOSTS=shop.example.com", "ZCHAT_UPSTREAM=" + site.URL,
		"ZCHAT_SECRET=" + secretText, "ZCHAT_HELP_CENTER_SECRET=other-" + secretText,
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var front, admin string
	for dec := json.NewDecoder(log); admin == ""; {
		var line struct{ Msg, Address, Admin string }
		if err := dec.Decode(&line); err != nil {
			return "", fmt.Errorf("the program ended before it listened: %w", err)
		}
		front, admin = line.Address, line.Admin
	}
	go io.Copy(io.Discard, log)
	get := func(url string, headers ...string) (string, error) {
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			return "", err
		}
		req.Host = "shop.example.com"
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
			if headers[i] == "Host" {
				req.Host = headers[i+1]
			}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	for _, request := range [][]string{
		{"/"}, {"/", "Sec-Fetch-Dest", "iframe"}, {"/", "Host", "other.example.com"}, {"/__zchat/jwt"},
		{"/__zchat/jwt", "X-Forwarded-User", "42", "X-Forwarded-Email", "ada@example.com"},
	} {
		if _, err := get("http://"+front+request[0], request[1:]...); err != nil {
			return "", err
		}
	}
	return get("http://" + admin + "/metrics")
})

// measured reads the exposition.
func measured(t testing.TB) families {
	t.Helper()
	text, err := exposition()
	if err != nil {
		t.Fatal(err)
	}
	found := families{}
	line := regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? \S+$`)
	pair := regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		if found[m[1]] == nil {
			found[m[1]] = map[string][]string{}
		}
		for _, p := range pair.FindAllStringSubmatch(m[2], -1) {
			values := found[m[1]][p[1]]
			if !slices.Contains(values, p[2]) {
				found[m[1]][p[1]] = append(values, p[2])
			}
		}
	}
	if len(found["zchatproxy_requests_total"]) == 0 {
		t.Fatalf("no requests are counted:\n%s", text)
	}
	// What happens too rarely for this bit of traffic.
	found["zchatproxy_pages_total"]["reason"] = append(found["zchatproxy_pages_total"]["reason"], proxy.Reasons()...)
	found["zchatproxy_identity_total"]["result"] = append(found["zchatproxy_identity_total"]["result"], identityReasons(t)...)
	return found
}

// identityReasons are the values of identity.Reason, and that of a request which carried two identities.
func identityReasons(t testing.TB) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^\tReason\w+\s+Reason = "([a-z-]+)"`).FindAllStringSubmatch(example(t, "../proxy/identity/identity.go"), -1) {
		all = append(all, m[1])
	}
	if len(all) < 15 {
		t.Fatalf("only %d reasons are found in package identity", len(all))
	}
	return append(all, "conflict")
}

// holds reports what an expression names and the program does not measure.
func (f families) holds(t testing.TB, where, expr string) query {
	t.Helper()
	q := parseQuery(t, expr)
	for _, s := range q.selectors {
		labels, ok := f[s.metric]
		if s.metric == "up" { // Prometheus's own
			labels, ok = map[string][]string{}, true
		}
		if !ok {
			t.Errorf("%s: nothing measures %s", where, s.metric)
			continue
		}
		for _, m := range s.matchers {
			f.matches(t, where, s.metric, labels, m)
		}
		for _, label := range q.grouping {
			if _, ok := labels[label]; !ok && !slices.Contains(targetLabels, label) {
				t.Errorf("%s: %s has no label %s to group by", where, s.metric, label)
			}
		}
	}
	return q
}

// matches judges one matcher: each alternative of it must be a value that the label can have.
func (f families) matches(t testing.TB, where, metric string, labels map[string][]string, m matcher) {
	t.Helper()
	if slices.Contains(targetLabels, m.label) {
		return
	}
	values, ok := labels[m.label]
	if !ok {
		t.Errorf("%s: %s has no label %s", where, metric, m.label)
		return
	}
	if m.label == "site" {
		return
	}
	for want := range strings.SplitSeq(m.value, "|") {
		pattern, err := regexp.Compile("^(?:" + want + ")$")
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		if !slices.ContainsFunc(values, pattern.MatchString) {
			t.Errorf("%s: %s is never %q on %s; it can be %q", where, m.label, want, metric, values)
		}
	}
}

// shows reports a label in a text for people that the expression's result does not have.
func (f families) shows(t testing.TB, where string, q query, label string) {
	t.Helper()
	if len(q.grouping) > 0 {
		if !slices.Contains(q.grouping, label) {
			t.Errorf("%s shows the label %s, which the result does not have", where, label)
		}
		return
	}
	if _, ok := f[q.selectors[0].metric][label]; !ok && !slices.Contains(targetLabels, label) {
		t.Errorf("%s shows the label %s, which %s does not have", where, label, q.selectors[0].metric)
	}
}

// dashboard is what is checked of Grafana's JSON.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct {
			Name, Type string
			Definition string
		}
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		Expr, LegendFormat, RefID string
		Datasource                struct{ Type, UID string }
	}
}

func readDashboard(t testing.TB) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(example(t, "grafana/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 15 {
		t.Fatalf("only %d panels are read", len(d.Panels))
	}
	return d
}

var dashboardVariable = regexp.MustCompile(`\$\{?(\w+)\}?`)

// plain puts something in place of the dashboard's variables, as Grafana does.
func plain(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$site", ".*").Replace(expr)
}

func TestDashboard(t *testing.T) {
	f, d := measured(t), readDashboard(t)
	variables := []string{"__rate_interval"}
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil {
			t.Fatalf("the variable %s is %q", v.Name, v.Definition)
		}
		f.shows(t, "the variable "+v.Name, query{selectors: []selector{{metric: m[1]}}}, m[2])
	}
	shown := map[string]bool{}
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is wider than the page", p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, ok := taken[cell]; ok {
					t.Fatalf("%q and %q lie over each other", p.Title, other)
				}
				taken[cell] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d (%s) lacks a title, description, unit or query", p.ID, p.Title)
		}
		for i, target := range p.Targets {
			if target.RefID != string(rune('A'+i)) || target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: query %d has the name %q and the data source %q", p.Title, i, target.RefID, target.Datasource.UID)
			}
			for _, v := range dashboardVariable.FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(variables, v[1]) {
					t.Errorf("%s: there is no variable $%s", p.Title, v[1])
				}
			}
			q := f.holds(t, p.Title, plain(target.Expr))
			for _, s := range q.selectors {
				shown[s.metric] = true
			}
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				f.shows(t, p.Title, q, m[1])
			}
		}
	}
	for metric := range f {
		if strings.HasPrefix(metric, "zchatproxy_") && !shown[metric] {
			t.Errorf("%s is measured and not shown", metric)
		}
	}
}

// TestMetricsAreDocumented compares the table for people with what a running proxy measures.
func TestMetricsAreDocumented(t *testing.T) {
	f := measured(t)
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(zchatproxy_[a-z_]+)` \\| ([a-z, ]*)\\| ").FindAllStringSubmatch(example(t, "README.md"), -1) {
		rows[m[1]] = strings.TrimSpace(m[2])
	}
	for metric, labels := range f {
		name, series := strings.CutSuffix(metric, "_bucket")
		if !strings.HasPrefix(metric, "zchatproxy_") || strings.HasSuffix(metric, "_seconds_sum") || strings.HasSuffix(metric, "_seconds_count") {
			continue
		}
		row, ok := rows[name]
		delete(rows, name)
		if !ok {
			t.Errorf("the README does not know %s", name)
			continue
		}
		have := slices.DeleteFunc(slices.Sorted(maps.Keys(labels)), func(label string) bool { return series && label == "le" })
		want := strings.FieldsFunc(row, func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("the README says that %s has the labels %q; it has %q", name, want, have)
		}
	}
	for name := range rows {
		t.Errorf("the README has %s, which nothing measures", name)
	}
}

// alert is one rule of alerts.yaml, read by its lines: promtool judges the YAML.
type alert struct{ name, expr, severity, text string }

func readAlerts(t testing.TB) (alerts []alert) {
	t.Helper()
	_, rules, _ := strings.Cut(example(t, "prometheus/alerts.yaml"), "rules:\n")
	form := regexp.MustCompile(`(?s)^(\w+)\n +expr: (?:>-\n)?(.*?)\n +for: \w+\n +labels:\n +severity: (\w+)\n +annotations:\n +summary: (.*?)\n +description: >-\n(.*)$`)
	for i, block := range strings.Split(rules, "- alert: ") {
		if i == 0 {
			continue
		}
		m := form.FindStringSubmatch(strings.TrimSpace(block))
		if m == nil {
			t.Fatalf("this alert is written in another way than the others:\n%s", block)
		}
		alerts = append(alerts, alert{m[1], m[2], m[3], m[4] + " " + m[5]})
	}
	if len(alerts) < 10 {
		t.Fatalf("only %d alerts are read", len(alerts))
	}
	return alerts
}

func TestAlerts(t *testing.T) {
	f := measured(t)
	tests := example(t, "prometheus/alerts_test.yaml")
	for _, a := range readAlerts(t) {
		q := f.holds(t, a.name, a.expr)
		for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(a.text, -1) {
			f.shows(t, a.name, q, m[1])
		}
		if a.severity != "critical" && a.severity != "warning" {
			t.Errorf("%s has the severity %q", a.name, a.severity)
		}
		fires := fmt.Sprintf(`alertname="%s",alertstate="firing"`, a.name)
		if !strings.Contains(tests, fires) && !regexp.MustCompile(`alertname: `+a.name+`\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels`).MatchString(tests) {
			t.Errorf("no unit test lets %s fire", a.name)
		}
	}
}

// promtool runs Prometheus's own judge.
func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(need(t, "promtool"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Errorf("promtool %q: %v\n%s%s", args, err, out.String(), complaints.String())
	}
	return out.String()
}

func TestPromtool(t *testing.T) {
	t.Run("rules", func(t *testing.T) {
		promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", "prometheus/alerts.yaml")
		promtool(t, "", "test", "rules", "prometheus/alerts_test.yaml")
	})
	t.Run("configuration", func(t *testing.T) { promtool(t, "", "check", "config", "prometheus/prometheus.yaml") })
	t.Run("metrics", func(t *testing.T) {
		text, err := exposition()
		if err != nil {
			t.Fatal(err)
		}
		own := regexp.MustCompile(`(?m)^(# \w+ )?zchatproxy_.*\n`).FindAllString(text, -1)
		promtool(t, strings.Join(own, ""), "check", "metrics")
	})
	t.Run("dashboard", func(t *testing.T) {
		var rules bytes.Buffer
		rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
		for _, p := range readDashboard(t).Panels {
			for _, target := range p.Targets {
				fmt.Fprintf(&rules, "  - record: panel_%d_%s\n    expr: %q\n", p.ID, target.RefID, plain(target.Expr))
			}
		}
		promtool(t, "", "check", "rules", "--lint-fatal", write(t, filepath.Join(t.TempDir(), "rules.yaml"), rules.String()))
	})
}

// TestPrometheusFindsThePods runs the relabelling of the Kubernetes example over pods as the cluster's API describes them.
func TestPrometheusFindsThePods(t *testing.T) {
	dir := t.TempDir()
	type target struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	pod := func(address, app, port string) target {
		return target{[]string{address}, map[string]string{
			"__meta_kubernetes_namespace": "zchat", "__meta_kubernetes_pod_name": app + "-1",
			"__meta_kubernetes_pod_label_app_kubernetes_io_name": app, "__meta_kubernetes_pod_container_port_name": port,
		}}
	}
	pods, err := json.Marshal([]target{pod("10.0.0.1:8080", "zchatproxy", "http"), pod("10.0.0.1:9090", "zchatproxy", "admin"), pod("10.0.0.2:9090", "legacy-site", "admin")})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pods.json"), string(pods))
	write(t, filepath.Join(dir, "alerts.yaml"), example(t, "prometheus/alerts.yaml"))
	// Debian's promtool has no Kubernetes discovery, and there is no cluster here: a file stands in for it.
	config := write(t, filepath.Join(dir, "prometheus.yaml"), example(t, "prometheus/prometheus-kubernetes.yaml",
		"kubernetes_sd_configs:\n      - role: pod", "file_sd_configs:\n      - files: [pods.json]"))
	promtool(t, "", "check", "config", config)
	out := promtool(t, "", "check", "service-discovery", "--timeout=2s", config, "zchatproxy")
	var found []struct{ Labels map[string]string }
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var kept []map[string]string
	for _, f := range found {
		if len(f.Labels) > 0 {
			kept = append(kept, f.Labels)
		}
	}
	if len(kept) != 1 || kept[0]["instance"] != "zchatproxy-1" || kept[0]["job"] != "zchatproxy" || kept[0]["namespace"] != "zchat" {
		t.Errorf("of three ports one is to be scraped, as zchatproxy-1: %v", kept)
	}
	for _, want := range []string{"containerPort: 9090", "name: admin"} {
		if !strings.Contains(example(t, "kubernetes/base/deployment.yaml"), want) {
			t.Errorf("the Deployment has no %q, which the scrape configuration looks for", want)
		}
	}
}
