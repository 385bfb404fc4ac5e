package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/websocket"

	"zchatproxy/testdata/browser"
)

// startTLS starts the program with a certificate of its own for localhost.
func startTLS(t *testing.T, env ...string) *process {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	return start(t, append(env, "ZCHAT_SECRET="+goodSecret, "ZCHAT_TLS_CERT_FILE="+cert, "ZCHAT_TLS_KEY_FILE="+key)...)
}

func (p *process) address() string { return p.url[strings.Index(p.url, "://")+len("://"):] }

// insecure takes the certificates that tests make.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// exceptions are the cases of h2spec that net/http's server fails, behind the proxy or not, and why.
var exceptions = []string{
	// RFC 9113 section 6.5 no longer says what several values of one setting in one frame mean; net/http refuses them, with
	// a connection error.
	"http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
	// net/http answers such requests instead of resetting them. The proxy passes none of these fields on (RFC 9110 section
	// 7.6.1), so they mean nothing to the site.
	"http2/8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"",
}

// The listener is as good an HTTP/2 server as net/http alone, and better in one case: a frame may not be larger than the
// standard's least.
func TestH2Spec(t *testing.T) {
	if !thorough() {
		t.Skip("set ZCHATPROXY_TEST_ALL=1 to try the cases of h2spec")
	}
	t.Parallel()
	tool := filepath.Join(t.TempDir(), "h2spec")
	build := exec.Command("go", "build", "-o", tool, "github.com/summerwind/h2spec/cmd/h2spec")
	build.Dir = "testdata/h2spec"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	site := startSite(t, nil)
	bare := httptest.NewUnstartedServer(site.Config.Handler)
	bare.EnableHTTP2 = true
	bare.Config.ErrorLog = log.New(io.Discard, "", 0)
	bare.StartTLS()
	defer bare.Close()

	var failed, failedBare []string
	var passed, passedBare int
	var wg sync.WaitGroup
	wg.Go(func() { failedBare, passedBare = h2spec(t, tool, bare.Listener.Addr().String()) })
	failed, passed = h2spec(t, tool, startTLS(t, "ZCHAT_UPSTREAM="+site.URL).address())
	wg.Wait()
	t.Logf("the proxy: %d passed, failed: %q", passed, failed)
	t.Logf("net/http: %d passed, failed: %q", passedBare, failedBare)
	if passed < 140 || passed < passedBare {
		t.Errorf("%d cases passed", passed)
	}
	for _, name := range failed {
		if !slices.Contains(exceptions, name) || !slices.Contains(failedBare, name) {
			t.Errorf("failed: %s", name)
		}
	}
}

// h2spec returns the cases that failed, as "section description", and the number of those that passed.
func h2spec(t *testing.T, tool, address string) (failed []string, passed int) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Error(err)
		return nil, 0
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	var data, out []byte
	for range 3 { // it gives up where one connection takes longer than five seconds
		out, _ = exec.Command(tool, "-t", "-k", "-o", "5", "-h", host, "-p", port, "-j", report).CombinedOutput()
		if data, err = os.ReadFile(report); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
		return nil, 0
	}
	var suites struct {
		Suites []struct {
			Cases []struct {
				Section     string    `xml:"package,attr"`
				Description string    `xml:"classname,attr"`
				Failure     *struct{} `xml:"failure"`
				Error       *struct{} `xml:"error"`
				Skipped     *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Error(err)
	}
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			if c.Failure == nil && c.Error == nil && c.Skipped == nil {
				passed++
				continue
			}
			failed = append(failed, c.Section+" "+c.Description)
		}
	}
	return failed, passed
}

