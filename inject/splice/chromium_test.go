package splice

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"zchatproxy/testdata/browser"
)

// TestChromium has the browser decode what comes out: of every encoder there is, with the piece at several places. It takes
// one member only, here as without the piece.
func TestChromium(t *testing.T) {
	browser.Need(t, "chromium", "chromium-browser", "google-chrome")
	all := encoders()
	own := len(all)
	if thorough() {
		all = append(all, toolEncoders(t)...)
	}
	var streams [][]byte
	var sums []string // of the text, behind what it is of
	p := Prepare(script)
	for i, e := range all {
		r := newRand(uint64(i))
		sizes := []int{15_000, 800, 150_000}
		if i >= own { // a process for each
			sizes = sizes[:1]
		}
		for _, size := range sizes {
			text := page(r, size)
			stream := e.encode(text, []int{size / 3, size / 2})
			for range 3 {
				at := r.IntN(min(size, 40_000) + 1)
				streams = append(streams, checkSplice(t, stream, text, at, p))
				sums = append(sums, fmt.Sprintf("%s of %d bytes at %d: %x", e.name, size, at, sha256.Sum256(inserted(text, at, script))))
			}
		}
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n, err := strconv.Atoi(r.URL.Path[1:]); {
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html")
		case err != nil || n < 0 || n >= len(streams):
			http.NotFound(w, r)
		default:
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(streams[n])
		}
	}))
	tab := browser.Open(t)
	t.Cleanup(site.Close)
	if err := chromedp.Do(tab.Ctx, chromedp.Navigate(site.URL+"/")); err != nil {
		t.Fatal(err)
	}
	got, err := chromedp.Run(tab.Ctx, chromedp.Evaluate[string](fmt.Sprintf(`(async () => {
		let sums = "";
		for (let i = 0; i < %d; i++) {
			const text = await (await fetch("/" + i)).arrayBuffer();
			sums += [...new Uint8Array(await crypto.subtle.digest("SHA-256", text))].map(b => b.toString(16).padStart(2, "0")).join("") + "\n";
		}
		return sums;
	})()`, len(streams)), chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	decoded := strings.Fields(got)
	if len(decoded) != len(sums) {
		t.Fatalf("%d of %d streams came back", len(decoded), len(sums))
	}
	for i, sum := range decoded {
		if !strings.HasSuffix(sums[i], ": "+sum) {
			t.Errorf("%s, and Chromium has another text", sums[i])
		}
	}
	t.Logf("%d streams", len(decoded))
}
