package demo

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// realSite is legacy software as Debian ships it, behind the proxy.
type realSite struct {
	t      *testing.T
	direct string // its own address, without a slash at the end
	tap    *tap   // on the wire between the proxy and it
	d      *Demo

	files   string         // where it keeps uploads
	seeds   []string       // paths where the crawl begins
	skip    *regexp.Regexp // of request targets that are not to be visited; nil none
	varying *regexp.Regexp // what differs between two answers to the same request; nil nothing
	bare    *regexp.Regexp // of request targets of HTML that is not a page; nil none
}

// behind starts the demonstration with the software at direct in the place of the embedded site.
func behind(t *testing.T, direct string) *realSite {
	t.Helper()
	s := &realSite{t: t, direct: direct, tap: newTap(t, strings.TrimPrefix(direct, "http://"))}
	s.d = start(t, Options{upstream: s.tap.url()})
	return s
}

// at is the address of a path behind the proxy.
func (s *realSite) at(path string) string { return strings.TrimSuffix(s.d.url, "/") + path }

// tap passes a TCP connection on as it is and keeps what the server sent: it is the upstream's answer to the byte.
type tap struct {
	listener net.Listener
	mu       sync.Mutex
	sent     bytes.Buffer
}

func newTap(t *testing.T, server string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &tap{listener: l}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(client, server)
		}
	}()
	return p
}

func (p *tap) pass(client net.Conn, server string) {
	defer client.Close()
	up, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		io.Copy(up, client)
		up.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(io.MultiWriter(client, p), up)
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.Write(b)
}

func (p *tap) url() string { return "http://" + p.listener.Addr().String() }

func (p *tap) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent.Reset()
}

