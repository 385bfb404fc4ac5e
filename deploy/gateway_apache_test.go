package deploy

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

const apacheFolder = "/etc/apache2"

// apacheDefaults are the modules that Debian enables by itself.
var apacheDefaults = []string{
	"access_compat", "alias", "auth_basic", "authn_core", "authn_file", "authz_core", "authz_host", "authz_user",
	"autoindex", "deflate", "dir", "env", "filter", "mime", "mpm_event", "negotiation", "reqtimeout", "setenvif", "status",
}

// startApache runs Debian's Apache with an example as its only site, and the modules that the example says to enable.
func startApache(t *testing.T, c *chain, config string) {
	apache := need(t, "apache2")
	list := regexp.MustCompile(`(?m)^#\s+a2enmod (.+)$`).FindStringSubmatch(config)
	if list == nil {
		t.Fatal("the example does not say which modules to enable")
	}
	enabled := map[string]bool{}
	for _, name := range slices.Concat(apacheDefaults, strings.Fields(list[1])) {
		enableApacheModule(t, c, name, enabled)
	}
	main, err := os.ReadFile(filepath.Join(apacheFolder, "apache2.conf"))
	if err != nil {
		lacking(t, "Debian's configuration of Apache is missing: %v", err)
	}
	write(t, filepath.Join(c.dir, "apache2.conf"), string(main))
	write(t, filepath.Join(c.dir, "ports.conf"), "Listen "+c.gateway+"\n")
	write(t, filepath.Join(c.dir, "sites-enabled", "example.conf"), config)
	for _, dir := range []string{"run", "lock", "log"} {
		if err := os.Mkdir(filepath.Join(c.dir, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(apache, "-d", c.dir, "-f", filepath.Join(c.dir, "apache2.conf"), "-c", "ErrorLog /dev/stderr", "-D", "FOREGROUND")
	cmd.Env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "APACHE_RUN_USER=www-data", "APACHE_RUN_GROUP=www-data", "APACHE_PID_FILE=" + filepath.Join(c.dir, "run", "pid"),
		"APACHE_RUN_DIR=" + filepath.Join(c.dir, "run"), "APACHE_LOCK_DIR=" + filepath.Join(c.dir, "lock"), "APACHE_LOG_DIR=" + filepath.Join(c.dir, "log"),
	}
	start(t, cmd, c.gateway)
}

// enableApacheModule does what a2enmod does: links to the files of the module, and of those that it needs.
func enableApacheModule(t *testing.T, c *chain, name string, enabled map[string]bool) {
	t.Helper()
	if enabled[name] {
		return
	}
	enabled[name] = true
	load := filepath.Join(apacheFolder, "mods-available", name+".load")
	text, err := os.ReadFile(load)
	if err != nil {
		lacking(t, "Apache's module %s is missing: %v", name, err)
	}
	if depends := regexp.MustCompile(`(?m)^# Depends: (.+)$`).FindStringSubmatch(string(text)); depends != nil {
		for other := range strings.FieldsSeq(depends[1]) {
			enableApacheModule(t, c, other, enabled)
		}
	}
	target := filepath.Join(c.dir, "mods-enabled")
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{load, strings.TrimSuffix(load, "load") + "conf"} {
		if _, err := os.Stat(file); err != nil {
			continue // not every module has settings
		}
		if err := os.Symlink(file, filepath.Join(target, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
}

// apacheChain starts what stands behind Apache, and installs what both examples include.
func apacheChain(t *testing.T) *chain {
	c := newChain(t)
	c.serveHere("apache/zchatproxy.env")
	write(t, filepath.Join(c.dir, "zchatproxy-common.conf"), example(t, "apache/common.conf", "127.0.0.1:8080", c.proxy))
	return c
}

func TestApacheBasic(t *testing.T) {
	htpasswd := need(t, "htpasswd")
	c := apacheChain(t)
	passwords := filepath.Join(c.dir, "zchatproxy.htpasswd")
	if out, err := exec.Command(htpasswd, "-b", "-B", "-c", passwords, "ada", "password").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	startApache(t, c, example(t, "apache/basic.conf", c.pem(
		"<VirtualHost *:443>", "<VirtualHost "+c.gateway+">",
		"/etc/apache2/zchatproxy.htpasswd", passwords,
		"/etc/apache2/zchatproxy-common.conf", filepath.Join(c.dir, "zchatproxy-common.conf"))...))
	ada := person{"ada", "ada@example.com", "ada"}

	t.Run("requests", func(t *testing.T) {
		v := c.visitor(t)
		if p := v.get("/"); p.status != 401 || p.header.Get("Www-Authenticate") != `Basic realm="Intranet"` {
			t.Errorf("nobody is let in: %d %v", p.status, p.header)
		}
		if p := v.token(); p.status != 401 {
			t.Errorf("nobody gets %d from the token route", p.status)
		}
		v.user = "ada"
		v.is(ada)
		v.standsBetween()
		if p := v.get("/oauth2/callback"); !scriptElement.Match(p.body) {
			t.Errorf("a path that only the other example needs does not reach the site: %d %s", p.status, p.body)
		}
	})
	t.Run("forged", func(t *testing.T) {
		v := c.visitor(t)
		v.forge(nil)
		v.user = "ada"
		v.forge(&ada)
	})
	t.Run("browser", func(t *testing.T) {
		b := c.browser(t)
		var expired atomic.Bool
		b.dialog(func() bool { return !expired.Load() }, "ada", "password")
		b.open(c.origin + deepTarget)
		b.await(&ada)
		b.mark()
		// Nobody logs out of HTTP Basic authentication. It ends when the server wants to hear no more of somebody.
		expired.Store(true)
		write(t, passwords, "")
		b.work()
		b.await(nil)
		b.marked()
	})
}

func TestApacheOpenIDConnect(t *testing.T) {
	c := apacheChain(t)
	c.origin += ":" + port(t, c.gateway) // mod_auth_openidc puts the port that it listens on into addresses
	startApache(t, c, example(t, "apache/openidc.conf", c.pem(
		"<VirtualHost *:443>", "<VirtualHost "+c.gateway+">",
		"https://login.example.com", c.provider.URL,
		"https://www.example.com/", c.origin+"/",
		"/etc/apache2/openidc-secret.conf", write(t, filepath.Join(c.dir, "openidc-secret.conf"),
			"OIDCClientSecret "+clientSecret+"\nOIDCCryptoPassphrase of-this-test-alone\n"),
		"/etc/apache2/zchatproxy-common.conf", filepath.Join(c.dir, "zchatproxy-common.conf"))...))
	c.logOut, c.sessions = "/oauth2/callback?logout="+url.QueryEscape(c.origin+"/"), []string{"mod_auth_openidc_session"}
	t.Run("requests", c.loggedInRequests)
	t.Run("forged", c.forgedRequests)
	t.Run("browser", c.walk)
}
