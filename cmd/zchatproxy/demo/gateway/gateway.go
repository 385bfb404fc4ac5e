// Package gateway is a stand-in for a single sign-on gateway such as oauth2-proxy: it asks visitors who they are,
// keeps their sessions, and passes every request on with headers that name the person.
//
// It behaves as the real ones do where that matters to what stands behind it. Identity headers that a visitor sends
// are removed in every spelling. A visitor without a session cookie passes as nobody. A cookie whose session is over
// is answered by the gateway itself, with 401 for a client that accepts JSON and with its log-in page for all others,
// so that nothing behind it learns of the request. It asks for no password and is no model for one that must.
package gateway

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Prefix is where the gateway's own pages live. Nothing below it reaches the upstream.
const Prefix = "/_sso/"

// cookieName names the session cookie.
const cookieName = "_sso_session"

// Person is somebody who can log in.
type Person struct {
	ID    string // X-Forwarded-User: opaque and stable, as identity providers hand it out
	Name  string // X-Forwarded-Preferred-Username, in UTF-8
	Email string // X-Forwarded-Email
	Role  string // shown on the log-in card only
}

// Page is a page of the site that the landing page points to.
type Page struct {
	Path  string // where it is
	Title string // what the site calls it
	Trait string // what is remarkable about it, in a few words
	Note  string // the same in a sentence
}

// Config says what the gateway stands in front of.
type Config struct {
	Upstream *url.URL         // where requests go: required
	People   []Person         // who can log in: at least one, with distinct ids
	Pages    []Page           // shown on the landing page
	SiteURL  string           // the site's own address, shown for comparison; may be empty
	AdminURL string           // zchatproxy's status page, linked; may be empty
	TokenURL string           // path of the token route, for the landing page's token panel; may be empty
	Widget   string           // the kind of widget, in words
	Log      *slog.Logger     // nil discards
	Now      func() time.Time // nil is time.Now
}

// Gateway is an http.Handler, safe for concurrent use.
type Gateway struct {
	config   Config
	log      *slog.Logger
	sessions *sessions
	mux      *http.ServeMux
	proxy    *httputil.ReverseProxy
	pages    *pages
}

// New returns a gateway, or an error that names the field of c which is wrong.
func New(c Config) (*Gateway, error) {
	if c.Upstream == nil || c.Upstream.Host == "" {
		return nil, errors.New("gateway: Upstream must be a URL with a host")
	}
	if len(c.People) == 0 {
		return nil, errors.New("gateway: People must name somebody who can log in")
	}
	ids := make(map[string]bool)
	for _, p := range c.People {
		if p.ID == "" || ids[p.ID] {
			return nil, errors.New("gateway: People must have distinct ids")
		}
		ids[p.ID] = true
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	pages, err := loadPages()
	if err != nil {
		return nil, err
	}
	g := &Gateway{config: c, log: c.Log, sessions: newSessions(c.Now), pages: pages}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:       g.rewrite,
		Transport:     newTransport(),
		FlushInterval: -1, // a gateway that holds back events would be the first thing to suspect
		ErrorHandler:  g.unreachable,
		ErrorLog:      slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	g.mux = g.routes()
	return g, nil
}

// newTransport never goes through a proxy of the environment (the upstream is on this machine) and leaves codings
// alone: a page that the site compressed reaches the visitor compressed.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
}

func (g *Gateway) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Prefix+"{$}", g.landing)
	mux.HandleFunc("GET "+Prefix+"login", g.loginPage)
	mux.HandleFunc("POST "+Prefix+"login", g.login)
	mux.HandleFunc("GET "+Prefix+"logout", g.logout)
	mux.HandleFunc("POST "+Prefix+"logout", g.logout)
	mux.HandleFunc("POST "+Prefix+"expire", g.expire)
	mux.HandleFunc("GET "+Prefix+"whoami", g.whoami)
	mux.Handle("GET "+Prefix+"assets/", http.StripPrefix(Prefix, http.FileServerFS(files)))
	return mux
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path+"/" == Prefix || strings.HasPrefix(r.URL.Path, Prefix) {
		g.serveOwn(w, r)
		return
	}
	if _, state := g.visitor(r); state == ended {
		g.turnAway(w, r)
		return
	}
	g.proxy.ServeHTTP(w, r)
}

// serveOwn answers for the gateway's own pages. Only they may start or end a session, and only from pages of the
// same origin: another site must not be able to log a visitor out, or in as somebody else.
func (g *Gateway) serveOwn(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	http.NewCrossOriginProtection().Handler(g.mux).ServeHTTP(w, r)
}

// state is what a request's cookie says about its session.
type state int

const (
	nobody state = iota // no cookie: the visitor has not logged in
	live                // a session that counts
	ended               // a cookie whose session is over
)

