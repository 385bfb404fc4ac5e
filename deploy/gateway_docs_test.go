package deploy

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// secretText is long enough for a secret, and none.
const secretText = "0123456789abcdef0123456789abcdef0123456789abcdef"

// check runs `zchatproxy check` with an example's environment.
func check(t *testing.T, env []string) {
	t.Helper()
	cmd := exec.Command(program(t), "check")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("zchatproxy check: %v\n%s", err, out)
	}
}

// TestEnvironmentsOfGateways has the program judge every environment that an example or a page of prose shows for it.
func TestEnvironmentsOfGateways(t *testing.T) {
	secret := write(t, filepath.Join(t.TempDir(), "secret"), secretText)
	for name, path := range map[string]string{
		"nginx/zchatproxy.env":   "/etc/zchatproxy/secret",
		"apache/zchatproxy.env":  "/etc/zchatproxy/secret",
		"caddy/zchatproxy.env":   "/etc/zchatproxy/secret",
		"haproxy/zchatproxy.env": "/etc/zchatproxy/secret",
		"traefik/zchatproxy.env": "/run/secrets/zchat_secret",
	} {
		t.Run(name, func(t *testing.T) { check(t, environment(t, example(t, name, path, secret))) })
	}
	for _, name := range []string{"aws-alb.md", "cloudflare-access.md"} {
		t.Run(name, func(t *testing.T) {
			blocks := fenced(example(t, name, "/run/secrets/zchat_secret", secret), "sh")
			if len(blocks) == 0 {
				t.Fatal("the page shows no environment")
			}
			for _, block := range blocks {
				check(t, environment(t, block))
			}
		})
	}
}

// fenced returns the code blocks of a language in a Markdown text.
func fenced(text, language string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// TestVariablesExist finds every variable that any file here names in the reference.
func TestVariablesExist(t *testing.T) {
	reference, err := exec.Command(program(t), "check", "--reference").Output()
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\bZCHAT_[A-Z0-9_]*[A-Z0-9]`)
	site := regexp.MustCompile(`^ZCHAT_SITES_\d+_`)
	known := name.FindAllString(string(reference), -1)
	if len(known) < 40 {
		t.Fatalf("the reference names only %d variables", len(known))
	}
	seen := 0
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, v := range name.FindAllString(string(text), -1) {
			seen++
			if plain := site.ReplaceAllString(v, "ZCHAT_"); !slices.Contains(known, plain) {
				t.Errorf("%s: there is no variable %s", path, v)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d variables were found here", seen)
	}
}

// TestPresets compares the examples with the README's table of gateways.
func TestPresets(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "### Which gateway do you have?")
	table, _, _ = strings.Cut(table, "\n\nLet the gateway")
	rows := regexp.MustCompile("(?m)^\\| ([^|]+) \\| `ZCHAT_IDENTITY=([a-z-]+)`").FindAllStringSubmatch(table, -1)
	preset := map[string]string{}
	for _, row := range rows {
		preset[row[1]] = row[2]
	}
	identity := regexp.MustCompile(`(?m)^ZCHAT_IDENTITY=(\S+)$`)
	for name, gateway := range map[string]string{
		"nginx/zchatproxy.env":   "oauth2-proxy asked by nginx (`auth_request`), Caddy or Traefik",
		"caddy/zchatproxy.env":   "oauth2-proxy asked by nginx (`auth_request`), Caddy or Traefik",
		"traefik/zchatproxy.env": "oauth2-proxy asked by nginx (`auth_request`), Caddy or Traefik",
		"apache/zchatproxy.env":  "Apache (mod_auth_openidc, Basic, LDAP, Kerberos)",
		"haproxy/zchatproxy.env": "oauth2-proxy as a reverse proxy",
		"aws-alb.md":             "AWS ALB",
		"cloudflare-access.md":   "Cloudflare Access",
	} {
		used := identity.FindStringSubmatch(example(t, name))
		switch {
		case used == nil:
			t.Errorf("%s sets no preset", name)
		case preset[gateway] == "":
			t.Errorf("the README's table has no row %q; it has %q", gateway, rows)
		case used[1] != preset[gateway]:
			t.Errorf("%s uses the preset %s, the README says %s for %s", name, used[1], preset[gateway], gateway)
		}
	}
}
