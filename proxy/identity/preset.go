package identity

import (
	"net/url"
	"strings"
	"time"
)

// A preset is what one kind of gateway sends. It is data: to add a gateway, add a row to [presets].
//
// A header that no field names stays as it came, from anyone.
type preset struct {
	name string

	// The unsigned headers with the id, the address and the name; any may be overridden by configuration.
	id, email, fullName string

	also      []string         // headers of the same gateway that are removed with the others, but not read
	families  []string         // folded prefixes of more such headers
	principal string           // Easy Auth's header, read by decodePrincipal; id and fullName then are its fallback
	signed    *assertionFormat // the identity comes from this assertion instead
	response  bool             // the headers are the upstream's, in its responses
	mustName  bool             // the id's header has no default
}

// An assertionFormat says how a gateway signs, and where its keys and its idea of issuer and audience are found.
type assertionFormat struct {
	header      string
	algorithm   string // the only one accepted, whatever the assertion says of itself
	maxLifetime time.Duration

	// Defaults from the configured audience and issuer; "" or nil where there is none.
	keysURL func(issuer, audience string) string
	issuer  func(audience string) string

	audienceIs string // what to configure, for error messages

	// alb marks the format of AWS load balancers, which differs in everything: padded Base64url, one PEM file per key
	// id instead of a key set, and issuer, signer and expiry in the JOSE header.
	alb bool

	nameIsEmail bool       // without a name claim, the address serves for it
	unsigned    []unsigned // plain headers of the same gateway that must agree with the assertion
}

// unsigned is a plain header that repeats a claim of the assertion beside it. It is compared, never believed.
type unsigned struct {
	header string
	claim  string // claimSubject or claimEmail
}

const (
	claimSubject = "sub"
	claimEmail   = "email"
	claimName    = "name"
)

// presets is the table of the gateways. Formats: each gateway's own documentation; limits on lifetimes are the
// longest that it documents, or a day where it promises minutes.
func presets() []preset {
	return []preset{
		{
			name: "forwarded", // oauth2-proxy as a reverse proxy
			id:   "X-Forwarded-User", email: "X-Forwarded-Email", fullName: "X-Forwarded-Preferred-Username",
			also: []string{"X-Forwarded-Groups", "X-Forwarded-Access-Token"},
		},
		{
			name: "auth-request", // oauth2-proxy behind nginx's auth_request
			id:   "X-Auth-Request-User", email: "X-Auth-Request-Email", fullName: "X-Auth-Request-Preferred-Username",
		},
		{
			name: "authelia",
			id:   "Remote-User", email: "Remote-Email", fullName: "Remote-Name",
		},
		{
			name: "authentik", // its X-authentik-jwt is not read: the key set it points to is the sender's choice
			id:   "X-authentik-uid", email: "X-authentik-email", fullName: "X-authentik-name",
			families: []string{"x-authentik-"},
		},
		{
			name: "pomerium",
			signed: &assertionFormat{
				header: "X-Pomerium-Jwt-Assertion", algorithm: "ES256", maxLifetime: 31 * day,
				keysURL:    func(_, audience string) string { return onHost(audience, "/.well-known/pomerium/jwks.json") },
				issuer:     func(audience string) string { return audience }, // jwt_issuer_format: hostOnly
				audienceIs: "the host name of the Pomerium route",
				unsigned:   []unsigned{{"X-Pomerium-Claim-Sub", claimSubject}, {"X-Pomerium-Claim-Email", claimEmail}},
			},
		},
		{
			name: "cloudflare-access",
			signed: &assertionFormat{
				header: "Cf-Access-Jwt-Assertion", algorithm: "RS256", maxLifetime: 31 * day,
				keysURL:    func(issuer, _ string) string { return below(issuer, "/cdn-cgi/access/certs") },
				audienceIs: "the application's audience (AUD) tag",
				unsigned:   []unsigned{{"Cf-Access-Authenticated-User-Email", claimEmail}}, nameIsEmail: true,
			},
		},
		{
			name: "aws-alb",
			signed: &assertionFormat{
				header: "X-Amzn-Oidc-Data", algorithm: "ES256", maxLifetime: day, alb: true,
				keysURL:    func(_, audience string) string { return albKeys(audience) },
				audienceIs: "the load balancer's ARN (arn:aws:elasticloadbalancing:…)",
				unsigned:   []unsigned{{"X-Amzn-Oidc-Identity", claimSubject}},
			},
		},
		{
			name: "google-iap",
			signed: &assertionFormat{
				header: "X-Goog-IAP-JWT-Assertion", algorithm: "ES256", maxLifetime: day,
				keysURL:    func(_, _ string) string { return "https://www.gstatic.com/iap/verify/public_key-jwk" },
				issuer:     func(string) string { return "https://cloud.google.com/iap" },
				audienceIs: "/projects/NUMBER/global/backendServices/ID or /projects/NUMBER/apps/PROJECT",
				unsigned: []unsigned{
					{"X-Goog-Authenticated-User-Id", claimSubject}, {"X-Goog-Authenticated-User-Email", claimEmail},
				},
				nameIsEmail: true,
			},
		},
		{
			name: "azure-easyauth", principal: "X-MS-CLIENT-PRINCIPAL",
			id: "X-MS-CLIENT-PRINCIPAL-ID", fullName: "X-MS-CLIENT-PRINCIPAL-NAME",
		},
		{
			name: "tailscale", // non-ASCII values come as encoded words
			id:   "Tailscale-User-Login", email: "Tailscale-User-Login", fullName: "Tailscale-User-Name",
		},
		{name: "custom", mustName: true},
		{name: "upstream", mustName: true, response: true},
	}
}

const day = 24 * time.Hour

func presetNamed(name string) (preset, bool) {
	for _, p := range presets() {
		if p.name == name {
			return p, true
		}
	}
	return preset{}, false
}

// PresetNames lists what [Config.Preset] may be, custom and upstream last.
func PresetNames() []string {
	var names []string
	for _, p := range presets() {
		names = append(names, p.name)
	}
	return names
}

// onHost is the URL of path on a bare host name, or "" when host is something else.
func onHost(host, path string) string {
	u, err := url.Parse("https://" + host + path)
	if err != nil || host == "" || u.Host != host || u.Path != path {
		return ""
	}
	return u.String()
}

// below is path under an issuer that is an https URL, or "".
func below(issuer, path string) string {
	if !strings.HasPrefix(issuer, "https://") {
		return ""
	}
	return strings.TrimSuffix(issuer, "/") + path
}

// albKeys is where load balancers of the ARN's region publish their keys, or "" outside the standard partition:
// GovCloud and China have hosts of their own.
func albKeys(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) < 6 || parts[0] != "arn" || parts[1] != "aws" || !isToken(parts[3]) {
		return ""
	}
	return onHost("public-keys.auth.elb."+parts[3]+".amazonaws.com", "")
}