// visitor returns who sends r.
func (g *Gateway) visitor(r *http.Request) (Person, state) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return Person{}, nobody
	}
	p, ok := g.sessions.person(c.Value)
	if !ok {
		return Person{}, ended
	}
	return p, live
}

// turnAway answers for a visitor whose session is over.
func (g *Gateway) turnAway(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if acceptsJSON(r) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"error":"the session has ended: log in again"}`+"\n")
		return
	}
	target := Prefix + "login"
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		target += "?" + url.Values{"rd": {r.URL.RequestURI()}}.Encode()
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

func acceptsJSON(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Accept"), func(v string) bool {
		return strings.Contains(strings.ToLower(v), "application/json")
	})
}

// rewrite turns a visitor's request into the one that goes up: same host, same query to the byte, and the identity
// headers of the session's person or none.
func (g *Gateway) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(g.config.Upstream)
	r.Out.Host = r.In.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.SetXForwarded()
	stripIdentity(r.Out.Header)
	dropCookie(r.Out.Header)
	if p, state := g.visitor(r.In); state == live {
		r.Out.Header.Set("X-Forwarded-User", p.ID)
		r.Out.Header.Set("X-Forwarded-Email", p.Email)
		r.Out.Header.Set("X-Forwarded-Preferred-Username", p.Name)
	}
}

// stripIdentity removes what only the gateway may say. Servers behind it may read X_Forwarded_User, say, as the same
// variable, so letter case and punctuation do not count.
func stripIdentity(h http.Header) {
	for name := range h {
		folded := strings.Map(func(c rune) rune {
			switch {
			case c >= 'A' && c <= 'Z':
				return c - 'A' + 'a'
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
				return c
			}
			return -1
		}, name)
		switch folded {
		case "xforwardeduser", "xforwardedemail", "xforwardedpreferredusername", "xforwardedgroups", "xforwardedaccesstoken":
			delete(h, name)
		}
	}
}

// dropCookie takes the session cookie out of what goes up, and leaves the other cookies as they came.
func dropCookie(h http.Header) {
	var kept []string
	for _, line := range h["Cookie"] {
		var parts []string
		for part := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
			if name != cookieName {
				parts = append(parts, strings.TrimSpace(part))
			}
		}
		if len(parts) > 0 {
			kept = append(kept, strings.Join(parts, "; "))
		}
	}
	delete(h, "Cookie")
	if len(kept) > 0 {
		h["Cookie"] = kept
	}
}

// unreachable answers when the upstream does not.
func (g *Gateway) unreachable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		g.log.Error("gateway: the upstream does not answer", "upstream", g.config.Upstream.Host, "cause", err)
	}
	http.Error(w, "The gateway cannot reach zchatproxy. It may have just stopped; reload in a moment.", http.StatusBadGateway)
}

// login starts a session for the person of the form, and ends the one that was there: that is switching user.
func (g *Gateway) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	id := r.PostFormValue("person")
	i := slices.IndexFunc(g.config.People, func(p Person) bool { return p.ID == id })
	if i < 0 {
		http.Error(w, "There is no such person. Go back and choose one of the cards.", http.StatusBadRequest)
		return
	}
	g.endCurrent(r)
	g.setCookie(w, r, g.sessions.start(g.config.People[i]))
	http.Redirect(w, r, localPath(r.PostFormValue("rd")), http.StatusSeeOther)
}

// logout ends the session. It answers GET too, since the site's pages link to it as they would to any gateway's; a
// link on another site is shown the landing page instead.
func (g *Gateway) logout(w http.ResponseWriter, r *http.Request) {
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		http.Redirect(w, r, Prefix, http.StatusSeeOther)
		return
	}
	g.endCurrent(r)
	g.setCookie(w, r, "")
	http.Redirect(w, r, localPath(r.FormValue("rd")), http.StatusSeeOther)
}

// expire ends the session as a time-out does: the visitor's browser keeps the cookie and nobody tells it.
func (g *Gateway) expire(w http.ResponseWriter, r *http.Request) {
	g.endCurrent(r)
	http.Redirect(w, r, Prefix, http.StatusSeeOther)
}

func (g *Gateway) endCurrent(r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		g.sessions.end(c.Value)
	}
}

// setCookie hands out the session id, or takes the cookie away where id is empty.
func (g *Gateway) setCookie(w http.ResponseWriter, r *http.Request, id string) {
	c := &http.Cookie{
		Name: cookieName, Value: id, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	}
	if id == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// localPath returns rd where it is a path on this host, and the landing page otherwise: a redirect must not lead to
// another site, however its address is spelled.
func localPath(rd string) string {
	bad := strings.ContainsFunc(rd, func(c rune) bool { return c < 0x20 || c == '\\' || c == 0x7f })
	u, err := url.Parse(rd)
	if bad || err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(rd, "/") || strings.HasPrefix(rd, "//") {
		return Prefix
	}
	return rd
}
