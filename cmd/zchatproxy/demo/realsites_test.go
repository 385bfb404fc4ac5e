package demo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// software is legacy software as Debian ships it, running at an address of its own.
type software struct {
	direct  string         // that address, without a slash at the end
	seeds   []string       // paths where a crawl begins
	skip    *regexp.Regexp // of request targets that are not to be visited; nil none
	varying *regexp.Regexp // what differs between two answers to the same request; nil nothing
	bare    *regexp.Regexp // of request targets of HTML that gets no script; nil none
	files   string         // where it keeps uploads
}

// realSite is such software behind the proxy.
type realSite struct {
	software
	t     *testing.T
	tap   *tap // on the wire between the proxy and it
	d     *Demo
	front string // the visitors' origin
	name  string // the Host that the software is asked with, and so its own idea of where it is

	accept  string         // what a crawl says to understand; empty as browsers do
	leaving map[string]int // links out of the visitors' origin to the software's, by kind of element
}

// behind starts the demonstration with the software in the place of the embedded site.
func (sw software) behind(t *testing.T) *realSite {
	t.Helper()
	return sw.behindName(t, "", "")
}

// behindName does so under a staging name: visitors come to that, and the software goes by the name that
// ZCHAT_UPSTREAM_HOST gives it. Both empty leave the visitors' name to the software.
func (sw software) behindName(t *testing.T, staging, upstreamHost string) *realSite {
	t.Helper()
	s := &realSite{software: sw, t: t, tap: newTap(t, strings.TrimPrefix(sw.direct, "http://")), leaving: make(map[string]int)}
	s.d = start(t, Options{upstream: s.tap.url(), upstreamHost: upstreamHost})
	s.front = strings.TrimSuffix(s.d.url, "/")
	if staging != "" {
		s.enterBy(staging)
	}
	switch upstreamHost {
	case "":
		s.name = strings.TrimPrefix(s.front, "http://")
	case "upstream":
		s.name = strings.TrimPrefix(s.tap.url(), "http://")
	default:
		s.name = upstreamHost
	}
	return s
}

// enterBy lets visitors come by another name.
func (s *realSite) enterBy(name string) {
	s.t.Helper()
	u, err := url.Parse(s.d.url)
	if err != nil {
		s.t.Fatal(err)
	}
	u.Host = net.JoinHostPort(name, u.Port())
	s.d.url = u.String()
	s.front = strings.TrimSuffix(s.d.url, "/")
}

// at is the address of a path behind the proxy.
func (s *realSite) at(path string) string { return s.front + path }

// own is the software's idea of its origin.
func (s *realSite) own() string { return "http://" + s.name }

