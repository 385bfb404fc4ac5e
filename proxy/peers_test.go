//go:build unix

package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zchatproxy/testdata/browser"
)

// peer is a way to get a script into pages, or past them.
type peer struct {
	name   string
	start  func(b *testing.B, upstream, filter string) *contender
	filter string // for a page that the peer gets without a coding
	gzip   string // the same, compressing what it sends
}

// ourElement stands in for the script: as long as ours, and without what configurations quote.
var ourElement = "<script>/*" + strings.Repeat("0123456789abcdef", 230) + "*/</script>"

func peers() []peer {
	sub := "sub_filter '</head>' '" + ourElement + "</head>'; sub_filter_once on; proxy_set_header Accept-Encoding '';"
	substitute := `AddOutputFilterByType SUBSTITUTE text/html` + "\n" + `Substitute "s|</head>|` + ourElement + `</head>|n"` + "\n"
	return []peer{
		{name: "nginx-plain", start: startNginx},
		{name: "nginx-sub_filter", start: startNginx, filter: sub, gzip: sub + " gzip on; gzip_comp_level 1; gzip_proxied any;"},
		{name: "apache-substitute", start: startApache, filter: substitute, gzip: "AddOutputFilterByType SUBSTITUTE;DEFLATE text/html\n" + substitute[strings.Index(substitute, "\n")+1:]},
		{name: "haproxy-plain", start: startHAProxy},
	}
}

// configured fills a configuration of testdata/bench in.
func configured(b *testing.B, name, dir string, values ...string) string {
	b.Helper()
	text, err := os.ReadFile("../testdata/bench/" + name)
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, name)
	filled := strings.NewReplacer(append(values, "DIR", dir)...).Replace(string(text))
	if err := os.WriteFile(file, []byte(filled), 0o644); err != nil {
		b.Fatal(err)
	}
	return file
}

// publicDir is a directory for servers that change their account.
func publicDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "zchatproxy-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		b.Fatal(err)
	}
	return dir
}

func startNginx(b *testing.B, upstream, filter string) *contender {
	nginx, dir, addr := browser.Need(b, "nginx", "/usr/sbin/nginx"), publicDir(b), freeAddress(b)
	conf := configured(b, "nginx.conf", dir, "LISTEN", addr, "UPSTREAM", strings.TrimPrefix(upstream, "http://"), "FILTER", filter)
	return startServer(b, "nginx", addr, exec.Command(nginx, "-c", conf, "-p", dir))
}

func startApache(b *testing.B, upstream, filter string) *contender {
	apache, dir, addr := browser.Need(b, "/usr/sbin/apache2", "httpd"), publicDir(b), freeAddress(b)
	conf := configured(b, "apache.conf", dir, "LISTEN", addr, "UPSTREAM", strings.TrimPrefix(upstream, "http://"), "FILTER", filter,
		"MODULES", "/usr/lib/apache2/modules")
	return startServer(b, "apache", addr, exec.Command(apache, "-f", conf, "-DFOREGROUND"))
}

func startHAProxy(b *testing.B, upstream, _ string) *contender {
	haproxy, dir, addr := browser.Need(b, "haproxy", "/usr/sbin/haproxy"), publicDir(b), freeAddress(b)
	conf := configured(b, "haproxy.cfg", dir, "LISTEN", addr, "UPSTREAM", strings.TrimPrefix(upstream, "http://"))
	return startServer(b, "haproxy", addr, exec.Command(haproxy, "-db", "-f", conf))
}

// arrangement is a workload with all who take part in it.
type arrangement struct {
	names      []string
	contenders []*contender
}

