package snippet

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/evanw/esbuild/pkg/api"
)

var update = flag.Bool("update", false, "write the embedded scripts anew from snippet.js")

// labels are the labels of the source's statements for one widget only.
var labels = map[string]string{"classic": "CLASSIC", "messaging": "MESSAGING", "chat": "CHAT"}

// minify makes the embedded form of the script for one widget.
//
// Syntax is left alone: esbuild would join conditions with &&, and & means
// something else in XHTML.
func minify(t testing.TB, source, widget string) string {
	t.Helper()
	var drop []string
	for other, label := range labels {
		if other != widget {
			drop = append(drop, label)
		}
	}
	result := api.Transform(strings.ReplaceAll(source, labels[widget]+": ", ""), api.TransformOptions{
		Target:            api.ES5, // refuses what is newer
		Charset:           api.CharsetASCII,
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		LegalComments:     api.LegalCommentsNone,
		DropLabels:        drop,
		LogLevel:          api.LogLevelSilent,
	})
	for _, m := range append(result.Errors, result.Warnings...) {
		t.Errorf("snippet.js:%d:%d: %s", m.Location.Line, m.Location.Column, m.Text)
	}
	code := string(result.Code)
	for len(code) > 0 && (code[len(code)-1] == '\n' || code[len(code)-1] == ';') {
		code = code[:len(code)-1]
	}
	return code
}

func TestEmbedded(t *testing.T) {
	source, err := os.ReadFile("snippet.js")
	if err != nil {
		t.Fatal(err)
	}
	for widget, embedded := range map[string]string{"classic": classic, "messaging": messaging, "chat": chat} {
		code := minify(t, string(source), widget)
		if *update {
			if err := os.WriteFile(widget+".min.js", []byte(code), 0o666); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if code != embedded {
			t.Errorf("%s.min.js is not what snippet.js gives: run go generate", widget)
		}
	}
}
