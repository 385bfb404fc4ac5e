package inject_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"zchatproxy/inject"
)

const element = `<script data-zchatproxy="">/* place */</script>`

// TestPlace puts a mark where the script goes.
func TestPlace(t *testing.T) {
	for _, c := range []struct{ name, page, reason string }{
		{"head", "<!DOCTYPE html><html><head><title>x</title>|</head><body>", ""},
		{"script", "<!DOCTYPE html><html><head> <meta charset=utf-8>\n|<script>1</script></head>", ""},
		{"fragment", "<p>x", "fragment"},
		{"text", "<!DOCTYPE html><title>x</title> |text", ""},
		{"space reference", "<!DOCTYPE html><head> &#32;|&nbsp;", ""},
		{"end", "<!DOCTYPE html> |", ""},
		{"comment cut short", "<!DOCTYPE html><!-- ", "no-head-end"},
		{"comment cut short in head", "<!DOCTYPE html><head>|<!-- ", ""},
		{"script in front", "|<script>1</script><body>", ""},
		{"ours", "<!DOCTYPE html><script data-zchatproxy=''></script>", "already-injected"},
		{"double escaped", "|<script><!-- <script> </script> <body> --></script><head>", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			page := strings.ReplaceAll(c.page, "|", "")
			for _, coding := range []string{"", "gzip"} {
				body := []byte(page)
				if coding == "gzip" {
					var b bytes.Buffer
					z := gzip.NewWriter(&b)
					z.Write(body)
					z.Close()
					body = b.Bytes()
				}
				d := inject.Open(inject.Source{Body: io.NopCloser(iotest.OneByteReader(bytes.NewReader(body))), Coding: coding})
				place, err := d.Locate()
				if err != nil || string(place.Reason) != c.reason {
					t.Fatalf("%q: %+v %v", coding, place, err)
				}
				out, err := io.ReadAll(d.Insert([]byte("|")))
				if coding == "gzip" {
					z, zerr := gzip.NewReader(bytes.NewReader(out))
					if zerr != nil {
						t.Fatal(zerr)
					}
					out, err = io.ReadAll(z)
				}
				if err != nil || string(out) != c.page {
					t.Errorf("%q: %v got %q want %q", coding, err, out, c.page)
				}
			}
		})
	}
}
