package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The command knows what the handler does not: who is connected, and what it never handed over for a reload.
func TestMetricsOfTheCommand(t *testing.T) {
	t.Parallel()
	settings := filepath.Join(t.TempDir(), "settings.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("{}")
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET="+goodSecret, "ZCHAT_SETTINGS_FILE="+settings)
	says := func(line string) bool {
		t.Helper()
		_, text := get(t, p.admin+"/metrics")
		return strings.Contains(text, "\n"+line+"\n")
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is counted", func() bool { return says("zchatproxy_connections 1") })
	conn.Close()
	eventually(t, "its end is counted", func() bool { return says("zchatproxy_connections 0") })

	write("{broken")
	p.signal(syscall.SIGHUP)
	p.waitLog("the configuration in use stays")
	if !says("zchatproxy_last_reload_successful 0") || says(`zchatproxy_reloads_total{result="refused"} 0`) {
		t.Error("the reload that was refused is not counted")
	}
	write("{}")
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration reloaded")
	eventually(t, "the reload counts as successful", func() bool { return says("zchatproxy_last_reload_successful 1") })
}
