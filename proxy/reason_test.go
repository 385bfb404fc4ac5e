package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"zchatproxy/proxy"
)

// TestReasonPhrase sends status lines of many kinds through one connection after another: each comes out as it went in, the next
// one too, with pages that get the script and with headers that fill net/http's buffer.
func TestReasonPhrase(t *testing.T) {
	lines := []string{
		"200 OK", "200 Script results follow", "200 OK", "200", "200 ", "404 Not Found", "404 Kein Schl\xfcssel f\xfcr \"42\"", "404 not found",
		"400 The order 4711 is closed\tsince Monday", "299 Whatever", "299", "500 " + strings.Repeat("long ", 300), "503 OK", "200 OK",
	}
	upstream := bareSite(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		var n, padding int
		fmt.Sscanf(r.URL.Path, "/%d/%d", &n, &padding)
		const body = "<!doctype html><title>x</title><p>text"
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\nX-Padding: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			lines[n], strings.Repeat("x", padding), len(body), body)
	})
	there := site(func(s *proxy.Site) { s.Upstream = upstream })
	for name, begin := range map[string]func(*testing.T) *rig{
		"plain": func(t *testing.T) *rig { return newGuardedRig(t, http.NotFoundHandler(), there) },
		"TLS": func(t *testing.T) *rig {
			g, _ := newServedRig(t, protocols{1, 1}, http.NotFoundHandler(), there)
			return g
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := begin(t).dial()
			in := bufio.NewReader(conn)
			for _, padding := range []int{1, 9000} {
				for n, line := range lines {
					fmt.Fprintf(conn, "GET /%d/%d HTTP/1.1\r\nHost: shop.example\r\nSec-Fetch-Dest: document\r\n\r\n", n, padding)
					got, err := in.ReadString('\n')
					if err != nil {
						t.Fatalf("%.40q: %v", line, err)
					}
					// A line without a phrase gets the space that belongs there.
					if want := "HTTP/1.1 " + line + "\r\n"; got != want && got != "HTTP/1.1 "+line+" \r\n" {
						t.Errorf("%.40q became %.40q", want, got)
					}
					res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), in)), nil)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(res.Body)
					if err != nil || !strings.HasSuffix(string(body), "text") {
						t.Errorf("%.40q: %.40q…, %v", line, body, err)
					}
				}
			}
			fmt.Fprint(conn, "GET /__zchat/jwt HTTP/1.0\r\nHost: shop.example\r\n\r\n")
			if got, err := in.ReadString('\n'); got != "HTTP/1.0 401 Unauthorized\r\n" {
				t.Errorf("our own answer says %q, %v", got, err)
			}
		})
	}
}
