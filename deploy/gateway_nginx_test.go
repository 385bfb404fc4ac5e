package deploy

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// startNginx runs nginx with the example in the place of its sites, before an oauth2-proxy with the example's flags.
func startNginx(t *testing.T, more ...string) *chain {
	nginx := need(t, "nginx")
	oauth2Proxy(t)
	c := newChain(t)
	c.serveHere("nginx/zchatproxy.env")
	asked := freeAddress(t, "127.0.0.1")
	config := example(t, "nginx/zchatproxy.conf", c.pem(
		"listen 443 ssl", "listen "+c.gateway+" ssl",
		"127.0.0.1:8080", c.proxy,
		"127.0.0.1:4180", asked)...)
	c.startOAuth2Proxy(asked, append(flagsIn(t, config), more...)...)

	// What a distribution's nginx.conf has around the sites, and folders that need no administrator.
	write(t, filepath.Join(c.dir, "conf.d", "zchatproxy.conf"), config)
	main := write(t, filepath.Join(c.dir, "nginx.conf"), `
daemon off;
user root;
worker_processes 2;
pid `+c.dir+`/nginx.pid;
error_log stderr notice;
events {}
http {
    access_log off;
    client_body_temp_path `+c.dir+`/body;
    proxy_temp_path `+c.dir+`/proxy;
    fastcgi_temp_path `+c.dir+`/fastcgi;
    uwsgi_temp_path `+c.dir+`/uwsgi;
    scgi_temp_path `+c.dir+`/scgi;
    include `+c.dir+`/conf.d/*.conf;
}
`)
	start(t, exec.Command(nginx, "-c", main), c.gateway)
	return c
}

func TestNginx(t *testing.T) {
	c := startNginx(t)
	t.Run("requests", c.loggedInRequests)
	t.Run("forged", c.forgedRequests)
	t.Run("browser", c.walk)
	t.Run("renewal", renewal(false, func(t *testing.T) *chain { return startNginx(t, renewing) }))
}
