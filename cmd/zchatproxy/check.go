package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
)

// report is what check found, in the form of --format json.
type report struct {
	OK       bool          `json:"ok"`
	Problems []finding     `json:"problems"`
	Warnings []finding     `json:"warnings"`
	Process  processReport `json:"process"`
	Sites    []siteReport  `json:"sites"`
}

type processReport struct {
	Listen          string `json:"listen"`
	TLS             bool   `json:"tls"`
	Admin           string `json:"admin"`
	TrustedProxies  string `json:"trusted_proxies"`
	RoutePrefix     string `json:"route_prefix"`
	UpstreamTimeout string `json:"upstream_timeout"`
	ShutdownTimeout string `json:"shutdown_timeout"`
	MaxConnections  int    `json:"max_connections"`
	LogLevel        string `json:"log_level"`
}

type siteReport struct {
	Site         string        `json:"site"` // the number to give to --site; "" for the plain form
	Name         string        `json:"name"` // in logs and metrics
	Hosts        []string      `json:"hosts"`
	Upstream     string        `json:"upstream"`
	UpstreamHost string        `json:"upstream_host"`
	Widget       string        `json:"widget"`
	LoadsWidget  bool          `json:"loads_widget"`
	Identity     string        `json:"identity"`
	Trust        string        `json:"trust"` // which headers count and why they can be believed
	Secret       secretReport  `json:"secret"`
	HelpCenter   *secretReport `json:"help_center_secret,omitempty"`
	KeyID        string        `json:"key_id,omitempty"`
	TokenTTL     string        `json:"token_ttl"`
	Inject       string        `json:"inject"`
	Include      []string      `json:"include_paths"`
	Exclude      []string      `json:"exclude_paths"`
	CSP          string        `json:"csp"`
}

// secretReport describes a secret without giving anything of it away that helps to guess it.
type secretReport struct {
	Fingerprint string `json:"fingerprint,omitempty"` // the same for the same secret everywhere; "" without one
	Bytes       int    `json:"bytes"`
}

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration and show what it amounts to",
		Long: `Load and validate the whole configuration, and print every problem at once, each with the variable's name
and what to write instead, then the sites in a table. Nothing is contacted; "zchatproxy doctor" does that.

Exit code 0: usable. Exit code 2: it has problems. Warnings do not count.`,
		Args: cobra.NoArgs,
	}
	format := formatFlag(cmd)
	reference := cmd.Flags().Bool("reference", false, "print the reference of all variables (Markdown) and check nothing")
	cmd.RunE = work(func(*cobra.Command, []string) error {
		if *reference {
			_, err := io.WriteString(a.stdout, markdownReference())
			return err
		}
		return a.check(*format)
	})
	return cmd
}

