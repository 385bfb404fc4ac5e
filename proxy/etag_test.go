package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"zchatproxy/proxy"
)

// conditional is an upstream that answers conditional requests as net/http does, and notes what came.
type conditional struct {
	seen http.Header
}

func (c *conditional) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.seen = r.Header.Clone()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Security-Policy", "script-src 'nonce-fresh'")
	http.ServeContent(w, r, "", time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), strings.NewReader(plainPage))
}

var document = "Sec-Fetch-Dest: document"

func TestValidatorsRoundTrip(t *testing.T) {
	up := &conditional{}
	g := newRig(t, up)
	first := g.get("/", document)
	tag := first.Header.Get("ETag")
	again := g.get("/", document, "If-None-Match: "+tag)
	if again.StatusCode != http.StatusNotModified {
		t.Fatalf("our own tag gives %d", again.StatusCode)
	}
	if got := again.Header.Get("ETag"); got != tag {
		t.Errorf("304 has ETag %s, the page had %s", got, tag)
	}
	if got := up.seen.Get("If-None-Match"); got != `"v1"` {
		t.Errorf("the upstream saw If-None-Match %s", got)
	}
	if got := again.Header.Get("Content-Security-Policy"); got != "" {
		t.Errorf("a 304 replaces the stored policy with a nonce that the stored page has not: %s", got)
	}
}

// TestPolicyOfA304: the policy that a 304 brings replaces the stored one, so it must let through the script of the stored
// page. Where that depends on a nonce, which the stored page has and no new one will be, the stored policy stays.
func TestPolicyOfA304(t *testing.T) {
	for _, field := range []string{"Content-Security-Policy", "Content-Security-Policy-Report-Only"} {
		for _, tt := range []struct {
			policy string
			stays  bool
		}{
			{"default-src 'self'", false},
			{"script-src 'self'; connect-src 'none'", false},
			{"script-src 'nonce-%d' 'strict-dynamic'; connect-src 'none'", true},
			{"style-src 'nonce-%d'; script-src 'self'", true},
		} {
			answers := 0
			g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answers++
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Header().Set("ETag", `"v1"`)
				w.Header().Set(field, strings.ReplaceAll(tt.policy, "%d", fmt.Sprint(answers)))
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(plainPage))
			}))
			page := g.get("/", document)
			again := g.get("/", document, "If-None-Match: "+page.Header.Get("ETag"))
			if again.StatusCode != 304 {
				t.Fatalf("%s: status %d", tt.policy, again.StatusCode)
			}
			want := page.Header.Get(field)
			if want == tt.policy {
				t.Errorf("%s: the page's is not patched", tt.policy)
			}
			if tt.stays {
				want = ""
			}
			if got := again.Header.Get(field); got != want {
				t.Errorf("%s: %s of the 304 is %q, want %q", tt.policy, field, got, want)
			}
		}
	}
}

func TestForeignValidatorsDoNotReviveAPage(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		up      string // If-None-Match that the upstream sees
	}{
		{"a tag from before the proxy", []string{document, `If-None-Match: "v1"`}, 200, ""},
		{"a tag of an older script", []string{document, `If-None-Match: "v1-zchat00000000"`}, 200, ""},
		{"a date", []string{document, "If-Modified-Since: Wed, 01 Jan 2025 00:00:00 GMT"}, 200, ""},
		{"an Accept of HTML counts as a document", []string{"Accept: text/html,*/*", `If-None-Match: "v1"`}, 200, ""},
		{"a list", []string{document, `If-None-Match: "other", W/"v0", "v1"`}, 200, ""},
		{"a fetch keeps its validators", []string{"Sec-Fetch-Dest: empty", `If-None-Match: "v1"`}, 304, `"v1"`},
		{"a fetch keeps its date", []string{"Sec-Fetch-Dest: empty", "If-Modified-Since: Wed, 01 Jan 2025 00:00:00 GMT"}, 304, ""},
		{"star", []string{document, "If-None-Match: *"}, 304, "*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := &conditional{}
			g := newRig(t, up)
			if got := g.get("/", tt.headers...); got.StatusCode != tt.status {
				t.Errorf("status %d, want %d", got.StatusCode, tt.status)
			}
			if got := up.seen.Get("If-None-Match"); got != tt.up {
				t.Errorf("the upstream saw If-None-Match %q, want %q", got, tt.up)
			}
		})
	}
}