// loopback is a transport that reaches the visitors' origins given, whatever their names, and nothing else.
func loopback(t *testing.T, origins ...string) *http.Transport {
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if !slices.Contains(origins, "http://"+address) {
			return nil, fmt.Errorf("%s is none of %q", address, origins)
		}
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// link is what a page points to, and what a browser would want it for.
type link struct{ target, dest string }

// thorough tells the long form of a test from the one that everybody runs.
func thorough() bool { return os.Getenv("ZCHATPROXY_TEST_ALL") == "1" }

// some are the first two of many paths where not everything is to be tested.
func some(paths []string) []string {
	if thorough() {
		return paths
	}
	return paths[:2]
}

// crawl visits the site page by page as a browser would, through the proxy and without it, and compares each answer
// with what the site sent for it. It keeps no cookies, so that every request is the first one. It stops after so many
// links, or a sixth of them where not everything is to be tested.
func (s *realSite) crawl(limit int) {
	s.t.Helper()
	if !thorough() {
		limit = max(limit/6, len(s.seeds))
	}
	c := &http.Client{
		Transport:     loopback(s.t, s.front, s.direct),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	seen := make(map[link]bool)
	var queue []link
	add := func(l link) {
		if !seen[l] && (s.skip == nil || !s.skip.MatchString(l.target)) {
			seen[l] = true
			queue = append(queue, l)
		}
	}
	for _, target := range s.seeds {
		add(link{target, "document"})
	}
	visited, pages := 0, 0
	for ; visited < len(queue) && visited < limit; visited++ {
		l := queue[visited]
		res, body, injected := s.visit(c, l)
		if injected {
			pages++
		}
		if visited < len(s.seeds) {
			s.head(c, l, injected)
		}
		if location := res.Get("Location"); location != "" {
			s.follow(l.target, "redirect", "", location, add)
		}
		s.links(l.target, body, add)
	}
	s.t.Logf("%d of %d links visited, %d pages with the script", visited, len(queue), pages)
	if pages < visited/4 {
		s.t.Error("that is too few pages for a site")
	}
}

// request is the same for both ways, but for who is asked.
func (s *realSite) request(method, base, origin string, l link) *http.Request {
	r, err := http.NewRequest(method, base+l.target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Host = strings.TrimPrefix(origin, "http://")
	r.Header = http.Header{
		"Accept": {cmp.Or(s.accept, "text/html,application/xhtml+xml,*/*;q=0.8")}, "Accept-Encoding": {"gzip, deflate, br"}, "Accept-Language": {"en"},
		"Sec-Fetch-Dest": {l.dest}, "Sec-Fetch-Site": {"same-origin"}, "User-Agent": {"crawler"}, "Referer": {origin + "/"},
	}
	return r
}

// visit requests one link both ways and compares. It returns the header as the visitor has it, and the page as the
// site sent it.
func (s *realSite) visit(c *http.Client, l link) (header http.Header, body []byte, injected bool) {
	s.t.Helper()
	for attempt := 1; ; attempt++ {
		res, asked, up, upBody := s.through(c, l)
		// The same request without the proxy must lead to the same answer.
		direct := s.request("GET", s.direct, s.own(), l)
		if s.own() != s.front {
			direct.Header.Set("X-Forwarded-Host", strings.TrimPrefix(s.front, "http://")) // which software may go by
		}
		alone, aloneRaw := s.do(c, direct)
		for _, difference := range requestDifferences(direct, asked) {
			s.t.Errorf("%s: the request goes up with %s", l.target, difference)
		}
		if alone.StatusCode != up.StatusCode || !sameHeader(alone.Header, up.Header, "Content-Type", "Location", "Content-Encoding") {
			s.t.Errorf("%s: asked directly: %s %v, through the proxy: %s %v", l.target, alone.Status, alone.Header, up.Status, up.Header)
		}
		a, b := s.steady(plain(s.t, alone.Header, aloneRaw)), s.steady(upBody)
		if bytes.Equal(a, b) {
			return res.Header, upBody, s.isPage(l, up.Header, upBody)
		}
		// Pages that show the time are another page once a minute.
		if attempt == 3 {
			s.t.Errorf("%s: asked directly the site answers another page: %s", l.target, firstDifference(a, b))
			return res.Header, upBody, s.isPage(l, up.Header, upBody)
		}
	}
}

// through requests a link through the proxy, and compares what comes with what the site sent.
func (s *realSite) through(c *http.Client, l link) (res *http.Response, asked *http.Request, up *http.Response, upBody []byte) {
	s.t.Helper()
	s.tap.reset()
	res, raw := s.do(c, s.request("GET", s.front, s.front, l))
	asked, up, upRaw, err := s.tap.one("GET")
	if err != nil {
		s.t.Fatalf("%s: the site's answer: %v", l.target, err)
	}
	body, upBody := plain(s.t, res.Header, raw), plain(s.t, up.Header, upRaw)
	page := s.isPage(l, up.Header, upBody)
	scripts := len(script.FindAll(body, -1))
	switch {
	case page && scripts != 1:
		s.t.Errorf("%s: %d scripts in a page", l.target, scripts)
	case !page && !bytes.Equal(raw, upRaw):
		s.t.Errorf("%s (%s): not the site's bytes", l.target, l.dest)
	}
	if !bytes.Equal(script.ReplaceAll(body, nil), upBody) {
		s.t.Errorf("%s: without the script it is not the site's page", l.target)
	}
	if res.StatusCode != up.StatusCode {
		s.t.Errorf("%s: status %d, the site's is %d", l.target, res.StatusCode, up.StatusCode)
	}
	for _, difference := range headerDifferences(s.renamed(up.Header), res.Header, page, len(raw)) {
		s.t.Errorf("%s: %s", l.target, difference)
	}
	return res, asked, up, upBody
}

// head asks for a link's header alone, which must be true of the page that GET brings.
func (s *realSite) head(c *http.Client, l link, page bool) {
	s.t.Helper()
	s.tap.reset()
	res, body := s.do(c, s.request("HEAD", s.front, s.front, l))
	_, up, _, err := s.tap.one("HEAD")
	if err != nil {
		s.t.Fatalf("%s: the site's answer to HEAD: %v", l.target, err)
	}
	if isHTML(up.Header) && !page {
		return // that it is only a part of one takes its body to know
	}
	if res.StatusCode != up.StatusCode || len(body) > 0 {
		s.t.Errorf("HEAD %s: %s with %d bytes, the site answers %s", l.target, res.Status, len(body), up.Status)
	}
	for _, difference := range headerDifferences(s.renamed(up.Header), res.Header, page, -1) {
		s.t.Errorf("HEAD %s: %s", l.target, difference)
	}
	if page && res.Header.Get("Content-Length") != "" {
		s.t.Errorf("HEAD %s: a length of %s, which is that without the script", l.target, res.Header.Get("Content-Length"))
	}
}

func (s *realSite) isPage(l link, h http.Header, body []byte) bool {
	return l.dest == "document" && isHTML(h) && len(body) > 0 && !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") &&
		(s.bare == nil || !s.bare.MatchString(l.target))
}

func isHTML(h http.Header) bool {
	kind := h.Get("Content-Type")
	return strings.HasPrefix(kind, "text/html") || strings.HasPrefix(kind, "application/xhtml+xml")
}

// renamed is the header that visitors of a staging name must get.
func (s *realSite) renamed(h http.Header) http.Header {
	if s.own() == s.front {
		return h
	}
	h = h.Clone()
	for _, name := range []string{"Location", "Content-Location"} {
		for i, v := range h[name] {
			if rest, ok := strings.CutPrefix(v, s.own()); ok {
				h[name][i] = s.front + rest
			}
		}
	}
	visitors, _, _ := strings.Cut(strings.TrimPrefix(s.front, "http://"), ":")
	for i, v := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = cookieDomain.ReplaceAllString(v, "${1}"+visitors)
	}
	return h
}

var cookieDomain = regexp.MustCompile(`(?i)(; *domain=)[^;]*`)

func (s *realSite) do(c *http.Client, r *http.Request) (*http.Response, []byte) {
	s.t.Helper()
	res, err := c.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s: %v", r.URL, err)
	}
	return res, body
}

// steady takes out what differs between two answers to the same request.
func (s *realSite) steady(body []byte) []byte {
	if s.varying == nil {
		return body
	}
	return s.varying.ReplaceAll(body, []byte("…"))
}

func firstDifference(a, b []byte) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	cut := func(x []byte) string { return string(x[max(0, i-60):min(len(x), i+60)]) }
	return "\n direct  " + cut(a) + "\n through " + cut(b)
}

