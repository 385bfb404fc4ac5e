package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

// soakOps are what visitors do. What has a body cannot be sent again where the connection to the site turns out to be a
// dead one, which may take a moment to show after the site has come back.
var soakOps = [...]struct {
	name string
	do   func(v *soakVisitor) error
	body bool
}{
	{"pages", (*soakVisitor).getPage, false},
	{"revalidations", (*soakVisitor).revalidate, false},
	{"answers in JSON", func(v *soakVisitor) error { return v.upload(0) }, false},
	{"uploads", func(v *soakVisitor) error { return v.upload(1 << v.random.IntN(21)) }, true},
	{"downloads", (*soakVisitor).download, false},
	{"event streams", (*soakVisitor).events, false},
	{"WebSockets", (*soakVisitor).socket, false},
	{"tokens", (*soakVisitor).getToken, false},
	{"tokens for the Help Center", (*soakVisitor).getHelpDeskToken, false},
	{"redirects", (*soakVisitor).redirect, false},
	{"aborts", (*soakVisitor).abort, false},
	{"pipelined requests", (*soakVisitor).pipeline, true},
}

// soakVisitor is somebody with a browser.
type soakVisitor struct {
	s          *soak
	random     *rand.Rand
	client     *http.Client // one of the next
	clients    [2]*http.Client
	site       *soakSite
	person     string
	lastColour string
	lastSerial string

	mu   sync.Mutex
	open []net.Conn
}

func newSoakVisitor(s *soak, n int) *soakVisitor {
	v := &soakVisitor{s: s, random: rand.New(rand.NewPCG(s.seed, 100*s.phase+uint64(n)))}
	for i := range v.clients {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(i == 0)
		protocols.SetHTTP2(i == 1)
		v.clients[i] = &http.Client{
			Timeout:       patience,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Protocols: protocols, TLSClientConfig: insecure(), DisableCompression: true,
				DialContext: v.dial, IdleConnTimeout: soakIdle / 2,
			},
		}
	}
	v.next()
	return v
}

// next turns to another site, protocol and person.
func (v *soakVisitor) next() {
	v.site = v.s.sites[v.random.IntN(len(v.s.sites))]
	v.client = v.clients[v.random.IntN(len(v.clients))]
	v.person = fmt.Sprint("person-", v.random.IntN(1000))
	if v.random.IntN(50) == 0 {
		v.client.CloseIdleConnections() // somebody else comes
	}
}

func (v *soakVisitor) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", v.s.p.address())
	if err == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.open = append(v.open, conn)
	}
	return conn, err
}

// leave closes all connections, also those over which something is still said that nobody wants to hear any more.
func (v *soakVisitor) leave() {
	for _, c := range v.clients {
		c.CloseIdleConnections()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, conn := range v.open {
		conn.Close()
	}
	v.open = nil
}

// act does one thing and judges what came of it.
func (v *soakVisitor) act() {
	v.next()
	i := v.random.IntN(len(soakOps))
	began := time.Now()
	err := soakOps[i].do(v)
	v.s.ops[i].Add(1)
	trouble := began
	if soakOps[i].body {
		trouble = began.Add(-time.Second)
	}
	switch {
	case err == nil:
	case v.site.wasDown(trouble, time.Now()) && !errors.Is(err, errWrong):
		v.s.excused.Add(1)
	default:
		v.s.failed.Add(1)
		v.s.t.Errorf("%s of %s as %s, began %s: %v", soakOps[i].name, v.site.host, v.person, began.Format(time.StampMicro), err)
	}
}

// errWrong is of what may not happen even at a site that goes down.
var errWrong = errors.New("wrong")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errWrong, fmt.Sprintf(format, args...))
}

func (v *soakVisitor) request(method, path string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, "https://"+v.site.host+path, body)
	if err != nil {
		panic(err)
	}
	r.Header.Set("X-Forwarded-User", v.person)
	r.Header.Set("X-Forwarded-Email", v.person+"@example.com")
	r.Header.Set("X-Forwarded-Preferred-Username", "Name of "+v.person)
	r.Header.Set("Accept", "text/html,*/*")
	return r
}

// get sends a request and wants a status.
func (v *soakVisitor) do(client *http.Client, r *http.Request, statuses ...int) (*http.Response, error) {
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(statuses, res.StatusCode) {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		err := fmt.Errorf("status %d: %s", res.StatusCode, text)
		if res.StatusCode != http.StatusBadGateway && res.StatusCode != http.StatusGatewayTimeout {
			err = wrong("%v", err)
		}
		return nil, err
	}
	if res.TLS != nil {
		v.lastSerial = res.TLS.PeerCertificates[0].SerialNumber.String()
	}
	return res, nil
}

var soakCodingNames = []string{"identity", "gzip", "deflate", "br", "zstd"}

func (v *soakVisitor) getPage() error {
	coding, how := soakCodingNames[v.random.IntN(len(soakCodingNames))], []string{"whole", "pieces"}[v.random.IntN(2)]
	if err := v.page(v.client, coding, how, time.Now()); err != nil {
		return fmt.Errorf("%s, %s: %w", coding, how, err)
	}
	return nil
}

