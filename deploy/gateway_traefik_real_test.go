//go:build traefik

package deploy

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
)

// startTraefik runs Traefik with the example, before an oauth2-proxy with the example's flags.
func startTraefik(t *testing.T, traefik string, more ...string) *chain {
	oauth2Proxy(t)
	c := newChain(t)
	c.refuses = true
	// What Traefik's clean-up of paths, and its fear of semicolons, make of them.
	c.tidies = map[string]string{
		"/_site/target/a//b":                      "/_site/target/a/b",
		"/_site/target/%7Euser/%e4?q=%zz&a=1;b=2": "/_site/target/~user/%E4?q=%zz&a=1&b=2",
	}
	c.serve("traefik/zchatproxy.env", "ZCHAT_LISTEN=:8080", "ZCHAT_LISTEN="+c.proxy, "ZCHAT_ADMIN_LISTEN=:9090", "ZCHAT_ADMIN_LISTEN="+c.admin,
		"http://site:8080", c.site.URL, "172.30.88.0/28", "127.0.0.1", "/run/secrets/zchat_secret", c.secretFile)
	asked := freeAddress(t, "127.0.0.1")
	dynamic := example(t, "traefik/dynamic.yaml", c.pem(
		"http://zchatproxy:8080", "http://"+c.proxy,
		"port: 9090", "port: "+port(t, c.admin),
		"http://oauth2-proxy:4180", "http://"+asked,
		"0.0.0.0:4180", asked,
		"172.30.88.0/28", "127.0.0.1")...)
	c.startOAuth2Proxy(asked, append(flagsIn(t, dynamic), more...)...)
	static := example(t, "traefik/traefik.yaml",
		`address: ":80"`, `address: "`+freeAddress(t, "127.0.0.1")+`"`,
		`address: ":443"`, `address: "`+c.gateway+`"`,
		"/etc/traefik/dynamic.yaml", write(t, filepath.Join(c.dir, "dynamic.yaml"), dynamic))
	start(t, exec.Command(traefik, "--configFile="+write(t, filepath.Join(c.dir, "traefik.yaml"), static)), c.gateway)
	eventually(t, "Traefik has read its routes", func() bool {
		res, err := c.visitor(t).client.Get(c.origin + "/oauth2/auth")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusUnauthorized
	})
	return c
}

// TestTraefik runs the example with a Traefik that somebody has installed: neither Debian nor Go's module proxy has a
// complete one, so this is no part of the tests that everybody runs. TestTraefikFiles is.
//
//	go test -tags traefik -run Traefik ./deploy
func TestTraefik(t *testing.T) {
	traefik, err := exec.LookPath("traefik")
	if err != nil {
		t.Fatal(err)
	}
	c := startTraefik(t, traefik)
	t.Run("requests", c.loggedInRequests)
	t.Run("forged", c.forgedRequests)
	t.Run("browser", c.walk)
	t.Run("renewal", renewal(false, func(t *testing.T) *chain { return startTraefik(t, traefik, renewing) }))
	t.Run("renewal of a long session", renewal(true, func(t *testing.T) *chain { return startTraefik(t, traefik, renewing) }))
}
