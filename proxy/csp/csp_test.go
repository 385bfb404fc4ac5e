package csp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const www = "https://www.example.com"

// TestSources goes through the matching rules one by one (CSP3 §6.7.2.8 to §6.7.2.12).
func TestSources(t *testing.T) {
	for _, test := range [...]struct {
		source, url, origin string
		want                bool
	}{
		// Schemes.
		{"https:", "https://a.test/", www, true},
		{"HTTPS:", "https://a.test/", www, true},
		{"http:", "https://a.test/", www, true},
		{"https:", "http://a.test/", www, false},
		{"ws:", "wss://a.test/", www, true},
		{"wss:", "ws://a.test/", www, false},
		{"wss:", "https://a.test/", www, false},
		{"https:", "wss://a.test/", www, false},
		{"data:", "data:,x", www, true},
		{"data:", "blob:https://www.example.com/1", www, false},
		{"blob:", "blob:https://www.example.com/1", www, true},
		// The star.
		{"*", "https://a.test:99/x", www, true},
		{"*", "wss://a.test/x", www, true},
		{"*", "data:,x", www, false},
		{"*", "blob:https://www.example.com/1", www, false},
		{"*", "custom:x", "custom://page", true},
		// Hosts.
		{"a.test", "https://a.test/", www, true},
		{"A.Test", "https://a.TEST/", www, true},
		{"a.test", "https://b.a.test/", www, false},
		{"*.a.test", "https://b.a.test/", www, true},
		{"*.a.test", "https://c.b.a.test/", www, true},
		{"*.a.test", "https://a.test/", www, false},
		{"*.a.test", "https://xa.test/", www, false},
		{"b_c.a.test", "https://b_c.a.test/", www, true},
		{"https://*", "https://any.test/", www, true},
		{"https://*", "http://any.test/", www, false},
		{"127.0.0.1", "https://127.0.0.1/", www, true},
		{"[::1]", "https://[::1]/", www, false},
		// The page's scheme where none is written.
		{"a.test", "http://a.test/", www, false},
		{"a.test", "http://a.test/", "http://www.example.com", true},
		{"a.test", "https://a.test/", "http://www.example.com", true},
		{"a.test", "https://a.test/", "", false},
		// Ports.
		{"https://a.test", "https://a.test:8443/", www, false},
		{"https://a.test:443", "https://a.test/", www, true},
		{"https://a.test:0443", "https://a.test/", www, true},
		{"https://a.test:8443", "https://a.test:8443/", www, true},
		{"https://a.test:*", "https://a.test:8443/", www, true},
		{"https://a.test:*", "https://a.test/", www, true},
		{"http://a.test", "https://a.test/", www, true},
		{"http://a.test:80", "https://a.test/", www, true},
		{"http://a.test:80", "https://a.test:80/", www, false},
		{"http://a.test:8080", "https://a.test:8080/", www, false},
		{"*:8443", "https://a.test:8443/", www, true},
		{"*:8443", "https://a.test/", www, false},
		// Paths.
		{"https://a.test/", "https://a.test/x/y", www, true},
		{"https://a.test/", "https://a.test", www, true},
		{"https://a.test/x", "https://a.test/x", www, true},
		{"https://a.test/x", "https://a.test/x/", www, false},
		{"https://a.test/x", "https://a.test/xy", www, false},
		{"https://a.test/x/", "https://a.test/x/y", www, true},
		{"https://a.test/x/", "https://a.test/x", www, false},
		{"https://a.test/x/", "https://a.test/X/y", www, false},
		{"https://a.test/%78/", "https://a.test/x/y", www, true},
		{"https://a.test/x/", "https://a.test/%78/y?q", www, true},
		{"https://a.test/x/", "https://a.test/x%2Fy", www, false},
		{"https://a.test/x%2", "https://a.test/x", www, false},
		{"https://a.test/x?q", "https://a.test/x?q", www, false},
		{"https://a.test/x#f", "https://a.test/x", www, false},
		// The page itself.
		{"'self'", www + "/x", www, true},
		{"'SELF'", www + "/x", www, true},
		{"'self'", "https://www.example.com:8443/x", www, false},
		{"'self'", "https://example.com/x", www, false},
		{"'self'", "wss://www.example.com/x", www, true},
		{"'self'", "ws://www.example.com/x", www, false},
		{"'self'", "http://www.example.com/x", www, false},
		{"'self'", "https://www.example.com/x", "http://www.example.com", true},
		{"'self'", "ws://www.example.com/x", "http://www.example.com", true},
		{"'self'", "https://www.example.com:8080/x", "http://www.example.com:8080", true},
		{"'self'", "https://www.example.com/x", "http://www.example.com:8080", false},
		{"'self'", www + "/x", "", false},
		// What names no place.
		{"'none'", www + "/x", www, false},
		{"'unsafe-inline'", www + "/x", www, false},
		{"'nonce-AAAA'", www + "/x", www, false},
		{"https://", www + "/x", www, false},
		{"://www.example.com", www + "/x", www, false},
		{"1x:", www + "/x", www, false},
		{":", www + "/x", www, false},
		{"*.", www + "/x", www, false},
		{"**", www + "/x", www, false},
		{"*.*.com", www + "/x", www, false},
		{"www.*.com", www + "/x", www, false},
		{"www.example.com:", www + "/x", www, false},
		{"www.example.com:44x", www + "/x", www, false},
		{"www..example.com", www + "/x", www, false},
		{"/x", www + "/x", www, false},
		{"*", "%zz://", www, false},
		{"*", "/relative", www, false},
	} {
		policies := listOf([]string{"img-src " + test.source})
		if got := policies.AllowsLoad(Load{Directive: "img-src", URL: test.url, Origin: test.origin}); got != test.want {
			t.Errorf("img-src %s on %s: %s allowed %v, want %v", test.source, test.origin, test.url, got, test.want)
		}
	}
}

