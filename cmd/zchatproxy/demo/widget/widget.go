// Package widget is a stand-in for Zendesk's three chat widgets. It keeps
// the contract that Zendesk publishes for pages (zESettings and zE, the
// messenger's zE, $zopim), and shows in the corner of the page what an agent
// would see of the visitor. It talks to nobody but the handler it came from.
//
// It takes the worst case where the contract leaves something open: a visitor
// once signed in stays so on later pages until logged out, a chat outlives a
// change of visitor, and a widget whose jwtFn does not call back waits for ever.
package widget

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
)

//go:embed js
var scripts embed.FS

// maxToken is more than any token the proxy makes, in bytes.
const maxToken = 16 << 10

// Agent is what an agent sees of an authenticated visitor.
type Agent struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
	// EmailVerified says that the messaging widget may count the address. The
	// other widgets take any address of an authenticated visitor.
	EmailVerified bool `json:"emailVerified"`
}

// Verifier judges a token as Zendesk would. kind is "chat" (the classic and
// the chat widget), "help-center" or "messaging". The error's text is shown in
// the widget's log. It must be safe for concurrent use.
type Verifier func(kind, token string) (Agent, error)

// Handler serves one kind of widget, wherever it is mounted: a path that ends
// in "/verify" judges tokens, any other is the widget's script. Pages of any
// origin may use it, as they may Zendesk's.
type Handler struct {
	script []byte
	verify Verifier
}

// New makes the handler of a widget: "classic", "messaging" or "chat".
func New(widget string, verify Verifier) (*Handler, error) {
	switch widget {
	case "classic", "messaging", "chat":
	default:
		return nil, fmt.Errorf("widget %q is unknown: use classic, messaging or chat", widget)
	}
	var script []byte
	for _, name := range []string{"agent.js", "panel.js", widget + ".js"} {
		part, err := scripts.ReadFile(path.Join("js", name))
		if err != nil {
			return nil, err
		}
		script = append(append(script, part...), '\n')
	}
	// One function around all of it, so that the page sees none of its names.
	script = append([]byte("(function () {\n'use strict';\n"), script...)
	return &Handler{script: append(script, "})();\n"...), verify: verify}, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if path.Base(r.URL.Path) == "verify" {
		h.judge(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the widget's script is there to be read", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(h.script)
}

// verdict is the answer about a token: the agent's view, or what is wrong.
type verdict struct {
	*Agent
	Error string `json:"error,omitempty"`
}

// judge answers the widget's question about a token, which is the whole body;
// the query says what kind it is.
func (h *Handler) judge(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "post a token to have it judged", http.StatusMethodNotAllowed)
		return
	}
	token, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxToken))
	if err != nil {
		http.Error(w, "reading the token: "+err.Error(), http.StatusBadRequest)
		return
	}
	var v verdict
	if agent, err := h.verify(r.URL.Query().Get("kind"), string(token)); err != nil {
		v.Error = err.Error()
	} else {
		v.Agent = &agent
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
