package demo

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"zchatproxy/cmd/zchatproxy/demo/gateway"
	"zchatproxy/cmd/zchatproxy/demo/site"
	"zchatproxy/cmd/zchatproxy/demo/widget"
	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

const (
	// widgetPrefix is where the stand-in widget lives, on the gateway's address. It takes the place of Zendesk's
	// servers, so neither the session nor zchatproxy has a say in it.
	widgetPrefix = "/_widget/"
	widgetKey    = "00000000-demo-0000-0000-000000000000"
	tokenPath    = "/__zchat/jwt"
)

// people are the visitors to choose from. Their names need no, a Western, and a Central European charset.
func people() []gateway.Person {
	return []gateway.Person{
		{ID: "c-1001", Name: "Mary Okafor", Email: "mary.okafor@leith-harbour.example", Role: "harbour master, Port of Leith"},
		{ID: "c-1002", Name: "Zoë Brændgaard", Email: "zoe@solvi.example", Role: "first mate, M/S Sølvi"},
		{ID: "c-1003", Name: "Łukasz Żuraw", Email: "lukasz.zuraw@zagle-gdynia.example", Role: "sailmaker, Gdynia"},
	}
}

// kind is what depends on the kind of widget.
type kind struct {
	name     string // as configuration spells it
	words    string // as people do
	chatCode string // what somebody once pasted into the site's help page; %s is the widget's address
}

// widgetKind looks a kind of widget up; "" is the classic one.
func widgetKind(name string) (kind, error) {
	const tag = `<script id="ze-snippet" type="text/javascript" src="%s"></script>
<!-- end of chat code -->`
	switch name {
	case "", "classic":
		return kind{"classic", "Web Widget (Classic)", `<!-- chat code, do not remove!! ask Torkel -->
<script type="text/javascript">
window.zESettings = {
  webWidget: {
    color: { theme: '#8a3b6b' },
    chat: { departments: { select: 'Ropes and lanterns' } }
  }
};
</script>
` + tag}, nil
	case "messaging":
		return kind{"messaging", "Messaging", "<!-- chat code, do not remove!! ask Torkel -->\n" + tag}, nil
	case "chat":
		return kind{"chat", "Chat widget", `<!-- chat code, do not remove!! ask Torkel -->
<script type="text/javascript">
window.$zopim || (function (d, tag) {
  var z = window.$zopim = function (call) { z._.push(call); }, s = z.s = d.createElement(tag), first = d.getElementsByTagName(tag)[0];
  z.set = function (call) { z.set._.push(call); };
  z._ = []; z.set._ = [];
  s.async = true; s.src = '%s';
  first.parentNode.insertBefore(s, first);
})(document, 'script');
</script>
<!-- end of chat code -->`}, nil
	}
	return kind{}, fmt.Errorf("there is no widget %q: use classic, messaging or chat", name)
}

// secrets are what an administrator would have copied from Zendesk: one for chats, one for the Help Center.
type secrets struct{ chat, helpCenter string }

func newSecrets() secrets {
	fresh := func() string { return rand.Text() + rand.Text() } // 52 characters of 5 bits
	return secrets{chat: fresh(), helpCenter: fresh()}
}

// furnish gives each part its handler, from the back to the front: each knows the address of the next one only.
func (d *Demo) furnish(o Options, k kind) error {
	legacy, err := site.New(site.Config{
		LoginURL:  gateway.Prefix + "login?rd=",
		LogoutURL: gateway.Prefix + "logout",
		ChatCode:  fmt.Sprintf(k.chatCode, widgetPrefix+"snippet.js?key="+widgetKey),
	})
	if err != nil {
		return err
	}
	if o.wrapSite != nil {
		legacy = o.wrapSite(legacy)
	}
	d.parts.handle("site", legacy)

	handler, err := newProxy(o, k, cmp.Or(o.upstream, strings.TrimSuffix(d.site, "/")), d.secrets)
	if err != nil {
		return err
	}
	d.parts.handle("zchatproxy", handler)
	d.parts.handle("admin", handler.Admin())

	stand, err := widget.New(k.name, verifier(d.secrets))
	if err != nil {
		return err
	}
	gate, err := d.newGateway(o, k)
	if err != nil {
		return err
	}
	// By hand, since http.ServeMux would tidy up paths that are the site's business.
	d.parts.handle("gateway", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, widgetPrefix) {
			stand.ServeHTTP(w, r)
			return
		}
		gate.ServeHTTP(w, r)
	}))
	return nil
}

