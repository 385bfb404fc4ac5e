package identity

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// serve runs a server whose peers are trusted when their address is 127.0.0.1, and which answers with what is left
// of the header and who is logged in.
func serve(t *testing.T, s *Source) *httptest.Server {
	t.Helper()
	trusted, err := ParsePeers("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := s.Request(r, trusted.Trusts(r.RemoteAddr))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s id=%s reason=%s left=%s\n", r.Proto, got.Identity.ID, got.Reason, strings.Join(slices.Sorted(maps.Keys(r.Header)), ","))
	}))
	t.Cleanup(server.Close)
	return server
}

// raw sends bytes from an address of this machine and returns the answer's status and body.
func raw(t *testing.T, server *httptest.Server, from, request string) (int, string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// What a real server makes of aliases on the wire must be among what is removed.
func TestSpoofingByRawSocket(t *testing.T) {
	server := serve(t, mustNew(t, Config{}))
	server.Start()
	for _, alias := range append(aliases("X-Forwarded-User"), aliases("X-Forwarded-Proto")...) {
		request := "GET / HTTP/1.1\r\nHost: x\r\n" + alias + ": victim\r\n" + alias + ": victim\r\nConnection: close, " + alias + "\r\n\r\n"
		status, body := raw(t, server, "127.0.0.2", request)
		if status != http.StatusOK || !strings.Contains(body, "id= ") || !strings.HasSuffix(body, "left=Connection\n") {
			t.Errorf("%s from an untrusted peer: %d %s", alias, status, body)
		}
	}
	status, body := raw(t, server, "127.0.0.1", "GET / HTTP/1.1\r\nHost: x\r\nx-FORWARDED-user: u1\r\nX_Forwarded_User: victim\r\n\r\n")
	if status != http.StatusOK || !strings.HasSuffix(body, "id=u1 reason= left=X-Forwarded-User\n") {
		t.Errorf("from the trusted peer: %d %s", status, body)
	}
}

func TestSpoofingByHTTP2(t *testing.T) {
	server := serve(t, mustNew(t, Config{}))
	server.EnableHTTP2 = true
	server.StartTLS()
	client := server.Client()
	transport := client.Transport.(*http.Transport)
	transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}).DialContext
	for _, alias := range aliases("X-Forwarded-User") {
		r, err := http.NewRequest(http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header[alias] = []string{"victim", "victim"}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		want := "HTTP/2.0 id= reason=untrusted-peer left=Accept-Encoding,User-Agent\n"
		if string(body) != want {
			t.Errorf("%s: %s, want %s", alias, body, want)
		}
	}
}