// arrange starts the bare proxy, ours, and the peers that can do what is asked. A peer that compresses gets the page without a coding.
func arrange(b *testing.B, path string, page []byte, gz bool) (a arrangement) {
	const html = "text/html; charset=utf-8"
	plain := cannedUpstream(b, canned(html, "", page))
	upstream := plain
	if gz {
		upstream = cannedUpstream(b, canned(html, "gzip", gzipped(b, page)))
	}
	add := func(name string, c *contender) {
		a.names, a.contenders = append(a.names, name), append(a.contenders, c)
	}
	add("bare", startRole(b, "bare", "UPSTREAM="+upstream))
	add("ours", startProgram(b, path, upstream))
	for _, p := range peers() {
		switch {
		case p.filter == "":
			add(p.name, p.start(b, upstream, ""))
		case gz:
			add(p.name, p.start(b, plain, p.gzip))
		default:
			add(p.name, p.start(b, plain, p.filter))
		}
	}
	return a
}

// BenchmarkPeers sets the program beside others: throughput and CPU as ratios to a bare ReverseProxy, then latency at a fixed rate.
func BenchmarkPeers(b *testing.B) {
	path := program(b)
	for _, gz := range []bool{false, true} {
		for _, kb := range []int{2, 30, 120, 700} {
			if gz && kb == 2 {
				continue
			}
			name := fmt.Sprintf("page=%dK", kb)
			if gz {
				name = fmt.Sprintf("gzip=%dK", kb)
			}
			b.Run(name, func(b *testing.B) {
				a := arrange(b, path, benchPage(kb<<10), gz)
				for b.Loop() {
					all := sideBySide(b, benchRequest, a.contenders...)
					for i := range all[1:] {
						ratios(b, all[0], all[i+1], a.names[i+1])
					}
					if kb != 30 {
						continue
					}
					rate := median(all[1].rate) / 3
					for i, c := range a.contenders {
						p50, p99 := latency(b, c, benchRequest, rate, 3*time.Second)
						b.ReportMetric(p50.Seconds()*1e3, a.names[i]+"-p50-ms")
						b.ReportMetric(p99.Seconds()*1e3, a.names[i]+"-p99-ms")
					}
				}
			})
		}
	}
}