// answer parses the one answer since the last reset.
func (p *tap) answer(r *http.Request) (*http.Response, []byte, error) {
	p.mu.Lock()
	raw := bytes.Clone(p.sent.Bytes())
	p.mu.Unlock()
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

// server runs a program until the test ends, and waits until address accepts connections.
func server(t *testing.T, address string, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has workers, which are to end with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-gone
		}
		if t.Failed() {
			t.Logf("%s said:\n%.4000s", filepath.Base(cmd.Path), out.String())
		}
	})
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-gone:
			t.Fatalf("%s has ended: %s", cmd, out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s: %s", cmd, address, out.String())
		}
	}
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// publicDir is a directory that a server under another account can read.
func publicDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for at := dir; at != os.TempDir() && len(at) > len(os.TempDir()); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// plainClient keeps no cookies and decodes nothing, so that every request of a crawl is the first one.
func plainClient(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// link is what a page points to, and what a browser would want it for.
type link struct{ target, dest string }

// crawl visits the site page by page as a browser would, through the proxy and without it, and compares each answer
// with what the site sent for it. It returns how many pages got the script.
func (s *realSite) crawl(c *http.Client) (pages int) {
	s.t.Helper()
	limit := 30
	if os.Getenv("ZCHATPROXY_TEST_ALL") == "1" {
		limit = 150
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
	for i := 0; i < len(queue) && i < limit; i++ {
		body, injected := s.visit(c, queue[i])
		if injected {
			pages++
		}
		for _, l := range s.links(queue[i].target, body) {
			add(l)
		}
	}
	s.t.Logf("%d of %d links visited, %d pages with the script", min(limit, len(queue)), len(queue), pages)
	return pages
}

// visit requests one link both ways and compares.
func (s *realSite) visit(c *http.Client, l link) (body []byte, injected bool) {
	s.t.Helper()
	request := func(base string) *http.Request {
		r, err := http.NewRequest("GET", base+l.target, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		r.Host = strings.TrimPrefix(s.at(""), "http://")
		r.Header = http.Header{
			"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}, "Accept-Encoding": {"gzip, deflate, br"}, "Accept-Language": {"en"},
			"Sec-Fetch-Dest": {l.dest}, "Sec-Fetch-Site": {"same-origin"}, "User-Agent": {"crawler"},
		}
		return r
	}
	once := *c
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.tap.reset()
	res, raw := s.do(&once, request(s.at("")))
	up, upRaw, err := s.tap.answer(res.Request)
	if err != nil {
		s.t.Errorf("%s: the site's answer: %v", l.target, err)
		return nil, false
	}
	body, upBody := plain(s.t, res.Header, raw), plain(s.t, up.Header, upRaw)

	scripts := len(script.FindAll(body, -1))
	isPage := l.dest == "document" && strings.HasPrefix(up.Header.Get("Content-Type"), "text/html") && len(upBody) > 0 &&
		up.Header.Get("Content-Disposition") == "" && (s.bare == nil || !s.bare.MatchString(l.target))
	switch {
	case isPage && scripts != 1:
		s.t.Errorf("%s: %d scripts in a page", l.target, scripts)
	case !isPage && !bytes.Equal(raw, upRaw):
		s.t.Errorf("%s (%s): not the site's bytes", l.target, l.dest)
	}
	if !bytes.Equal(script.ReplaceAll(body, nil), upBody) {
		s.t.Errorf("%s: without the script it is not the site's page", l.target)
	}
	if res.StatusCode != up.StatusCode {
		s.t.Errorf("%s: status %d, the site's is %d", l.target, res.StatusCode, up.StatusCode)
	}
	for _, difference := range headerDifferences(up.Header, res.Header, isPage, len(raw)) {
		s.t.Errorf("%s: %s", l.target, difference)
	}

	// The same request without the proxy must lead to the same answer: the proxy has changed nothing on the way up.
	alone, aloneRaw := s.do(&http.Client{Transport: c.Transport, CheckRedirect: once.CheckRedirect}, request(s.direct))
	aloneBody := plain(s.t, alone.Header, aloneRaw)
	if alone.StatusCode != up.StatusCode || alone.Header.Get("Content-Type") != up.Header.Get("Content-Type") ||
		alone.Header.Get("Location") != up.Header.Get("Location") || alone.Header.Get("Content-Encoding") != up.Header.Get("Content-Encoding") {
		s.t.Errorf("%s: asked directly: %s %v, through the proxy: %s %v", l.target, alone.Status, alone.Header, up.Status, up.Header)
	}
	if a, b := s.steady(aloneBody), s.steady(upBody); !bytes.Equal(a, b) {
		s.t.Errorf("%s: asked directly the site answers another page: %s", l.target, firstDifference(a, b))
	}
	return upBody, isPage
}

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

// links lists what a page on the site points to on the same site.
func (s *realSite) links(from string, page []byte) (list []link) {
	base, err := url.Parse(from)
	if err != nil {
		s.t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		return nil
	}
	dests := map[string]string{"a": "document", "area": "document", "frame": "frame", "iframe": "iframe", "script": "script", "img": "image", "link": "style"}
	for n := range root.Descendants() {
		dest := dests[n.Data]
		if n.Type != html.ElementNode || dest == "" {
			continue
		}
		for _, a := range n.Attr {
			if a.Key != "href" && a.Key != "src" {
				continue
			}
			u, err := base.Parse(strings.TrimSpace(a.Val))
			if err != nil || u.Opaque != "" || u.Scheme != "" && u.Host != strings.TrimPrefix(s.at(""), "http://") {
				continue
			}
			u.Scheme, u.Host, u.Fragment = "", "", ""
			if target := u.RequestURI(); strings.HasPrefix(target, "/") {
				list = append(list, link{target, dest})
			}
		}
	}
	return list
}

// headerDifferences says how the header got differs from the site's in other ways than it must. size is that of the
// body as it was sent.
func headerDifferences(site, got http.Header, page bool, size int) (out []string) {
	free := map[string]bool{"Connection": true, "Keep-Alive": true, "Transfer-Encoding": true} // of the connection, not of the answer
	say := func(name string) {
		out = append(out, name+": "+strings.Join(got[name], " | ")+", the site's is "+strings.Join(site[name], " | "))
	}
	names := slices.Sorted(maps.Keys(site))
	for name := range got {
		if site[name] == nil {
			names = append(names, name)
		}
	}
	for _, name := range names {
		a, b := site[name], got[name]
		if free[name] || slices.Equal(a, b) {
			continue
		}
		switch {
		case name == "Set-Cookie":
			own := slices.DeleteFunc(slices.Clone(b), func(c string) bool { return strings.HasPrefix(c, "__zchat_visitor=") })
			if !slices.Equal(a, own) {
				say(name)
			}
		case name == "Vary" && strings.HasPrefix(got.Get("Content-Type"), "text/html"):
			if want := strings.Join(append(slices.Clone(a), "Sec-Fetch-Dest"), ", "); strings.Join(b, ", ") != want {
				say(name)
			}
		case name == "Content-Length":
			if len(b) > 0 && b[0] != strconv.Itoa(size) {
				say(name)
			}
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
	b := newVisitor(s.t)
	settle := func() {
		eval[bool](b, `new Promise(function (done) { requestIdleCallback(function () { setTimeout(function () { done(true) }, 50) }) })`)
	}
	for _, path := range paths {
		b.open(s.direct + path)
		settle()
		direct, before := eval[facts](b, readFacts), b.complaints()
		b.open(s.at(path))
		b.await("")
		settle()
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
	for _, path := range paths {
		b.open(s.at(path))
		w.is(b.await("c-1003"), "c-1003", "Łukasz Żuraw", "lukasz.zuraw@zagle-gdynia.example")
	}
}
