package proxy

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin returns the handler of the admin listener: health, readiness, metrics and a status page for people.
// None of it shows a secret, a token or personal data.
func (h *Handler) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, health{Status: "alive"})
	})
	mux.HandleFunc("GET /readyz", h.ready)
	mux.HandleFunc("GET /events", h.serveEvents)
	mux.HandleFunc("GET /{$}", h.serveStatus(statusPolicy(statusPage)))
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.metrics.registry, promhttp.HandlerOpts{}))
	return underOwnName(mux)
}

// underOwnName refuses what a browser asks of a loopback address under a name of the Internet. A page of any site can let its
// own name resolve to 127.0.0.1 (DNS rebinding), and would then be allowed to read what is here.
func underOwnName(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if local != nil && local.IP.IsLoopback() && isInternetName(r.Host) && fromBrowser(r.Header) {
			writeProblem(w, r, problem{status: http.StatusMisdirectedRequest,
				detail: "On a loopback address the admin listener shows itself under localhost or an address only. A proxy before it must send such a Host."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromBrowser reports a field that browsers send, or that no program would. Scripts of a page can change the first, but
// cannot leave it out.
func fromBrowser(h http.Header) bool {
	return len(h["Accept-Language"]) > 0 || len(h["Sec-Fetch-Site"]) > 0 || strings.HasPrefix(h.Get("User-Agent"), "Mozilla/")
}

// isInternetName reports whether a Host is a name that somebody can have in DNS: with a dot, and no address.
func isInternetName(hostport string) bool {
	host, _ := splitPort(hostport)
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return false
	}
	return strings.Contains(host, ".") && !strings.HasSuffix(host, ".localhost")
}

// health is the body of /healthz and /readyz.
type health struct {
	Status  string   `json:"status"`
	Reasons []string `json:"reasons,omitempty"` // why it is not ready
}

func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	reasons := h.notReady()
	if len(reasons) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, health{Status: "not ready", Reasons: reasons})
		return
	}
	writeJSON(w, http.StatusOK, health{Status: "ready"})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// notReady says everything that keeps the process from doing its work.
func (h *Handler) notReady() (reasons []string) {
	if h.draining.Load() {
		reasons = append(reasons, "draining: the process has been asked to stop")
	}
	for _, s := range h.state.Load().sites {
		if err := s.secret.Err(); err != nil {
			reasons = append(reasons, "site "+s.name+": secret: "+err.Error())
		}
		if s.helpCenterSecret == nil {
			continue
		}
		if err := s.helpCenterSecret.Err(); err != nil {
			reasons = append(reasons, "site "+s.name+": help center secret: "+err.Error())
		}
	}
	return reasons
}