// latency sends requests at a fixed rate, however long the answers take, and returns how long they took from when they were due.
func latency(b *testing.B, c *contender, request string, rate float64, during time.Duration) (p50, p99 time.Duration) {
	b.Helper()
	const conns = 32
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	start := time.Now()
	gap := time.Duration(float64(time.Second) * conns / rate)
	for i := range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", c.addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 64<<10)
			var mine []time.Duration
			for due := start.Add(gap * time.Duration(i) / conns); due.Sub(start) < during; due = due.Add(gap) {
				time.Sleep(time.Until(due)) // the load is what is timed here, not a condition
				if _, err := io.WriteString(conn, request); err != nil {
					b.Error(err)
					return
				}
				if err := readAnswer(r); err != nil {
					b.Error(err)
					return
				}
				mine = append(mine, time.Since(due))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(took) == 0 {
		b.Fatal("no answer")
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

// BenchmarkPeersFirstByte has a site that sends the head of a page at once and takes 2 s for the rest, and measures when the script is at
// the client.
func BenchmarkPeersFirstByte(b *testing.B) {
	path := program(b)
	for _, gz := range []bool{false, true} {
		b.Run(fmt.Sprintf("gzip=%v", gz), func(b *testing.B) {
			plain, coded := trickling(b, false), trickling(b, true)
			upstream := plain
			if gz {
				upstream = coded
			}
			names, all := []string{"ours"}, []*contender{startProgram(b, path, upstream)}
			for _, p := range peers() {
				if p.filter == "" {
					continue
				}
				filter := p.filter
				if gz {
					filter = p.gzip
				}
				names, all = append(names, p.name), append(all, p.start(b, plain, filter))
			}
			for b.Loop() {
				for i, c := range all {
					var took []float64
					for range 5 {
						took = append(took, untilScript(b, c.addr, gz).Seconds()*1e3)
					}
					b.ReportMetric(median(took), names[i]+"-ms")
				}
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// trickling is a site whose pages take their time, with the moment in which each began in a header.
func trickling(b *testing.B, gz bool) string {
	page := benchPage(60 << 10)
	head := bytes.Index(page, []byte("</head>")) + len("</head>\n<body>")
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("X-Began", fmt.Sprint(time.Now().UnixNano()))
		var out interface {
			io.Writer
			Flush() error
		} = flusher{w}
		if gz {
			h.Set("Content-Encoding", "gzip")
			out = gzip.NewWriter(w)
		}
		rest := page
		for n := head; len(rest) > 0; n = 4 << 10 {
			n = min(n, len(rest))
			out.Write(rest[:n])
			out.Flush()
			http.NewResponseController(w).Flush()
			rest = rest[n:]
			select {
			case <-time.After(2 * time.Second / 15):
			case <-r.Context().Done():
				return
			}
		}
		if z, ok := out.(*gzip.Writer); ok {
			z.Close()
		}
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(ln)
	b.Cleanup(func() { srv.Close() })
	return "http://" + ln.Addr().String()
}

type flusher struct{ http.ResponseWriter }

func (f flusher) Flush() error { return http.NewResponseController(f.ResponseWriter).Flush() }

// untilScript is how long after the site has sent the head the script is there.
func untilScript(b *testing.B, addr string, gz bool) time.Duration {
	b.Helper()
	req, err := http.NewRequest("GET", "http://"+addr+"/", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if gz {
		req.Header.Set("Accept-Encoding", "gzip")
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	var body io.Reader = res.Body
	if res.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(res.Body); err != nil {
			b.Fatal(err)
		}
	}
	var began int64
	if _, err := fmt.Sscan(res.Header.Get("X-Began"), &began); err != nil {
		b.Fatal(err)
	}
	var text []byte
	for buf := make([]byte, 4<<10); !bytes.Contains(text, []byte("<script>")) && !bytes.Contains(text, []byte("<script data-zchatproxy")); {
		n, err := body.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			b.Fatalf("no script in %d bytes: %v", len(text), err)
		}
	}
	return time.Since(time.Unix(0, began))
}

// BenchmarkPeersMemory has 500 visitors who read nothing of a large page beyond its beginning, and measures what a contender's resident
// memory has grown by.
func BenchmarkPeersMemory(b *testing.B) {
	path := program(b)
	a := arrange(b, path, benchPage(700<<10), true)
	for b.Loop() {
		for i, c := range a.contenders {
			load(b, c, benchRequest, 8, time.Second)
			idle := c.resident(b)
			var conns []net.Conn
			for range 500 {
				// With loopback's segments the kernel would take the whole page before anybody reads it.
				conn, err := (&net.Dialer{Control: narrow}).Dial("tcp", c.addr)
				if err != nil {
					b.Fatal(err)
				}
				io.WriteString(conn, benchRequest)
				if _, err := io.ReadFull(conn, make([]byte, 1024)); err != nil {
					b.Fatal(err)
				}
				conns = append(conns, conn)
			}
			var grown int64
			for range 20 { // it settles when all buffers are full
				time.Sleep(50 * time.Millisecond)
				grown = max(grown, c.resident(b)-idle)
			}
			b.ReportMetric(float64(grown)/(1<<20), a.names[i]+"-MiB")
			for _, conn := range conns {
				conn.Close()
			}
		}
		b.ReportMetric(0, "ns/op")
	}
}

// narrow gives a connection the segments and the buffer of a slow line.
func narrow(_, _ string, socket syscall.RawConn) error {
	return socket.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
	})
}

// resident is the memory of a process and its children that is no file's, in bytes.
func (c *contender) resident(b *testing.B) (bytes int64) {
	b.Helper()
	for _, pid := range family(c.pid) {
		statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue // it has ended
		}
		var size, resident, shared int64
		if _, err := fmt.Sscan(string(statm), &size, &resident, &shared); err != nil {
			b.Fatal(err)
		}
		bytes += (resident - shared) * int64(os.Getpagesize())
	}
	return bytes
}
