package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
	"golang.org/x/crypto/bcrypt"
)

const composeFile = "../compose.yaml"

// load reads the project as `docker compose` does: by Compose's schema, which knows every field, and with its checks of
// what refers to what.
func load(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{composeFile}, cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// service is one of the project's.
func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flags of a service's command: name → value.
func flags(t *testing.T, s types.ServiceConfig) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, word := range s.Command {
		name, value, ok := strings.Cut(word, "=")
		if _, twice := out[name]; !ok || twice {
			t.Fatalf("%q is no flag with a value, or there twice", word)
		}
		out[name] = value
	}
	return out
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFilesAndImages(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		if s.Build != nil {
			if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
				t.Errorf("%s is built from %v", name, err)
			}
		} else if _, tag, ok := strings.Cut(s.Image, ":"); !ok || !regexp.MustCompile(`\d+[.-]\d+[.-]\d+`).MatchString(tag) {
			t.Errorf("the image of %s is %s, whose version is not fixed", name, s.Image)
		}
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s mounts %v", name, err)
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("port %s of %s can be reached from other machines", port.Published, name)
			}
		}
	}
	raw, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range p.Secrets {
		file, err := filepath.Rel(root, secret.File)
		if err != nil || !strings.Contains(string(raw), "> "+filepath.ToSlash(file)) {
			t.Errorf("the start at the top makes no file %s for the secret %s", secret.File, name)
		}
	}
}

// checked is the part of `zchatproxy check --format json` that matters here.
type checked struct {
	Warnings []struct{ Variable, Message string }
	Process  struct {
		Listen, Admin   string
		TrustedProxies  string `json:"trusted_proxies"`
		RoutePrefix     string `json:"route_prefix"`
		UpstreamTimeout string `json:"upstream_timeout"`
		ShutdownTimeout string `json:"shutdown_timeout"`
	}
}

