package deploy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// traefikStatic and traefikDynamic are Traefik's documented structure as far as the example uses it.
type traefikStatic struct {
	EntryPoints map[string]struct {
		Address string `json:"address"`
		HTTP    struct {
			Redirections struct {
				EntryPoint struct {
					To     string `json:"to"`
					Scheme string `json:"scheme"`
				} `json:"entryPoint"`
			} `json:"redirections"`
		} `json:"http"`
		Transport struct {
			RespondingTimeouts struct {
				ReadTimeout string `json:"readTimeout"`
				IdleTimeout string `json:"idleTimeout"`
			} `json:"respondingTimeouts"`
		} `json:"transport"`
	} `json:"entryPoints"`
	Providers struct {
		File struct {
			Filename string `json:"filename"`
			Watch    bool   `json:"watch"`
		} `json:"file"`
	} `json:"providers"`
	AccessLog struct {
		Format string `json:"format"`
	} `json:"accessLog"`
}

type traefikDynamic struct {
	HTTP struct {
		Routers map[string]struct {
			Rule        string    `json:"rule"`
			EntryPoints []string  `json:"entryPoints"`
			Middlewares []string  `json:"middlewares"`
			Service     string    `json:"service"`
			Priority    int       `json:"priority"`
			TLS         *struct{} `json:"tls"`
		} `json:"routers"`
		Middlewares map[string]struct {
			Headers *struct {
				CustomRequestHeaders map[string]string `json:"customRequestHeaders"`
			} `json:"headers"`
			ForwardAuth *struct {
				Address                  string   `json:"address"`
				TrustForwardHeader       *bool    `json:"trustForwardHeader"`
				AuthResponseHeaders      []string `json:"authResponseHeaders"`
				AddAuthCookiesToResponse []string `json:"addAuthCookiesToResponse"`
			} `json:"forwardAuth"`
		} `json:"middlewares"`
		Services map[string]struct {
			LoadBalancer struct {
				Servers []struct {
					URL string `json:"url"`
				} `json:"servers"`
				PassHostHeader *bool `json:"passHostHeader"`
				HealthCheck    *struct {
					Path     string `json:"path"`
					Port     int    `json:"port"`
					Interval string `json:"interval"`
					Timeout  string `json:"timeout"`
				} `json:"healthCheck"`
				ResponseForwarding *struct {
					FlushInterval string `json:"flushInterval"`
				} `json:"responseForwarding"`
			} `json:"loadBalancer"`
		} `json:"services"`
	} `json:"http"`
	TLS struct {
		Certificates []struct {
			CertFile string `json:"certFile"`
			KeyFile  string `json:"keyFile"`
		} `json:"certificates"`
	} `json:"tls"`
}

