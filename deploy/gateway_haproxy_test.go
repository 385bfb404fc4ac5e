package deploy

import "testing"

// TestHAProxy walks through oauth2-proxy as a reverse proxy, HAProxy and three replicas.
func TestHAProxy(t *testing.T) {
	oauth2Proxy(t)
	c := newChain(t)
	c.refuses = true // --api-route
	c.identity = forwardedHeaders
	c.tidies = map[string]string{"/_site/target/a//b": ""} // oauth2-proxy redirects to a/b
	k := startCluster(t, c.site, "127.0.0.1")
	c.startOAuth2Proxy(c.gateway,
		"--https-address="+c.gateway, "--http-address=-", "--tls-cert-file="+c.cert.certFile, "--tls-key-file="+c.cert.keyFile,
		"--upstream=http://"+k.balancer, "--redirect-url="+c.origin+"/oauth2/callback",
		"--skip-provider-button=true", "--pass-basic-auth=false", "--api-route=^/__zchat/")
	t.Run("requests", c.loggedInRequests)
	t.Run("forged", c.forgedRequests)
	t.Run("browser", c.walk)
}