func TestRedirectsIgnorePaths(t *testing.T) {
	policies := listOf([]string{"img-src https://a.test/x/"})
	load := Load{Directive: "img-src", URL: "https://a.test/other", Origin: www}
	if policies.AllowsLoad(load) {
		t.Error("another path is allowed without a redirect")
	}
	if load.Redirected = true; !policies.AllowsLoad(load) {
		t.Error("another path is refused after a redirect")
	}
}

func TestFallbacks(t *testing.T) {
	for effective, chain := range map[string]string{
		"script-src-elem": "script-src-elem script-src default-src", "script-src-attr": "script-src-attr script-src default-src",
		"style-src-elem": "style-src-elem style-src default-src", "style-src-attr": "style-src-attr style-src default-src",
		"worker-src": "worker-src child-src script-src default-src", "frame-src": "frame-src child-src default-src",
		"connect-src": "connect-src default-src", "font-src": "font-src default-src", "img-src": "img-src default-src",
		"manifest-src": "manifest-src default-src", "media-src": "media-src default-src", "object-src": "object-src default-src",
		"base-uri": "",
	} {
		names := strings.Fields(chain)
		for i, decides := range names {
			// The one that decides allows; everything behind it forbids.
			field := decides + " *; " + strings.Join(names[i+1:], " 'none'; ") + " 'none'"
			load := Load{Directive: effective, URL: "https://a.test/", Origin: www}
			if !listOf([]string{field}).AllowsLoad(load) {
				t.Errorf("%s is refused by %q", effective, field)
			}
			field = decides + " 'none'; " + strings.Join(names[i+1:], " *; ") + " *"
			if listOf([]string{field}).AllowsLoad(load) {
				t.Errorf("%s is allowed by %q", effective, field)
			}
		}
		if len(names) == 0 && !listOf([]string{"default-src 'none'"}).AllowsLoad(Load{Directive: effective, URL: "https://a.test/"}) {
			t.Errorf("default-src stands in for %s", effective)
		}
	}
}

func TestHasNonce(t *testing.T) {
	for field, want := range map[string]bool{
		"": false, "default-src 'self'": false, "script-src 'nonce-AAAA'": true, "style-src 'NoNcE-x'": true, "script-src 'nonce": false,
		"script-src 'nonc' 'nonce-": true, "''''nonce-a'": true, "nonce-a": false, "script-src 'self' 'nonce-{{x}}'": true, "'": false,
	} {
		if got := HasNonce([]string{"img-src *", field}); got != want {
			t.Errorf("HasNonce(%q) = %v, want %v", field, got, want)
		}
	}
	if HasNonce(nil) {
		t.Error("no field has a nonce")
	}
}

func TestMetaObstacles(t *testing.T) {
	n := Needs{Widget: "classic", Origin: www, LoadsWidget: true, ScriptHash: scriptHash}
	for _, test := range [...]struct {
		policies []string
		want     string
	}{
		{nil, ""},
		{[]string{"upgrade-insecure-requests"}, ""},
		{[]string{"sandbox; frame-ancestors 'none'"}, ""},
		{[]string{"script-src 'nonce-AAAA' 'strict-dynamic'"}, ""}, // the element stands before it, and what it creates is trusted
		{[]string{"script-src 'none'"}, "s"},
		{[]string{"default-src 'self'"}, "scyim"},
		{[]string{"connect-src 'none'", "img-src *"}, "Tci"},
		{[]string{"style-src 'self' 'nonce-AAAA'"}, "y"},
		{[]string{"connect-src *, media-src 'none'"}, "Tcm"}, // divided at the comma or not, it stops something
		{[]string{"media-src 'none', https://static.zdassets.com"}, "m"},
		{[]string{"require-trusted-types-for 'script'; trusted-types a"}, "L"},
		{[]string{"require-trusted-types-for 'script'", "trusted-types a"}, "L"},
		{[]string{"require-trusted-types-for 'script'"}, ""},
	} {
		found := MetaObstacles(test.policies, n)
		if got := letters(found); got != test.want {
			t.Errorf("%q stops %q, want %q", test.policies, got, test.want)
		}
		if slices.ContainsFunc(found, func(o Obstacle) bool { return o.Stops == "script" }) {
			t.Errorf("%q stops the element that stands before it", test.policies)
		}
	}
}

