package proxy_test

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAdminCannotBeReboundTo: a page whose name was made to resolve to this machine must not read the status, metrics or
// health of the proxy.
func TestAdminCannotBeReboundTo(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	admin := httptest.NewServer(g.handler.Admin())
	t.Cleanup(admin.Close)
	g.front.URL = admin.URL
	for _, path := range []string{"/", "/metrics", "/readyz", "/healthz", "/events"} {
		for _, host := range []string{"evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example:9090", "evil.example."} {
			for _, browser := range []string{"Accept-Language: *", "Sec-Fetch-Site: same-origin", "User-Agent: Mozilla/5.0"} {
				if res := g.get(path, "Host: "+host, browser); res.StatusCode != 421 || strings.Contains(res.body, "zchatproxy_") {
					t.Errorf("%s under %s: %d", path, host, res.StatusCode)
				}
			}
		}
		if path == "/events" {
			continue // does not end
		}
		for _, host := range []string{"localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "10.0.0.1", "zchatproxy:9090", "admin.localhost", "localhost."} {
			if res := g.get(path, "Host: "+host, "Accept-Language: en"); res.StatusCode != 200 {
				t.Errorf("%s under %s: %d", path, host, res.StatusCode)
			}
		}
		if res := g.get(path, "Host: zchatproxy.monitoring.example"); res.StatusCode != 200 {
			t.Errorf("%s for a program: %d", path, res.StatusCode)
		}
	}
}
