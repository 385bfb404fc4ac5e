package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// mark is what doctor thinks of one station.
type mark string

const (
	markOK      mark = "ok"
	markInfo    mark = "info"    // nothing to judge
	markWarning mark = "warning" // does not stop a chat, or not for everybody
	markFailure mark = "failure" // stops an authenticated chat
	markSkipped mark = "skipped" // could not be looked at, because of an earlier failure
)

// station is one stop of the walk.
type station struct {
	Name   string `json:"station"`
	Mark   mark   `json:"mark"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
	// Detail is the evidence: policies before and after, the token's parts. On a terminal it is shown with --verbose.
	Detail []string `json:"detail,omitempty"`
}

// diagnosis is the form of doctor --format json.
type diagnosis struct {
	OK       bool      `json:"ok"` // nothing would stop an authenticated chat
	Target   string    `json:"target"`
	Site     string    `json:"site,omitempty"`
	Stations []station `json:"stations"`
}

// doctor walks one page through the whole chain as a visitor's browser would.
type doctor struct {
	app     *app
	options doctorOptions
	now     func() time.Time
	resolve func(ctx context.Context, host string) ([]string, error)

	config *configuration // nil where nothing is configured here
	site   *site          // nil where nothing is configured here

	stations []station
	reported func(station) // called with each station as soon as it is known
}

type doctorOptions struct {
	target  string // URL of a running proxy; "" walks the configured site inside this process
	site    string
	headers []string // "Name: value", what the gateway would add
	peer    string   // the gateway's address; "" is one that is trusted
	host    string
	path    string
	timeout time.Duration
	verbose bool
}

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [URL]",
		Short: "Find out what would stop an authenticated chat",
		Long: `Walk a page through the whole chain as a visitor's browser would, and say at each station whether it would stop an
authenticated chat, and what to do about it.

Without a URL, the configured site's upstream is asked through a proxy inside this process, with the headers given
by --header in place of the gateway's. With the URL of a page behind a running proxy, that is walked over the network;
give a session's cookie as a header to walk it as somebody who is logged in.

Exit code 0: nothing stops an authenticated chat. Exit code 1: something does. Exit code 2: the configuration is wrong.`,
		Example: `  zchatproxy doctor --header 'X-Forwarded-User: 42' --header 'X-Forwarded-Email: ada@example.com'
  zchatproxy doctor https://shop.example.com/ --header 'Cookie: _oauth2_proxy=…'`,
		Args: cobra.MaximumNArgs(1),
	}
	var o doctorOptions
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.headers, "header", "H", nil, "a request header as the gateway would send it, 'Name: value'; may be repeated")
	flags.StringVar(&o.peer, "peer", "", "without a URL: the address the request comes from (a trusted one)")
	flags.StringVar(&o.host, "host", "", "without a URL: the host name the visitor asks for (the site's first)")
	flags.StringVar(&o.path, "path", "/", "without a URL: the page to ask for")
	flags.DurationVar(&o.timeout, "timeout", 20*time.Second, "the longest that one request may take")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "show the evidence too: policies before and after, what a token holds")
	format, siteName := formatFlag(cmd), siteFlag(cmd)
	cmd.RunE = work(func(_ *cobra.Command, args []string) error {
		o.site = *siteName
		if len(args) == 1 {
			o.target = args[0]
		}
		if err := o.check(); err != nil {
			return err
		}
		d := &doctor{app: a, options: o, now: time.Now, resolve: net.DefaultResolver.LookupHost}
		return a.runDoctor(d, *format)
	})
	return cmd
}

func (o *doctorOptions) check() error {
	for _, h := range o.headers {
		if name, _, ok := strings.Cut(h, ":"); !ok || strings.TrimSpace(name) == "" {
			return usagef("--header %q: write 'Name: value'", h)
		}
	}
	if !strings.HasPrefix(o.path, "/") {
		return usagef("--path %q: write a path such as /shop/", o.path)
	}
	if o.peer != "" && o.peer != "unix" && net.ParseIP(o.peer) == nil {
		return usagef("--peer %q: write an IP address, or unix", o.peer)
	}
	if o.target == "" {
		return nil
	}
	u, err := url.Parse(o.target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return usagef("%q is not a URL of a page; write one such as https://shop.example.com/", o.target)
	}
	return nil
}