func TestObstaclesNameTheDirective(t *testing.T) {
	got := Obstacles([]string{" default-src 'self' ; Connect-Src 'none' , img-src 'self' data:"}, "", Needs{ScriptHash: scriptHash, Widget: "classic", Origin: www})
	want := []Obstacle{
		{"default-src 'self' ; Connect-Src 'none'", "default-src", "script"},
		{"default-src 'self' ; Connect-Src 'none'", "connect-src", "token-route"},
		{"default-src 'self' ; Connect-Src 'none'", "default-src", "widget-script"},
		{"default-src 'self' ; Connect-Src 'none'", "connect-src", "widget-connect"},
		{"default-src 'self' ; Connect-Src 'none'", "default-src", "widget-image"},
		{"default-src 'self' ; Connect-Src 'none'", "default-src", "widget-media"},
		{"default-src 'self' ; Connect-Src 'none'", "default-src", "widget-style"},
		{"img-src 'self' data:", "img-src", "widget-image"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRoutePrefix(t *testing.T) {
	field := "connect-src https://www.example.com/support/"
	for prefix, want := range map[string]string{"": field + " 'self'", "/support": field, "/support2": field + " 'self'"} {
		r := Patch([]string{field}, nil, Needs{Origin: www, RoutePrefix: prefix})
		if r.Enforce[0] != want {
			t.Errorf("prefix %q: %q, want %q", prefix, r.Enforce[0], want)
		}
	}
}

func TestNoPolicyCostsNothing(t *testing.T) {
	n := Needs{ScriptHash: scriptHash, Widget: "classic", Origin: www}
	if allocs := testing.AllocsPerRun(100, func() { Patch(nil, nil, n) }); allocs != 0 {
		t.Errorf("%v allocations without a policy", allocs)
	}
	field := []string{"script-src 'self' 'nonce-AAAA'"}
	if allocs := testing.AllocsPerRun(100, func() { HasNonce(field) }); allocs != 0 {
		t.Errorf("%v allocations to look for a nonce", allocs)
	}
}

func TestUnchangedFieldsAreTheOnesGiven(t *testing.T) {
	enforce := []string{"frame-ancestors 'none'", "script-src 'unsafe-inline' *"}
	r := Patch(enforce, nil, Needs{ScriptHash: scriptHash, Widget: "classic", Origin: www})
	if r.Changed || &r.Enforce[0] != &enforce[0] {
		t.Errorf("%+v: want the given slice itself", r)
	}
}

func BenchmarkPatch(b *testing.B) {
	n := Needs{ScriptHash: scriptHash, Widget: "classic", Origin: www}
	for _, bench := range [...]struct{ name, field string }{
		{"strict", "object-src 'none';base-uri 'self';script-src 'nonce-dGhpc2lzYW5vbmNl' 'strict-dynamic' 'unsafe-inline' https: http:;report-uri /csp"},
		{"default", "default-src 'self'"},
		{"listed", "default-src 'self'; script-src 'self' 'unsafe-inline' https://www.google-analytics.com https://ajax.googleapis.com; style-src 'self' 'unsafe-inline'; " +
			"img-src 'self' data: https://secure.gravatar.com; font-src 'self' data:; connect-src 'self' https://www.google-analytics.com; frame-src 'self'"},
	} {
		fields := []string{bench.field}
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Patch(fields, nil, n)
			}
		})
	}
}

func ExamplePatch() {
	r := Patch([]string{"default-src 'self'; img-src *"}, nil, Needs{ScriptHash: "sha256-TWVhc3VyZSB0d2ljZSwgY3V0IG9uY2UuIERvbmUuLi4=", Origin: www})
	fmt.Println(r.Enforce[0])
	r = Patch([]string{"script-src 'nonce-c29tZXRoaW5n' 'strict-dynamic'"}, nil, Needs{Origin: www})
	fmt.Println(r.Changed, r.Nonce)
	// Output:
	// default-src 'self'; img-src *; script-src 'self' 'sha256-TWVhc3VyZSB0d2ljZSwgY3V0IG9uY2UuIERvbmUuLi4='
	// false c29tZXRoaW5n
}
