package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

func serve(h http.Handler, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	return rec
}

// named is an upstream that says which site it is.
func named(t *testing.T, name string) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestMostSpecificHostWins(t *testing.T) {
	patterns := map[string][]string{
		"exact":  {"shop.example.com", "bücher.example"},
		"wild":   {"*.example.com"},
		"deep":   {"*.eu.example.com"},
		"ported": {"shop.example.com:8443"},
		"v6":     {"[::1]"},
	}
	g := newRig(t, http.NotFoundHandler(), func(c *proxy.Config) {
		c.Sites = nil
		for name, hosts := range patterns {
			c.Sites = append(c.Sites, proxy.Site{Name: name, Hosts: hosts, Upstream: named(t, name), Secret: signer.NewSecret(testSecret), Identity: identity.Config{Preset: "forwarded"}})
		}
	})
	for host, want := range map[string]string{
		"shop.example.com":      "exact",
		"SHOP.Example.COM":      "exact",
		"shop.example.com.":     "exact",
		"shop.example.com:80":   "exact",
		"shop.example.com:8443": "ported",
		"a.example.com":         "wild",
		"a.b.example.com":       "wild",
		"x.eu.example.com":      "deep",
		"eu.example.com":        "wild",
		"example.com":           "",
		"example.org":           "",
		"xn--bcher-kva.example": "exact",
		"[::1]:9":               "v6",
		"notexample.com":        "",
		"shop.example.com:":     "exact",

		"shop.example.com:evil": "", "shop.example.com:80,evil.example": "", "a;b.example.com": "", "'.example.com": "", "a,b.example.com": "",
		"[::1]:x": "", "shop.example.com:80:80": "", "(a).example.com": "", "a=b.example.com": "",
	} {
		res := g.get("/", "Host: "+host)
		if want == "" {
			if res.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("%s: %d %s", host, res.StatusCode, res.body)
			}
			continue
		}
		if res.body != want {
			t.Errorf("%s goes to %q, want %q", host, res.body, want)
		}
	}
	if res := g.get("/", "Host: example.org", "X-Forwarded-Host: shop.example.com"); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("X-Forwarded-Host decided: %d", res.StatusCode)
	}
}

// TestOddHostsAreNobodys: with a site for every host, what is no host goes to none all the same.
func TestOddHostsAreNobodys(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	for host, want := range map[string]int{
		"intra_net:8080": 200, "shop.example": 200, "[2001:db8::1]:80": 200, "xn--bcher-kva.example": 200, "127.0.0.1": 200,
		"shop.example:80,evil.example": 421, "a;b": 421, "a'b": 421, "a$b": 421, "a:b": 421, "a,b": 421, "*": 421,
	} {
		if res := g.get("/", "Host: "+host); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, res.StatusCode, want)
		}
	}
}

func TestConfigurationMistakesAreAllReported(t *testing.T) {
	_, err := proxy.New(proxy.Config{Sites: []proxy.Site{
		{Hosts: []string{"a.example"}, Upstream: "http://user:pw@x/", Widget: "clasic", Secret: signer.NewSecret(testSecret), Identity: identity.Config{Preset: "forwarded"}},
		{Hosts: []string{"b.example", "B.example."}, Upstream: "ftp://x", Identity: identity.Config{Preset: "forwarded"}},
		{Hosts: []string{"c.example"}, Upstream: "http://127.0.0.1:1", Secret: signer.NewSecret(testSecret), Identity: identity.Config{Preset: "google-iap"}},
		{Hosts: []string{"d.example"}, Upstream: "http://127.0.0.1:1", Secret: signer.NewSecret(testSecret), Identity: identity.Config{Preset: "forwarded"}},
		{Hosts: []string{"D.example"}, Upstream: "http://127.0.0.1:1", Secret: signer.NewSecret(testSecret), Identity: identity.Config{Preset: "forwarded"}},
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"site 0: Upstream", "site 0: Widget", "site 1: Upstream", "site 1: Secret", "site 2: Audience", "site 4: Hosts"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

func TestThousandSites(t *testing.T) {
	up := named(t, "x")
	var cfg proxy.Config
	for i := range 1000 {
		cfg.Sites = append(cfg.Sites, proxy.Site{Hosts: []string{fmt.Sprintf("s%d.example", i)}, Upstream: up, Secret: signer.NewSecret(testSecret), Identity: identity.Config{Preset: "forwarded"}})
	}
	h, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest("GET", "http://s999.example/", nil)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Body.String() != "x" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestReloadChangesAllOrNothing(t *testing.T) {
	g := newRig(t, pageHandler(plainPage))
	bad := g.config
	bad.Sites = []proxy.Site{g.config.Sites[0], {Hosts: []string{"x.example"}}}
	if err := g.handler.Reload(bad); err == nil {
		t.Fatal("a bad configuration was taken")
	}
	if res := g.get("/", "Host: x.example"); !strings.Contains(res.body, "data-zchatproxy") {
		t.Errorf("after a refused reload: %d %s", res.StatusCode, res.body)
	}
	good := g.config
	good.Sites = []proxy.Site{g.config.Sites[0]}
	good.Sites[0].Inject = "off"
	if err := g.handler.Reload(good); err != nil {
		t.Fatal(err)
	}
	if res := g.get("/"); res.body != plainPage {
		t.Errorf("after the reload: %s", res.body)
	}
}
