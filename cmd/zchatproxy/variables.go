package main

import (
	"reflect"
	"time"
)

// prefix is what every variable's name starts with.
const prefix = "ZCHAT_"

// processVars are the variables that are read once for the whole process. Their struct tags are the reference:
//
//	env         the name after ZCHAT_
//	envDefault  the default
//	oneof       the words that may be written, separated by |
//	least       the shortest duration or smallest number that makes sense
//	help        what it means, one or two sentences
type processVars struct {
	Listen            string        `env:"LISTEN" envDefault:":8080" help:"Address of the proxy: host:port, :port, or unix:///path for a Unix socket."`
	TLSCertFile       string        `env:"TLS_CERT_FILE" help:"Certificate chain (PEM). With TLS_KEY_FILE the proxy speaks HTTPS, HTTP/1.1 and HTTP/2; read again when it changes."`
	TLSKeyFile        string        `env:"TLS_KEY_FILE" help:"Private key (PEM) of TLS_CERT_FILE; read again when it changes."`
	AdminListen       string        `env:"ADMIN_LISTEN" envDefault:"127.0.0.1:9090" help:"Address of health, metrics and the status page, or off. It has no log-in: keep it inside."`
	TrustedProxies    string        `env:"TRUSTED_PROXIES" envDefault:"127.0.0.0/8,::1/128" help:"Peers whose identity and X-Forwarded-* headers count, as addresses or CIDR ranges separated by commas; unix trusts the peers of a Unix socket. From anyone else those headers are removed."`
	RoutePrefix       string        `env:"ROUTE_PREFIX" envDefault:"/__zchat" help:"Where the proxy's own routes live, on every site."`
	LogFormat         string        `env:"LOG_FORMAT" oneof:"text|json" help:"text or json; without it, text on a terminal and json elsewhere."`
	LogLevel          string        `env:"LOG_LEVEL" envDefault:"info" oneof:"debug|info|warn|error" help:"The least important lines that are logged."`
	ReadHeaderTimeout time.Duration `env:"READ_HEADER_TIMEOUT" envDefault:"10s" least:"1ms" help:"How long a visitor may take to send a request's header, and for the TLS handshake."`
	IdleTimeout       time.Duration `env:"IDLE_TIMEOUT" envDefault:"2m" least:"1ms" help:"How long an idle connection of a visitor is kept."`
	ShutdownTimeout   time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"30s" least:"0s" help:"How long open requests may go on after SIGTERM or SIGINT."`
	UpstreamTimeout   time.Duration `env:"UPSTREAM_TIMEOUT" envDefault:"60s" least:"1ms" help:"How long the upstream may take until the header of its response has arrived."`
	MaxConnections    int           `env:"MAX_CONNECTIONS" envDefault:"0" least:"0" help:"The most connections of visitors at one time; further ones wait to be accepted. 0 sets no limit."`
}

// siteVars are the variables of one site, each of which may be written for all sites (ZCHAT_X) and for one
// (ZCHAT_SITES_<n>_X). Besides the tags of processVars:
//
//	of    the variable that this one is the _FILE form of
//	site  required: a site without it cannot work
type siteVars struct {
	Hosts                []string      `env:"HOSTS" envDefault:"*" help:"Host names of the site, separated by commas: exact, *.example.com (any number of labels below, not the name itself), or * for all. The most specific wins."`
	Upstream             string        `env:"UPSTREAM" site:"required" help:"The site behind: http://host:port, https://host:port or unix:///path."`
	UpstreamHost         string        `env:"UPSTREAM_HOST" envDefault:"preserve" help:"The Host sent up: preserve the visitor's, upstream for the upstream's own, or a literal name."`
	UpstreamCAFile       string        `env:"UPSTREAM_CA_FILE" help:"Certificates (PEM) that an https upstream is checked against, instead of the system's."`
	UpstreamInsecure     bool          `env:"UPSTREAM_INSECURE" envDefault:"false" help:"true leaves an https upstream's certificate unchecked. For staging only."`
	Widget               string        `env:"WIDGET" envDefault:"classic" oneof:"classic|messaging|chat" help:"classic (Web Widget Classic), messaging, or chat (the standalone Chat widget)."`
	WidgetKey            string        `env:"WIDGET_KEY" help:"The widget's key: the proxy then loads the widget too, on pages that do not load it themselves."`
	Settings             string        `env:"SETTINGS" envDefault:"{}" help:"A JSON object merged into zESettings: colour, departments, locale, …"`
	SettingsFile         string        `env:"SETTINGS_FILE" of:"SETTINGS" help:"A file that holds SETTINGS."`
	Secret               string        `env:"SECRET" site:"required" help:"The shared secret that signs chat or messaging tokens."`
	SecretFile           string        `env:"SECRET_FILE" of:"SECRET" help:"A file that holds SECRET."`
	KeyID                string        `env:"KEY_ID" help:"The kid header of tokens; required for messaging, allowed for all."`
	HelpCenterSecret     string        `env:"HELP_CENTER_SECRET" help:"The Web Widget's other secret, for restricted Help Center content and the contact form."`
	HelpCenterSecretFile string        `env:"HELP_CENTER_SECRET_FILE" of:"HELP_CENTER_SECRET" help:"A file that holds HELP_CENTER_SECRET."`
	TokenTTL             time.Duration `env:"TOKEN_TTL" envDefault:"5m" help:"How long a token is valid, 7 minutes at most."`
	TokenLimit           limit         `env:"TOKEN_LIMIT" envDefault:"1000000" help:"The most tokens that one visitor gets in an hour, against scripts that run wild; off sets no limit."`
	Identity             string        `env:"IDENTITY" envDefault:"forwarded" help:"Where the visitor's identity comes from: the name of a gateway's preset, custom, or upstream."`
	IDHeader             string        `env:"ID_HEADER" help:"The header with the visitor's id, instead of the preset's."`
	EmailHeader          string        `env:"EMAIL_HEADER" help:"The header with the visitor's e-mail address, instead of the preset's."`
	NameHeader           string        `env:"NAME_HEADER" help:"The header with the visitor's name, instead of the preset's."`
	EmailVerifiedHeader  string        `env:"EMAIL_VERIFIED_HEADER" help:"The header that says true where the address is verified, instead of the preset's."`
	EmailVerified        bool          `env:"EMAIL_VERIFIED" envDefault:"false" help:"Messaging: true says that the gateway vouches for every address."`
	ExternalIDPrefix     string        `env:"EXTERNAL_ID_PREFIX" help:"Put before the id, for example user-."`
	OmitEmail            bool          `env:"OMIT_EMAIL" envDefault:"false" help:"Messaging: true leaves the address out of tokens, so that none is refused because the address belongs to another id."`
	IdentityPath         string        `env:"IDENTITY_PATH" envDefault:"/" help:"For IDENTITY=upstream: the path that the token route asks who the visitor is."`
	AssertionKeysURL     string        `env:"ASSERTION_KEYS_URL" help:"For presets with a signature: the URL of the keys (JWKS; for aws-alb the base of the public-key endpoint)."`
	AssertionIssuer      string        `env:"ASSERTION_ISSUER" help:"For presets with a signature: the issuer (iss)."`
	AssertionAudience    string        `env:"ASSERTION_AUDIENCE" help:"For presets with a signature, and required there: the audience (aud; for aws-alb the load balancer's ARN)."`
	Inject               string        `env:"INJECT" envDefault:"on" oneof:"on|off|preview" help:"on, off, or preview: only for visitors who opened a page with ?__zchat=on (?__zchat=off ends it)."`
	IncludePaths         []string      `env:"INCLUDE_PATHS" envDefault:"/*" help:"Patterns of the paths to inject into, separated by commas."`
	ExcludePaths         []string      `env:"EXCLUDE_PATHS" help:"Patterns of the paths to leave alone; an exclusion wins."`
	CSP                  string        `env:"CSP" envDefault:"patch" oneof:"patch|off" help:"patch lets the script and the widget through the page's Content-Security-Policy by the smallest change; off leaves it alone."`
}

// variable is one row of the reference, taken from a struct field's tags.
type variable struct {
	Key      string // the name after ZCHAT_
	Field    string // the struct field's name, which is how the env package names it in errors
	Default  string
	OneOf    string
	Least    string
	Help     string
	FileOf   string // the Key whose _FILE form this is; "" for all others
	FileForm string // the Key of this one's _FILE form; "" without one
	Required bool
}

// variablesOf lists the variables of a struct such as processVars in the order of its fields.
func variablesOf(structure any) []variable {
	t := reflect.TypeOf(structure)
	vars := make([]variable, 0, t.NumField())
	forms := make(map[string]string)
	for field := range t.Fields() {
		tag := field.Tag
		v := variable{
			Key: tag.Get("env"), Field: field.Name, Default: tag.Get("envDefault"), OneOf: tag.Get("oneof"),
			Least: tag.Get("least"), Help: tag.Get("help"), FileOf: tag.Get("of"), Required: tag.Get("site") == "required",
		}
		if v.FileOf != "" {
			forms[v.FileOf] = v.Key
		}
		vars = append(vars, v)
	}
	for i := range vars {
		vars[i].FileForm = forms[vars[i].Key]
	}
	return vars
}
