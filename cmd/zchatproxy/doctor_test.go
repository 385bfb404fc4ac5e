package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"zchatproxy/proxy"
)

const goodPage = `<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Old site</title>
<script id="ze-snippet" src="https://static.zdassets.com/ekr/snippet.js?key=01234567-89ab-cdef-0123-456789abcdef"></script>
</head><body>Hello</body></html>`

// asAda is what the gateway sends for somebody who is logged in.
var asAda = []string{"X-Forwarded-User: 42", "X-Forwarded-Email: ada@example.com"}

// fault is one thing that is wrong, in an arrangement that works otherwise.
type fault struct {
	name    string
	page    string           // what the site serves, goodPage if empty
	header  [][2]string      // added to the site's response
	handle  http.HandlerFunc // serves instead of page and header
	env     []string         // added to the usable configuration
	headers []string         // --header, asAda if nil
	peer    string
	path    string
	clock   time.Duration // by which this machine's clock is off
	mark    mark          // markFailure if empty
	station string        // of the first line that is not in order
	says    string        // what it says, or its remedy
}

var faults = []fault{
	// Configuration and secret.
	{name: "misspelled variable", env: []string{"ZCHAT_WIDGTE=chat"}, station: "configuration", says: "the closest one is ZCHAT_WIDGET"},
	{name: "token lives too long", env: []string{"ZCHAT_TOKEN_TTL=10m"}, station: "configuration", says: "ZCHAT_TOKEN_TTL is 10m0s"},
	{name: "no secret", env: []string{"ZCHAT_SECRET="}, station: "configuration", says: "ZCHAT_SECRET is not set"},
	{name: "secret with quotes", env: []string{`ZCHAT_SECRET="` + goodSecret + `"`}, station: "configuration", says: "quotes around the secret"},
	{name: "placeholder for a secret", env: []string{"ZCHAT_SECRET=changeme"}, station: "configuration", says: "holds a placeholder"},
	{name: "short secret", env: []string{"ZCHAT_SECRET=0123456789abcdef"}, station: "configuration", says: "16 bytes"},
	{name: "id of a messaging key for a secret", env: []string{"ZCHAT_SECRET=app_0123456789abcdef0123456789abcdef"}, station: "configuration", says: "begins with app_"},
	{name: "messaging key on a classic configuration", env: []string{"ZCHAT_KEY_ID=app_0123456789"}, station: "configuration", says: "ZCHAT_KEY_ID is the id of a messaging key, but ZCHAT_WIDGET is classic"},
	{name: "secret's file missing", env: []string{"ZCHAT_SECRET=", "ZCHAT_SECRET_FILE=/nonexistent/secret"}, station: "secret", says: "ZCHAT_SECRET_FILE: "},
	{name: "secret's file empty", env: []string{"ZCHAT_SECRET=", "ZCHAT_SECRET_FILE=EMPTY"}, station: "secret", says: "empty"},

	// The way to the site.
	{name: "unknown name", env: []string{"ZCHAT_UPSTREAM=http://old-site.invalid"}, station: "name", says: "old-site.invalid is not known"},
	{name: "nothing listens", env: []string{"ZCHAT_UPSTREAM=http://CLOSED"}, station: "connection", says: "connection refused"},
	{name: "https to a port without TLS", env: []string{"ZCHAT_UPSTREAM=https://SITE"}, station: "tls", says: "does not speak TLS"},
	{name: "certificate of an unknown authority", env: []string{"ZCHAT_UPSTREAM=https://TLSSITE"}, station: "tls", says: "ZCHAT_UPSTREAM_CA_FILE"},
	{name: "certificate for another name", env: []string{"ZCHAT_UPSTREAM=https://TLSNAME", "ZCHAT_UPSTREAM_CA_FILE=CA"}, station: "tls", says: "Write the name that the certificate is for"},
	{name: "certificate not checked", env: []string{"ZCHAT_UPSTREAM=https://TLSSITE", "ZCHAT_UPSTREAM_INSECURE=true"}, mark: markWarning, station: "configuration", says: "ZCHAT_UPSTREAM_INSECURE is true"},
	{name: "http to a port with TLS", env: []string{"ZCHAT_UPSTREAM=http://TLSSITE"}, station: "upstream", says: "400"},
	{name: "too slow", handle: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, env: []string{"ZCHAT_UPSTREAM_TIMEOUT=100ms"}, station: "upstream", says: "ZCHAT_UPSTREAM_TIMEOUT"},
	{name: "hangs up", handle: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, station: "upstream", says: "without an answer"},
	{name: "site is broken", handle: status(http.StatusInternalServerError), station: "upstream", says: "500 Internal Server Error"},
	{name: "no such page", handle: status(http.StatusNotFound), station: "upstream", says: "--path"},
	{name: "site has its own log-in", handle: status(http.StatusUnauthorized), station: "upstream", says: "wants somebody to be logged in"},
	{name: "log-in page elsewhere", handle: redirect("https://idp.example.com/login"), station: "upstream", says: "redirects to another host, idp.example.com"},
	{name: "redirects in a circle", handle: redirect("/"), station: "upstream", says: "in a circle"},

	// The page.
	{name: "no page at all", header: [][2]string{{"Content-Type", "application/json"}}, page: `{"a":1}`, station: "upstream", says: "Only text/html"},
	{name: "JSON that calls itself HTML", page: `{"html":"<head></head>"}`, station: "injection", says: "not-html"},
	{name: "piece of a page", page: "<div>piece</div>", station: "injection", says: "fragment"},
	{name: "unknown coding", header: [][2]string{{"Content-Encoding", "compress"}}, station: "compression", says: "compress"},
	{name: "broken gzip", header: [][2]string{{"Content-Encoding", "gzip"}}, station: "compression", says: "cannot be decoded"},
	{name: "two codings on another", header: [][2]string{{"Content-Encoding", "gzip"}, {"Content-Encoding", "gzip"}}, station: "compression", says: "cannot be decoded"},
	{name: "no-transform", header: [][2]string{{"Cache-Control", "private, no-transform"}}, station: "injection", says: "no-transform forbids changes"},
	{name: "to be saved", header: [][2]string{{"Content-Disposition", "attachment"}}, station: "injection", says: "to be saved"},
	{name: "switched off", env: []string{"ZCHAT_INJECT=off"}, station: "injection", says: "ZCHAT_INJECT is off"},
	{name: "preview only", env: []string{"ZCHAT_INJECT=preview"}, station: "injection", says: "?__zchat=on"},
	{name: "path left out", env: []string{"ZCHAT_EXCLUDE_PATHS=/account/*"}, path: "/account/", station: "injection", says: "ZCHAT_EXCLUDE_PATHS"},
	{name: "proxy behind a proxy", page: `<!DOCTYPE html><html><head><script data-zchatproxy="other">1</script></head></html>`, station: "injection", says: "another zchatproxy"},
	{name: "charset that nobody knows", header: [][2]string{{"Content-Type", "text/html; charset=utf-7"}}, station: "injection", says: "charset-unknown"},

	// Policy.
	{name: "policy left alone", header: [][2]string{{"Content-Security-Policy", "default-src 'self'"}}, env: []string{"ZCHAT_CSP=off"}, station: "policy", says: "ZCHAT_CSP=patch"},
	{name: "sandbox", header: [][2]string{{"Content-Security-Policy", "sandbox"}}, station: "injection", says: "csp-sandbox"},
	{name: "policy in a meta element", page: strings.Replace(goodPage, "<title>", `<meta http-equiv="Content-Security-Policy" content="default-src 'self'"><title>`, 1), station: "policy", says: "<meta> element"},

	// Caches and clocks.
	{name: "CDN keeps the page", header: [][2]string{{"Cache-Control", "public, s-maxage=600"}, {"Age", "30"}, {"Via", "1.1 cdn"}}, station: "visitor cookie", says: "shared caches may keep it (public, s-maxage=600"},
	{name: "clock ten minutes ahead", clock: 10 * time.Minute, station: "clock", says: "10m0s ahead of the upstream's"},
	{name: "clock ten minutes behind", clock: -10 * time.Minute, station: "clock", says: "10m0s behind the upstream's"},
	{name: "clock one minute ahead", clock: time.Minute, mark: markWarning, station: "clock", says: "1m0s ahead"},

	// Identity.
	{name: "wrong header name", headers: []string{"X-User: 42", "X-Mail: ada@example.com"}, station: "identity", says: "ZCHAT_ID_HEADER"},
	{name: "another gateway", headers: []string{"Remote-User: 42", "Remote-Email: ada@example.com"}, station: "identity", says: "ZCHAT_IDENTITY=authelia"},
	{name: "untrusted peer", peer: "203.0.113.7", station: "identity", says: "headers from 203.0.113.7 do not count: ZCHAT_TRUSTED_PROXIES is 127.0.0.0/8,::1/128"},
	{name: "no e-mail", headers: asAda[:1], station: "identity", says: "needs an e-mail address"},
	{name: "shared account", headers: []string{"X-Forwarded-User: guest", "X-Forwarded-Email: ada@example.com"}, env: []string{"ZCHAT_EXTERNAL_ID_PREFIX=u-"}, mark: markWarning, station: "identity", says: "reads like an account that several people use"},
	{name: "no id", headers: asAda[1:], env: []string{"ZCHAT_IDENTITY=custom", "ZCHAT_ID_HEADER=X-Id", "ZCHAT_EMAIL_HEADER=X-Forwarded-Email"}, station: "identity", says: "no-id"},
	{name: "e-mail with accents", headers: []string{"X-Forwarded-User: 42", "X-Forwarded-Email: adá@example.com"}, station: "token", says: "not well-formed"},
	{name: "e-mail for an id in messaging", env: []string{"ZCHAT_WIDGET=messaging", "ZCHAT_KEY_ID=app_1"}, headers: []string{"X-Forwarded-User: ada@example.com"}, mark: markWarning, station: "identity", says: "the id is an e-mail address"},
	{name: "assertion that is none", env: []string{"ZCHAT_IDENTITY=google-iap", "ZCHAT_ASSERTION_AUDIENCE=/projects/1/apps/x"}, headers: []string{"X-Goog-Iap-Jwt-Assertion: x.y.z"}, station: "identity", says: "assertion-malformed"},

	// The widget.
	{name: "nothing loads the widget", page: "<!DOCTYPE html><html><head></head><body>x</body></html>", station: "widget", says: "ZCHAT_WIDGET_KEY"},
	{name: "tag manager loads the widget, perhaps", page: `<!DOCTYPE html><html><head><script src="/gtm.js"></script></head></html>`, mark: markWarning, station: "widget", says: "tag manager"},
	{name: "the other widget", page: strings.Replace(goodPage, "https://static.zdassets.com/ekr/snippet.js?key=", "https://v2.zopim.com/?", 1), station: "widget", says: "ZCHAT_WIDGET=chat"},
	{name: "web widget where chat is configured", env: []string{"ZCHAT_WIDGET=chat"}, station: "widget", says: "ZCHAT_WIDGET is chat"},
	{name: "messaging in the page", page: goodPage + "<script>zE('messenger', 'open')</script>", station: "widget", says: "ZCHAT_WIDGET=messaging"},
	{name: "misspelled key", page: strings.Replace(goodPage, "<title>", "<script>window.zESettings = {webWidget: {authentication: {chat: {jwtFn: f}}}}</script><title>", 1), mark: markWarning, station: "leftovers", says: "spell authentication"},
	{name: "misspelled key in quotes", page: strings.Replace(goodPage, "<title>", "<script>window.zESettings = {webWidget: {\"authentication\": {chat: {jwtFn: f}}}}</script><title>", 1), mark: markWarning, station: "leftovers", says: "spell authentication"},
	{name: "inverted keys", page: strings.Replace(goodPage, "<title>", "<script>window.zESettings = {webWidget: {chat: {authenticate: {jwtFn: f}}}}</script><title>", 1), mark: markWarning, station: "leftovers", says: "authenticate inside chat"},
	{name: "inverted keys in quotes", page: strings.Replace(goodPage, "<title>", "<script>window.zESettings = {webWidget: {'chat': {'authenticate': {jwtFn: f}}}}</script><title>", 1), mark: markWarning, station: "leftovers", says: "authenticate inside chat"},
	{name: "old authenticate", page: strings.Replace(goodPage, "<title>", "<script>window.zESettings = {webWidget: {authenticate: {chat: {jwtFn: f}}}}</script><title>", 1), mark: markWarning, station: "leftovers", says: "own zESettings sign visitors in"},
	{name: "old authenticate in quotes", page: strings.Replace(goodPage, "<title>", "<script>window.zESettings = {webWidget: {\"authenticate\": {\"chat\": {\"jwtFn\": f}}}}</script><title>", 1), mark: markWarning, station: "leftovers", says: "own zESettings sign visitors in"},
	{name: "token in the page", page: strings.Replace(goodPage, "Hello", `<script>var t = "eyJhbGciOiJIUzI1NiJ9.eyJuYW1lIjoiYWRhIn0.AAAAAAAAAAAAAAAAAAAAAAAAA"</script>`, 1), mark: markWarning, station: "leftovers", says: "a token is written into the page"},
	{name: "zE before its tag", page: strings.Replace(goodPage, "<title>", "<script>zE('webWidget', 'hide')</script><title>", 1), mark: markWarning, station: "leftovers", says: "before the widget's tag"},
}

