package demo

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"zchatproxy/cmd/zchatproxy/demo/site"
)

// start runs a demonstration on a free port until the test ends.
func start(t *testing.T, o Options) *Demo {
	t.Helper()
	o.Listen = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	d, err := Start(ctx, o)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := d.Wait(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// visitor is a client with cookies, logged in as id, or as nobody.
func visitor(t *testing.T, d *Demo, id string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Jar: jar, Transport: transport}
	if id != "" {
		res, err := c.PostForm(d.url+"_sso/login", url.Values{"person": {id}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("logging in as %s: %s", id, res.Status)
		}
	}
	return c
}

// fetch gets a page as a browser does.
func fetch(t *testing.T, c *http.Client, address string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest("GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// recorder keeps what the site sent last.
type recorder struct {
	mu   sync.Mutex
	last *httptest.ResponseRecorder
}

func (rec *recorder) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := httptest.NewRecorder()
		h.ServeHTTP(own, r)
		rec.mu.Lock()
		rec.last = own
		rec.mu.Unlock()
		maps.Copy(w.Header(), own.Header())
		w.WriteHeader(own.Code)
		w.Write(own.Body.Bytes())
	})
}

func (rec *recorder) sent() *httptest.ResponseRecorder {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.last
}

// script is the injected element. Nothing in the site looks like it.
var script = regexp.MustCompile(`(?s)<script data-zchatproxy=""[^>]*>.*?</script>`)

// plain undoes the content coding.
func plain(t *testing.T, h http.Header, body []byte) []byte {
	t.Helper()
	switch h.Get("Content-Encoding") {
	case "":
		return body
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	t.Fatalf("coding %q", h.Get("Content-Encoding"))
	return nil
}

// TestPagesComeOutUnchanged compares every page with what the site sent in that very answer.
func TestPagesComeOutUnchanged(t *testing.T) {
	var rec recorder
	d := start(t, Options{wrapSite: rec.wrap})
	untouched := []string{"/export/price-list.xls", "/images/mast.jpg", "/css/portal.css", "/js/portal.js", "/favicon.ico"}
	frames := []string{"/manuals/toc.html", "/manuals/welcome.html", "/manuals/rope.html"}
	var pages []string
	for _, p := range site.Pages() {
		if p.Path != untouched[0] {
			pages = append(pages, p.Path)
		}
	}
	pages = append(pages, "/no/such/page")
	if len(pages) < 10 {
		t.Fatalf("only %d pages", len(pages))
	}

	compare := func(t *testing.T, c *http.Client, path string, scripts int, header ...string) {
		t.Helper()
		res, body := fetch(t, c, strings.TrimSuffix(d.url, "/")+path, header...)
		own := rec.sent()
		if got, want := res.Header.Get("Content-Encoding"), own.Header().Get("Content-Encoding"); got != want {
			t.Errorf("%s: coding %q, the site's is %q", path, got, want)
		}
		if scripts == 0 && !bytes.Equal(body, own.Body.Bytes()) {
			t.Errorf("%s: the bytes have changed", path)
		}
		body, want := plain(t, res.Header, body), plain(t, own.Header(), own.Body.Bytes())
		if n := len(script.FindAll(body, -1)); n != scripts {
			t.Errorf("%s: %d scripts, want %d", path, n, scripts)
		}
		if got := script.ReplaceAll(body, nil); !bytes.Equal(got, want) {
			t.Errorf("%s: without the script it is not the site's page:\n%s", path, cmp.Diff(string(want), string(got)))
		}
		if res.StatusCode != own.Code {
			t.Errorf("%s: status %d, the site's is %d", path, res.StatusCode, own.Code)
		}
	}
	for _, id := range []string{"", "c-1003"} {
		c := visitor(t, d, id)
		for _, coding := range []string{"identity", "gzip, deflate, br, zstd"} {
			for _, path := range pages {
				compare(t, c, path, 1, "Accept-Encoding", coding, "Accept", "text/html", "Sec-Fetch-Dest", "document")
			}
			for _, path := range untouched {
				compare(t, c, path, 0, "Accept-Encoding", coding)
			}
			for _, path := range frames {
				compare(t, c, path, 0, "Accept-Encoding", coding, "Sec-Fetch-Dest", "frame")
			}
		}
	}
}

// TestToken verifies the token with a library that the product does not use.
func TestToken(t *testing.T) {
	for _, kind := range []string{"classic", "messaging", "chat"} {
		t.Run(kind, func(t *testing.T) {
			d := start(t, Options{Widget: kind})
			res, body := fetch(t, visitor(t, d, ""), d.url+"__zchat/jwt")
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("nobody is logged in: %s %s", res.Status, body)
			}
			res, body = fetch(t, visitor(t, d, "c-1003"), d.url+"__zchat/jwt")
			if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/jwt" {
				t.Fatalf("%s %v %s", res.Status, res.Header, body)
			}
			token, err := jwt.ParseSigned(string(body), []jose.SignatureAlgorithm{jose.HS256})
			if err != nil {
				t.Fatal(err)
			}
			var claims map[string]any
			if err := token.Claims([]byte(d.secrets.chat), &claims); err != nil {
				t.Fatal(err)
			}
			if claims["external_id"] != "c-1003" || claims["name"] != "Łukasz Żuraw" || claims["email"] != "lukasz.zuraw@zagle-gdynia.example" {
				t.Errorf("claims %v", claims)
			}
			if (claims["scope"] == "user") != (kind == "messaging") || (claims["email_verified"] == true) != (kind == "messaging") {
				t.Errorf("claims %v are not those of %s", claims, kind)
			}
		})
	}
}