func (a *app) check(format string) error {
	c := newLoader(a.env).load()
	if len(c.problems.list) == 0 {
		// The proxy judges once more by itself; building it contacts nobody.
		if _, err := proxy.New(c.proxyConfig(slog.New(slog.DiscardHandler))); err != nil {
			for _, f := range c.refused(err) {
				c.problems.add(f)
			}
		}
	}
	r := c.report()
	if format == "json" {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else if err := a.printReport(r); err != nil {
		return err
	}
	if !r.OK {
		return &failure{code: exitUsage}
	}
	return nil
}

func (c *configuration) report() *report {
	p := c.process
	r := &report{
		OK:       len(c.problems.list) == 0,
		Problems: append([]finding{}, c.problems.list...),
		Warnings: append([]finding{}, c.warnings.list...),
		Process: processReport{
			Listen: p.Listen, TLS: p.TLSCertFile != "", Admin: p.AdminListen, TrustedProxies: p.TrustedProxies, RoutePrefix: p.RoutePrefix,
			UpstreamTimeout: p.UpstreamTimeout.String(), ShutdownTimeout: p.ShutdownTimeout.String(),
			MaxConnections: p.MaxConnections, LogLevel: p.LogLevel,
		},
		Sites: []siteReport{},
	}
	for _, s := range c.sites {
		r.Sites = append(r.Sites, s.report())
	}
	return r
}

func (s *site) report() siteReport {
	v := &s.vars
	r := siteReport{
		Name: s.name, Hosts: s.hosts, Upstream: v.Upstream, UpstreamHost: v.UpstreamHost,
		Widget: v.Widget, LoadsWidget: v.WidgetKey != "", Identity: v.Identity, KeyID: v.KeyID,
		TokenTTL: v.TokenTTL.String(), Inject: v.Inject,
		Include: append([]string{}, v.IncludePaths...), Exclude: append([]string{}, v.ExcludePaths...), CSP: v.CSP,
	}
	if checkUpstream(v.Upstream) != "" {
		r.Upstream = "" // it may hold a password
	}
	if s.number >= 0 {
		r.Site = strconv.Itoa(s.number)
	}
	if source, err := identity.New(s.identityConfig()); err == nil {
		r.Trust = source.Describe()
	}
	if s.secret != nil {
		r.Secret = secretReport{s.secret.Fingerprint(), s.secret.Len()}
	}
	if s.helpCtr != nil {
		r.HelpCenter = &secretReport{s.helpCtr.Fingerprint(), s.helpCtr.Len()}
	}
	return r
}

// printReport writes the report for people.
func (a *app) printReport(r *report) error {
	paint, columns := a.paint(a.stdout), width(a.stdout)
	var b strings.Builder
	for _, f := range r.Problems {
		b.WriteString(f.render(paint.red("✗"), paint, columns))
	}
	for _, f := range r.Warnings {
		b.WriteString(f.render(paint.yellow("!"), paint, columns))
	}
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	p := r.Process
	scheme := "HTTP"
	if p.TLS {
		scheme = "HTTPS"
	}
	row := func(name, value string) { fmt.Fprintf(&b, "%s %s\n", paint.dim(fmt.Sprintf("%-10s", name)), value) }
	row("listens", p.Listen+" ("+scheme+")")
	row("admin", p.Admin)
	row("trusts", p.TrustedProxies)
	row("routes", p.RoutePrefix+"/…")
	b.WriteString("\n")
	siteTable(r.Sites).write(&b, paint, columns)
	b.WriteString("\n")
	identityLines(&b, paint, columns, r.Sites)
	b.WriteString("\n" + verdict(paint, r) + "\n")
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// verdict is the last line.
func verdict(paint palette, r *report) string {
	if !r.OK {
		text := paint.red("✗ " + plural(len(r.Problems), "problem"))
		if slices.ContainsFunc(r.Problems, func(f finding) bool { return !f.passing }) {
			return text + "; the proxy would not start like this."
		}
		return text + "; the proxy would start, and sign no token until it is solved."
	}
	text := paint.green("✓ usable") + ", " + plural(len(r.Sites), "site")
	if n := len(r.Warnings); n > 0 {
		text += ", " + paint.yellow(plural(n, "warning"))
	}
	return text + ". Try it with: zchatproxy doctor"
}

// identityLines says once for each way of knowing visitors which headers it takes.
func identityLines(b *strings.Builder, paint palette, columns int, sites []siteReport) {
	const margin = 11
	room := 1 << 30
	if columns > 40 {
		room = columns - margin
	}
	var said []string
	for _, s := range sites {
		text := s.Identity + ": " + s.Trust
		if s.Trust == "" || slices.Contains(said, text) {
			continue
		}
		said = append(said, text)
		lines := strings.Join(wrap(text, room), "\n"+strings.Repeat(" ", margin))
		fmt.Fprintf(b, "%s %s\n", paint.dim(fmt.Sprintf("%-10s", "identity")), lines)
	}
}

func siteTable(sites []siteReport) *table {
	t := &table{}
	numbered := slices.ContainsFunc(sites, func(s siteReport) bool { return s.Site != "" })
	t.head = []string{"HOSTS", "UPSTREAM", "WIDGET", "IDENTITY", "SECRET", "INJECT", "POLICY"}
	if numbered {
		t.head = append([]string{"SITE"}, t.head...)
	}
	for _, s := range sites {
		upstream := orDash(s.Upstream)
		if s.UpstreamHost != "preserve" {
			upstream += "\nas " + s.UpstreamHost
		}
		widget := s.Widget
		if s.LoadsWidget {
			widget += "\n+ loader"
		}
		secret := orDash(s.Secret.Fingerprint)
		if s.Secret.Fingerprint != "" {
			secret = fmt.Sprintf("%s\n%d bytes", s.Secret.Fingerprint, s.Secret.Bytes)
		}
		if s.HelpCenter != nil {
			secret += "\nhelp center " + orDash(s.HelpCenter.Fingerprint)
		}
		cells := []string{hostCell(s.Hosts), upstream, widget, s.Identity, secret, injection(s), s.CSP}
		if numbered {
			cells = append([]string{s.Site}, cells...)
		}
		t.rows = append(t.rows, cells)
	}
	return t
}

func injection(s siteReport) string {
	if len(s.Exclude) == 0 && (len(s.Include) == 0 || slices.Equal(s.Include, []string{"/*"})) {
		return s.Inject
	}
	text := s.Inject + "\n" + strings.Join(s.Include, "\n")
	if len(s.Exclude) > 0 {
		text += "\nnot " + strings.Join(s.Exclude, "\nnot ")
	}
	return text
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}

// hostCell shows the first hosts of a site, one a line.
func hostCell(hosts []string) string {
	const shown = 4
	if len(hosts) <= shown {
		return strings.Join(hosts, "\n")
	}
	return fmt.Sprintf("%s\nand %d more", strings.Join(hosts[:shown-1], "\n"), len(hosts)-shown+1)
}

// table is text in columns. A cell may have several lines.
type table struct {
	head []string
	rows [][]string
}

// write sets the table in columns, or, where a terminal is too narrow for it, as one paragraph for each row.
func (t *table) write(b *strings.Builder, paint palette, columns int) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			for line := range strings.SplitSeq(cell, "\n") {
				widths[i] = max(widths[i], utf8.RuneCountInString(line))
			}
		}
	}
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	if columns > 0 && total > columns {
		t.writeParagraphs(b, paint)
		return
	}
	writeRow(b, t.head, widths, paint.dim)
	for _, row := range t.rows {
		writeRow(b, row, widths, func(text string) string { return text })
	}
}

// writeRow sets one row, as high as its highest cell.
func writeRow(b *strings.Builder, row []string, widths []int, style func(string) string) {
	cells, height := make([][]string, len(row)), 0
	for i, cell := range row {
		cells[i] = strings.Split(cell, "\n")
		height = max(height, len(cells[i]))
	}
	for y := range height {
		line, gap := "", 0
		for i, lines := range cells {
			text := ""
			if y < len(lines) {
				text = lines[y]
			}
			if text != "" {
				line += strings.Repeat(" ", gap) + style(text)
				gap = 0
			}
			gap += widths[i] - utf8.RuneCountInString(text) + 2
		}
		b.WriteString(line + "\n")
	}
}

func (t *table) writeParagraphs(b *strings.Builder, paint palette) {
	for i, row := range t.rows {
		if i > 0 {
			b.WriteString("\n")
		}
		for j, cell := range row {
			fmt.Fprintf(b, "%s %s\n", paint.dim(fmt.Sprintf("%-10s", strings.ToLower(t.head[j]))), strings.ReplaceAll(cell, "\n", " "))
		}
	}
}
