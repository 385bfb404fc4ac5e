package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Console keeps what the console of a tab says: whatever the page writes there, uncaught exceptions, and the browser's own
// log.
type Console struct {
	but   []log.EntrySource
	mu    sync.Mutex
	lines []string
}

// Listen begins to keep what a tab's console says, without what comes from some sources of the browser's own log.
func Listen(t testing.TB, tab context.Context, but ...log.EntrySource) *Console {
	t.Helper()
	c := &Console{but: but}
	err := chromedp.Do(tab, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
		return err
	}))
	if err == nil {
		err = chromedp.Listen(tab, c.hear)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Console) hear(event any) {
	var line string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		line = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			line += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		line = "console." + string(e.Type)
	case *log.EventEntryAdded:
		if !slices.Contains(c.but, e.Entry.Source) {
			line = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if line != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lines = append(c.lines, line)
	}
}

// Take returns what has been said since the last call.
func (c *Console) Take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.lines
	c.lines = nil
	return lines
}

// Eval runs js in a tab, awaits its value and returns that as JSON.
func Eval(t testing.TB, tab context.Context, js string) string {
	t.Helper()
	raw, err := chromedp.Run(tab, chromedp.Evaluate[json.RawMessage](
		"Promise.resolve("+js+").then(v=>v===undefined?null:v)", chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
	if err != nil {
		t.Fatalf("%s: %v", js, err)
	}
	return string(raw)
}

// Await returns js, as JSON, as soon as it is want, or what it is after half a minute.
func Await(t testing.TB, tab context.Context, js, want string) string {
	t.Helper()
	wait := fmt.Sprintf(`new Promise(function(done){var end=performance.now()+3e4;(function look(){
var v;try{v=JSON.stringify(%s)}catch(e){v=JSON.stringify(String(e))}
if(v===%q||performance.now()>end)done(String(v));else requestIdleCallback(look,{timeout:20})})()})`, js, want)
	var got string
	if err := json.Unmarshal([]byte(Eval(t, tab, wait)), &got); err != nil {
		t.Fatal(err)
	}
	return got
}
