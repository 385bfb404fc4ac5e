package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zchatproxy/testdata/browser"
)

// What unifiedDiff writes, patch reads, wherever the insertion is and whether or not the last line ends.
func TestUnifiedDiff(t *testing.T) {
	patch := browser.Need(t, "patch")
	for _, page := range []string{
		"one line", "one line\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\r\n2\r\n3\r\n4\r\n5\r\n6", "\n\n\n\n\n\n\n\n",
	} {
		for at := 0; at <= len(page); at++ {
			for _, piece := range []string{"<script>x</script>", "<script>\nx\n</script>\n"} {
				before, after := []byte(page), []byte(page[:at]+piece+page[at:])
				dir := t.TempDir()
				file := filepath.Join(dir, "page")
				if err := os.WriteFile(file, before, 0o600); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(patch, "--binary", "--quiet", file)
				cmd.Stdin = bytes.NewReader(unifiedDiff("page", before, after))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%q at %d: %v %s\n%s", page, at, err, out, unifiedDiff("page", before, after))
				}
				if got, _ := os.ReadFile(file); !bytes.Equal(got, after) {
					t.Fatalf("%q at %d: got %q\n%s", page, at, got, unifiedDiff("page", before, after))
				}
			}
		}
	}
	if d := unifiedDiff("page", []byte("x"), []byte("x")); d != nil {
		t.Errorf("of equal pages: %s", d)
	}
}

func TestWrap(t *testing.T) {
	text := "a sentence of some words, which is wrapped"
	for n := range 50 {
		lines := wrap(text, n)
		if strings.Join(lines, " ") != text {
			t.Errorf("at %d: %q", n, lines)
		}
		for _, line := range lines {
			if len(line) > n && strings.Contains(line, " ") {
				t.Errorf("at %d: %q is too long", n, line)
			}
		}
	}
}