func TestStart(t *testing.T) {
	if _, err := Start(t.Context(), Options{Widget: "carrier pigeon"}); err == nil || !strings.Contains(err.Error(), "classic") {
		t.Errorf("an unknown widget: %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := Start(t.Context(), Options{Listen: taken.Addr().String()}); err == nil {
		t.Error("an address that is taken: no error")
	}
	if l, err := net.Listen("tcp", defaultListen); err == nil {
		defer l.Close() // or somebody else has it, which is as good
	}
	ctx, cancel := context.WithCancel(t.Context())
	d, err := Start(ctx, Options{})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if strings.Contains(d.URL(), defaultListen) {
		t.Errorf("the default address is taken, and the demonstration claims to be at %s", d.URL())
	}
	if res, _ := fetch(t, visitor(t, d, ""), d.URL()); res.StatusCode != http.StatusOK {
		t.Errorf("landing page: %s", res.Status)
	}
	cancel()
	if err := d.Wait(); err != nil {
		t.Error(err)
	}
}

// TestStop ends the demonstration while an answer is under way that would never end.
func TestStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	arrived := make(chan struct{})
	d, err := Start(ctx, Options{Listen: "127.0.0.1:0", wrapSite: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	go http.Get(d.url)
	<-arrived
	cancel()
	stopped := make(chan error)
	go func() { stopped <- d.Wait() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still running")
	}
	for _, address := range []string{d.url, d.site, d.admin} {
		u, _ := url.Parse(address)
		if conn, err := net.Dial("tcp", u.Host); err == nil {
			conn.Close()
			t.Errorf("%s still listens", address)
		}
	}
}

func TestAdmin(t *testing.T) {
	d := start(t, Options{Version: "v1.2.3"})
	c := visitor(t, d, "")
	fetch(t, c, d.url)
	_, metrics := fetch(t, c, d.admin+"metrics")
	if !regexp.MustCompile(`(?m)^zchatproxy_pages_total\{[^}]*site="demo"[^}]*\} 1$`).Match(metrics) {
		t.Errorf("the page is not counted:\n%s", metrics)
	}
	if res, body := fetch(t, c, d.admin+"readyz"); res.StatusCode != http.StatusOK {
		t.Errorf("not ready: %s %s", res.Status, body)
	}
	if res, _ := fetch(t, c, d.url+"metrics"); res.StatusCode != http.StatusNotFound {
		t.Errorf("visitors get the metrics: %s", res.Status)
	}
}

func TestVisitorURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8090": "http://127.0.0.1:8090/", "0.0.0.0:1": "http://127.0.0.1:1/", "[::]:1": "http://127.0.0.1:1/",
		"[::1]:1": "http://[::1]:1/", "192.0.2.7:80": "http://192.0.2.7:80/",
	} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := visitorURL(a); got != want {
			t.Errorf("visitorURL(%s) = %s, want %s", address, got, want)
		}
	}
}
