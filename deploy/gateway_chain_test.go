package deploy

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hostName is how visitors know the site. The examples call it so, and it stays so here: browser and client are told
// where that is.
const hostName = "www.example.com"

// chain is what stands behind a gateway: zchatproxy as a process with the example's environment, and the site.
type chain struct {
	t        *testing.T
	dir      string // for configuration; other accounts can read it
	origin   string // what visitors have in the address bar
	cert     certificate
	site     *legacy
	provider *provider

	proxy, admin string // zchatproxy's addresses
	secretFile   string
	gateway      string // the gateway's address, which is free so far

	identity []string          // the headers that zchatproxy, or a site behind it, believes
	logOut   string            // path of the gateway's log-out
	sessions []string          // the cookies in which the gateway keeps who is logged in
	refuses  bool              // the gateway itself answers the token route when nobody is there
	tidies   map[string]string // what becomes of request targets that the gateway cannot leave as they are; "" if it answers them itself
}

// forwardedHeaders carry identities under the preset forwarded, and to many a site by themselves.
var forwardedHeaders = []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username"}

// newChain prepares what stands behind a gateway.
func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{
		t: t, dir: publicDir(t), origin: "https://" + hostName, site: newLegacy(t, secretText), provider: newProvider(t),
		proxy: freeAddress(t, "127.0.0.1"), admin: freeAddress(t, "127.0.0.1"), gateway: freeAddress(t, "127.0.0.1"),
	}
	c.cert = newCertificate(t, c.dir, hostName)
	c.secretFile = write(t, filepath.Join(c.dir, "secret"), secretText)
	return c
}

// serve starts zchatproxy with an example's environment, in which names are put in place as in example.
func (c *chain) serve(environmentFile string, pairs ...string) {
	c.t.Helper()
	text := example(c.t, environmentFile, pairs...)
	c.identity = forwardedHeaders
	if strings.Contains(text, "ZCHAT_IDENTITY=auth-request\n") {
		c.identity = slices.Concat(c.identity, []string{"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Preferred-Username"})
	}
	if !strings.Contains(text, "ZCHAT_ADMIN_LISTEN=") { // its default is for one on each machine
		text += "\nZCHAT_ADMIN_LISTEN=" + c.admin
	}
	cmd := exec.Command(program(c.t), "serve")
	cmd.Env = environment(c.t, text)
	start(c.t, cmd, c.proxy)
}

// serveHere starts zchatproxy beside the gateway, where most examples have it, with the site on the same machine.
func (c *chain) serveHere(environmentFile string) {
	c.t.Helper()
	c.serve(environmentFile, "127.0.0.1:8080", c.proxy, "127.0.0.1:8000", c.site.address(), "/etc/zchatproxy/secret", c.secretFile)
}

// pem stands for the two certificate files that all examples name.
func (c *chain) pem(pairs ...string) []string {
	return append([]string{
		"/etc/ssl/www.example.com/fullchain.pem", c.cert.certFile,
		"/etc/ssl/www.example.com/privkey.pem", c.cert.keyFile,
	}, pairs...)
}

// oauth2Proxy is the program, as its project publishes it.
func oauth2Proxy(t testing.TB) string {
	return goTool(t, "github.com/oauth2-proxy/oauth2-proxy/v7", "v7.15.6", goInstall)
}

// startOAuth2Proxy runs oauth2-proxy with the flags that an example gives, and with what the examples leave to
// their readers: the provider, and this test's secrets.
func (c *chain) startOAuth2Proxy(address string, flags ...string) {
	c.t.Helper()
	c.logOut, c.sessions = "/oauth2/sign_out", []string{"_oauth2_proxy"}
	cmd := exec.Command(oauth2Proxy(c.t), append(flags,
		"--provider=oidc", "--oidc-issuer-url="+c.provider.URL, "--client-id="+clientID, "--client-secret="+clientSecret,
		"--scope=openid email profile", "--email-domain=*", "--cookie-secret=0123456789abcdef0123456789abcdef")...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	start(c.t, cmd, address)
}

// flagsIn returns the flags of the command that a comment in an example shows, without the dots that stand for more.
func flagsIn(t testing.TB, text string) (flags []string) {
	t.Helper()
	for _, f := range regexp.MustCompile(`(?m)--[a-z0-9-]+=\S+`).FindAllString(text, -1) {
		flags = append(flags, strings.TrimRight(f, ",.)"))
	}
	if len(flags) == 0 {
		t.Fatal("the example shows no flags")
	}
	return flags
}

// url is the origin's.
func (c *chain) url() *url.URL {
	u, err := url.Parse(c.origin + "/")
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// host is what visitors put into the Host header.
func (c *chain) host() string { return c.url().Host }

func (c *chain) tls() *tls.Config { return &tls.Config{RootCAs: c.cert.pool, ServerName: hostName} }

// dial knows where the site's name leads.
func (c *chain) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if host, _, _ := strings.Cut(address, ":"); host == hostName {
		address = c.gateway
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
