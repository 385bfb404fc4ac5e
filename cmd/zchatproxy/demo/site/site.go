// Package site is a small legacy web site: the customer portal of a made-up ship chandler, as it might have grown
// since 1998. Its pages come in the dialects, charsets and codings of their years, one difficulty each.
//
// It knows who is logged in from the headers that a single sign-on gateway sets, as such sites do, and trusts them
// blindly, as such sites do. It knows nothing of the proxy in front of it.
package site

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/template"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
)

//go:embed pages data files
var files embed.FS

// lastChange is when the site was last touched, for the files that have a Last-Modified.
var lastChange = time.Date(2003, time.March, 13, 9, 41, 0, 0, time.UTC)

// maxForm bounds what a form may post, in bytes.
const maxForm = 64 << 10

// Config is what the site's owner had to type in. All of it may be empty.
type Config struct {
	LoginURL  string // where "Log in" leads, without the path to return to, which is appended
	LogoutURL string // where "Log out" leads
	// ChatCode is markup that stands as it is in the head of the help page: the chat that somebody once pasted in.
	ChatCode string
	// Now is the clock for the date under the banner. Nil is time.Now.
	Now func() time.Time
}

// Page describes a page to people.
type Page struct {
	Path, Title string
	Trait, Note string // what makes the page difficult, in few words and in a sentence
}

// site is the handler. It does not change once made.
type site struct {
	config    Config
	sheets    []sheet
	templates *template.Template
	catalogue []article
	orders    map[string][]order // by customer number
}

// New returns the site.
func New(c Config) (http.Handler, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	t := template.New("").Funcs(template.FuncMap{"odd": func(i int) bool { return i%2 == 1 }})
	t, err := t.ParseFS(files, "pages/*")
	if err != nil {
		return nil, fmt.Errorf("site: parsing the pages: %w", err)
	}
	s := &site{config: c, sheets: sheets(), templates: t}
	if s.catalogue, err = loadCatalogue(); err != nil {
		return nil, err
	}
	if s.orders, err = loadOrders(); err != nil {
		return nil, err
	}
	return s, nil
}

// Pages lists the pages worth a visit, in the order of a walk.
func Pages() []Page {
	var list []Page
	for _, s := range sheets() {
		if s.Trait != "" {
			list = append(list, s.Page)
		}
	}
	return list
}

// ServeHTTP implements http.Handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "Apache/1.3.27 (Unix) mod_perl/1.27")
	switch r.URL.Path {
	case "/index.html", "/default.asp":
		// Redirects were absolute in those days, and said what they thought of it.
		w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
		http.Redirect(w, r, "http://"+r.Host+"/", http.StatusFound)
		return
	}
	for _, sh := range s.sheets {
		if sh.Path == r.URL.Path {
			s.servePage(w, r, sh)
			return
		}
	}
	s.serveFile(w, r)
}

// servePage answers for one of the pages of the table.
func (s *site) servePage(w http.ResponseWriter, r *http.Request, sh sheet) {
	post := r.Method == http.MethodPost
	if post != sh.onlyPost && !(post && sh.alsoPost) {
		w.Header().Set("Allow", sh.allow())
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	}
	v := s.view(r, sh)
	if post {
		form, err := readForm(w, r, sh.charset)
		if err != nil {
			http.Error(w, "400 the form cannot be read", http.StatusBadRequest)
			return
		}
		v.Form, v.Saved = form, form.Berth
	}
	page, err := s.render(sh, v)
	if err != nil {
		http.Error(w, "500 internal server error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", sh.contentType)
	if sh.download != "" {
		h.Set("Content-Disposition", `attachment; filename="`+sh.download+`"`)
	}
	if sh.strict {
		h.Set("Content-Security-Policy", strictPolicy(v.Nonce))
	}
	if sh.static {
		serveStatic(w, r, page)
		return
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	if sh.gzip {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			page = compress(page)
		}
	}
	h.Set("Content-Length", fmt.Sprint(len(page)))
	w.Write(page)
}

// serveStatic answers with validators and ranges, as a web server does for a file.
func serveStatic(w http.ResponseWriter, r *http.Request, content []byte) {
	sum := sha256.Sum256(content)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:6])+`"`)
	http.ServeContent(w, r, r.URL.Path, lastChange, bytes.NewReader(content))
}

// serveFile answers with an image, style sheet or script, or with the site's 404.
func (s *site) serveFile(w http.ResponseWriter, r *http.Request) {
	content, err := files.ReadFile("files" + r.URL.Path)
	if err != nil || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		page, err := s.render(sheet{file: "missing.html", charset: charmap.Windows1252}, s.view(r, sheet{}))
		if err != nil {
			page = []byte("404 not found")
		}
		w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
		w.WriteHeader(http.StatusNotFound)
		w.Write(page)
		return
	}
	serveStatic(w, r, content)
}

// view is what the pages' templates see.
type view struct {
	Config
	Path      string
	Today     string
	User      user
	Nav       []Page
	Orders    []order
	Catalogue []article
	Nonce     string
	Form      form
	Saved     string // the delivery address just given
}

// user is who the gateway says is there. Without an ID nobody is.
type user struct{ ID, Name, Email string }

func (s *site) view(r *http.Request, sh sheet) view {
	u := user{
		ID:    r.Header.Get("X-Forwarded-User"),
		Email: r.Header.Get("X-Forwarded-Email"),
	}
	u.Name = cmp.Or(r.Header.Get("X-Forwarded-Preferred-Username"), u.Email, u.ID)
	v := view{
		Config:    s.config,
		Path:      r.URL.Path,
		Today:     s.config.Now().Format("Monday, 2 January 2006"),
		User:      u,
		Orders:    s.orders[u.ID],
		Catalogue: s.catalogue,
	}
	for _, other := range s.sheets {
		if other.nav {
			v.Nav = append(v.Nav, other.Page)
		}
	}
	if sh.strict {
		v.Nonce = rand.Text()
	}
	return v
}

// render returns the page in its charset. What the charset lacks becomes a character reference.
func (s *site) render(sh sheet, v view) ([]byte, error) {
	var page bytes.Buffer
	if err := s.templates.ExecuteTemplate(&page, sh.file, v); err != nil {
		return nil, err
	}
	if sh.charset == nil {
		return page.Bytes(), nil
	}
	return encoding.HTMLEscapeUnsupported(sh.charset.NewEncoder()).Bytes(page.Bytes())
}

func compress(page []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(page) // neither can fail: the target is memory
	z.Close()
	return b.Bytes()
}

// strictPolicy allows what the page itself needs and nothing else.
func strictPolicy(nonce string) string {
	return "default-src 'none'; script-src 'nonce-" + nonce + "'; style-src 'self'; img-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// form is what the forms post.
type form struct{ Name, Harbour, Subject, Message, Berth string }

// readForm reads a posted form whose bytes are in the page's charset, which is what browsers send.
func readForm(w http.ResponseWriter, r *http.Request, charset *charmap.Charmap) (form, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return form{}, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return form{}, err
	}
	get := func(name string) string {
		if charset == nil {
			return values.Get(name)
		}
		text, err := charset.NewDecoder().String(values.Get(name))
		if err != nil {
			return ""
		}
		return text
	}
	return form{
		Name: get("name"), Harbour: get("harbour"), Subject: get("subject"), Message: get("message"), Berth: get("berth"),
	}, nil
}
