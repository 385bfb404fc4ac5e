//go:build !race

package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestThousandSitesStartFast counts the processor's time: how long a start takes by the clock depends on what else the
// machine does.
func TestThousandSitesStartFast(t *testing.T) {
	t.Parallel()
	site := startSite(t, nil)
	env := append([]string{}, usable...)
	for i := range 1000 {
		env = append(env, fmt.Sprintf("ZCHAT_SITES_%d_HOSTS=h%[1]d.example,*.h%[1]d.example", i), fmt.Sprintf("ZCHAT_SITES_%d_UPSTREAM=http://up%[1]d", i),
			fmt.Sprintf("ZCHAT_SITES_%d_SECRET=%s%[1]d", i, goodSecret))
	}
	p := start(t, append(env, "ZCHAT_SITES_1000_HOSTS=127.0.0.1", "ZCHAT_SITES_1000_UPSTREAM="+site.URL)...)
	if status, body := get(t, p.url+"/"); status != http.StatusOK || strings.Count(body, "data-zchatproxy") != 1 {
		t.Errorf("%d %s", status, body)
	}
	p.signal(os.Kill)
	p.wait()
	took := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	t.Logf("1001 sites took %v", took)
	if took > 2*time.Second {
		t.Errorf("1001 sites took %v of a processor", took)
	}
}
