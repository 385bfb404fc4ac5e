package csp

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seedPolicies adds every field of the table to a fuzz target.
func seedPolicies(f *testing.F) {
	seeds := 0
	for _, c := range readPolicies(f) {
		for _, field := range append(c.enforce, c.report...) {
			f.Add(field, uint64(seeds))
			seeds++
		}
	}
	if seeds < 60 {
		f.Fatalf("%d seeds, want 60 at least", seeds)
	}
}

// FuzzParse: whatever comes, the policies together are the field again, each directive ends where it says, and both
// evaluators agree on what it means.
func FuzzParse(f *testing.F) {
	seedPolicies(f)
	f.Fuzz(func(t *testing.T, field string, seed uint64) {
		var texts []string
		for _, p := range parseFields([]string{field})[0] {
			texts = append(texts, p.text)
			for _, d := range p.directives {
				last := d.name
				if len(d.list) > 0 {
					last = d.list[len(d.list)-1]
				}
				if !strings.HasSuffix(strings.ToLower(p.text[:d.end]), strings.ToLower(last)) {
					t.Errorf("%q: directive %s ends at %d", p.text, d.name, d.end)
				}
			}
		}
		if whole := strings.Join(texts, ","); whole != field {
			t.Errorf("%q read as %q", field, whole)
		}
		r := rand.New(rand.NewPCG(seed, 2))
		parsed := listOf([]string{field})
		for range 10 {
			load := Load{Directive: pick(r, loadKinds), URL: pick(r, someURLs), Origin: pick(r, someOrigins), Nonce: pick(r, someNonces)}
			if got, want := parsed.AllowsLoad(load), naiveAllowsLoad([]string{field}, load, asChromium); got != want {
				t.Errorf("%q: AllowsLoad(%+v) = %v, the naive evaluator says %v", field, load, got, want)
			}
			in := Inline{Directive: pick(r, inlineKinds), Text: pick(r, someScripts), Nonce: pick(r, someNonces)}
			if got, want := parsed.AllowsInline(in), naiveAllowsInline([]string{field}, in, asChromium); got != want {
				t.Errorf("%q: AllowsInline(%+v) = %v, the naive evaluator says %v", field, in, got, want)
			}
		}
	})
}

// FuzzPatch holds the properties of checkPatch against any bytes.
func FuzzPatch(f *testing.F) {
	seedPolicies(f)
	f.Fuzz(func(t *testing.T, field string, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		n := randomNeeds(r)
		enforce, report := []string{field}, []string(nil)
		if r.IntN(4) == 0 {
			enforce, report = nil, enforce
		}
		if err := checkPatch(r, enforce, report, n); err != nil {
			t.Errorf("needs %+v: %v", n, err)
		}
	})
}

// TestHostileLength: a megabyte of anything takes a fraction of a second. Where the work grew with the square of the length
// it would take minutes, so that the limit can be wide enough for any machine.
func TestHostileLength(t *testing.T) {
	for name, unit := range map[string]string{
		"directives": "x%-src a;", "known directives": "img-src a;", "policies": "img-src 'none',", "commas": ",", "semicolons": ";",
		"nonces": " 'nonce-%'", "hashes": " 'sha256-%'", "hosts": " %.example.com", "spaces": " ", "quotes": "'",
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte("script-src")
			for i := 0; len(b) < 1<<20; i++ {
				b = append(b, strings.ReplaceAll(unit, "%", strconv.Itoa(i))...)
			}
			field := []string{string(b)}
			start := time.Now()
			n := Needs{ScriptHash: scriptHash, Widget: "messaging"}
			r := Patch(field, nil, n)
			Obstacles(r.Enforce, r.Nonce, n)
			HasNonce(field)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