// A site that speaks nothing but brotli can be served, but not looked into.
func TestDoctorBeforeBrotliAlone(t *testing.T) {
	d := arrange(t, fault{handle: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", "br")
		z := brotli.NewWriter(w)
		io.WriteString(z, goodPage)
		z.Close()
	}})
	if code := d.walk(t.Context()); code != exitDone {
		t.Errorf("exit code %d\n%s", code, listing(d))
	}
	if text := listing(d); !strings.Contains(text, "✓ injection      the script is in, at byte ") || !strings.Contains(text, "· compression    br") {
		t.Errorf("got\n%s", text)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		io.WriteString(w, goodPage)
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// For each fault, the first line that is not in order names its cause.
func TestDoctorNamesTheCause(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			d := arrange(t, f)
			code := d.walk(t.Context())
			var first *station
			for i := range d.stations {
				if m := d.stations[i].Mark; m == markFailure || m == markWarning {
					first = &d.stations[i]
					break
				}
			}
			wantMark := f.mark
			if wantMark == "" {
				wantMark = markFailure
			}
			if first == nil || first.Name != f.station || first.Mark != wantMark || !strings.Contains(first.Text+" "+first.Remedy, f.says) {
				t.Errorf("want first a %s at %s that says %q; got\n%s", wantMark, f.station, f.says, listing(d))
			}
			if (code == exitDone) != (wantMark == markWarning) {
				t.Errorf("exit code %d\n%s", code, listing(d))
			}
			for _, s := range d.stations {
				if strings.Contains(s.Text+s.Remedy, goodSecret) {
					t.Errorf("shows the secret: %+v", s)
				}
			}
		})
	}
}