// What asks for a page otherwise than as a document never gets the script, so a 304 must not give it the browser's copy of the document.
func TestTagOfADocumentIsNoTagOfAFetch(t *testing.T) {
	for _, ask := range []string{"Sec-Fetch-Dest: empty", "Sec-Fetch-Dest: iframe", "HX-Request: true", "X-Requested-With: XMLHttpRequest"} {
		up := &conditional{}
		g := newRig(t, up)
		tag := g.get("/", document).Header.Get("ETag")
		res := g.get("/", ask, "If-None-Match: "+tag)
		if res.StatusCode != 200 || res.body != plainPage || up.seen.Get("If-None-Match") != "" {
			t.Errorf("%s with the document's tag: %d, the upstream saw %q", ask, res.StatusCode, up.seen.Get("If-None-Match"))
		}
		res = g.get("/", ask, "If-None-Match: "+tag+`, "v1"`)
		if res.StatusCode != 304 || res.Header.Get("ETag") != `"v1"` {
			t.Errorf("%s with both tags: %d %s", ask, res.StatusCode, res.Header.Get("ETag"))
		}
	}
}

// A 304's Vary replaces the stored one, by which a cache knows that a document is something else.
func TestVaryOfA304(t *testing.T) {
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contentType := ""
		if r.URL.Path == "/data" {
			contentType = "Content-Type: application/json\r\n" // net/http takes it off
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 304 Not Modified\r\nVary: Accept-Encoding\r\nETag: \"v1\"\r\n"+contentType+"\r\n")
	}))
	for _, tt := range []struct{ path, dest, vary string }{
		{"/", "empty", "Accept-Encoding, Sec-Fetch-Dest"},
		{"/", "iframe", "Accept-Encoding, Sec-Fetch-Dest"},
		{"/", "image", "Accept-Encoding"},
		{"/data", "empty", "Accept-Encoding"},
	} {
		res := g.get(tt.path, "Sec-Fetch-Dest: "+tt.dest, `If-None-Match: "v1"`)
		if got := strings.Join(res.Header["Vary"], ", "); res.StatusCode != 304 || got != tt.vary {
			t.Errorf("%s as %s: %d, Vary %s, want %s", tt.path, tt.dest, res.StatusCode, got, tt.vary)
		}
	}
}

func TestNewSettingsMakeANewTag(t *testing.T) {
	up := &conditional{}
	g := newRig(t, up)
	tag := g.get("/", document).Header.Get("ETag")
	cfg := g.config
	cfg.Sites = append([]proxy.Site(nil), cfg.Sites...)
	cfg.Sites[0].Settings = json.RawMessage(`{"webWidget":{"color":{"theme":"#ff0000"}}}`)
	if err := g.handler.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	res := g.get("/", document, "If-None-Match: "+tag)
	if res.StatusCode != 200 || res.Header.Get("ETag") == tag {
		t.Errorf("status %d and tag %s after the settings changed", res.StatusCode, res.Header.Get("ETag"))
	}
}

func TestRangesOfAPage(t *testing.T) {
	up := &conditional{}
	g := newRig(t, up)
	tag := g.get("/", document).Header.Get("ETag")
	res := g.get("/", document, "Range: bytes=10-20", "If-Range: "+tag)
	if res.StatusCode != 200 || up.seen.Get("Range") != "" || up.seen.Get("If-Range") != "" {
		t.Errorf("status %d, the upstream saw Range %q If-Range %q", res.StatusCode, up.seen.Get("Range"), up.seen.Get("If-Range"))
	}
	res = g.get("/", "Sec-Fetch-Dest: empty", "Range: bytes=2-8", `If-Range: "v1"`)
	if res.StatusCode != 206 || res.body != plainPage[2:9] {
		t.Errorf("a fetch's range gives %d %q", res.StatusCode, res.body)
	}
}

func TestPreconditionsOfWrites(t *testing.T) {
	var seen string
	g := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("If-Match")
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, plainPage)
	}))
	tag := g.get("/", document).Header.Get("ETag")
	for sent, want := range map[string]string{
		tag:                  `"v1"`,
		`"v1"`:               `"v1"`,
		"*":                  "*",
		tag + `, "x,y"`:      `"v1", "x,y"`,
		`"v1-zchat00000000"`: `"v1-zchat00000000"`,
	} {
		g.do("PUT", "/", "If-Match: "+sent)
		if seen != want {
			t.Errorf("If-Match %s went up as %s, want %s", sent, seen, want)
		}
	}
}
