package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listed is what `go list -json` says of one package.
type listed struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	Deps       []string
}

func listPackages(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(out); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(all) < 8 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// under reports whether an import path is one of the given packages or below one.
func under(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

// TestWhoMayKnowWhom keeps the rooms of the house apart: what is about bytes, tokens, identity or policies
// knows nothing of the rest, and each outside package has the few places that it belongs to.
func TestWhoMayKnowWhom(t *testing.T) {
	leaves := []string{"zchatproxy/inject", "zchatproxy/signer", "zchatproxy/proxy/identity", "zchatproxy/proxy/csp", "zchatproxy/proxy/wire", "zchatproxy/proxy/direct"}
	only := map[string][]string{
		"net/http/httputil":              {"zchatproxy/proxy", "zchatproxy/cmd"},
		"github.com/golang-jwt/jwt/v5":   {"zchatproxy/signer", "zchatproxy/proxy/identity"},
		"golang.org/x/net/html":          {"zchatproxy/inject", "zchatproxy/proxy/csp"},
		"github.com/caarlos0/env/v11":    {"zchatproxy/cmd"},
		"github.com/spf13/cobra":         {"zchatproxy/cmd"},
		"github.com/andybalholm/brotli":  {"zchatproxy/inject"},
		"github.com/klauspost/compress":  {"zchatproxy/inject"},
		"github.com/go-jose/go-jose/v4":  {"zchatproxy/proxy/identity"},
		"github.com/prometheus":          {"zchatproxy/proxy"},
		"net/http":                       {"zchatproxy/proxy", "zchatproxy/cmd"},
		"github.com/evanw/esbuild":       {"zchatproxy/cmd/none"},
		"github.com/chromedp":            {"zchatproxy/cmd/none"},
		"testing":                        {"zchatproxy/cmd/none"},
		"zchatproxy/cmd/zchatproxy/demo": {"zchatproxy/cmd"},
	}
	for _, p := range listPackages(t, "./...") {
		for _, imp := range p.Imports {
			for target, allowed := range only {
				if under(imp, target) && !under(p.ImportPath, allowed...) {
					t.Errorf("%s imports %s, which only %s may", p.ImportPath, imp, strings.Join(allowed, ", "))
				}
			}
			if !strings.HasPrefix(imp, "zchatproxy/") {
				continue
			}
			for _, leaf := range leaves {
				if under(p.ImportPath, leaf) && !under(imp, leaf) {
					t.Errorf("%s imports %s: it must know nobody of the house", p.ImportPath, imp)
				}
			}
			if under(imp, "zchatproxy/cmd") && !under(p.ImportPath, "zchatproxy/cmd") {
				t.Errorf("%s imports %s: only commands know commands", p.ImportPath, imp)
			}
		}
	}
}

// TestEveryPackageSaysWhatItIs wants one package comment each.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range listPackages(t, "./...") {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// TestTopLevel keeps the repository's front hall tidy.
func TestTopLevel(t *testing.T) {
	known := []string{"cmd", "proxy", "inject", "signer", "testdata", "deploy", "go.mod", "go.sum", "README.md", "LICENSE", "CHANGELOG.md", "staticcheck.conf"}
	entries, err := filepath.Glob("../../*")
	if err != nil || len(entries) == 0 {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := filepath.Base(e)
		if slices.Contains(known, name) || strings.HasPrefix(name, ".") || name == "zchatproxy" || name == "dist" { // what builds leave
			continue
		}
		t.Errorf("%s does not belong at the top level", name)
	}
}
