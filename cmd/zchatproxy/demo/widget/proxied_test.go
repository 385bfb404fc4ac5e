package widget_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// policy is a Content-Security-Policy of the site, and what the site's own scripts need under it.
type policy struct {
	name string
	// value is the header; {nonce} stands for a fresh nonce, {hash} for the hash of the page's inline script.
	value string
	// files says that the page has its scripts in files, since the policy lets no inline one run.
	files bool
}

func policies() []policy {
	return []policy{
		{name: "none"},
		{name: "nonce", value: `script-src 'nonce-{nonce}'; object-src 'none'`},
		{name: "hash", value: `script-src 'sha256-{hash}'; base-uri 'none'`},
		{name: "strict-dynamic", value: `script-src 'nonce-{nonce}' 'strict-dynamic' https: 'unsafe-inline'; base-uri 'none'`},
		{name: "self", value: `default-src 'self'`, files: true},
	}
}

// proxied is a site behind zchatproxy, behind a gateway: a browser reaches the gateway, which also stands in for the
// widget's servers under another name.
type proxied struct {
	*site
	widget string
	policy policy
	tag    bool // the page loads the widget itself; otherwise the proxy does

	extra    string       // more for the page's own script to do
	settings string       // the proxy's for the site
	itself   bool         // the site itself knows who is there, and says so at /whoami
	behind   string       // the site's own address
	asked    atomic.Int32 // how often the token route was asked
}

// newProxied makes one that is yet to be started.
func newProxied(t *testing.T, kind string, tag bool, p policy) *proxied {
	t.Helper()
	return &proxied{site: startSite(t, httptest.NewUnstartedServer(nil)), widget: kind, policy: p, tag: tag}
}

func (s *proxied) start(t *testing.T) {
	t.Helper()
	site := http.NewServeMux()
	site.HandleFunc("/", s.serve)
	site.HandleFunc("/frame/{n}", s.serveFrame)
	serveWidgets(t, site) // for those who come without the gateway
	site.HandleFunc("/favicon.ico", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	behind := httptest.NewServer(site)
	t.Cleanup(behind.Close)
	s.behind = behind.URL

	peers, err := identity.ParsePeers("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	config := proxy.Site{
		Name: "site", Upstream: behind.URL, Widget: s.widget, WidgetURL: s.loader(), Secret: signer.NewSecret(secret),
		Settings: json.RawMessage(s.settings), Identity: identity.Config{Preset: "forwarded", EmailVerified: true},
	}
	if !s.tag {
		config.WidgetKey = "key"
	}
	switch s.widget {
	case "classic":
		config.HelpCenterSecret = signer.NewSecret(secret)
	case "messaging":
		config.KeyID = "k"
	}
	if s.itself {
		config.Identity = identity.Config{Preset: "upstream", IDHeader: "X-Site-User", EmailHeader: "X-Site-Email", NameHeader: "X-Site-Name", EmailVerified: true}
		config.IdentityPath = "/whoami"
	}
	handler, err := proxy.New(proxy.Config{Trusted: peers, Sites: []proxy.Site{config}})
	if err != nil {
		t.Fatal(err)
	}
	middle := httptest.NewServer(handler)
	t.Cleanup(middle.Close)
	s.Config.Handler = s.gateway(t, middle.URL)
	s.Start()
}

// loader is the widget's address, on another origin than the page.
func (s *proxied) loader() string {
	return strings.Replace("http://"+s.Listener.Addr().String(), "127.0.0.1", "localhost", 1) + "/widget/" + s.widget + "/snippet.js"
}

// gateway logs visitors in and out, and says who they are to what is behind it.
func (s *proxied) gateway(t *testing.T, behind string) http.Handler {
	target, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	through := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		who := ""
		if c, err := r.In.Cookie("session"); err == nil {
			who = c.Value
		}
		if name, found := strings.CutPrefix(r.In.URL.Path, "/as/"); found {
			who = strings.TrimPrefix(name, "nobody")
		}
		if who != "" {
			r.Out.Header.Set("X-Forwarded-User", "id-"+who)
			r.Out.Header.Set("X-Forwarded-Email", who+"@example.org")
			r.Out.Header.Set("X-Forwarded-Preferred-Username", who)
		}
	}}
	mux := http.NewServeMux()
	serveWidgets(t, mux)
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("/blank", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", "text/plain") })
	// On pages of the gateway nothing tells the proxy.
	mux.HandleFunc("/sso/{who}", func(w http.ResponseWriter, r *http.Request) {
		setSession(w, r.PathValue("who"))
		w.WriteHeader(204)
	})
	// A log-in that is passed on.
	mux.HandleFunc("/as/{who}", func(w http.ResponseWriter, r *http.Request) {
		setSession(w, r.PathValue("who"))
		through.ServeHTTP(w, r)
	})
	mux.HandleFunc("/__zchat/", func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		through.ServeHTTP(w, r)
	})
	mux.Handle("/", through)
	return mux
}

// setSession is a gateway's answer that logs in as who, out for "nobody".
func setSession(w http.ResponseWriter, who string) {
	age := 3600
	if who == "nobody" {
		who, age = "", -1
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Value: who, Path: "/", MaxAge: age, HttpOnly: true})
}

// serve is the site itself.
func (s *proxied) serve(w http.ResponseWriter, r *http.Request) {
	inline, loader := s.scripts()
	switch {
	case strings.HasPrefix(r.URL.Path, "/as/"):
		http.Redirect(w, r, "/blank", http.StatusSeeOther)
		return
	case r.URL.Path == "/whoami":
		if c, err := r.Cookie("session"); err == nil {
			w.Header().Set("X-Site-User", "id-"+c.Value)
			w.Header().Set("X-Site-Email", c.Value+"@example.org")
			w.Header().Set("X-Site-Name", c.Value)
		}
		return
	case r.URL.Path == "/own.js":
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, inline)
		return
	}
	nonce := rand.Text()
	if s.policy.value != "" {
		sum := sha256.Sum256([]byte(inline))
		w.Header().Set("Content-Security-Policy", strings.NewReplacer("{nonce}", nonce, "{hash}", base64.StdEncoding.EncodeToString(sum[:])).Replace(s.policy.value))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	open := "<script>"
	switch {
	case s.policy.files:
		open, inline = `<script src="/own.js">`, ""
	case strings.Contains(s.policy.value, "{nonce}"):
		open = `<script nonce="` + nonce + `">`
		loader = strings.Replace(loader, "<script", `<script nonce="`+nonce+`"`, 1)
	}
	fmt.Fprint(w, "<!doctype html><html><head><title>t</title>"+open+inline+"</script>"+loader+"</head><body><p>text</p></body></html>")
}

// scripts are the page's own: one that shows that it has run, with the widget's loader in it where that needs one, and
// the element that loads the widget otherwise.
func (s *proxied) scripts() (inline, loader string) {
	inline = "window.own=1;" + s.extra
	if !s.tag {
		return inline, ""
	}
	src := s.loader() + "?key=page"
	if s.widget != "chat" {
		return inline, `<script id="ze-snippet" src="` + src + `"></script>`
	}
	return inline + `window.$zopim||(function(d,n){var z=$zopim=function(c){z._.push(c)},e=z.s=d.createElement(n);
z.set=function(o){z.set._.push(o)};z._=[];z.set._=[];e.async=true;e.src='` + src + `';d.head.appendChild(e)})(document,'script')`, ""
}