// runDoctor walks and prints, and returns how the walk ended.
func (a *app) runDoctor(d *doctor, format string) error {
	paint, columns := a.paint(a.stdout), width(a.stdout)
	if format == "text" {
		// A station can take its time, so each is shown as soon as it is known.
		d.reported = func(s station) {
			if !d.options.verbose {
				s.Detail = nil
			}
			io.WriteString(a.stdout, s.render(paint, columns))
		}
	}
	code := d.walk(a.ctx)
	result := d.diagnosis()
	if format == "json" {
		if err := a.printJSON(result); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.stdout, "\n"+result.verdict(paint))
	}
	if code != exitDone {
		return &failure{code: code}
	}
	return nil
}

// walk visits all stations and returns the exit code.
func (d *doctor) walk(ctx context.Context) int {
	if !d.visitConfiguration() {
		return exitUsage
	}
	if d.options.target == "" {
		d.walkSite(ctx)
	} else {
		d.walkURL(ctx)
	}
	for _, s := range d.stations {
		if s.Mark == markFailure {
			return exitFailed
		}
	}
	return exitDone
}

func (d *doctor) diagnosis() diagnosis {
	r := diagnosis{OK: true, Target: d.options.target, Stations: d.stations}
	if d.site != nil {
		r.Site = d.site.name
		if r.Target == "" {
			r.Target = d.site.vars.Upstream
		}
	}
	for _, s := range d.stations {
		r.OK = r.OK && s.Mark != markFailure
	}
	return r
}

func (r diagnosis) verdict(paint palette) string {
	if r.OK {
		for _, s := range r.Stations {
			if s.Mark == markWarning {
				return paint.yellow("!") + " Nothing stops an authenticated chat here, but see the warnings."
			}
		}
		return paint.green("✓") + " Nothing stops an authenticated chat here."
	}
	for _, s := range r.Stations {
		if s.Mark == markFailure {
			return paint.red("✗") + " No authenticated chat: begin with " + paint.bold(s.Name) + "."
		}
	}
	return ""
}

// report enters one station.
func (d *doctor) report(s station) {
	d.stations = append(d.stations, s)
	if d.reported != nil {
		d.reported(s)
	}
}

