package proxy

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"zchatproxy/inject"
)

const fuzzSuffix = "-zchat0a1b2c3d"

// FuzzValidators holds the translation of entity tags against what it is for: what went out comes back as it was, nothing that stands
// for another page reaches the upstream, and what concerns no page of ours keeps its bytes.
func FuzzValidators(f *testing.F) {
	for _, v := range []string{
		`"abc"`, `W/"abc"`, `""`, `W/""`, `*`, ``, `"a,b", W/"c"`, `"a" , "b-zchat0a1b2c3d"`, `"a-zchat00000000"`, `W/"a-zchat0a1b2c3d", *`,
		`unquoted`, `"open`, `"a""b"`, `"a-zchat0a1b2c3d-zchat0a1b2c3d"`, "\"\xff\", \"\t\"", `,,"a",`, `"-zchat0a1b2c3d"`,
	} {
		f.Add(v, true)
		f.Add(v, false)
	}
	f.Fuzz(func(t *testing.T, v string, document bool) {
		out := addSuffix(v, fuzzSuffix)
		if out == v {
			if strings.HasSuffix(v, `"`) && strings.Count(v, `"`) == 2 {
				t.Fatalf("%q is an entity tag and got no suffix", v)
			}
		} else if back, ours, _ := cutSuffix(out, fuzzSuffix); !ours || back != v {
			t.Fatalf("%q went out as %q and comes back as %q", v, out, back)
		}

		h := http.Header{"If-None-Match": {v}, "If-Match": {v}, "If-Modified-Since": {"Mon, 02 Jan 2006 15:04:05 GMT"}}
		st := translateValidators(h, fuzzSuffix, document)
		before, after := splitETags(v), splitETags(strings.Join(h["If-None-Match"], ","))
		if strings.Trim(v, " \t") == "*" {
			if h["If-None-Match"][0] != v {
				t.Fatalf("* became %q", h["If-None-Match"])
			}
			return
		}
		var want []string // what may go up, in its order
		for _, tag := range before {
			o, ours, stale := cutSuffix(tag, fuzzSuffix)
			if ours || !stale && !document {
				want = append(want, o)
			}
		}
		if !slices.Equal(after, want) {
			t.Fatalf("document %v: %q went up as %q, want %q", document, before, after, want)
		}
		ours := slices.ContainsFunc(before, func(tag string) bool { _, ours, _ := cutSuffix(tag, fuzzSuffix); return ours })
		if st.translated != ours {
			t.Fatalf("%q: translated is %v", v, st.translated)
		}
		if !strings.Contains(v, etagMark) && !document && h["If-None-Match"][0] != v {
			t.Fatalf("%q is no concern of ours and became %q", v, h["If-None-Match"])
		}
		if !strings.Contains(v, fuzzSuffix) && h["If-Match"][0] != v {
			t.Fatalf("If-Match %q became %q", v, h["If-Match"])
		}
		if document != (h["If-Modified-Since"] == nil) {
			t.Fatalf("document %v: If-Modified-Since %q", document, h["If-Modified-Since"])
		}
	})
}

// FuzzAcceptEncoding holds the restricted field against the one that came: it offers what we can rewrite, as it was offered, and nothing
// else; and where there is nothing to take away it keeps its bytes.
func FuzzAcceptEncoding(f *testing.F) {
	for _, v := range []string{
		"gzip, deflate, br, zstd", "gzip, compress;q=0.5, dcb, dcz", "*", "*;q=0", "identity;q=0, compress", "compress", "", ",", "GZIP ; Q=0.3 , x-gzip",
		"br;q=1.000, *;q=0.1", "exi;q=0", "gzip;q=, x;q=a", "pack200-gzip,\tgzip", "br;level=4;q=0",
	} {
		f.Add(v, "gzip")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		h := http.Header{"Accept-Encoding": {a, b}}
		restrictCodings(h)
		var want []string
		for _, v := range []string{a, b} {
			var kept []string
			for part := range strings.SplitSeq(v, ",") {
				name, params, _ := strings.Cut(part, ";")
				name = strings.ToLower(strings.TrimSpace(name))
				if name == "" || name == "*" || name == "identity" || inject.Supports(name) || strings.Contains(params, "=") && qualityOf(params) == 0 {
					kept = append(kept, strings.TrimSpace(part))
				}
			}
			if len(kept) == 0 {
				kept = []string{"identity"}
			}
			want = append(want, strings.Join(kept, ", "))
		}
		for i, v := range []string{a, b} {
			got := h["Accept-Encoding"][i]
			if got != v && got != want[i] {
				t.Fatalf("%q became %q, want %q", v, got, want[i])
			}
			if dropped := strings.Count(want[i], ",") < strings.Count(v, ",") || want[i] == "identity" && !strings.Contains(strings.ToLower(v), "identity"); dropped && got == v && strings.TrimSpace(v) != "" {
				t.Fatalf("%q went up unchanged", v)
			}
		}
		again := http.Header{"Accept-Encoding": slices.Clone(h["Accept-Encoding"])}
		restrictCodings(again)
		if !slices.Equal(again["Accept-Encoding"], h["Accept-Encoding"]) {
			t.Fatalf("%q is restricted further to %q", h["Accept-Encoding"], again["Accept-Encoding"])
		}
	})
}