// links hands on what a page points to on the same site.
func (s *realSite) links(from string, page []byte, add func(link)) {
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		return
	}
	dests := map[string]string{"a": "document", "area": "document", "form": "", "frame": "frame", "iframe": "iframe", "script": "script", "img": "image", "link": "style"}
	base := ""
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "base" {
			base = cmp.Or(base, attribute(n, "href"))
		}
		dest, known := dests[n.Data]
		if !known {
			continue
		}
		kind := n.Data
		if n.Data == "link" {
			kind += " " + attribute(n, "rel")
		}
		if name := attribute(n, "target"); name != "" && name[0] != '_' {
			dest = "frame"
		}
		for _, a := range n.Attr {
			if a.Key == "href" || a.Key == "src" || a.Key == "action" {
				s.follow(cmp.Or(base, from), kind, dest, strings.TrimSpace(a.Val), add)
			}
		}
	}
}

// follow hands on where a reference leads, if that is on the same site. It counts those that lead to the site under its
// other name.
func (s *realSite) follow(from, kind, dest, reference string, add func(link)) {
	base, err := url.Parse(s.front)
	if err == nil {
		base, err = base.Parse(from)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := base.Parse(reference)
	if err != nil || u.Opaque != "" {
		return
	}
	switch u.Scheme + "://" + u.Host {
	case s.front:
	case s.own(), s.tap.url(), s.direct:
		s.leaving[kind]++
		return
	default:
		return
	}
	u.Scheme, u.Host, u.Fragment = "", "", ""
	if kind == "redirect" {
		dest = "document"
	}
	if target := u.RequestURI(); dest != "" && strings.HasPrefix(target, "/") {
		add(link{target, dest})
	}
}

func sameHeader(a, b http.Header, names ...string) bool {
	for _, name := range names {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// requestDifferences says what the site is told beyond, or otherwise than, what it is told directly.
func requestDifferences(direct, asked *http.Request) (out []string) {
	if asked.RequestURI != direct.URL.RequestURI() || asked.Host != direct.Host || asked.Method != direct.Method {
		out = append(out, fmt.Sprintf("%s %s %s, want %s %s %s", asked.Method, asked.Host, asked.RequestURI, direct.Method, direct.Host, direct.URL.RequestURI()))
	}
	for name, values := range asked.Header {
		switch name {
		case "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded":
		default:
			if !slices.Equal(values, direct.Header[name]) {
				out = append(out, fmt.Sprintf("%s: %q, want %q", name, values, direct.Header[name]))
			}
		}
	}
	for name := range direct.Header {
		if asked.Header[name] == nil && name != "X-Forwarded-Host" {
			out = append(out, "no "+name)
		}
	}
	return out
}

// headerDifferences says how the header got differs from the site's in other ways than it must. size is that of the
// body as it was sent.
func headerDifferences(site, got http.Header, page bool, size int) (out []string) {
	free := map[string]bool{"Connection": true, "Keep-Alive": true, "Transfer-Encoding": true} // of the connection, not of the answer
	say := func(name string) {
		out = append(out, name+": "+strings.Join(got[name], " | ")+", the site's is "+strings.Join(site[name], " | "))
	}
	both := map[string]bool{"Vary": true}
	for _, h := range []http.Header{site, got} {
		for name := range h {
			both[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(both)) {
		a, b := site[name], got[name]
		if name == "Vary" && isHTML(got) {
			a = []string{strings.Join(append(slices.Clone(a), "Sec-Fetch-Dest"), ", ")}
			b = []string{strings.Join(b, ", ")}
		}
		if free[name] || slices.Equal(a, b) {
			continue
		}
		switch {
		case name == "Set-Cookie":
			own := slices.DeleteFunc(slices.Clone(b), func(c string) bool { return strings.HasPrefix(c, "__zchat_visitor=") })
			if !slices.Equal(a, own) {
				say(name)
			}
		case name == "Content-Length":
			if len(b) > 0 && b[0] != strconv.Itoa(size) {
				say(name)
			}
		case name == "Upgrade" && len(b) == 0: // the site's offer to its own client
		case page && name == "Etag":
			if len(b) != 1 || !strings.HasPrefix(b[0], strings.TrimSuffix(site.Get(name), `"`)) {
				say(name)
			}
		case page && name == "Accept-Ranges" && len(b) == 0:
		case page && name == "Content-Type" && strings.HasPrefix(b[0], a[0]+"; charset="):
		default:
			say(name)
		}
	}
	return out
}

// browse opens paths in a browser, without and with the proxy, and then as somebody who is logged in at the gateway.
func (s *realSite) browse(paths ...string) {
	s.t.Helper()
	paths = some(paths)
	b := newVisitor(s.t)
	for _, path := range paths {
		b.open(s.direct + path)
		b.settle()
		direct, before := eval[facts](b, readFacts), b.complaints()
		b.open(s.at(path))
		b.await("")
		b.settle()
		through, after := eval[facts](b, readFacts), b.complaints()
		if through.Scripts != 1 || through.Charset != direct.Charset || through.Mode != direct.Mode || through.Title != direct.Title {
			s.t.Errorf("%s:\n direct  %.300v\n through %.300v", path, direct, through)
		}
		for _, complaint := range after {
			if !slices.Contains(before, complaint) {
				s.t.Errorf("%s: new in the console: %s", path, complaint)
			}
		}
	}
	w := walk{t: s.t, d: s.d, b: b}
	w.logIn(b, "c-1003")
	b.complaints()
	for _, path := range paths {
		b.open(s.at(path))
		w.is(b.await("c-1003"), "c-1003", "Łukasz Żuraw", "lukasz.zuraw@zagle-gdynia.example")
	}
}
