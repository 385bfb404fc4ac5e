package deploy

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCompose walks through what compose.yaml describes, without its containers: the real oauth2-proxy with the flags that
// stand there, zchatproxy with its environment, a site, and a provider in place of dex. (That the file is sound is for
// compose/compose_test.go to say.)
func TestCompose(t *testing.T) {
	gateway := oauth2Proxy(t)
	c := newChain(t)
	c.origin = "http://" + c.gateway
	c.logOut, c.sessions, c.identity = "/oauth2/sign_out", []string{"_oauth2_proxy"}, forwardedHeaders
	text := example(t, "compose.yaml")
	if version := gateway[strings.LastIndex(gateway, "@"):]; !strings.Contains(text, "oauth2-proxy:"+version[1:]+" ") {
		t.Errorf("the image of oauth2-proxy is of another version than %s, which is tried here", version)
	}
	here := strings.NewReplacer(
		"0.0.0.0:4180", c.gateway, "http://localhost:4180", c.origin, "http://zchatproxy:8080", "http://"+c.proxy,
		"http://localhost:5556/dex/auth", c.provider.URL+"/authorize", "http://localhost:5556/dex", c.provider.URL,
		"http://dex:5556/dex", c.provider.URL,
		"/run/secrets/client_secret", write(t, filepath.Join(c.dir, "client_secret"), clientSecret),
		"/run/secrets/cookie_secret", write(t, filepath.Join(c.dir, "cookie_secret"), "0123456789abcdef0123456789abcdef"),
		"/run/secrets/zchat_secret", c.secretFile, "http://site:8080", c.site.URL, "172.30.87.0/28", "127.0.0.1/32", `":9090"`, c.admin,
	)

	proxy := exec.Command(program(t), "serve")
	for _, m := range regexp.MustCompile(`(?m)^      (ZCHAT_[A-Z_]+): (.*?)(?: #.*)?$`).FindAllStringSubmatch(text, -1) {
		proxy.Env = append(proxy.Env, m[1]+"="+strings.Trim(here.Replace(m[2]), `'"`))
	}
	if len(proxy.Env) < 8 {
		t.Fatalf("only %d variables are read from compose.yaml", len(proxy.Env))
	}
	proxy.Env = append(proxy.Env, "ZCHAT_LISTEN="+c.proxy)
	start(t, proxy, c.proxy)

	flags := regexp.MustCompile(`(?m)^      - (--[a-z-0-9]+=.*?)(?: #.*)?$`).FindAllStringSubmatch(text, -1)
	if len(flags) < 15 {
		t.Fatalf("only %d flags are read from compose.yaml", len(flags))
	}
	front := exec.Command(gateway)
	front.Env = []string{"PATH=/usr/bin:/bin"}
	for _, f := range flags {
		front.Args = append(front.Args, here.Replace(f[1]))
	}
	start(t, front, c.gateway)

	v := c.visitor(t)
	v.isNobody()
	page := v.logIn(mary, "/")
	if strings.Count(string(page.body), "<script data-zchatproxy") != 1 {
		t.Errorf("the page has no script, or several:\n%.600s", page.body)
	}
	v.is(mary)
	if c.site.saw().Get("Authorization") != "" {
		t.Error("the site gets credentials that it did not ask for")
	}
	v.get(c.logOut)
	v.isNobody()
	v.logIn(lukasz, "/")
	v.is(lukasz)
}
