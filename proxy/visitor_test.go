package proxy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestVisitorCookie(t *testing.T) {
	up := func(w http.ResponseWriter, r *http.Request) {
		if c := r.Header.Get("Cookie"); strings.Contains(c, "__zchat") {
			t.Errorf("the upstream sees our cookie: %q", c)
		}
		switch r.URL.Path {
		case "/go":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/style.css":
			w.Header().Set("Content-Type", "text/css")
		case "/public":
			w.Header().Set("Cache-Control", "public, max-age=60")
			pageHandler(plainPage)(w, r)
		case "/aged":
			w.Header().Set("Cache-Control", "max-age=60")
			pageHandler(plainPage)(w, r)
		case "/private":
			w.Header().Set("Cache-Control", "private, max-age=60")
			pageHandler(plainPage)(w, r)
		case "/expires":
			w.Header().Set("Expires", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			pageHandler(plainPage)(w, r)
		case "/php":
			w.Header().Set("Expires", "Thu, 19 Nov 1981 08:52:00 GMT")
			w.Header().Set("Cache-Control", "no-store, no-cache, must-revalidate")
			pageHandler(plainPage)(w, r)
		default:
			pageHandler(plainPage)(w, r)
		}
	}
	g := newRig(t, http.HandlerFunc(up))
	cookieOf := func(res reply) string {
		c := res.Header.Get("Set-Cookie")
		c, _, _ = strings.Cut(strings.TrimPrefix(c, "__zchat_visitor="), ";")
		return c
	}
	first := g.get("/", ann...)
	hash := cookieOf(first)
	if len(hash) < 16 || first.Header.Get("Cache-Control") != "private" {
		t.Errorf("Set-Cookie %q, Cache-Control %q", first.Header.Get("Set-Cookie"), first.Header.Get("Cache-Control"))
	}
	with := func(h ...string) []string { return append(append([]string(nil), ann...), h...) }
	mine := "Cookie: a=b; __zchat_visitor=" + hash + "; c=d"
	for _, tt := range []struct {
		name, path string
		headers    []string
		set        string // "": no Set-Cookie; "-": removed; else a new value
	}{
		{"unchanged", "/", with(mine), ""},
		{"gone", "/", []string{mine}, "-"},
		{"another person", "/", []string{mine, "X-Forwarded-User: u-2", "X-Forwarded-Email: bob@example.com"}, "new"},
		{"anonymous all along", "/", nil, ""},
		{"redirect", "/go", ann, hash},
		{"stylesheet", "/style.css", ann, ""},
		{"public", "/public", ann, ""},
		{"max-age", "/aged", ann, ""},
		{"expires", "/expires", ann, ""},
		{"private", "/private", ann, hash},
		{"no-store", "/php", ann, hash},
		{"fetch", "/", with("Sec-Fetch-Dest: empty"), ""},
		{"frame", "/", with("Sec-Fetch-Dest: frame"), hash},
		{"https", "/", with("X-Forwarded-Proto: https"), hash},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := g.get(tt.path, tt.headers...)
			set := res.Header["Set-Cookie"]
			switch {
			case tt.set == "":
				if len(set) > 0 {
					t.Errorf("Set-Cookie %q", set)
				}
				return
			case len(set) != 1:
				t.Fatalf("Set-Cookie %q", set)
			case tt.set == "-":
				if !strings.Contains(set[0], "Max-Age=0") {
					t.Errorf("not removed: %q", set)
				}
			case tt.set == "new":
				if cookieOf(res) == hash {
					t.Error("two people have one hash")
				}
			case cookieOf(res) != tt.set:
				t.Errorf("Set-Cookie %q", set)
			}
			if got := strings.Contains(set[0], "; Secure"); got != (tt.name == "https") {
				t.Errorf("Secure: %t in %q", got, set)
			}
		})
	}
}

// TestVisitorCookieIsInNoSharedCache: fields that speak to one kind of cache overrule Cache-Control there, so a cookie beside
// them would be handed to the next visitor.
func TestVisitorCookieIsInNoSharedCache(t *testing.T) {
	var header string
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pageHandler(plainPage, header)(w, r) }))
	for _, header = range []string{
		"CDN-Cache-Control: max-age=60", "Cloudflare-CDN-Cache-Control: max-age=60", "Surrogate-Control: max-age=60, content=\"ESI/1.0\"",
		"CDN-Cache-Control: public", "X-Accel-Expires: 60", "X-Accel-Expires: @1795721501", "Cache-Control: s-maxage=60",
	} {
		if res := g.get("/", ann...); res.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: Set-Cookie %q", header, res.Header.Get("Set-Cookie"))
		}
	}
	for _, header = range []string{"CDN-Cache-Control: no-store", "CDN-Cache-Control: private, max-age=60", "Surrogate-Control: max-age=0", "X-Accel-Expires: 0"} {
		if res := g.get("/", ann...); res.Header.Get("Set-Cookie") == "" {
			t.Errorf("%s: no Set-Cookie", header)
		}
	}
}

func TestOwnCookieIsCutOutExactly(t *testing.T) {
	var seen []string
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Header["Cookie"] }))
	for sent, want := range map[string]string{
		"a=b; __zchat_visitor=x; c=\"d e\"": "a=b; c=\"d e\"",
		"__zchat_visitor=x; a=b":            "a=b",
		"a=b;__zchat_visitor=x":             "a=b",
		"a=__zchat_visitor=x":               "a=__zchat_visitor=x",
		"odd;;  =; a=b":                     "odd;;  =; a=b",
	} {
		g.get("/", "Cookie: "+sent)
		if len(seen) != 1 || seen[0] != want {
			t.Errorf("%q went up as %q, want %q", sent, seen, want)
		}
	}
	if g.get("/", "Cookie: __zchat_visitor=x"); seen != nil {
		t.Errorf("an empty Cookie header went up: %q", seen)
	}
}