func (v *soakVisitor) page(client *http.Client, coding, how string, began time.Time) error {
	n := v.random.IntN(len(v.site.pages))
	r := v.request("GET", fmt.Sprintf("/page/%d/%s/%s", n, coding, how), nil)
	r.Header.Set("Accept-Encoding", coding)
	res, err := v.do(client, r, http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return v.checkPage(res, coding, v.site.pages[n].text, began)
}

// checkPage wants the page with one script in it, and that with settings that were in the file not long ago.
func (v *soakVisitor) checkPage(res *http.Response, coding string, want []byte, began time.Time) error {
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if got := res.Header.Get("Content-Encoding"); got != coding && !(got == "" && coding == "identity") {
		return wrong("Content-Encoding %q, want %q", got, coding)
	}
	text, err := decoded(coding, bytes.NewReader(raw))
	if err != nil {
		return wrong("decoding %s: %v", coding, err)
	}
	script, rest, ok := withoutScript(text)
	if !ok || !bytes.Equal(rest, want) {
		return wrong("the page is not the site's with one script in it: %d bytes, want %d", len(rest), len(want))
	}
	_, colour, _ := strings.Cut(script, `"theme":"`)
	v.lastColour, _, _ = strings.Cut(colour, `"`)
	if allowed := v.site.colour.within(began, time.Now()); !slices.Contains(allowed, v.lastColour) {
		return wrong("settings %q, want those of %q", v.lastColour, allowed)
	}
	return nil
}

func (v *soakVisitor) revalidate() error {
	began := time.Now()
	coding := soakCodingNames[v.random.IntN(len(soakCodingNames))]
	n := v.random.IntN(len(v.site.pages))
	path := fmt.Sprintf("/page/%d/%s/whole", n, coding)
	first := v.request("GET", path, nil)
	first.Header.Set("Accept-Encoding", coding)
	res, err := v.do(v.client, first, http.StatusOK)
	if err != nil {
		return err
	}
	err = v.checkPage(res, coding, v.site.pages[n].text, began)
	res.Body.Close()
	if err != nil {
		return err
	}
	etag := res.Header.Get("ETag")
	if original := fmt.Sprintf(`"%s-%d-%s"`, v.site.host, n, coding); etag == "" || etag == original {
		return wrong("the page with the script in it has the entity tag %s", etag)
	}
	again := v.request("GET", path, nil)
	again.Header.Set("Accept-Encoding", coding)
	again.Header.Set("If-None-Match", etag)
	second, err := v.do(v.client, again, http.StatusOK, http.StatusNotModified)
	if err != nil {
		return err
	}
	defer second.Body.Close()
	if second.StatusCode == http.StatusNotModified {
		if got := second.Header.Get("ETag"); got != etag {
			return wrong("304 with the entity tag %s, want %s", got, etag)
		}
		return nil
	}
	if second.Header.Get("ETag") == etag {
		return wrong("200, though nothing has changed")
	}
	return v.checkPage(second, coding, v.site.pages[n].text, began)
}

func (v *soakVisitor) upload(size int) error {
	data := make([]byte, size)
	io.ReadFull(newPattern(v.random.Int()), data)
	method, body := "GET", io.Reader(nil)
	if size > 0 {
		method, body = "POST", bytes.NewReader(data)
		if v.random.IntN(2) == 0 {
			body = io.MultiReader(body) // hides the length
		}
	}
	r := v.request(method, "/json", body)
	if size > 0 && v.random.IntN(4) == 0 {
		r.Header.Set("Expect", "100-continue")
	}
	res, err := v.do(v.client, r, http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return v.checkSeen(res.Body, data)
}

// checkSeen wants that the site has seen the visitor and the body.
func (v *soakVisitor) checkSeen(r io.Reader, body []byte) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var got seen
	if err := json.Unmarshal(text, &got); err != nil {
		return wrong("%v: %s", err, text)
	}
	want := seen{v.site.host, v.person, v.person + "@example.com", "https", int64(len(body)), fmt.Sprintf("%x", sha256.Sum256(body))}
	if got != want {
		return wrong("the site saw %+v, want %+v", got, want)
	}
	return nil
}

func (v *soakVisitor) download() error {
	size := 1 << v.random.IntN(22)
	size += v.random.IntN(2)
	res, err := v.do(v.client, v.request("GET", fmt.Sprint("/download/", size), nil), http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, want := sha256.New(), sha256.New()
	n, err := io.Copy(got, res.Body)
	if err != nil {
		return err
	}
	io.CopyN(want, newPattern(size), int64(size))
	if n != int64(size) || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return wrong("%d bytes of a download of %d, or others", n, size)
	}
	return nil
}

func (v *soakVisitor) events() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	res, err := v.do(v.client, v.request("GET", "/events", nil).WithContext(ctx), http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for i := range 1 + v.random.IntN(50) {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("data: %s %d\n", v.site.host, i); line != want {
			return wrong("event %q, want %q", line, want)
		}
		in.Discard(1)
	}
	return nil // and the visitor leaves without a word
}

func (v *soakVisitor) socket() error {
	config, err := websocket.NewConfig("wss://"+v.site.host+"/socket", "https://"+v.site.host)
	if err != nil {
		panic(err)
	}
	conn, err := tls.Dial("tcp", v.s.p.address(), insecure())
	if err != nil {
		return wrong("%v", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	ws, err := websocket.NewClient(config, conn)
	if err != nil {
		return err
	}
	for range v.random.IntN(5) {
		sent := make([]byte, v.random.IntN(100_000))
		io.ReadFull(newPattern(v.random.Int()), sent)
		go ws.Write(sent)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(ws, got); err != nil {
			return err
		}
		if !bytes.Equal(got, sent) {
			return wrong("a message of %d bytes came back as another", len(sent))
		}
	}
	if v.random.IntN(2) == 0 {
		return nil // leaves without closing
	}
	return ws.Close()
}

func (v *soakVisitor) token(route string) (string, error) {
	res, err := v.do(v.client, v.request("GET", route, nil), http.StatusOK)
	if err != nil {
		return "", wrong("no token: %v", err) // no site has to be up for it
	}
	defer res.Body.Close()
	token, err := io.ReadAll(res.Body)
	if err != nil || res.Header.Get("Content-Type") != "application/jwt" || res.Header.Get("Cache-Control") != "no-store" {
		return "", wrong("%v: %v", err, res.Header)
	}
	return string(token), nil
}

func (v *soakVisitor) getToken() error {
	began := time.Now()
	token, err := v.token("/__zchat/jwt")
	if err != nil {
		return err
	}
	return checkToken(token, v.site.secret.within(began, time.Now()), v.person)
}

func (v *soakVisitor) getHelpDeskToken() error {
	v.site = v.s.sites[0]
	began := time.Now()
	token, err := v.token("/__zchat/jwt/help-center")
	if err != nil {
		return err
	}
	return checkToken(token, v.site.helpDesk.within(began, time.Now()), v.person)
}

// checkToken wants a token for a person, signed with one of the secrets.
func checkToken(token string, secrets []string, person string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return wrong("%q is no token", token)
	}
	signed := slices.ContainsFunc(secrets, func(secret string) bool {
		mac := hmac.New(sha256.New, []byte(secret))
		io.WriteString(mac, parts[0]+"."+parts[1])
		return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) == parts[2]
	})
	if !signed {
		return wrong("the token is signed with none of %q", secrets)
	}
	var claims struct {
		Name  string `json:"name"`
		Email string `json:"email"`
		ID    string `json:"external_id"`
		JTI   string `json:"jti"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return wrong("claims %q", text)
	}
	if claims.Name != "Name of "+person || claims.Email != person+"@example.com" || claims.ID != person && (claims.ID != "" || claims.JTI == "") {
		return wrong("the token of %s says %s", person, text)
	}
	return nil
}

func (v *soakVisitor) redirect() error {
	res, err := v.do(v.client, v.request("GET", "/moved", nil), http.StatusFound)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if got := res.Header.Get("Location"); got != "/json" {
		return wrong("Location %q", got)
	}
	return nil
}

// abort leaves in the middle, wherever that is.
func (v *soakVisitor) abort() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var r *http.Request
	switch v.random.IntN(3) {
	case 0:
		r = v.request("GET", "/download/20000000", nil)
	case 1:
		r = v.request("POST", "/json", io.LimitReader(newPattern(1), 20_000_000))
	default:
		r = v.request("GET", fmt.Sprintf("/page/%d/gzip/pieces", v.random.IntN(len(v.site.pages))), nil)
	}
	timer := time.AfterFunc(time.Duration(v.random.IntN(5000))*time.Microsecond, cancel)
	defer timer.Stop()
	res, err := v.client.Do(r.WithContext(ctx))
	if err == nil {
		io.CopyN(io.Discard, res.Body, int64(v.random.IntN(1<<20)))
		res.Body.Close()
	}
	return nil
}

// pipeline sends several requests at once, and wants the answers in their order.
func (v *soakVisitor) pipeline() error {
	conn, err := tls.Dial("tcp", v.s.p.address(), insecure())
	if err != nil {
		return wrong("%v", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	var all bytes.Buffer
	var bodies [][]byte
	for range 1 + v.random.IntN(6) {
		body := make([]byte, v.random.IntN(3000))
		io.ReadFull(newPattern(v.random.Int()), body)
		bodies = append(bodies, body)
		v.request("POST", "/json", bytes.NewReader(body)).Write(&all)
	}
	go conn.Write(all.Bytes())
	in := bufio.NewReader(conn)
	for _, body := range bodies {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		if err := v.checkSeen(res.Body, body); err != nil {
			return err
		}
	}
	return nil
}
