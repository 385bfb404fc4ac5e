package demo

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"zchatproxy/testdata/browser"
)

// nginx serves a directory, and lets one in it be written to.
func nginx(t *testing.T) (direct string) {
	t.Helper()
	program := browser.Need(t, "nginx", "/usr/sbin/nginx")
	dir := publicDir(t)
	for _, name := range []string{"/api", "/list", "/files", "/run"} {
		if err := os.MkdirAll(dir+name, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir+name, 0o777); err != nil { // its workers have an account of their own
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/api", "/list"} {
		write(t, dir+name+"/index.html", "<html><head><title>Ropes</title></head><body>Ropes</body></html>\n")
	}
	address := freeAddress(t)
	write(t, dir+"/nginx.conf", strings.NewReplacer("{dir}", dir, "{run}", dir+"/run", "{address}", address).Replace(`
daemon off;
worker_processes 1;
pid {run}/nginx.pid;
error_log stderr;
events { worker_connections 64; }
http {
	access_log off;
	types { text/html html; }
	client_body_temp_path {run}/body; proxy_temp_path {run}/proxy; fastcgi_temp_path {run}/fastcgi; uwsgi_temp_path {run}/uwsgi; scgi_temp_path {run}/scgi;
	server {
		listen {address};
		server_name `+legacyName+`;
		root {dir};
		autoindex on;
		location /files { dav_methods PUT DELETE MKCOL COPY MOVE; }
	}
}
`))
	server(t, address, exec.Command(program, "-e", "stderr", "-c", dir+"/nginx.conf"))
	return "http://" + address
}

func TestNginxStaging(t *testing.T) { serverStaging(t, nginx(t)) }

// serverStaging has a server of files under a staging name: it names itself in redirects with the port that it listens
// on, and nginx takes WebDAV requests from its own name to its own name only.
func serverStaging(t *testing.T, direct string) {
	t.Helper()
	d := start(t, Options{upstream: direct, upstreamHost: legacyName})
	front := strings.Replace(strings.TrimSuffix(d.url, "/"), "127.0.0.1", "staging.solvi.example", 1)
	p := newPerson(t, front)
	for _, path := range []string{"/api", "/list", "/files"} {
		p.open(front + path)
		p.isAt(front + path + "/")
		p.sees("<")
	}
	p.c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, c := range []struct {
		method, path, destination string
		want                      []int
	}{
		{"PUT", "/files/b.txt", "", []int{201}},
		{"MKCOL", "/files/more/", "", []int{201}},
		{"COPY", "/files/b.txt", "/files/more/c.txt", []int{201, 204}},
		{"MOVE", "/files/b.txt", "/files/more/d%20e.txt", []int{201, 204}},
		{"GET", "/files/more/c.txt", "", []int{200}},
		{"GET", "/files/more/d%20e.txt", "", []int{200}},
		{"GET", "/files/b.txt", "", []int{404}},
	} {
		r, err := http.NewRequest(c.method, front+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.method == http.MethodPut {
			r.Body = io.NopCloser(strings.NewReader("b"))
			r.ContentLength = 1
		}
		if c.destination != "" {
			r.Header.Set("Destination", front+c.destination)
		}
		res, err := p.c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		location := res.Header.Get("Location")
		if !slices.Contains(c.want, res.StatusCode) || location != "" && !strings.HasPrefix(location, front+"/") {
			t.Errorf("%s %s: %s at %q, want %d", c.method, c.path, res.Status, location, c.want)
		}
	}
}
