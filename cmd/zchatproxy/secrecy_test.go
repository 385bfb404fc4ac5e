package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNothingPersonalIsTold uses values that are easy to recognise for all that is secret or personal, has everything go
// well and go wrong, and looks for them in all that the program says: log, metrics, status page, problem documents, help,
// check, and what it leaves when it crashes.
func TestNothingPersonalIsTold(t *testing.T) {
	t.Parallel()
	const mark = "Zyx9" // stands in each of the values
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			panic(http.ErrAbortHandler)
		case "/malformed":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nSet-Cookie "+mark+"\r\n\r\n"+mark)
			conn.Close()
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Set-Cookie", "site="+mark)
			io.WriteString(w, strings.Replace(testPage, "Hello", mark, 1))
		}
	})
	secret := filepath.Join(t.TempDir(), "secret")
	rewrite(t, secret, mark+goodSecret)
	env := []string{"ZCHAT_UPSTREAM=" + site.URL, "ZCHAT_SECRET_FILE=" + secret, "ZCHAT_HELP_CENTER_SECRET=" + mark + goodSecret, "ZCHAT_TOKEN_LIMIT=3"}
	p := start(t, env...)

	person := []string{"X-Forwarded-User: id-" + mark, "X-Forwarded-Email: " + mark + "@example.com", "X-Forwarded-Preferred-Username: " + mark,
		"Cookie: session=" + mark, "Authorization: Bearer " + mark, "User-Agent: " + mark, "Referer: http://x/?" + mark}
	var told strings.Builder
	var tokens []string
	ask := func(want int, path string, more ...string) {
		t.Helper()
		head := "GET " + path + "?q=" + mark + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n" + strings.Join(append(more, person...), "\r\n") + "\r\n\r\n"
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, head)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		body, _ := io.ReadAll(res.Body)
		switch {
		case res.StatusCode != want:
			t.Errorf("%s %q gives %s, want %d: %s", path, more, res.Status, want, body)
		case res.Header.Get("Content-Type") == "application/jwt":
			tokens = append(tokens, string(body))
		case want != 200:
			fmt.Fprintln(&told, res.Header, string(body))
		}
	}
	ask(200, "/")
	ask(200, "/__zchat/jwt")
	ask(200, "/__zchat/jwt/help-center")
	ask(200, "/__zchat/jwt")
	ask(429, "/__zchat/jwt")
	ask(403, "/__zchat/jwt", "Sec-Fetch-Site: cross-site")
	ask(403, "/__zchat/jwt", "Origin: https://"+mark+".example")
	ask(400, "/__zchat/jwt", "X-Forwarded-User: other-"+mark)
	ask(400, "/", "Connection: X-Forwarded-User")
	ask(400, "/", "X-Folded: a\r\n "+mark)
	ask(404, "/__zchat/nothing")
	ask(502, "/broken", "Accept: application/json")
	ask(502, "/malformed")
	saved := person
	person = []string{"X-Forwarded-User: without-" + mark, "X-Forwarded-Email: " + mark}
	ask(401, "/__zchat/jwt")
	person = []string{"X-Forwarded-User: " + mark + "\u202e", "X-Forwarded-Email: " + mark + "@example.com"}
	ask(401, "/__zchat/jwt")
	rewrite(t, secret, "")
	p.waitLog("cannot be used")
	person = []string{"X-Forwarded-User: another-" + mark, saved[1]}
	ask(503, "/__zchat/jwt")

	for _, path := range []string{"/", "/metrics", "/readyz", "/healthz"} {
		_, body := get(t, p.admin+path)
		fmt.Fprintln(&told, body)
	}
	events, err := http.Get(p.admin + "/events")
	if err != nil {
		t.Fatal(err)
	}
	event, err := bufio.NewReader(events.Body).ReadString('}')
	events.Body.Close()
	fmt.Fprintln(&told, event, err)
	rewrite(t, secret, mark+goodSecret)
	for _, args := range [][]string{{"--help"}, {"help", "config"}, {"serve", "--help"}, {"token", "--help"}, {"check"}, {"check", "--format", "json"}, {"version"}} {
		_, out, errs := call(append(os.Environ(), env...), "", args...)
		fmt.Fprintln(&told, out, errs)
	}
	p.signal(syscall.SIGQUIT) // a crash: all stacks are printed
	p.wait()
	told.WriteString(p.output())
	for _, there := range []string{`"status":429`, "zchatproxy_tokens_total", "<!doctype html>", "data: ", `"msg":"request"`, "ZCHAT_HELP_CENTER_SECRET", "goroutine "} {
		if !strings.Contains(told.String(), there) {
			t.Errorf("%q is in nothing that was told", there)
		}
	}

	if len(tokens) != 3 {
		t.Errorf("%d tokens", len(tokens))
	}
	for _, token := range tokens {
		if strings.Contains(told.String(), token[strings.LastIndexByte(token, '.'):]) {
			t.Errorf("a token is told")
		}
	}
	for line := range strings.Lines(told.String()) {
		if strings.Contains(strings.ToLower(line), strings.ToLower(mark)) {
			t.Errorf("told: %s", line)
		}
	}
}