func TestDoctorFindsNothing(t *testing.T) {
	for _, f := range []fault{
		{name: "logged in"},
		{name: "anonymous", headers: []string{}},
		{name: "gzip whether asked for or not", handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, goodPage)
			z.Close()
		}},
		{name: "brotli, or gzip where it is asked for", handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			if strings.Contains(r.Header.Get("Accept-Encoding"), "br") {
				w.Header().Set("Content-Encoding", "br")
				z := brotli.NewWriter(w)
				io.WriteString(z, goodPage)
				z.Close()
				return
			}
			io.WriteString(w, goodPage)
		}},
		{name: "strict policy", header: [][2]string{{"Content-Security-Policy", "default-src 'none'; script-src 'nonce-abcdefghijklmnop'"}}},
		{name: "TLS with its own authority", env: []string{"ZCHAT_UPSTREAM=https://TLSSITE", "ZCHAT_UPSTREAM_CA_FILE=CA"}},
		{name: "redirect within the site", handle: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/welcome", http.StatusFound)
				return
			}
			status(200)(w, r)
		}},
		{name: "insists on https", handle: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Forwarded-Proto") != "https" {
				http.Redirect(w, r, "https://"+r.Host+r.URL.Path, http.StatusFound)
				return
			}
			status(200)(w, r)
		}},
		{name: "messaging", env: []string{"ZCHAT_WIDGET=messaging", "ZCHAT_KEY_ID=app_1"}},
		{name: "upstream knows", env: []string{"ZCHAT_IDENTITY=upstream", "ZCHAT_ID_HEADER=X-Id", "ZCHAT_EMAIL_HEADER=X-Mail"}, headers: []string{"Cookie: session=1"},
			header: [][2]string{{"X-Id", "42"}, {"X-Mail", "ada@example.com"}}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			d := arrange(t, f)
			if code := d.walk(t.Context()); code != exitDone {
				t.Errorf("exit code %d", code)
			}
			for _, s := range d.stations {
				if s.Mark == markFailure || s.Mark == markWarning || s.Mark == markSkipped {
					t.Errorf("%+v\n%s", s, listing(d))
				}
			}
		})
	}
}