// decodeYAML reads a file with no field that into does not have.
func decodeYAML(t *testing.T, name string, into any) {
	t.Helper()
	cmd := exec.Command(need(t, "ruby"), "-ryaml", "-rjson", "-e", "puts JSON.generate(YAML.safe_load(STDIN.read))")
	cmd.Stdin, cmd.Stderr = strings.NewReader(example(t, name)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestTraefikFiles holds the files against Traefik's structure, and against each other.
func TestTraefikFiles(t *testing.T) {
	var static traefikStatic
	var dynamic traefikDynamic
	decodeYAML(t, "traefik/traefik.yaml", &static)
	decodeYAML(t, "traefik/dynamic.yaml", &dynamic)
	if static.Providers.File.Filename != "/etc/traefik/dynamic.yaml" || len(dynamic.TLS.Certificates) != 1 {
		t.Errorf("the dynamic configuration is %q, with %d certificates", static.Providers.File.Filename, len(dynamic.TLS.Certificates))
	}
	strip, who := dynamic.HTTP.Middlewares["strip"].Headers, dynamic.HTTP.Middlewares["who"].ForwardAuth
	if strip == nil || who == nil {
		t.Fatal("there is no middleware strip that removes headers, or no who that asks")
	}
	for name, r := range dynamic.HTTP.Routers {
		if _, known := dynamic.HTTP.Services[r.Service]; !known {
			t.Errorf("router %s leads to the service %q, which is not there", name, r.Service)
		}
		if len(r.Middlewares) == 0 || r.Middlewares[0] != "strip" || r.TLS == nil {
			t.Errorf("router %s takes requests without TLS, or with what clients say of themselves", name)
		}
		if r.Service == "zchatproxy" && !slices.Equal(r.Middlewares, []string{"strip", "who"}) {
			t.Errorf("router %s has the middlewares %q", name, r.Middlewares)
		}
		for _, e := range r.EntryPoints {
			if _, known := static.EntryPoints[e]; !known {
				t.Errorf("router %s is at the entry point %q, which is not there", name, e)
			}
		}
	}
	if who.TrustForwardHeader == nil || *who.TrustForwardHeader {
		t.Error("what clients say about themselves in X-Forwarded-* reaches oauth2-proxy")
	}
	for _, header := range append(who.AuthResponseHeaders, "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "Forwarded") {
		if value, stripped := strip.CustomRequestHeaders[header]; !stripped || value != "" {
			t.Errorf("a client's %s is not removed", header)
		}
	}
	if want := []string{"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Preferred-Username"}; !slices.Equal(who.AuthResponseHeaders, want) {
		t.Errorf("of oauth2-proxy's answer %q is copied, the preset reads %q", who.AuthResponseHeaders, want)
	}
}

// startTraefik runs Traefik with the example, before an oauth2-proxy with the example's flags.
func startTraefik(t *testing.T, traefik string, more ...string) *chain {
	oauth2Proxy(t)
	c := newChain(t)
	c.refuses = true
	// What Traefik's clean-up of paths, and its fear of semicolons, make of them.
	c.tidies = map[string]string{
		"/_site/target/a//b":                      "/_site/target/a/b",
		"/_site/target/%7Euser/%e4?q=%zz&a=1;b=2": "/_site/target/~user/%E4?q=%zz&a=1&b=2",
	}
	c.serve("traefik/zchatproxy.env", "ZCHAT_LISTEN=:8080", "ZCHAT_LISTEN="+c.proxy, "ZCHAT_ADMIN_LISTEN=:9090", "ZCHAT_ADMIN_LISTEN="+c.admin,
		"http://site:8080", c.site.URL, "172.30.88.0/28", "127.0.0.1", "/run/secrets/zchat_secret", c.secretFile)
	asked := freeAddress(t, "127.0.0.1")
	dynamic := example(t, "traefik/dynamic.yaml", c.pem(
		"http://zchatproxy:8080", "http://"+c.proxy,
		"port: 9090", "port: "+port(t, c.admin),
		"http://oauth2-proxy:4180", "http://"+asked,
		"0.0.0.0:4180", asked,
		"172.30.88.0/28", "127.0.0.1")...)
	c.startOAuth2Proxy(asked, append(flagsIn(t, dynamic), more...)...)
	static := example(t, "traefik/traefik.yaml",
		`address: ":80"`, `address: "`+freeAddress(t, "127.0.0.1")+`"`,
		`address: ":443"`, `address: "`+c.gateway+`"`,
		"/etc/traefik/dynamic.yaml", write(t, filepath.Join(c.dir, "dynamic.yaml"), dynamic))
	start(t, exec.Command(traefik, "--configFile="+write(t, filepath.Join(c.dir, "traefik.yaml"), static)), c.gateway)
	eventually(t, "Traefik has read its routes", func() bool {
		res, err := c.visitor(t).client.Get(c.origin + "/oauth2/auth")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusUnauthorized
	})
	return c
}

// TestTraefik needs a Traefik that somebody has installed: neither Debian nor Go's module proxy has a complete one.
// TestTraefikFiles is for everybody.
func TestTraefik(t *testing.T) {
	traefik, err := exec.LookPath("traefik")
	if err != nil {
		t.Skip("there is no traefik")
	}
	c := startTraefik(t, traefik)
	t.Run("requests", c.loggedInRequests)
	t.Run("forged", c.forgedRequests)
	t.Run("browser", c.walk)
	t.Run("renewal", renewal(false, func(t *testing.T) *chain { return startTraefik(t, traefik, renewing) }))
	t.Run("renewal of a long session", renewal(true, func(t *testing.T) *chain { return startTraefik(t, traefik, renewing) }))
}