func (d *doctor) ok(name, format string, args ...any) {
	d.report(station{Name: name, Mark: markOK, Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) info(name, format string, args ...any) {
	d.report(station{Name: name, Mark: markInfo, Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(name, text, remedy string) {
	d.report(station{Name: name, Mark: markWarning, Text: text, Remedy: remedy})
}

func (d *doctor) fail(name, text, remedy string) {
	d.report(station{Name: name, Mark: markFailure, Text: text, Remedy: remedy})
}

func (d *doctor) skip(why string, names ...string) {
	for _, n := range names {
		d.report(station{Name: n, Mark: markSkipped, Text: why})
	}
}

// render sets a station in a line, and its remedy below, within the terminal's width.
func (s station) render(paint palette, columns int) string {
	sign := map[mark]string{
		markOK: paint.green("✓"), markInfo: paint.dim("·"), markWarning: paint.yellow("!"),
		markFailure: paint.red("✗"), markSkipped: paint.dim("–"),
	}[s.Mark]
	const margin = 17
	text, room := s.Text, 1<<30
	if columns > 60 {
		room = columns - margin
	}
	var b strings.Builder
	for i, line := range wrap(text, room) {
		switch {
		case s.Mark == markSkipped:
			line = paint.dim(line)
		case s.Mark == markFailure && i == 0:
			line = paint.bold(line)
		}
		if i == 0 {
			fmt.Fprintf(&b, "%s %s%s\n", sign, fmt.Sprintf("%-*s", margin-2, s.Name), line)
			continue
		}
		fmt.Fprintf(&b, "%*s%s\n", margin, "", line)
	}
	for _, detail := range s.Detail {
		for _, line := range wrap(detail, room-2) {
			fmt.Fprintf(&b, "%*s%s\n", margin+2, "", paint.dim(line))
		}
	}
	if s.Remedy != "" {
		for i, line := range wrap(s.Remedy, room-2) {
			arrow := "  "
			if i == 0 {
				arrow = paint.yellow("→ ")
			}
			fmt.Fprintf(&b, "%*s%s%s\n", margin, "", arrow, line)
		}
	}
	return b.String()
}

// visitConfiguration loads what is configured here. It returns false where that is wrong.
func (d *doctor) visitConfiguration() bool {
	const name = "configuration"
	configured := false
	for _, line := range d.app.env {
		configured = configured || strings.HasPrefix(line, prefix)
	}
	if !configured && d.options.target != "" {
		d.info(name, "none here: the proxy is looked at from outside only; with its ZCHAT_ variables the tokens' signatures are checked too")
		return true
	}
	c := newLoader(d.app.env).load()
	wrong := false
	for _, p := range c.problems.list {
		switch {
		case p.passing:
			continue // the station of the secret says it
		case p.missing && d.options.target != "":
			continue // a walk over the network gets by with less
		}
		d.fail(name, p.Message, "")
		wrong = true
	}
	if wrong {
		return false
	}
	s, err := c.pick(d.options.siteOr(c))
	if err != nil {
		d.fail(name, err.Error(), "")
		return false
	}
	d.config, d.site = c, s
	for _, w := range c.warnings.list {
		if w.site >= 0 && w.site != s.number {
			continue
		}
		if w.stops {
			d.fail(name, w.Message, "")
		} else {
			d.warn(name, w.Message, "")
		}
	}
	if len(d.stations) == 0 {
		d.ok(name, "site %s, %s widget, identity %s, from peers in %s", s.name, s.vars.Widget, s.vars.Identity, c.process.TrustedProxies)
	}
	return true
}

// siteOr chooses the site: --site, else that of the URL's host, where there are several.
func (o *doctorOptions) siteOr(c *configuration) string {
	if o.site != "" || o.target == "" || len(c.sites) == 1 {
		return o.site
	}
	u, err := url.Parse(o.target)
	if err != nil {
		return ""
	}
	for _, s := range c.sites {
		for _, h := range s.hosts {
			if wild, ok := strings.CutPrefix(h, "*"); h == u.Hostname() || ok && strings.HasSuffix(u.Hostname(), wild) {
				return h
			}
		}
	}
	return ""
}

// browserRequest is a visitor's navigation to a page.
func (d *doctor) browserRequest(ctx context.Context, target string) (*http.Request, error) {
	return d.request(ctx, target, [][2]string{
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		{"Accept-Language", "en"},
		{"Accept-Encoding", "gzip, deflate, br, zstd"},
		{"Sec-Fetch-Dest", "document"},
		{"Sec-Fetch-Mode", "navigate"},
		{"Sec-Fetch-Site", "none"},
		{"Upgrade-Insecure-Requests", "1"},
	})
}

// tokenRequest is the injected script's request for a token.
func (d *doctor) tokenRequest(ctx context.Context, target string) (*http.Request, error) {
	return d.request(ctx, target, [][2]string{
		{"Accept", "application/jwt, application/json"},
		{"Cache-Control", "no-cache"},
		{"Sec-Fetch-Dest", "empty"},
		{"Sec-Fetch-Mode", "cors"},
		{"Sec-Fetch-Site", "same-origin"},
	})
}

// request is what a browser sends, and what --header gives.
func (d *doctor) request(ctx context.Context, target string, fields [][2]string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "Mozilla/5.0 (compatible; zchatproxy doctor)")
	for _, f := range fields {
		r.Header.Set(f[0], f[1])
	}
	for name, values := range d.headers() {
		if name == "Host" {
			r.Host = values[0]
			continue
		}
		r.Header[name] = values
	}
	return r, nil
}

// headers are those of --header. Names keep their spelling where it is not canonical: aliases are a fault to be found.
func (d *doctor) headers() http.Header {
	h := http.Header{}
	for _, line := range d.options.headers {
		name, value, _ := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		h[name] = append(h[name], strings.TrimSpace(value))
	}
	return h
}
