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

// A drain waits for what is under way in either protocol, says so to HTTP/2 clients, closes what is idle at once, and
// cuts nobody.
func TestDrainEndsStreams(t *testing.T) {
	t.Parallel()
	more, inside := make(chan string), make(chan struct{}, 2)
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			io.WriteString(w, "hello")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		inside <- struct{}{}
		for text := range more {
			io.WriteString(w, text)
			http.NewResponseController(w).Flush()
		}
	})
	p := startTLS(t, "ZCHAT_UPSTREAM="+site.URL)
	var streams []*http.Response
	for _, http2 := range []bool{false, true} {
		res, err := newClient(t, http2).Get(p.url + "/")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body) // and the connection stays
		res.Body.Close()
		if res, err = newClient(t, http2).Get(p.url + "/stream"); err != nil {
			t.Fatal(err)
		}
		<-inside
		streams = append(streams, res)
	}
	p.signal(syscall.SIGTERM)
	eventually(t, "readiness to go down", func() bool {
		status, _ := get(t, p.admin+"/readyz")
		return status == http.StatusServiceUnavailable
	})
	eventually(t, "new connections to be refused", func() bool {
		conn, err := net.Dial("tcp", p.address())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	for _, text := range []string{"data: 1\n\n", "data: 2\n\n"} {
		for range streams {
			more <- text
		}
	}
	close(more)
	for _, res := range streams {
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || strings.Count(string(body), "data: ") == 0 {
			t.Errorf("%s: the stream ended with %q, %v", res.Proto, body, err)
		}
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := p.output(); strings.Contains(out, "connections cut") || !strings.Contains(out, "stopped") {
		t.Errorf("not a clean end:\n%s", out)
	}
}

// Whoever does not want to wait for the drain asks twice.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	inside := make(chan struct{})
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
	})
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		inside = make(chan struct{})
		p := start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_SHUTDOWN_TIMEOUT=1h")
		go http.Get(p.url + "/forever")
		<-inside
		p.signal(syscall.SIGTERM)
		p.waitLog("draining")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.wait()
		}()
		eventually(t, "the process to end", func() bool {
			p.cmd.Process.Signal(second) // the first of these may come before the process has let go of them
			select {
			case <-ended:
				return true
			default:
				return false
			}
		})
		if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != second {
			t.Errorf("ended by %v, not by the second signal", p.cmd.ProcessState)
		}
	}
}

// An idle connection is closed after its time, in either protocol; one with a request under way is not.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	leave := make(chan struct{})
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-leave
		}
		io.WriteString(w, "hello")
	})
	for name, p := range map[string]*process{
		"plain": start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_IDLE_TIMEOUT=1s", "ZCHAT_READ_HEADER_TIMEOUT=1s"),
		"TLS":   startTLS(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_IDLE_TIMEOUT=1s", "ZCHAT_READ_HEADER_TIMEOUT=1s"),
	} {
		busy, idle, silent, halfway := p.visit(t), p.visit(t), p.visit(t), p.visit(t)
		busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
		idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		halfway.send("GET / HTTP/1.1\r\nHo")
		idle.wants("200 hello", "end")
		silent.wants("end")
		halfway.wants("400 …", "end")
		if name == "TLS" {
			client := newClient(t, true)
			connections := map[string]bool{}
			eventually(t, "a second connection", func() bool {
				pause := p.visit(t)
				pause.wants("end") // which takes as long as the idle connection is given
				res, err := client.Get(p.url + "/")
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				connections[fmt.Sprintf("%p", res.TLS)] = true
				return len(connections) > 1
			})
		}
		leave <- struct{}{}
		busy.wants("200 hello")
	}
}