// Many streams on few connections: every request is answered.
func TestH2Load(t *testing.T) {
	tool := browser.Need(t, "h2load")
	t.Parallel()
	requests := 2000
	if thorough() {
		requests = 50_000
	}
	p := startTLS(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_LOG_LEVEL=info")
	for _, protocol := range [][]string{{"-m", "50"}, {"--h1"}} {
		args := append(protocol, "-n", fmt.Sprint(requests), "-c", "20", p.url+"/")
		out, err := exec.Command(tool, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if want := fmt.Sprintf("%d succeeded, 0 failed, 0 errored, 0 timeout", requests); !strings.Contains(string(out), want) || !strings.Contains(string(out), fmt.Sprintf("%d 2xx", requests)) {
			t.Errorf("%q:\n%s", args, out)
		}
		t.Logf("%v: %s", protocol, regexp.MustCompile(`finished in .*`).Find(out))
	}
}

// curl has an HTTP/2 and a TLS of its own.
func TestCurl(t *testing.T) {
	tool := browser.Need(t, "curl")
	t.Parallel()
	upload := filepath.Join(t.TempDir(), "upload")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	if err := os.WriteFile(upload, data, 0o600); err != nil {
		t.Fatal(err)
	}
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sum" {
			sum := sha256.New()
			n, err := io.Copy(sum, r.Body)
			fmt.Fprintf(w, "%d %x %v", n, sum.Sum(nil), err)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, testPage)
	})
	p := startTLS(t, "ZCHAT_UPSTREAM="+site.URL)
	curl := func(args ...string) (string, error) {
		cmd := exec.Command(tool, append([]string{"--silent", "--show-error", "--insecure", "--max-time", "60"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for version, flag := range map[string]string{"2": "--http2", "1.1": "--http1.1", "1": "--http1.0"} {
		out, err := curl(flag, "--compressed", "--write-out", "|%{http_version} %{http_code}", p.url+"/")
		if err != nil || strings.Count(out, "data-zchatproxy") != 1 || !strings.HasSuffix(out, "</html>|"+version+" 200") {
			t.Errorf("HTTP/%s: %v\n%s", version, err, out)
		}
		want := fmt.Sprintf("%d %x <nil>", len(data), sha256.Sum256(data))
		if out, err := curl(flag, "--data-binary", "@"+upload, p.url+"/sum"); err != nil || out != want {
			t.Errorf("HTTP/%s: uploading: %v %s", version, err, out)
		}
	}
	if out, err := curl("--http1.1", "--header", "Expect: 100-continue", "--header", "Transfer-Encoding: chunked", "--data-binary", "@"+upload, p.url+"/sum"); err != nil || !strings.HasPrefix(out, fmt.Sprint(len(data))) {
		t.Errorf("uploading in chunks: %v %s", err, out)
	}
	if out, err := curl("--tlsv1.3", "--tls-max", "1.3", "--output", os.DevNull, "--write-out", "%{http_version}", p.url+"/"); err != nil || out != "2" {
		t.Errorf("TLS 1.3: %v %s", err, out)
	}
	if out, err := curl("--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", p.url+"/"); err == nil {
		t.Errorf("TLS 1.1 is spoken: %s", out)
	}
}

// What the listener agrees to, and what it does not.
func TestTLSTerms(t *testing.T) {
	t.Parallel()
	p := startTLS(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL)
	for _, tt := range []struct {
		name     string
		client   *tls.Config
		version  uint16 // 0: no agreement
		protocol string
	}{
		{"all that the client has", &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, tls.VersionTLS13, "h2"},
		{"HTTP/1.1 first", &tls.Config{NextProtos: []string{"http/1.1", "h2"}}, tls.VersionTLS13, "h2"},
		{"HTTP/1.1 alone", &tls.Config{NextProtos: []string{"http/1.1"}}, tls.VersionTLS13, "http/1.1"},
		{"HTTP/1.0 alone", &tls.Config{NextProtos: []string{"http/1.0"}}, tls.VersionTLS13, "http/1.0"},
		{"no ALPN", &tls.Config{}, tls.VersionTLS13, ""},
		{"another protocol alone", &tls.Config{NextProtos: []string{"imap"}}, 0, ""},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}, tls.VersionTLS12, "h2"},
		{"TLS 1.2, an old client's best", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, tls.VersionTLS12, ""},
		{"TLS 1.2 without forward secrecy", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA}}, 0, ""},
		{"TLS 1.2 with RC4 and 3DES", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}, 0, ""},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0, ""},
	} {
		tt.client.InsecureSkipVerify = true
		conn, err := tls.Dial("tcp", p.address(), tt.client)
		if err != nil {
			if tt.version != 0 {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		state := conn.ConnectionState()
		conn.Close()
		if state.Version != tt.version || state.NegotiatedProtocol != tt.protocol {
			t.Errorf("%s: %s, %q", tt.name, tls.VersionName(state.Version), state.NegotiatedProtocol)
		}
	}
}

// A new certificate is for new connections; those that are there go on, in either protocol, and so does what is under way.
func TestCertificateRotatesUnderConnections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	leave := make(chan struct{})
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "begun ")
		if r.URL.Path == "/stream" {
			http.NewResponseController(w).Flush()
			<-leave
		}
		io.WriteString(w, "done")
	})
	p := start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_TLS_CERT_FILE="+cert, "ZCHAT_TLS_KEY_FILE="+key)

	serials := func(client *http.Client, path string) (res *http.Response, serial int64) {
		t.Helper()
		res, err := client.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		return res, res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	finish := func(res *http.Response) {
		t.Helper()
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != "begun done" {
			t.Errorf("%s: %q, %v", res.Proto, body, err)
		}
	}
	var idle, busy []*http.Client
	var streams []*http.Response
	for _, http2 := range []bool{false, true} {
		idle, busy = append(idle, newClient(t, http2)), append(busy, newClient(t, http2))
		res, _ := serials(idle[len(idle)-1], "/")
		finish(res)
		res, _ = serials(busy[len(busy)-1], "/stream")
		streams = append(streams, res)
	}
	writeCertificate(t, cert, key, 2)
	p.signal(syscall.SIGHUP)
	p.waitLog("certificate renewed")
	for i := range idle {
		res, serial := serials(idle[i], "/")
		finish(res)
		if serial != 1 {
			t.Errorf("%s: an idle connection was replaced", res.Proto)
		}
		res, serial = serials(newClient(t, res.ProtoMajor == 2), "/")
		finish(res)
		if serial != 2 {
			t.Errorf("%s: a new connection has certificate %d", res.Proto, serial)
		}
	}
	close(leave)
	for _, res := range streams {
		finish(res)
	}
}

