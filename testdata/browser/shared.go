package browser

import (
	"context"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// shared is the browser that the tests of a package have in common: starting one takes a second.
var shared struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

// Main runs a package's tests, and then ends the browser that Context has started. It is for TestMain, and returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.stop != nil {
		shared.stop()
	}
	return code
}

// Context returns the context of a new tab with cookies and storage of its own, in a browser that all tests of the package
// share. It ends with the test. The package's TestMain must call Main.
func Context(t testing.TB) context.Context {
	t.Helper()
	path := Need(t, "chromium", "chromium-browser", "google-chrome")
	shared.once.Do(func() {
		shared.ctx, shared.stop = chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU))
		shared.err = chromedp.Do(shared.ctx, chromedp.Navigate("about:blank"))
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	deadline, cancel := context.WithTimeout(shared.ctx, patience)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(deadline, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	return ctx
}
