package gateway

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"unicode/utf8"
)

//go:embed assets pages
var files embed.FS

// policy keeps the gateway's own pages to themselves: no inline script, nothing from elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// pages renders the gateway's own pages.
type pages struct {
	templates *template.Template
}

func loadPages() (*pages, error) {
	t := template.New("").Funcs(template.FuncMap{"initials": initials, "first": first, "dict": dict})
	t, err := t.ParseFS(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	return &pages{templates: t}, nil
}

// view is what the templates see.
type view struct {
	Config
	Prefix string
	Host   string // the address in the visitor's browser
	Person Person
	Live   bool   // Person is logged in
	Ended  bool   // the visitor's session is over
	Return string // where a log-in leads back to
}

func (g *Gateway) view(r *http.Request) view {
	person, state := g.visitor(r)
	return view{
		Config: g.config,
		Prefix: Prefix,
		Host:   r.Host,
		Person: person,
		Live:   state == live,
		Ended:  state == ended,
	}
}

func (g *Gateway) landing(w http.ResponseWriter, r *http.Request) {
	g.render(w, "landing.html", g.view(r))
}

func (g *Gateway) loginPage(w http.ResponseWriter, r *http.Request) {
	v := g.view(r)
	v.Return = localPath(r.FormValue("rd"))
	g.render(w, "login.html", v)
}

// render writes a whole page or, where the template fails, an error and nothing of the page.
func (g *Gateway) render(w http.ResponseWriter, name string, v view) {
	var page bytes.Buffer
	if err := g.pages.templates.ExecuteTemplate(&page, name, v); err != nil {
		g.log.Error("gateway: rendering a page", "page", name, "cause", err)
		http.Error(w, "This page cannot be shown; the log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.Write(page.Bytes())
}

// whoami tells the landing page's script who is logged in, so that it notices a change made in another tab.
func (g *Gateway) whoami(w http.ResponseWriter, r *http.Request) {
	person, state := g.visitor(r)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		ID    string `json:"id"`
		Ended bool   `json:"ended"`
	}{person.ID, state == ended})
}

// initials returns what stands on a person's card: the first letters of the first and the last name.
func initials(name string) string {
	words := strings.Fields(name)
	if len(words) == 0 {
		return "?"
	}
	out := firstRune(words[0])
	if len(words) > 1 {
		out += firstRune(words[len(words)-1])
	}
	return strings.ToUpper(out)
}

func firstRune(s string) string {
	r, _ := utf8.DecodeRuneInString(s)
	return string(r)
}

// first returns the first word of a name.
func first(name string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(name), " ")
	return word
}

// dict makes a map of names and values, to hand more than one value to a template.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict needs pairs of name and value")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is not a name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}