// check has the program judge the environment of its container.
func check(t *testing.T, p *types.Project) (c checked) {
	t.Helper()
	dir := t.TempDir()
	s := service(t, p, "zchatproxy")
	paths := []string{}
	for _, secret := range s.Secrets {
		file := filepath.Join(dir, secret.Source)
		if err := os.WriteFile(file, bytes.Repeat([]byte("0123456789abcdef"), 3), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, "/run/secrets/"+secret.Source, file)
	}
	inside := strings.NewReplacer(paths...)
	program := filepath.Join(dir, "zchatproxy")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", program, "./cmd/zchatproxy").CombinedOutput(); err != nil {
		t.Fatalf("building zchatproxy: %v\n%s", err, out)
	}
	cmd := exec.Command(program, "check", "--format", "json")
	for name, value := range s.Environment {
		if value == nil {
			t.Fatalf("%s has no value", name)
		}
		cmd.Env = append(cmd.Env, name+"="+inside.Replace(*value))
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("zchatproxy check: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServicesAgree(t *testing.T) {
	p := load(t)
	c := check(t, p)
	for _, w := range c.Warnings {
		if w.Variable != "ZCHAT_ADMIN_LISTEN" { // published on 127.0.0.1 only
			t.Errorf("warning: %s", w.Message)
		}
	}
	proxy, gateway := service(t, p, "zchatproxy"), service(t, p, "gateway")
	f := flags(t, gateway)

	if upstream := f["--upstream"]; upstream != "http://zchatproxy"+c.Process.Listen {
		t.Errorf("the gateway's upstream is %s, and zchatproxy listens on %s", upstream, c.Process.Listen)
	}
	site, err := url.Parse(*proxy.Environment["ZCHAT_UPSTREAM"])
	if err != nil {
		t.Fatal(err)
	}
	if !share(proxy, service(t, p, site.Hostname())) {
		t.Errorf("zchatproxy and %s have no network in common", site.Hostname())
	}
	if len(proxy.Ports) != 1 || fmt.Sprintf(":%d", proxy.Ports[0].Target) != c.Process.Admin {
		t.Errorf("published is %v, and the admin listener is %s", proxy.Ports, c.Process.Admin)
	}
	if stop := time.Duration(*proxy.StopGracePeriod); stop <= duration(t, c.Process.ShutdownTimeout) {
		t.Errorf("Docker kills after %v, and draining may take %s", stop, c.Process.ShutdownTimeout)
	}
	if slow := duration(t, f["--upstream-timeout"]); slow <= duration(t, c.Process.UpstreamTimeout) {
		t.Errorf("the gateway gives up after %v, before zchatproxy with its %s", slow, c.Process.UpstreamTimeout)
	}
	if !regexp.MustCompile(f["--api-route"]).MatchString(c.Process.RoutePrefix + "/jwt") {
		t.Errorf("the token route is none of %q", f["--api-route"])
	}
	if !proxy.ReadOnly || !slices.Equal(proxy.CapDrop, []string{"ALL"}) || !slices.Contains(proxy.SecurityOpt, "no-new-privileges:true") {
		t.Error("zchatproxy's container can do more than it needs to")
	}
}

// share reports whether two services are in one network.
func share(a, b types.ServiceConfig) bool {
	for name := range a.Networks {
		if _, ok := b.Networks[name]; ok {
			return true
		}
	}
	return false
}

// TestOnlyTheGatewayIsTrusted wants the trusted addresses to be those of a network where nobody but the gateway can
// meet zchatproxy, under the name that the gateway calls.
func TestOnlyTheGatewayIsTrusted(t *testing.T) {
	p := load(t)
	trusted := check(t, p).Process.TrustedProxies
	for name, network := range p.Networks {
		if len(network.Ipam.Config) != 1 || network.Ipam.Config[0].Subnet != trusted {
			continue
		}
		var members []string
		for _, s := range p.Services {
			if _, ok := s.Networks[name]; ok {
				members = append(members, s.Name)
			}
		}
		slices.Sort(members)
		if !slices.Equal(members, []string{"gateway", "zchatproxy"}) {
			t.Errorf("in the trusted network are %q", members)
		}
		if aliases := service(t, p, "zchatproxy").Networks[name].Aliases; !slices.Equal(aliases, []string{"zchatproxy"}) {
			t.Errorf("zchatproxy has the aliases %q there", aliases)
		}
		if !bool(network.Internal) {
			t.Error("the trusted network leads outside")
		}
		return
	}
	t.Errorf("no network is %s", trusted)
}

// dexConfig are the settings of dex that are used, by its documentation.
type dexConfig struct {
	Issuer  string
	Storage struct{ Type string }
	Web     struct{ HTTP string }
	OAuth2  struct {
		SkipApprovalScreen bool `yaml:"skipApprovalScreen"`
	} `yaml:"oauth2"`
	StaticClients []struct {
		ID, Name, Secret string
		RedirectURIs     []string `yaml:"redirectURIs"`
	} `yaml:"staticClients"`
	EnablePasswordDB bool `yaml:"enablePasswordDB"`
	StaticPasswords  []struct {
		Email, Username, Hash string
		UserID                string `yaml:"userID"`
	} `yaml:"staticPasswords"`
}

func TestProviderAgreesWithTheGateway(t *testing.T) {
	p := load(t)
	f := flags(t, service(t, p, "gateway"))
	raw, err := os.ReadFile("dex.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var dex dexConfig
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	if err := decoder.Decode(&dex); err != nil {
		t.Fatal(err)
	}
	if len(dex.StaticClients) != 1 || len(dex.StaticPasswords) < 2 {
		t.Fatalf("%d clients and %d people", len(dex.StaticClients), len(dex.StaticPasswords))
	}
	client := dex.StaticClients[0]
	for what, pair := range map[string][2]string{
		"issuer": {f["--oidc-issuer-url"], dex.Issuer}, "client": {f["--client-id"], client.ID},
		"callback": {f["--redirect-url"], client.RedirectURIs[0]}, "log-in page": {f["--login-url"], dex.Issuer + "/auth"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the gateway says %s, dex %s", what, pair[0], pair[1])
		}
	}
	// Between containers dex has its service's name and the same port.
	inside := strings.Replace(dex.Issuer, "localhost", "dex", 1)
	if f["--redeem-url"] != inside+"/token" || f["--oidc-jwks-url"] != inside+"/keys" {
		t.Errorf("the gateway reaches dex as %s and %s, want it under %s", f["--redeem-url"], f["--oidc-jwks-url"], inside)
	}
	if !share(service(t, p, "gateway"), service(t, p, "dex")) {
		t.Error("the gateway and dex have no network in common")
	}
	issuer, err := url.Parse(dex.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	if ports := service(t, p, "dex").Ports; len(ports) != 1 || ports[0].Published != issuer.Port() || dex.Web.HTTP != "0.0.0.0:"+issuer.Port() {
		t.Errorf("the browser looks for dex on port %s; published is %v, and dex listens on %s", issuer.Port(), ports, dex.Web.HTTP)
	}
	compose, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(compose), "printf %s "+client.Secret+" >") {
		t.Error("the start at the top writes another client secret than dex has")
	}
	ids := map[string]bool{}
	for _, person := range dex.StaticPasswords {
		if err := bcrypt.CompareHashAndPassword([]byte(person.Hash), []byte("password")); err != nil {
			t.Errorf("%s does not get in with \"password\": %v", person.Email, err)
		}
		if ids[person.UserID] {
			t.Errorf("%s has somebody else's id", person.Email)
		}
		ids[person.UserID] = true
		if !strings.Contains(string(compose), person.Email) {
			t.Errorf("the instructions at the top do not mention %s", person.Email)
		}
	}
}