// newClient speaks one protocol over TLS, over connections of its own.
func newClient(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	tr := &http.Transport{Protocols: protocols, TLSClientConfig: insecure(), DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 2 * patience}
}

// A handshake that does not get on is cut off after the time for a header, and keeps nobody else waiting.
func TestSlowHandshakes(t *testing.T) {
	t.Parallel()
	p := startTLS(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_READ_HEADER_TIMEOUT=2s")
	var slow []net.Conn
	for i := range 100 {
		conn, err := net.Dial("tcp", p.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")[:i%12])
		slow = append(slow, conn)
	}
	res, err := newClient(t, true).Get(p.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	for _, conn := range slow {
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("not cut off: %v", err)
		}
	}
}

// everything is a site with all that browsers do besides loading pages.
func everything() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, testPage)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "application/octet-stream")
		io.Copy(w, r.Body)
	})
	mux.Handle("/socket", websocket.Handler(func(ws *websocket.Conn) {
		io.Copy(ws, ws)
		ws.Close() // answers the visitor's close frame
	}))
	return mux
}

// A WebSocket within TLS, although the listener would rather speak HTTP/2.
func TestWebSocketOverTLS(t *testing.T) {
	t.Parallel()
	p := startTLS(t, "ZCHAT_UPSTREAM="+startSite(t, everything().ServeHTTP).URL)
	config, err := websocket.NewConfig("wss://"+p.address()+"/socket", p.url)
	if err != nil {
		t.Fatal(err)
	}
	config.TlsConfig = insecure()
	ws, err := config.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for _, n := range []int{0, 1, 125, 126, 2047, 2048, 2049, 65_535, 65_536, 3 << 20} {
		sent := bytes.Repeat([]byte("x"), n)
		go websocket.Message.Send(ws, sent)
		got := make([]byte, n)
		if _, err := io.ReadFull(ws, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// Chromium over TLS: a page over HTTP/2, and all that its scripts may do.
func TestChromiumOverTLS(t *testing.T) {
	browser.Need(t, "chromium", "chromium-browser", "google-chrome")
	if !thorough() {
		t.Skip("set ZCHATPROXY_TEST_ALL=1 to visit with Chromium")
	}
	p := startTLS(t, "ZCHAT_UPSTREAM="+startSite(t, everything().ServeHTTP).URL)
	tab := browser.Open(t, chromedp.IgnoreCertErrors)
	origin, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(tab.Ctx, chromedp.Navigate("https://localhost:"+origin.Port()+"/")); err != nil {
		t.Fatal(err)
	}
	const script = `(async () => {
		const found = {protocol: performance.getEntriesByType('navigation')[0].nextHopProtocol};
		found.scripts = document.querySelectorAll('head > script[data-zchatproxy]').length;
		const token = await fetch('/__zchat/jwt', {headers: {'X-Forwarded-User': '42', 'X-Forwarded-Email': 'ada@example.com'}});
		found.token = token.status + ' ' + token.headers.get('Content-Type') + ' ' + (await token.text()).split('.').length;
		found.nobody = (await fetch('/__zchat/jwt')).status;
		const data = new Uint8Array(2 << 20).fill(7);
		const echo = new Uint8Array(await (await fetch('/echo', {method: 'POST', body: data})).arrayBuffer());
		found.echo = echo.length === data.length && echo.every(b => b === 7);
		found.events = await new Promise((done, fail) => {
			const source = new EventSource('/events'), seen = [];
			source.onerror = () => fail(new Error('events'));
			source.onmessage = e => { seen.push(e.data); if (seen.length === 3) { source.close(); done(seen.join()); } };
		});
		found.socket = await new Promise((done, fail) => {
			const ws = new WebSocket('wss://' + location.host + '/socket');
			ws.binaryType = 'arraybuffer';
			ws.onerror = () => fail(new Error('socket'));
			ws.onopen = () => ws.send('x'.repeat(300000));
			let length = 0;
			ws.onmessage = e => { length += e.data.length || e.data.byteLength; if (length === 300000) ws.close(1000); };
			ws.onclose = e => done(length + ' ' + e.code);
		});
		const loads = await Promise.all(Array.from({length: 200}, (_, i) => fetch('/?' + i).then(r => r.text())));
		found.loads = loads.filter(text => text.endsWith('</html>')).length;
		return JSON.stringify(found);
	})()`
	got, err := chromedp.Run(tab.Ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%v; %q", err, tab.Errors())
	}
	const want = `{"protocol":"h2","scripts":1,"token":"200 application/jwt 3","nobody":401,"echo":true,"events":"0,1,2","socket":"300000 1000","loads":200}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
