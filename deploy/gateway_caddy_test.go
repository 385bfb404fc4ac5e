package deploy

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// startCaddy runs Caddy with the example, before an oauth2-proxy with the example's flags.
func startCaddy(t *testing.T, caddy string, more ...string) *chain {
	oauth2Proxy(t)
	c := newChain(t)
	c.serveHere("caddy/zchatproxy.env")
	asked := freeAddress(t, "127.0.0.1")
	config := example(t, "caddy/Caddyfile",
		"\nwww.example.com {", "\nhttps://www.example.com:"+port(t, c.gateway)+" {\n\tbind 127.0.0.1\n\ttls "+c.cert.certFile+" "+c.cert.keyFile,
		"127.0.0.1:8080", c.proxy,
		"127.0.0.1:4180", asked)
	c.startOAuth2Proxy(asked, append(flagsIn(t, config), more...)...)

	// No listener but the one of the site: none for configuration, none that redirects from port 80.
	write(t, filepath.Join(c.dir, "sites", "www.example.com"), config)
	main := write(t, filepath.Join(c.dir, "Caddyfile"), "{\n\tadmin off\n\tauto_https disable_redirects\n}\nimport sites/*\n")
	cmd := exec.Command(caddy, "run", "--config", main, "--adapter", "caddyfile")
	cmd.Env = []string{"HOME=" + c.dir}
	start(t, cmd, c.gateway)
	return c
}

// TestCaddy runs Debian's version, whose forward_auth leaves forged headers standing, and the newest one.
func TestCaddy(t *testing.T) {
	for _, v := range []struct {
		name string
		path func(t *testing.T) string
	}{
		{"Debian", func(t *testing.T) string { return need(t, "caddy") }},
		{"newest", func(t *testing.T) string {
			return goTool(t, "github.com/caddyserver/caddy/v2/cmd/caddy", "v2.11.9", goInstall)
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := startCaddy(t, v.path(t))
			t.Run("requests", c.loggedInRequests)
			t.Run("forged", c.forgedRequests)
			t.Run("browser", c.walk)
			t.Run("renewal", renewal(false, func(t *testing.T) *chain { return startCaddy(t, v.path(t), renewing) }))
		})
	}
}
