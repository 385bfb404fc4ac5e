package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
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
