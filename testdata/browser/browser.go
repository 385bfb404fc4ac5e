// Package browser runs Chromium for tests of several packages. It stands under testdata so that no build and
// no wildcard of the go command ever takes it into what ships.
package browser

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is for a browser on a busy machine.
const patience = 5 * time.Minute

// Need returns the path of the first of some tools that is there. Without any it skips the test, or fails it
// where ZCHATPROXY_TEST_ALL=1 says that nothing may be missing.
func Need(t testing.TB, tools ...string) string {
	t.Helper()
	for _, name := range tools {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("ZCHATPROXY_TEST_ALL") == "1" {
		t.Fatalf("none of %q is installed, and ZCHATPROXY_TEST_ALL=1 wants all tests to run", tools)
	}
	t.Skipf("none of %q is installed", tools)
	return ""
}

// Tab is a tab with cookies and storage of its own. It keeps what its console complains about.
type Tab struct {
	Ctx context.Context // for chromedp.Do

	mu     sync.Mutex
	errors []string
}

// Open starts a browser with a profile of its own and opens a tab in it. Both end with the test. Options are for its
// command line.
func Open(t testing.TB, options ...chromedp.ExecAllocatorOption) *Tab {
	t.Helper()
	path := Need(t, "chromium", "chromium-browser", "google-chrome")
	deadline, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	options = append([]chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU}, options...)
	return open(t, deadline, chromedp.WithAllocatorOptions(options...))
}

// Another opens a tab that shares cookies and storage with b. It ends with the test.
func (b *Tab) Another(t testing.TB) *Tab {
	t.Helper()
	return open(t, b.Ctx)
}

func open(t testing.TB, parent context.Context, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(parent, options...)
	t.Cleanup(stop)
	tab := &Tab{Ctx: ctx}
	err := chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
		return err
	}))
	if err == nil {
		err = chromedp.Listen(ctx, tab.hear)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// Errors returns the exceptions and error messages so far, also those of the browser itself, such as a script
// that a policy refused.
func (b *Tab) Errors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.errors...)
}

func (b *Tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		b.errors = append(b.errors, text)
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}
