package deploy

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWorkflows holds what CI may do and what it runs. Whether the files are well formed is for actionlint to say.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(example(t, "../go.mod"))[1]
	scripts := example(t, "../.ci/run")
	for _, file := range files {
		text := example(t, file)
		if !strings.Contains(text, "\npermissions:\n  contents: read\n\n") || strings.Count(text, "permissions:") != 1 || strings.Contains(text, "write") {
			t.Errorf("%s may do more than read", file)
		}
		if strings.Contains(text, "pull_request_target") || strings.Contains(text, "secrets.") {
			t.Errorf("%s hands something to changes of strangers", file)
		}
		for _, m := range regexp.MustCompile(`(?m)uses: (.*)$`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(m[1]) {
				t.Errorf("%s uses %s: pin it by its commit, and write the version behind it", file, m[1])
			}
		}
		if checkouts := strings.Count(text, "actions/checkout@"); strings.Count(text, "persist-credentials: false") != checkouts {
			t.Errorf("%s leaves the token in the checkout", file)
		}
		for _, m := range regexp.MustCompile(`(?m)container: (.*)$`).FindAllStringSubmatch(text, -1) {
			if m[1] != "golang:"+version+"-bookworm" {
				t.Errorf("%s runs in %s, and go.mod wants Go %s", file, m[1], version)
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^ +- run: go run (\S+) `).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(scripts, m[1]) {
				t.Errorf("%s runs %s, and .ci/run another version or none", file, m[1])
			}
		}
	}
}
