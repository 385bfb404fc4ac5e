package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"zchatproxy/cmd/zchatproxy/demo/site"
	"zchatproxy/cmd/zchatproxy/demo/widget"
	"zchatproxy/signer"
)

// legacy is the site behind everything: the demonstration's, with the stand-in widget on its help page, and some
// paths that tell how requests arrive.
type legacy struct {
	*httptest.Server
	pages http.Handler

	mu      sync.Mutex
	secret  *signer.Secret             // Zendesk's copy
	seen    http.Header                // of all requests since the last forget
	sent    *httptest.ResponseRecorder // the last page
	next    chan struct{}              // lets an event stream go on
	release chan struct{}              // lets held requests go on
	forms   int                        // held ones that were posted
	arrived chan struct{}              // gets one for each that is held
}

func newLegacy(t testing.TB, secret string) *legacy {
	t.Helper()
	pages, err := site.New(site.Config{ChatCode: `<script id="ze-snippet" src="/_widget/snippet.js?key=00000000"></script>`})
	if err != nil {
		t.Fatal(err)
	}
	l := &legacy{pages: pages, secret: signer.NewSecret(secret), seen: http.Header{}, next: make(chan struct{}), arrived: make(chan struct{}, 100)}
	stand, err := widget.New("classic", l.judge)
	if err != nil {
		t.Fatal(err)
	}
	l.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		for name, values := range r.Header {
			l.seen[name] = append(l.seen[name], values...)
		}
		l.mu.Unlock()
		switch {
		case strings.HasPrefix(r.URL.Path, "/_widget/"):
			stand.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/_site/target/"):
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, r.RequestURI)
		case r.URL.Path == "/_site/header":
			answer(w, map[string]any{"host": r.Host, "header": r.Header})
		case r.URL.Path == "/_site/length":
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		case r.URL.Path == "/_site/events":
			l.serveEvents(w, r)
		case r.URL.Path == "/_site/held":
			l.serveHeld(w, r)
		case r.URL.Path == "/_site/upgrade":
			serveUpgrade(w, r)
		default:
			l.servePage(w, r)
		}
	}))
	l.Start()
	t.Cleanup(func() {
		l.CloseClientConnections()
		l.Close()
	})
	return l
}

func (l *legacy) servePage(w http.ResponseWriter, r *http.Request) {
	page := httptest.NewRecorder()
	l.pages.ServeHTTP(page, r)
	l.mu.Lock()
	l.sent = page
	l.mu.Unlock()
	maps.Copy(w.Header(), page.Header())
	w.WriteHeader(page.Code)
	w.Write(page.Body.Bytes())
}

func (l *legacy) address() string { return l.Listener.Addr().String() }

// forget begins a new record of what arrives.
func (l *legacy) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = http.Header{}
}

// saw is what has arrived since then: all headers of all requests.
func (l *legacy) saw() http.Header {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen.Clone()
}

// serveEvents sends one event, and the second one when the visitor has seen the first.
func (l *legacy) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, "data: first\n\n")
	w.(http.Flusher).Flush()
	select {
	case <-l.next:
		io.WriteString(w, "data: second\n\n")
	case <-r.Context().Done():
	}
}

// serveHeld answers when the test lets it.
func (l *legacy) serveHeld(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	release := l.release
	if r.Method == "POST" {
		l.forms++
	}
	l.mu.Unlock()
	l.arrived <- struct{}{}
	select {
	case <-release:
		io.WriteString(w, "released")
	case <-r.Context().Done():
	}
}

// awaits waits until some more held requests are there.
func (l *legacy) awaits(t testing.TB, n int) {
	t.Helper()
	for range n {
		select {
		case <-l.arrived:
		case <-time.After(patience):
			t.Fatal("a request does not arrive")
		}
	}
}

// posted is how many of the held requests were forms.
func (l *legacy) posted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forms
}

// hold makes answers wait until release is called.
func (l *legacy) hold() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	l.release = c
	return func() { close(c) }
}

// serveUpgrade leaves HTTP, as WebSocket does, and sends back what comes.
func serveUpgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
		http.Error(w, "no upgrade asked for", http.StatusBadRequest)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	io.Copy(conn, buffered)
}

// judge is Zendesk: it believes a token that is signed with its copy of the secret.
func (l *legacy) judge(_, token string) (widget.Agent, error) {
	l.mu.Lock()
	secret := l.secret
	l.mu.Unlock()
	_, payload, problems := signer.Inspect(token, signer.Chat, secret, time.Now())
	if len(problems) > 0 {
		return widget.Agent{}, errors.New(problems[0].String())
	}
	var claims struct {
		ExternalID  string `json:"external_id"`
		Email, Name string
	}
	err := json.Unmarshal(payload, &claims)
	return widget.Agent{ID: claims.ExternalID, Email: claims.Email, Name: claims.Name}, err
}