// arrange builds a site with one fault in it, and a doctor to look at it.
func arrange(t *testing.T, f fault) *doctor {
	t.Helper()
	handle := f.handle
	if handle == nil {
		handle = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			seen := map[string]bool{}
			for _, h := range f.header {
				if !seen[h[0]] {
					w.Header().Del(h[0])
				}
				seen[h[0]] = true
				w.Header().Add(h[0], h[1])
			}
			page := f.page
			if page == "" {
				page = goodPage
			}
			io.WriteString(w, page)
		}
	}
	plain := httptest.NewServer(handle)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(handle)
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	writeCertificate(t, cert, key, 1)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	secure.Config.ErrorLog = serverLog(newLog(io.Discard, processVars{}))
	secure.StartTLS()
	t.Cleanup(secure.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	stand := strings.NewReplacer(
		"TLSSITE", secure.Listener.Addr().String(), "TLSNAME", "other-name.test:"+port, "SITE", plain.Listener.Addr().String(),
		"CLOSED", closed.Addr().String(), "=CA", "="+cert, "EMPTY", writeFile(t, "empty", "\n"),
	)
	env := append([]string{"ZCHAT_UPSTREAM=" + plain.URL, "ZCHAT_SECRET=" + goodSecret}, f.env...)
	for i := range env {
		env[i] = stand.Replace(env[i])
	}
	headers := f.headers
	if headers == nil {
		headers = asAda
	}
	path := f.path
	if path == "" {
		path = "/"
	}
	return &doctor{
		app:     &app{env: env, stdout: io.Discard, stderr: io.Discard},
		options: doctorOptions{headers: headers, peer: f.peer, path: path, timeout: patience},
		now:     func() time.Time { return time.Now().Add(f.clock) },
		resolve: func(_ context.Context, host string) ([]string, error) {
			if strings.HasSuffix(host, ".invalid") {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return []string{"127.0.0.1"}, nil
		},
	}
}

func listing(d *doctor) string {
	var b strings.Builder
	for _, s := range d.stations {
		b.WriteString(s.render(palette{}, 0))
	}
	return b.String()
}

// Over the network, from outside.
func TestDoctorURL(t *testing.T) {
	site := startSite(t, status(200))
	p := start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret)
	down := start(t, "ZCHAT_UPSTREAM=http://127.0.0.1:1", "ZCHAT_SECRET="+goodSecret)
	gateway := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/__zchat/") {
			http.Redirect(w, r, "https://idp.example.com/auth", http.StatusFound)
			return
		}
		_, page := get(t, p.url+r.URL.Path)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, page)
	})
	stale := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Age", "4000")
		status(200)(w, r)
	})
	type want struct {
		station string
		mark    mark
		says    string
	}
	for _, tc := range []struct {
		name, url string
		env       []string
		headers   []string
		code      int
		want      want
	}{
		{"all is well", p.url + "/", nil, asAda, 0, want{"token", markOK, "signature not checked"}},
		{"with the secret", p.url + "/", []string{"ZCHAT_SECRET=" + goodSecret}, asAda, 0, want{"token", markOK, "passes every verifier"}},
		{"anonymous", p.url + "/", nil, nil, 0, want{"identity", markInfo, "nobody is logged in"}},
		{"another secret", p.url + "/", []string{"ZCHAT_SECRET=" + goodSecret + "x"}, asAda, 1, want{"token", markFailure, "signed with another secret"}},
		{"headers of another gateway", p.url + "/", nil, []string{"Remote-User: 42"}, 1, want{"identity", markFailure, "nobody"}},
		{"the site itself", site.URL + "/", nil, nil, 1, want{"injection", markFailure, "no zchatproxy answers at /__zchat/jwt"}},
		{"the site is down", down.url + "/", nil, nil, 1, want{"page", markFailure, "answers 502"}},
		{"the gateway redirects the token route", gateway.URL + "/", nil, nil, 1, want{"token", markFailure, "redirects to idp.example.com"}},
		{"an old copy in a cache", stale.URL + "/", nil, nil, 1, want{"injection", markFailure, "a cache has had for 4000 seconds"}},
		{"nobody listens", "http://127.0.0.1:1/", nil, nil, 1, want{"connection", markFailure, "connection refused"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := []string{"doctor", "--format", "json", tc.url}
			for _, h := range tc.headers {
				args = append(args, "--header", h)
			}
			code, out, errs := call(tc.env, "", args...)
			if code != tc.code {
				t.Errorf("exit code %d: %s%s", code, out, errs)
			}
			var r diagnosis
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			if r.OK != (tc.code == 0) {
				t.Errorf("ok is %v", r.OK)
			}
			for _, s := range r.Stations {
				if tc.code != 0 && s.Mark == markFailure || tc.code == 0 && s.Name == tc.want.station {
					if s.Name != tc.want.station || s.Mark != tc.want.mark || !strings.Contains(s.Text, tc.want.says) {
						t.Errorf("got %+v, want %+v", s, tc.want)
					}
					return
				}
			}
			t.Errorf("no station %s: %s", tc.want.station, out)
		})
	}
}

func TestDoctorCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"doctor", "not a url"}, {"doctor", "ftp://x"}, {"doctor", "--header", "no colon"}, {"doctor", "--path", "x"}, {"doctor", "--peer", "gateway"}, {"doctor", "a", "b"},
	} {
		if code, out, errs := call(usable, "", args...); code != exitUsage || errs == "" {
			t.Errorf("%q: exit code %d, %s%s", args, code, out, errs)
		}
	}
	// Nothing configured and no URL: the configuration is what is wrong.
	if code, out, _ := call(nil, "", "doctor"); code != exitUsage || !strings.Contains(out, "✗ configuration") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// Every reason that the proxy can give has an explanation.
func TestReasonsAreExplained(t *testing.T) {
	var sources []byte
	for _, file := range []string{"../../proxy/classify.go", "../../inject/inject.go", "../../proxy/csp/obstacle.go", "../../proxy/csp/csp.go", "../../proxy/page.go"} {
		data, err := os.ReadFile(file)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			t.Fatal(err)
		}
		sources = append(sources, data...)
	}
	found := 0
	for line := range bytes.SplitSeq(sources, []byte("\n")) {
		fields := bytes.Fields(line)
		for i, f := range fields {
			isReason := string(f) == "=" && i > 0 && i+1 < len(fields) && (bytes.Contains(line, []byte("Reason ")) || bytes.HasPrefix(fields[0], []byte("Blocked")))
			if !isReason {
				continue
			}
			var reason string
			if _, err := fmt.Sscanf(string(fields[i+1]), "%q", &reason); err != nil || reason == "" {
				continue
			}
			found++
			if !slices.Contains(proxy.Reasons(), reason) {
				t.Errorf("reason %q has no explanation", reason)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d reasons found; does this test still look at the right files?", found)
	}
}
