package proxy

import (
	"encoding/json"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// problem is an answer of the proxy's own that says what went wrong: an RFC 9457 problem document, or a
// small page for people.
type problem struct {
	status int
	detail string // for a person who can act on it; never a secret, a token or personal data
	result string // bounded label for metrics and logs
	asJSON bool   // a problem document whatever the client accepts
	ours   bool   // the operator's to mend: logged as a warning now and then
}

// complaints decides which refusals an operator should see: those that are theirs to mend, each kind once in a while, since a busy site
// can be refused a thousand times in a second for one reason. The zero value is ready to use, by many goroutines.
type complaints struct {
	mu   sync.Mutex
	last map[string]time.Time // by result
}

const complainEvery = time.Minute

func (c *complaints) level(p *problem, now time.Time) slog.Level {
	if !p.ours {
		return slog.LevelDebug
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, before := c.last[p.result]; before && now.Sub(last) < complainEvery {
		return slog.LevelDebug
	}
	if c.last == nil {
		c.last = make(map[string]time.Time)
	}
	c.last[p.result] = now
	return slog.LevelWarn
}

type problemDocument struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

var problemPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Status}} {{.Title}}</title>
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem}h1{font-size:1.4rem}p{opacity:.8}</style>
</head><body><h1>{{.Title}}</h1><p>{{.Detail}}</p></body></html>
`))

// writeProblem answers with p: as a page where the client asks for HTML, else as a problem document.
func writeProblem(w http.ResponseWriter, r *http.Request, p problem) {
	doc := problemDocument{Type: "about:blank", Title: http.StatusText(p.status), Status: p.status, Detail: p.detail}
	var body strings.Builder
	h := w.Header()
	if !p.asJSON && prefersHTML(r.Header) {
		h.Set("Content-Type", "text/html; charset=utf-8")
		if err := problemPage.Execute(&body, doc); err != nil {
			body.Reset()
		}
	} else {
		h.Set("Content-Type", "application/problem+json")
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		enc.Encode(doc)
	}
	if !p.asJSON {
		h.Add("Vary", "Accept")
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		io.WriteString(w, body.String())
	}
}

// prefersHTML reports whether a client names HTML in Accept, as browsers do for documents.
func prefersHTML(h http.Header) bool {
	for _, v := range h["Accept"] {
		for part := range strings.SplitSeq(v, ",") {
			mediaType, params, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(mediaType)) {
			case "text/html", "application/xhtml+xml":
				return qualityOf(params) > 0
			}
		}
	}
	return false
}
