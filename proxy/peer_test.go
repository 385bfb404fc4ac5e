package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
)

// TestUnixPeerCannotNameItselfLoopback: the address of a Unix socket's client is a path of its own choice, and must not
// be taken for the address of a trusted proxy.
func TestUnixPeerCannotNameItselfLoopback(t *testing.T) {
	t.Chdir(t.TempDir()) // the names below are relative
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Forwarded-User")+" "+r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("Forwarded"))
	}))
	for i, test := range []struct{ trusted, want string }{
		{"127.0.0.0/8,::1/128", "  for=unknown;host=shop.example;proto=http"},
		{"127.0.0.0/8,::1/128,unix", "u-1  for=unknown;host=shop.example;proto=http"},
	} {
		g := newRigAt(t, upstream, func(c *proxy.Config) {
			var err error
			if c.Trusted, err = identity.ParsePeers(test.trusted); err != nil {
				t.Fatal(err)
			}
		})
		socket := fmt.Sprintf("proxy-%d", i)
		ln, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: g.handler, ErrorLog: quiet}
		go server.Serve(ln)
		t.Cleanup(func() { server.Close() })
		for _, name := range []string{"", "127.0.0.1:80", "127.0.0.1", "[::1]:80", "[::ffff:127.0.0.1]:80"} {
			var local *net.UnixAddr
			if name != "" {
				os.Remove(name)
				local = &net.UnixAddr{Name: name, Net: "unix"}
			}
			conn, err := net.DialUnix("unix", local, &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nX-Forwarded-User: u-1\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			conn.Close()
			if string(body) != test.want {
				t.Errorf("trusted %s, client bound to %q: the site saw %q, want %q", test.trusted, name, body, test.want)
			}
		}
	}
}