// Forty reloads, or two hundred, each with other settings, another secret and another upstream, cost nothing.
func TestManyReloads(t *testing.T) {
	t.Parallel()
	sites := []string{startSite(t, nil).URL, startSite(t, nil).URL}
	dir := t.TempDir()
	settings, secret, keys := filepath.Join(dir, "settings.json"), filepath.Join(dir, "secret"), filepath.Join(dir, "ca.pem")
	rewrite(t, secret, goodSecret)
	rewrite(t, settings, `{}`)
	writeCertificate(t, keys, filepath.Join(dir, "unused.pem"), 1)
	p := startMetered(t, "ZCHAT_SETTINGS_FILE="+settings, "ZCHAT_SECRET_FILE="+secret, "ZCHAT_UPSTREAM_CA_FILE="+keys,
		"ZCHAT_SITES_0_UPSTREAM="+sites[0], "ZCHAT_SITES_0_HOSTS=*", "ZCHAT_SITES_1_UPSTREAM="+sites[1], "ZCHAT_SITES_1_HOSTS=other.example")
	round := func(i int) {
		rewrite(t, settings, fmt.Sprintf(`{"webWidget":{"color":{"theme":"#%06x"}}}`, i))
		rewrite(t, secret, fmt.Sprint(goodSecret, i))
		// With other certificates it is another upstream, to which nothing of the old one's may stay open.
		writeCertificate(t, keys, filepath.Join(dir, "unused.pem"), int64(i))
		p.signal(syscall.SIGHUP)
		eventually(t, "the reload", func() bool {
			_, body := get(t, p.url+"/")
			return strings.Contains(body, fmt.Sprintf("#%06x", i))
		})
	}
	for i := range 5 {
		round(i)
	}
	http.DefaultClient.CloseIdleConnections()
	before := p.usage()
	rounds := 40
	if thorough() {
		rounds = 200
	}
	for i := range rounds {
		round(1000 + i)
	}
	http.DefaultClient.CloseIdleConnections()
	p.returned(t, before, before)
}

// A full house lets the next one in as soon as anybody has left, whatever they were doing.
func TestMaxConnectionsAreGivenBack(t *testing.T) {
	t.Parallel()
	site := startSite(t, everything().ServeHTTP)
	const most = 3
	p := start(t, "ZCHAT_UPSTREAM="+site.URL, "ZCHAT_SECRET="+goodSecret, fmt.Sprint("ZCHAT_MAX_CONNECTIONS=", most))
	for name, occupy := range map[string]func(v *visitor){
		"idle": func(v *visitor) {
			v.send("HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n")
			if line, err := v.in.ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
				t.Fatal(line, err)
			}
		},
		"silent":    func(v *visitor) {},
		"uploading": func(v *visitor) { v.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx") },
		"refused":   func(v *visitor) { v.send("GET / HTTP/1.1\nHost: x\n\n") },
		"upgraded": func(v *visitor) {
			v.send("GET /socket HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			if res, err := http.ReadResponse(v.in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
				t.Fatal(res, err)
			}
		},
		"listening": func(v *visitor) {
			v.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
			if res, err := http.ReadResponse(v.in, nil); err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res, err)
			}
		},
	} {
		for range 2 { // whoever kept a slot would be missing it in the second round
			var inside []*visitor
			for range most {
				v := p.visit(t)
				occupy(v)
				inside = append(inside, v)
			}
			next := p.visit(t)
			next.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			for _, v := range inside {
				v.Close()
			}
			if status := next.answer(); !strings.HasPrefix(status, "200 ") {
				t.Errorf("%s: the next one got %q", name, status)
			}
			next.Close()
		}
	}
}

// On a Unix socket, in the place of one that a process left behind, twice: the second process finds what the first one,
// killed, has left.
func TestUnixSocketAfterAKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "proxy.sock")
	site := startSite(t, nil)
	env := []string{"ZCHAT_UPSTREAM=" + site.URL, "ZCHAT_SECRET=" + goodSecret, "ZCHAT_LISTEN=unix://" + path, "ZCHAT_TRUSTED_PROXIES=unix"}
	for range 3 {
		p := start(t, env...)
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		res.Body.Close()
		conn.Close()
		p.signal(syscall.SIGKILL)
		p.wait()
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("the killed process has cleaned up: %v", err)
		}
	}
}

// What is in the way and is no socket stays, and is named.
func TestUnixSocketInTheWay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "proxy.sock")
	rewrite(t, path, "precious")
	p := spawn(t, "ZCHAT_UPSTREAM=http://127.0.0.1:1", "ZCHAT_SECRET="+goodSecret, "ZCHAT_LISTEN=unix://"+path, "ZCHAT_TRUSTED_PROXIES=unix")
	if code := p.wait(); code != 1 || !strings.Contains(p.output(), path+" exists and is not a socket: choose another path, or remove it") {
		t.Errorf("exit code %d, %s", code, p.output())
	}
	if data, err := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("%q, %v", data, err)
	}
}
