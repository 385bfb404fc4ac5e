package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zchatproxy/proxy"
)

const goodSecret = "0123456789abcdef0123456789abcdef0123456789abcdef"

// usable is the shortest configuration that works.
var usable = []string{"ZCHAT_UPSTREAM=http://127.0.0.1:8000", "ZCHAT_SECRET=" + goodSecret}

func loadEnv(env ...string) *configuration { return newLoader(env).load() }

func messages(list []finding) string {
	var b strings.Builder
	for _, f := range list {
		b.WriteString(f.Message + "\n")
	}
	return b.String()
}

// writeFile writes a file below the test's directory and returns its path.
func writeFile(t *testing.T, name, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsableConfiguration(t *testing.T) {
	c := loadEnv(usable...)
	if len(c.problems.list) > 0 || len(c.warnings.list) > 0 {
		t.Fatalf("problems %s warnings %s", messages(c.problems.list), messages(c.warnings.list))
	}
	if _, err := proxy.New(c.proxyConfig(slog.New(slog.NewTextHandler(io.Discard, nil)))); err != nil {
		t.Fatal(err)
	}
}

// Each mistake is one sentence, which names the variable and what to write.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "settings.json")
	if err := os.WriteFile(settings, []byte("{\n  \"webWidget\": {\n    'color': 1\n  }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 64)
	for _, tc := range []struct {
		name string
		env  string // added to the usable configuration
		want string // the whole sentence, or with … in the middle
	}{
		{"misspelled", "ZCHAT_UPSTRAEM_HOST=x", "ZCHAT_UPSTRAEM_HOST is not a variable of zchatproxy; the closest one is ZCHAT_UPSTREAM_HOST. Write that, or remove it."},
		{"invented", "ZCHAT_LISTEN_ADDRESS=:1", "ZCHAT_LISTEN_ADDRESS … the closest one is ZCHAT_LISTEN."},
		{"word order", "ZCHAT_HEADER_ID=x", "ZCHAT_HEADER_ID … the closest one is ZCHAT_ID_HEADER."},
		{"log", "ZCHAT_LOGLEVEL=debug", "ZCHAT_LOGLEVEL … the closest one is ZCHAT_LOG_LEVEL."},
		{"site's misspelled", "ZCHAT_SITES_3_UPSTRAEM=http://x", "ZCHAT_SITES_3_UPSTRAEM … the closest one is ZCHAT_SITES_3_UPSTREAM."},
		{"site's singular", "ZCHAT_SITE_0_HOSTS=x", "ZCHAT_SITE_0_HOSTS … the closest one is ZCHAT_SITES_0_HOSTS."},
		{"site without number", "ZCHAT_SITES_HOSTS=x", "ZCHAT_SITES_HOSTS … the closest one is ZCHAT_SITES_0_HOSTS."},
		{"site with leading zero", "ZCHAT_SITES_01_HOSTS=x", "ZCHAT_SITES_01_HOSTS … the closest one is ZCHAT_SITES_1_HOSTS."},
		{"process variable of a site", "ZCHAT_SITES_2_LISTEN=:1", "ZCHAT_SITES_2_LISTEN does not exist: ZCHAT_LISTEN holds for the whole process, not for site 2. Write ZCHAT_LISTEN."},
		{"no file form", "ZCHAT_KEY_ID_FILE=/x", "ZCHAT_KEY_ID_FILE does not exist: ZCHAT_KEY_ID is not read from a file. Write its value into ZCHAT_KEY_ID."},
		{"service link", "ZCHAT_PORT_8080_TCP_ADDR=10.0.0.1", "ZCHAT_PORT_8080_TCP_ADDR … Set enableServiceLinks: false in the pod, or give the Service another name."},
		{"two forms", "ZCHAT_SECRET_FILE=/x", "ZCHAT_SECRET and ZCHAT_SECRET_FILE are both set; keep one of them."},

		{"no unit", "ZCHAT_IDLE_TIMEOUT=30", `ZCHAT_IDLE_TIMEOUT is "30", a duration without a unit; write 30s for seconds or 30m for minutes.`},
		{"zero without unit", "ZCHAT_UPSTREAM_TIMEOUT=0", `ZCHAT_UPSTREAM_TIMEOUT is "0", a duration without a unit; …`},
		{"long unit", "ZCHAT_TOKEN_TTL=5min", `ZCHAT_TOKEN_TTL is "5min", which is not a duration; write 5m.`},
		{"spaced unit", "ZCHAT_TOKEN_TTL=90 seconds", `ZCHAT_TOKEN_TTL is "90 seconds", which is not a duration; write 90s.`},
		{"no duration", "ZCHAT_IDLE_TIMEOUT=long", `ZCHAT_IDLE_TIMEOUT is "long", which is not a duration; write a number and a unit, such as 500ms, 30s or 2m.`},
		{"negative duration", "ZCHAT_READ_HEADER_TIMEOUT=-1s", "ZCHAT_READ_HEADER_TIMEOUT is -1s; write a longer time, such as 10s."},
		{"zero duration", "ZCHAT_UPSTREAM_TIMEOUT=0s", "ZCHAT_UPSTREAM_TIMEOUT is 0s; write a longer time, such as 60s."},
		{"negative number", "ZCHAT_MAX_CONNECTIONS=-5", "ZCHAT_MAX_CONNECTIONS is -5; write 0 or more."},
		{"no number", "ZCHAT_MAX_CONNECTIONS=many", `ZCHAT_MAX_CONNECTIONS is "many"; write a whole number such as 10000.`},
		{"no boolean", "ZCHAT_OMIT_EMAIL=maybe", `ZCHAT_OMIT_EMAIL is "maybe"; write true or false.`},
		{"near word", "ZCHAT_WIDGET=clasic", `ZCHAT_WIDGET is "clasic"; write classic, messaging or chat (perhaps classic).`},
		{"word", "ZCHAT_LOG_FORMAT=xml", `ZCHAT_LOG_FORMAT is "xml"; write text or json.`},
		{"level", "ZCHAT_LOG_LEVEL=verbose", `ZCHAT_LOG_LEVEL is "verbose"; write debug, info, warn or error.`},
		{"inject", "ZCHAT_INJECT=true", `ZCHAT_INJECT is "true"; write on, off or preview.`},
		{"csp", "ZCHAT_CSP=on", `ZCHAT_CSP is "on"; write patch or off.`},

		{"port alone", "ZCHAT_LISTEN=8080", `ZCHAT_LISTEN is "8080", which is only a port; write :8080.`},
		{"listen URL", "ZCHAT_LISTEN=http://0.0.0.0:80", "ZCHAT_LISTEN is a URL; write the address alone: 0.0.0.0:80."},
		{"listen port", "ZCHAT_LISTEN=:99999", `ZCHAT_LISTEN has the port "99999"; …`},
		{"listen socket", "ZCHAT_LISTEN=unix:proxy.sock", `ZCHAT_LISTEN is "unix:proxy.sock", which names no socket; write unix:///path/of/the/socket.`},
		{"admin on the proxy", "ZCHAT_ADMIN_LISTEN=:8080", "ZCHAT_ADMIN_LISTEN is :8080, the address of the proxy itself; write another port, or off."},
		{"mask", "ZCHAT_TRUSTED_PROXIES=10.0.0.0/33", `ZCHAT_TRUSTED_PROXIES has "10.0.0.0/33", whose mask /33 does not exist; write at most 10.0.0.0/32.`},
		{"bits beyond the mask", "ZCHAT_TRUSTED_PROXIES=127.0.0.1, 10.1.2.3/8", `ZCHAT_TRUSTED_PROXIES has "10.1.2.3/8", whose address has bits beyond its mask; write 10.0.0.0/8 for the network or 10.1.2.3 for the one machine.`},
		{"peer's name", "ZCHAT_TRUSTED_PROXIES=gateway.internal", `ZCHAT_TRUSTED_PROXIES has "gateway.internal", which is neither an address nor a network; …`},
		{"prefix", "ZCHAT_ROUTE_PREFIX=zchat", `ZCHAT_ROUTE_PREFIX is "zchat"; write a path such as /__zchat.`},
		{"prefix root", "ZCHAT_ROUTE_PREFIX=/", `ZCHAT_ROUTE_PREFIX is "/"; write a path such as /__zchat.`},
		{"prefix dots", "ZCHAT_ROUTE_PREFIX=/a/../b", `ZCHAT_ROUTE_PREFIX is "/a/../b"; …`},
		{"prefix capitals", "ZCHAT_ROUTE_PREFIX=/Chat", `ZCHAT_ROUTE_PREFIX is "/Chat", but letter case does not count in it; write /chat.`},
		{"certificate alone", "ZCHAT_TLS_CERT_FILE=/x", "ZCHAT_TLS_KEY_FILE is not set, but ZCHAT_TLS_CERT_FILE is; write the file of the private key."},
		{"key alone", "ZCHAT_TLS_KEY_FILE=/x", "ZCHAT_TLS_CERT_FILE is not set, but ZCHAT_TLS_KEY_FILE is; …"},

		{"no scheme", "ZCHAT_UPSTREAM=localhost:3000", `ZCHAT_UPSTREAM is "localhost:3000", which has no scheme; write http://localhost:3000.`},
		{"bare address", "ZCHAT_UPSTREAM=10.0.0.1:80", `ZCHAT_UPSTREAM is "10.0.0.1:80", which has no scheme; write http://10.0.0.1:80.`},
		{"path", "ZCHAT_UPSTREAM=http://site/app", `ZCHAT_UPSTREAM has the path "/app", but paths are passed on as they come; write http://site.`},
		{"query", "ZCHAT_UPSTREAM=http://site?x=1", "ZCHAT_UPSTREAM has a query or fragment; write http://site."},
		{"password", "ZCHAT_UPSTREAM=http://joe:hunter2@site", "ZCHAT_UPSTREAM holds a user or password, which would end up in logs; write http://site and let the gateway log in."},
		{"scheme", "ZCHAT_UPSTREAM=ftp://site", `ZCHAT_UPSTREAM has the scheme "ftp"; write http://site, https://site or unix:///path.`},
		{"socket", "ZCHAT_UPSTREAM=unix://run/site.sock", `ZCHAT_UPSTREAM is "unix://run/site.sock", which names no socket; …`},
		{"itself", "ZCHAT_UPSTREAM=http://localhost:8080", "ZCHAT_UPSTREAM is http://localhost:8080, the address of this proxy itself; …"},
		{"upstream host", "ZCHAT_UPSTREAM_HOST=http://x", `ZCHAT_UPSTREAM_HOST is "http://x"; write preserve, upstream, or a name such as www.example.com.`},
		{"hosts URL", "ZCHAT_HOSTS=https://shop.example.com/", `ZCHAT_HOSTS has the URL "https://shop.example.com/" where a host name belongs; write shop.example.com.`},
		{"hosts star", "ZCHAT_HOSTS=*shop.example.com", `ZCHAT_HOSTS has the pattern "*shop.example.com"; a star stands for whole labels in front: write *.shop.example.com.`},
		{"hosts spaces", "ZCHAT_HOSTS=a.example b.example", `ZCHAT_HOSTS has "a.example b.example", which is not a host name; …`},
		{"CA", "ZCHAT_UPSTREAM_CA_FILE=/nonexistent", "ZCHAT_UPSTREAM_CA_FILE names /nonexistent, which cannot be read: no such file or directory."},
		{"pattern", "ZCHAT_EXCLUDE_PATHS=/a,b/*", `ZCHAT_EXCLUDE_PATHS has the pattern "b/*"; a pattern begins with a slash: write /b/*.`},
		{"pattern URL", "ZCHAT_INCLUDE_PATHS=https://x/shop", `ZCHAT_INCLUDE_PATHS has the URL "https://x/shop"; write its path alone: /shop.`},
		{"identity path", "ZCHAT_IDENTITY_PATH=account", `ZCHAT_IDENTITY_PATH is "account"; write a path such as /account.`},

		{"settings", "ZCHAT_SETTINGS={webWidget:{}}", `ZCHAT_SETTINGS is not JSON, line 1, column 2, at "webWidget:{}}": names take double quotes, as in "webWidget".`},
		{"settings comma", `ZCHAT_SETTINGS={"a":1,}`, `ZCHAT_SETTINGS is not JSON, line 1, column 8, at "}": remove the comma before it.`},
		{"settings comment", `ZCHAT_SETTINGS={"a":1 // x`, `ZCHAT_SETTINGS is not JSON, line 1, column 8, at "// x": JSON has no comments, remove this one.`},
		{"settings script", `ZCHAT_SETTINGS=window.zESettings = {}`, `ZCHAT_SETTINGS is not JSON, … write the object alone, without the name and the = in front.`},
		{"settings end", `ZCHAT_SETTINGS={"a":{`, `ZCHAT_SETTINGS is not JSON, line 1, column 7 (the end): it ends too early; …`},
		{"settings array", `ZCHAT_SETTINGS=[1]`, `ZCHAT_SETTINGS is JSON, but not an object; …`},
		{"settings twice", `ZCHAT_SETTINGS={} {}`, `ZCHAT_SETTINGS has more after the end of its object, line 1, column 4, at "{}"; write one JSON object alone.`},
		{"settings file", "ZCHAT_SETTINGS_FILE=" + settings, `ZCHAT_SETTINGS_FILE is not JSON, line 3, column 5, at "'color': 1": strings and names take double quotes, write " instead of '.`},
		{"settings file missing", "ZCHAT_SETTINGS_FILE=/nonexistent", "ZCHAT_SETTINGS_FILE names /nonexistent, which cannot be read: no such file or directory."},
		{"key is a tag", "ZCHAT_WIDGET_KEY=https://static.zdassets.com/ekr/snippet.js?key=abc", "ZCHAT_WIDGET_KEY is an address; write the key alone, what stands after key= in the widget's script tag."},
		{"TTL", "ZCHAT_TOKEN_TTL=8m", "ZCHAT_TOKEN_TTL is 8m0s, but Zendesk refuses tokens that live longer than 7 minutes; write 7m or less."},
		{"TTL short", "ZCHAT_TOKEN_TTL=10s", "ZCHAT_TOKEN_TTL is 10s, but tokens are dated 10 seconds back, …"},
		{"TTL negative", "ZCHAT_TOKEN_TTL=-1m", "ZCHAT_TOKEN_TTL is -1m0s; write a positive time, such as 5m."},
		{"no limit", "ZCHAT_TOKEN_LIMIT=0", `ZCHAT_TOKEN_LIMIT is "0"; write a whole number of 1 or more, or off for no limit.`},
		{"messaging", "ZCHAT_WIDGET=messaging", "ZCHAT_KEY_ID is not set, but messaging needs it; …"},

		{"preset", "ZCHAT_IDENTITY=oauth2-proxy", "ZCHAT_IDENTITY …forwarded…"},
		{"custom without id", "ZCHAT_IDENTITY=custom", "ZCHAT_ID_HEADER …"},
		{"audience", "ZCHAT_IDENTITY=google-iap", "ZCHAT_ASSERTION_AUDIENCE …"},
		{"header name", "ZCHAT_ID_HEADER=X User", "ZCHAT_ID_HEADER …"},
		{"secret file", "ZCHAT_HELP_CENTER_SECRET_FILE=/nonexistent", "ZCHAT_HELP_CENTER_SECRET_FILE cannot be used: …"},
		{"long host", "ZCHAT_HOSTS=" + strings.Repeat(long+".", 4) + "com", "ZCHAT_HOSTS … not a host name; …"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := loadEnv(append(append([]string{}, usable...), tc.env)...)
			if len(c.problems.list) != 1 {
				t.Fatalf("want one problem, got %d:\n%s", len(c.problems.list), messages(c.problems.list))
			}
			got := c.problems.list[0]
			if !matchEllipsis(got.Message, tc.want) {
				t.Errorf("got  %s\nwant %s", got.Message, tc.want)
			}
			if !strings.HasPrefix(got.Message, got.Variable) || !strings.HasSuffix(got.Message, ".") {
				t.Errorf("not a sentence that begins with %s: %s", got.Variable, got.Message)
			}
			if strings.Contains(got.Message, "hunter2") || strings.Contains(got.Message, goodSecret) {
				t.Errorf("shows a secret: %s", got.Message)
			}
		})
	}
}

// matchEllipsis compares text with a pattern in which … stands for anything; with one, the end is free too.
func matchEllipsis(text, pattern string) bool {
	parts := strings.Split(pattern, "…")
	if len(parts) == 1 {
		return text == pattern
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	for _, part := range parts {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}

func TestAllMistakesAtOnce(t *testing.T) {
	c := loadEnv("ZCHAT_UPSTRAEM=http://site", "ZCHAT_TOKEN_TTL=300", "ZCHAT_WIDGET=zopim", "ZCHAT_SECRET="+goodSecret)
	if len(c.problems.list) != 3 {
		t.Fatalf("want three sentences (that UPSTREAM is missing follows from its misspelling), got:\n%s", messages(c.problems.list))
	}
	c = loadEnv()
	if got := messages(c.problems.list); len(c.problems.list) != 2 || !strings.Contains(got, "ZCHAT_UPSTREAM is not set") || !strings.Contains(got, "ZCHAT_SECRET is not set") {
		t.Errorf("without any variable: %s", got)
	}
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct{ name, env, want string }{
		{"short secret", "ZCHAT_SECRET=0123456789", "ZCHAT_SECRET holds a secret of 10 bytes; …"},
		{"everybody trusted", "ZCHAT_TRUSTED_PROXIES=0.0.0.0/0", "ZCHAT_TRUSTED_PROXIES has 0.0.0.0/0: …"},
		{"everybody trusted, as IPv6", "ZCHAT_TRUSTED_PROXIES=::ffff:0.0.0.0/96", "ZCHAT_TRUSTED_PROXIES has ::ffff:0.0.0.0/96: …"},
		{"everybody trusted in IPv6", "ZCHAT_TRUSTED_PROXIES=127.0.0.1,::/0", "ZCHAT_TRUSTED_PROXIES has ::/0: …"},
		{"public admin", "ZCHAT_ADMIN_LISTEN=:9090", "ZCHAT_ADMIN_LISTEN is :9090: the status page and metrics have no log-in …"},
		{"public admin address", "ZCHAT_ADMIN_LISTEN=203.0.113.7:9090", "ZCHAT_ADMIN_LISTEN is 203.0.113.7:9090: …"},
		{"authenticate in settings", `ZCHAT_SETTINGS={"webWidget":{"authenticate":{}}}`, `ZCHAT_SETTINGS has an "authenticate" …`},
		{"port in a pattern", "ZCHAT_HOSTS=*.example.com:8443", `ZCHAT_HOSTS has "*.example.com:8443": the port is left out, …`},
		{"lower case", "zchat_widget=chat", "zchat_widget has no effect: names are written in upper case, ZCHAT_WIDGET."},
		{"insecure without https", "ZCHAT_UPSTREAM_INSECURE=true", "ZCHAT_UPSTREAM_INSECURE has no effect: ZCHAT_UPSTREAM is not https."},
		{"insecure", "ZCHAT_UPSTREAM_INSECURE=true ZCHAT_UPSTREAM=https://site", "ZCHAT_UPSTREAM_INSECURE is true: …"},
		{"messaging's key", "ZCHAT_KEY_ID=app_12345", "ZCHAT_KEY_ID is the id of a messaging key, but ZCHAT_WIDGET is classic, …"},
		{"e-mail as id", "ZCHAT_WIDGET=messaging ZCHAT_KEY_ID=app_1 ZCHAT_ID_HEADER=X-Forwarded-Email", "ZCHAT_ID_HEADER takes the id from X-Forwarded-Email, …"},
		{"same secret twice", "ZCHAT_HELP_CENTER_SECRET=" + goodSecret, "ZCHAT_HELP_CENTER_SECRET is the same as ZCHAT_SECRET; …"},
		{"key", "ZCHAT_WIDGET_KEY=abc", "ZCHAT_WIDGET_KEY does not look like a key: …"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := loadEnv(append(append([]string{}, usable...), strings.Fields(tc.env)...)...)
			if len(c.problems.list) > 0 {
				t.Fatalf("problems: %s", messages(c.problems.list))
			}
			if len(c.warnings.list) != 1 || !matchEllipsis(c.warnings.list[0].Message, tc.want) {
				t.Errorf("got  %swant %s", messages(c.warnings.list), tc.want)
			}
		})
	}
}

func TestSitesInherit(t *testing.T) {
	file := writeFile(t, "secret", goodSecret+"2\n")
	c := loadEnv(
		"ZCHAT_UPSTREAM=http://default:80", "ZCHAT_SECRET="+goodSecret, "ZCHAT_WIDGET_KEY=00000000-0000-0000-0000-000000000000", "ZCHAT_WIDGET=chat",
		"ZCHAT_SITES_0_HOSTS=Shop.Example.com., *.Bücher.example",
		"ZCHAT_SITES_7_HOSTS=xn--bcher-kva.example,[::1]:8080,My_Host.:81", "ZCHAT_SITES_7_UPSTREAM=http://seven/", "ZCHAT_SITES_7_WIDGET_KEY=", "ZCHAT_SITES_7_WIDGET=",
		"ZCHAT_SITES_1000_HOSTS=other.example", "ZCHAT_SITES_1000_SECRET_FILE="+file,
	)
	if len(c.problems.list) > 0 {
		t.Fatal(messages(c.problems.list))
	}
	if len(c.sites) != 3 {
		t.Fatalf("want 3 sites, got %d", len(c.sites))
	}
	s0, s7, s1000 := c.sites[0], c.sites[1], c.sites[2]
	if got := strings.Join(s0.hosts, " "); got != "shop.example.com *.xn--bcher-kva.example" {
		t.Errorf("hosts of site 0: %s", got)
	}
	if got := strings.Join(s7.hosts, " "); got != "xn--bcher-kva.example [::1]:8080 my_host:81" {
		t.Errorf("hosts of site 7: %s", got)
	}
	if s0.vars.Upstream != "http://default:80" || s7.vars.Upstream != "http://seven" {
		t.Errorf("upstreams %s and %s", s0.vars.Upstream, s7.vars.Upstream)
	}
	if s0.vars.WidgetKey == "" || s7.vars.WidgetKey != "" {
		t.Errorf("an empty value of a site stands for the default: keys %q and %q", s0.vars.WidgetKey, s7.vars.WidgetKey)
	}
	if s0.vars.Widget != "chat" || s7.vars.Widget != "classic" {
		t.Errorf("widgets %s and %s", s0.vars.Widget, s7.vars.Widget)
	}
	if s0.secret != s7.secret || s1000.secret == s0.secret {
		t.Error("site 1000 has a secret of its own, the others share the plain one")
	}
	if s1000.secret.Len() != len(goodSecret)+1 {
		t.Errorf("the file's secret has %d bytes", s1000.secret.Len())
	}
	if got := s1000.variable("SECRET_FILE"); got != "ZCHAT_SITES_1000_SECRET_FILE" {
		t.Errorf("the secret came from %s", got)
	}
}

func TestHostsBelongToOneSite(t *testing.T) {
	for _, tc := range []struct{ first, second, want string }{
		{"ZCHAT_SITES_0_HOSTS=a.example", "ZCHAT_SITES_2_HOSTS=b.example,A.example.", "ZCHAT_SITES_2_HOSTS has a.example, which ZCHAT_SITES_0_HOSTS has too; write each host name into one site only."},
		{"ZCHAT_SITES_0_WIDGET=chat", "ZCHAT_SITES_1_WIDGET=chat", "ZCHAT_SITES_1_HOSTS is * (every host), which ZCHAT_SITES_0_HOSTS has too; …"},
		{"ZCHAT_SITES_0_HOSTS=bücher.example", "ZCHAT_SITES_1_HOSTS=xn--bcher-kva.example", "ZCHAT_SITES_1_HOSTS has xn--bcher-kva.example, …"},
	} {
		c := loadEnv(append(append([]string{}, usable...), tc.first, tc.second)...)
		if len(c.problems.list) != 1 || !matchEllipsis(c.problems.list[0].Message, tc.want) {
			t.Errorf("got %swant %s", messages(c.problems.list), tc.want)
		}
	}
}

// A mistake in the plain form is said once, however many sites inherit it, and under the name it was written.
func TestInheritedMistakeIsSaidOnce(t *testing.T) {
	env := append([]string{}, usable...)
	env = append(env, "ZCHAT_TOKEN_TTL=10m")
	for i := range 50 {
		env = append(env, fmt.Sprintf("ZCHAT_SITES_%d_HOSTS=h%d.example", i, i))
	}
	c := loadEnv(env...)
	if len(c.problems.list) != 1 || c.problems.list[0].Variable != "ZCHAT_TOKEN_TTL" {
		t.Errorf("got %s", messages(c.problems.list))
	}
}

func TestMissingOfOneSite(t *testing.T) {
	c := loadEnv("ZCHAT_SECRET="+goodSecret, "ZCHAT_SITES_0_HOSTS=a.example", "ZCHAT_SITES_0_UPSTREAM=http://a", "ZCHAT_SITES_1_HOSTS=b.example")
	if len(c.problems.list) != 1 || c.problems.list[0].Variable != "ZCHAT_SITES_1_UPSTREAM" {
		t.Errorf("got %s", messages(c.problems.list))
	}
}

// A secret's file that is not there keeps no site from running, but check calls it a problem.
func TestMissingSecretFileIsPassing(t *testing.T) {
	c := loadEnv("ZCHAT_UPSTREAM=http://a", "ZCHAT_SECRET_FILE="+filepath.Join(t.TempDir(), "later"))
	if len(c.problems.list) != 1 || !c.problems.list[0].passing {
		t.Errorf("got %+v", c.problems.list)
	}
	if c.sites[0].secret == nil {
		t.Error("no source of the secret")
	}
}

func TestTokenLimit(t *testing.T) {
	for value, want := range map[string]int{"": 1_000_000, "off": -1, "OFF": -1, "25": 25} {
		c := loadEnv(append([]string{"ZCHAT_TOKEN_LIMIT=" + value}, usable...)...)
		if got := c.sites[0].proxySite().TokenLimit; got != want || len(c.problems.list) > 0 {
			t.Errorf("%q: limit %d, want %d; %s", value, got, want, messages(c.problems.list))
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"UPSTRAEM", "UPSTREAM", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := distance(tc.b, tc.a); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.b, tc.a, got, tc.want)
		}
	}
}

// Whatever stands in the environment, loading it neither panics nor shows a secret.
func FuzzLoad(f *testing.F) {
	f.Add("UPSTREAM", "http://x", "SETTINGS", "{")
	f.Add("SITES_0_UPSTREAM", "unix:///x", "HOSTS", "*.a,[::1]:1,b:2")
	f.Add("TRUSTED_PROXIES", "unix,1.2.3.4/5", "TOKEN_TTL", "1h")
	f.Add("LISTEN", "[::]:x", "ROUTE_PREFIX", "//")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		for _, v := range []string{v1, v2} {
			// Files of the machine that runs the test are not its business.
			if strings.ContainsRune(v, '/') && (strings.Contains(k1, "FILE") || strings.Contains(k2, "FILE")) {
				t.Skip()
			}
		}
		c := loadEnv("ZCHAT_SECRET=TheSecretThatMustNotShowUpAnywhere", "ZCHAT_"+k1+"="+v1, "ZCHAT_"+k2+"="+v2)
		said := messages(c.problems.list) + messages(c.warnings.list)
		if strings.Contains(said, "MustNotShowUp") && !strings.Contains(v1+v2+k1+k2, "MustNotShowUp") {
			t.Errorf("a secret is shown: %s", said)
		}
		if len(c.problems.list) == 0 {
			if _, err := proxy.New(c.proxyConfig(slog.New(slog.DiscardHandler))); err != nil {
				t.Errorf("the proxy refuses what was found good: %v", err)
			}
		}
	})
}