// verifier judges tokens as Zendesk would, which holds the other copy of the secrets.
func verifier(s secrets) widget.Verifier {
	type judge struct {
		kind   signer.Kind
		secret *signer.Secret
	}
	chat, helpCenter := signer.NewSecret(s.chat), signer.NewSecret(s.helpCenter)
	judges := map[string]judge{
		"chat": {signer.Chat, chat}, "messaging": {signer.Messaging, chat}, "help-center": {signer.HelpCenter, helpCenter},
	}
	return func(kind, token string) (widget.Agent, error) {
		j, ok := judges[kind]
		if !ok {
			return widget.Agent{}, fmt.Errorf("there is no %q token", kind)
		}
		_, payload, problems := signer.Inspect(token, j.kind, j.secret, time.Now())
		if len(problems) > 0 {
			return widget.Agent{}, errors.New(problems[0].String())
		}
		var claims struct {
			ExternalID    string `json:"external_id"`
			Email, Name   string
			EmailVerified bool `json:"email_verified"`
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			return widget.Agent{}, fmt.Errorf("reading the claims: %w", err)
		}
		return widget.Agent{
			ID: claims.ExternalID, Email: claims.Email, Name: claims.Name, EmailVerified: claims.EmailVerified,
		}, nil
	}
}

// newProxy is zchatproxy as it would really run behind a gateway on the same machine.
func newProxy(o Options, k kind, upstream string, s secrets) (*proxy.Handler, error) {
	peers, err := identity.ParsePeers("127.0.0.1")
	if err != nil {
		return nil, err
	}
	var helpCenter *signer.Secret
	var keyID string
	switch k.name {
	case "classic": // the only widget that shows the Help Center
		helpCenter = signer.NewSecret(s.helpCenter)
	case "messaging": // the only one whose tokens need to name their key
		keyID = "app_demo"
	}
	return proxy.New(proxy.Config{
		Trusted: peers,
		Log:     o.Log.With("part", "zchatproxy"),
		Version: o.Version,
		Sites: []proxy.Site{{
			Name:             "demo",
			Upstream:         upstream,
			UpstreamHost:     o.upstreamHost,
			Widget:           k.name,
			WidgetKey:        widgetKey,
			WidgetURL:        widgetPrefix + "snippet.js",
			Settings:         json.RawMessage(`{"webWidget":{"color":{"theme":"#12355b"}}}`),
			Secret:           signer.NewSecret(s.chat),
			HelpCenterSecret: helpCenter,
			KeyID:            keyID,
			Identity:         identity.Config{Preset: "forwarded", EmailVerified: true},
		}},
	})
}

func (d *Demo) newGateway(o Options, k kind) (http.Handler, error) {
	upstream, err := url.Parse(d.parts.url("zchatproxy"))
	if err != nil {
		return nil, err
	}
	upstream.Path = ""
	var pages []gateway.Page
	for _, p := range site.Pages() {
		pages = append(pages, gateway.Page(p))
	}
	return gateway.New(gateway.Config{
		Upstream: upstream,
		People:   people(),
		Pages:    pages,
		SiteURL:  d.site,
		AdminURL: d.admin,
		TokenURL: tokenPath,
		Widget:   k.words,
		Log:      o.Log.With("part", "gateway"),
	})
}
