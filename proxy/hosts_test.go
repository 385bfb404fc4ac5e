package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// TestThousandSites wants to find a site among a thousand no later than among ten, but for what a larger map costs: to
// look at each of them would take a hundred times as long. The quickest of many rounds tells, since others use the machine.
func TestThousandSites(t *testing.T) {
	patterns := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("s%d.example", i), fmt.Sprintf("*.w%d.example", i), fmt.Sprintf("p%d.example:8443", i))
		}
		return all
	}
	few, many := proxy.HostTable(patterns(10)...), proxy.HostTable(patterns(1000)...)
	round := func(find func(string) string, last int) time.Duration {
		hosts := [][2]string{
			{fmt.Sprintf("s%d.example", last), fmt.Sprintf("s%d.example", last)},
			{fmt.Sprintf("a.b.w%d.example", last), fmt.Sprintf("*.w%d.example", last)},
			{fmt.Sprintf("p%d.example:8443", last), fmt.Sprintf("p%d.example:8443", last)},
			{"nobody.example", ""},
		}
		start := time.Now()
		for range 100 {
			for _, h := range hosts {
				if got := find(h[0]); got != h[1] {
					t.Fatalf("%s goes to %q, want %q", h[0], got, h[1])
				}
			}
		}
		return time.Since(start)
	}
	quickFew, quickMany := time.Hour, time.Hour
	for range 200 {
		quickFew, quickMany = min(quickFew, round(few, 9)), min(quickMany, round(many, 999))
	}
	t.Logf("400 look-ups among 10 sites of each kind: %v, among 1000: %v", quickFew, quickMany)
	if quickMany > 10*quickFew {
		t.Errorf("400 look-ups take %v among 1000 sites of each kind, and %v among 10", quickMany, quickFew)
	}
}

// TestVisitorIsOneOnAllSites: one person has one id everywhere, in tokens that each site's own secret signs; a host that
// is no site's gets no token.
func TestVisitorIsOneOnAllSites(t *testing.T) {
	secrets := map[string]string{"shop.example": testSecret + "-of-the-shop", "club.example": testSecret + "-of-the-club"}
	g := newRig(t, http.NotFoundHandler(), func(c *proxy.Config) {
		template := c.Sites[0]
		c.Sites = nil
		for host, secret := range secrets {
			s := template
			s.Hosts, s.Secret = []string{host}, signer.NewSecret(secret)
			c.Sites = append(c.Sites, s)
		}
	})
	for host, secret := range secrets {
		res := g.get("/__zchat/jwt", append(ann, "Host: "+host)...)
		if id := claimsOf(t, res.body, secret)["external_id"]; id != "u-1" {
			t.Errorf("%s: external_id %v", host, id)
		}
	}
	for _, host := range []string{"other.example", "shop.example.evil.example", "example"} {
		if res := g.get("/__zchat/jwt", append(ann, "Host: "+host, "X-Forwarded-Host: shop.example")...); res.StatusCode != http.StatusMisdirectedRequest || strings.Contains(res.body, "eyJ") {
			t.Errorf("%s: %d %s", host, res.StatusCode, res.body)
		}
	}
}

// TestReloadKeepsWhatIsUnderWay: requests end with the configuration that they began with, and the connections to a site
// stay open where nothing about it has changed.
func TestReloadKeepsWhatIsUnderWay(t *testing.T) {
	var opened, closed atomic.Int64
	begun, goOn := make(chan struct{}), make(chan struct{})
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		switch r.URL.Path {
		case "/early": // the header comes after the reload
			begun <- struct{}{}
			<-goOn
		case "/late": // the page is on its way
			io.WriteString(w, plainPage[:60])
			http.NewResponseController(w).Flush()
			begun <- struct{}{}
			<-goOn
			io.WriteString(w, plainPage[60:])
			return
		}
		io.WriteString(w, plainPage)
	}))
	up.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}
	up.Start()
	g := newRigAt(t, up)
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	pages := make(chan string, 2)
	for _, path := range []string{"/early", "/late"} {
		go func() {
			res, err := plainClient.Do(g.request("GET", path, nil))
			if err != nil {
				pages <- err.Error()
				return
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			pages <- fmt.Sprint(string(body), " ", err)
		}()
		<-begun
	}
	g.get("/")
	before := opened.Load()

	changed := g.config
	changed.Sites = []proxy.Site{g.config.Sites[0]}
	changed.Sites[0].Inject = "off"
	if err := g.handler.Reload(changed); err != nil {
		t.Fatal(err)
	}
	if res := g.get("/"); res.body != plainPage {
		t.Errorf("the reload has changed nothing: %s", res.body)
	}
	if now := opened.Load(); now != before || closed.Load() != 0 {
		t.Errorf("%d connections to the site after a reload that left it alone, %d before; %d closed", now, before, closed.Load())
	}

	// To another upstream: the idle connection goes, those in use do not.
	changed.Sites = []proxy.Site{changed.Sites[0]}
	changed.Sites[0].Upstream = named(t, "another")
	if err := g.handler.Reload(changed); err != nil {
		t.Fatal(err)
	}
	if res := g.get("/"); res.body != "another" {
		t.Errorf("after the upstream was changed: %s", res.body)
	}
	eventually(t, "the idle connection to the old upstream ends", func() bool { return closed.Load() > 0 })
	release()
	for range 2 {
		page := <-pages
		if _, rest := elementOf(t, page); rest != plainPage+" <nil>" {
			t.Errorf("what was under way came as %q", page)
		}
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
