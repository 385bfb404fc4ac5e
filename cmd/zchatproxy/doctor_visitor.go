package main

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// visitIdentity says who the proxy takes the visitor for.
func (d *doctor) visitIdentity(ctx context.Context, upstream *http.Client) identity.Outcome {
	const name = "identity"
	source, err := identity.New(d.identityConfig())
	if err != nil {
		d.fail(name, err.Error(), "")
		return identity.Outcome{}
	}
	given := d.gatewayHeaders()
	if source.FromUpstream() {
		return d.visitUpstreamIdentity(ctx, upstream, source)
	}
	if len(given) == 0 {
		d.info(name, "nobody, since no --header is given; the gateway's are %s", source.Describe())
		return identity.Outcome{}
	}
	r, err := d.tokenRequest(ctx, "http://"+d.publicHost()+"/")
	if err != nil {
		d.fail(name, err.Error(), "")
		return identity.Outcome{}
	}
	r.RemoteAddr = d.peerAddress()
	trusted := d.config.peers.Trusts(r.RemoteAddr)
	outcome, err := source.Request(r, trusted)
	switch {
	case err != nil:
		d.fail(name, "the request is refused: "+err.Error(), "Make the gateway replace the header instead of adding to it.")
	case outcome.Reason == identity.ReasonUntrustedPeer || !trusted:
		d.fail(name, fmt.Sprintf("headers from %s do not count: %sTRUSTED_PROXIES is %s", strings.TrimSuffix(r.RemoteAddr, ":40000"), prefix, orDash(d.config.process.TrustedProxies)),
			"Add the gateway's address (or its network) to "+prefix+"TRUSTED_PROXIES.")
	case outcome.Reason == identity.ReasonNoHeaders:
		d.failUnread(source, given)
	case !outcome.LoggedIn:
		d.fail(name, fmt.Sprintf("nobody: %s: %s", outcome.Reason, outcome.Detail), identityRemedy(outcome.Reason, d.site))
	default:
		d.judgePerson(outcome)
	}
	return outcome
}

// identityConfig is the site's, with doctor's clock.
func (d *doctor) identityConfig() identity.Config {
	c := d.site.identityConfig()
	c.Now = d.now
	return c
}

// gatewayHeaders are the names given by --header that can be about identity.
func (d *doctor) gatewayHeaders() []string {
	var names []string
	for name := range d.headers() {
		switch name {
		case "Host", "Cookie", "Accept-Language", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-For", "User-Agent":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// failUnread says that headers came, but none that the site reads.
func (d *doctor) failUnread(source *identity.Source, given []string) {
	remedy := "Set " + d.site.variable("IDENTITY") + " to your gateway's preset, or name the header in " + d.site.variable("ID_HEADER") + "."
	for _, h := range given {
		if p := presetFor(h); p != "" && p != d.site.vars.Identity {
			remedy = fmt.Sprintf("%s is a header of the preset %s: set %s=%[2]s.", h, p, d.site.variable("IDENTITY"))
			break
		}
	}
	d.fail("identity", fmt.Sprintf("nobody: of the headers given (%s) none is read; this site reads %s", strings.Join(given, ", "), source.Describe()), remedy)
}

func identityRemedy(r identity.Reason, s *site) string {
	switch r {
	case identity.ReasonNoID:
		return "Make the gateway send an id, or name the header that holds it in " + s.variable("ID_HEADER") + "."
	case identity.ReasonBadID:
		return "Make the gateway send a plain id."
	case identity.ReasonExpired, identity.ReasonNotYetValid:
		return "Compare the clocks of the gateway and of this machine; an assertion copied from an old request has expired."
	case identity.ReasonWrongAudience, identity.ReasonWrongSigner:
		return "Write the audience that the gateway puts into its assertions into " + s.variable("ASSERTION_AUDIENCE") + "."
	case identity.ReasonWrongIssuer:
		return "Write the issuer that the gateway puts into its assertions into " + s.variable("ASSERTION_ISSUER") + "."
	case identity.ReasonUnknownKey, identity.ReasonBadSignature, identity.ReasonWrongAlgorithm, identity.ReasonBadAssertion:
		return "See that the assertion comes from your gateway, and that " + s.variable("ASSERTION_KEYS_URL") + " names its keys."
	case identity.ReasonKeysUnavailable:
		return "The keys could not be fetched: let the proxy reach " + s.variable("ASSERTION_KEYS_URL") + "."
	case identity.ReasonDisagree:
		return "Two gateways, or a forged header: see which one sets the plain headers."
	}
	return "See what the gateway sends."
}

// judgePerson says who it is, and whether that is enough for a token.
func (d *doctor) judgePerson(o identity.Outcome) {
	const name = "identity"
	p := o.Identity
	text := fmt.Sprintf("id %s, e-mail %s, name %s", p.ID, orDash(p.Email), orDash(p.Name))
	email := d.site.variable("EMAIL_HEADER")
	messaging := d.site.vars.Widget == "messaging"
	if !messaging && p.Email == "" {
		d.fail(name, text+": a "+d.site.vars.Widget+" token needs an e-mail address", "Make the gateway send one (oauth2-proxy: the email scope), or name its header in "+email+".")
		return
	}
	if identity.LooksShared(strings.TrimPrefix(p.ID, d.site.vars.ExternalIDPrefix)) {
		d.warn(name, text+": the id reads like an account that several people use, and a ban in Zendesk would hit them all", "Name a header with an id per person in "+d.site.variable("ID_HEADER")+".")
		return
	}
	if !messaging {
		d.ok(name, "%s", text)
		return
	}
	if strings.Contains(p.ID, "@") {
		d.warn(name, text+": the id is an e-mail address", "Messaging ids should stay when the address changes: name a header with a stable id in "+d.site.variable("ID_HEADER")+".")
		return
	}
	if p.Email != "" && !p.EmailVerified && !d.site.vars.OmitEmail {
		d.info(name, "%s; the address stays out of tokens, since nothing says that it is verified (%s)", text, d.site.variable("EMAIL_VERIFIED"))
		return
	}
	d.ok(name, "%s", text)
}

// visitUpstreamIdentity asks the site itself, as the token route does.
func (d *doctor) visitUpstreamIdentity(ctx context.Context, client *http.Client, source *identity.Source) identity.Outcome {
	const name = "identity"
	path := d.site.vars.IdentityPath
	r, err := d.browserRequest(ctx, d.upstreamURL(path))
	if err != nil {
		d.fail(name, err.Error(), "")
		return identity.Outcome{}
	}
	if host := d.hostUp(); host != "" {
		r.Host = host
	}
	a, err := fetch(client, r, d.now)
	if err != nil {
		d.fail(name, fmt.Sprintf("the site cannot be asked at %s: %v", path, rootCause(err)), "See that "+d.site.variable("IDENTITY_PATH")+" answers.")
		return identity.Outcome{}
	}
	outcome := source.Response(a.header)
	switch {
	case outcome.LoggedIn:
		d.judgePerson(outcome)
	case a.status >= 500:
		d.fail(name, fmt.Sprintf("the site answers %d at %s", a.status, path), "Correct "+d.site.variable("IDENTITY_PATH")+", or mend the site there.")
	case len(d.options.headers) == 0:
		d.info(name, "nobody, since no session's cookie is given with --header; the site is asked at %s for %s", path, source.Describe())
	default:
		d.fail(name, fmt.Sprintf("the site answers %d at %s without saying who it is: %s", a.status, path, orDash(outcome.Detail)),
			"Make the site set the response headers it is asked for: "+source.Describe()+".")
	}
	return outcome
}

// visitVisitorCookie says whether the page tells the script that somebody is logged in.
func (d *doctor) visitVisitorCookie(a *answer, who identity.Outcome) {
	if !who.LoggedIn || d.site.vars.Inject != "on" || d.peerAddress() != d.trustedAddress() && d.trustedAddress() != "" {
		return
	}
	const name = "visitor cookie"
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == "__zchat_visitor" && c.Value != "" {
			d.ok(name, "set on the page")
			return
		}
	}
	if v := a.header.Get("Cache-Control"); v != "" || a.header.Get("Expires") != "" {
		d.fail(name, fmt.Sprintf("not set, since the page says that shared caches may keep it (%s)", clip(v+" "+a.header.Get("Expires"), 80)),
			"What a CDN stores must not tell who is logged in. Make the site send Cache-Control: private for logged-in visitors.")
		return
	}
	d.fail(name, "not set on the page, so the script takes the visitor for anonymous", "Run the proxy with ZCHAT_LOG_LEVEL=debug and see its log.")
}

// visitToken fetches a token as the script does, and judges it; where nobody is logged in, it signs a sample.
func (d *doctor) visitToken(ctx context.Context, in *inside, who identity.Outcome) {
	const name = "token"
	if d.site.secret.Err() != nil {
		d.skip("there is no secret to sign with", name)
		return
	}
	kind := signer.Chat
	if d.site.vars.Widget == "messaging" {
		kind = signer.Messaging
	}
	if !who.LoggedIn {
		if d.failed("identity") {
			d.skip("nobody is logged in", name)
			return
		}
		d.visitSample(kind)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.options.timeout)
	defer cancel()
	r, err := d.tokenRequest(ctx, "http://"+d.publicHost()+d.config.process.RoutePrefix+"/jwt")
	if err != nil {
		d.fail(name, err.Error(), "")
		return
	}
	d.asGateway(r)
	a, err := fetch(in.client(d.peerAddress()), r, d.now)
	if err != nil {
		d.fail(name, rootCause(err).Error(), "")
		return
	}
	if a.status != http.StatusOK {
		if !d.failed("identity") {
			d.fail(name, fmt.Sprintf("refused with %d: %s", a.status, problemDetail(a)), "")
		} else {
			d.skip("the identity lacks what a token needs", name)
		}
		return
	}
	d.judgeToken(string(a.body), kind, d.site.secret)
}

// failed reports whether a station of that name has failed.
func (d *doctor) failed(name string) bool {
	return slices.ContainsFunc(d.stations, func(s station) bool { return s.Name == name && s.Mark == markFailure })
}

// visitSample signs a token for a person who does not exist.
func (d *doctor) visitSample(kind signer.Kind) {
	const name = "token"
	s := d.site
	sign, err := signer.New(signer.Config{Kind: kind, Secret: s.secret, KeyID: keyIDFor(s, kind), TTL: s.vars.TokenTTL, OmitEmail: s.vars.OmitEmail, Now: d.now})
	if err != nil {
		d.fail(name, err.Error(), "")
		return
	}
	token, err := sign.Sign(signer.Person{ID: s.vars.ExternalIDPrefix + "doctor", Email: "doctor@example.com", Name: "Doctor", EmailVerified: true})
	if err != nil {
		d.fail(name, err.Error(), "")
		return
	}
	if _, _, problems := signer.Inspect(token, kind, s.secret, d.now()); len(problems) > 0 {
		d.fail(name, "a sample is refused: "+problems[0].String(), "")
		return
	}
	d.ok(name, "a sample for nobody in particular passes every verifier; give --header to see a real one")
}

// judgeToken says what is in a token and what a verifier would reject. A nil secret leaves the signature unchecked.
func (d *doctor) judgeToken(token string, kind signer.Kind, secret *signer.Secret) {
	const name = "token"
	header, claims, problems := signer.Inspect(token, kind, secret, d.now())
	if secret == nil {
		problems = slices.DeleteFunc(problems, func(p signer.Problem) bool { return p.Check == "signature" || p.Check == "secret" })
	}
	if len(problems) > 0 {
		d.fail(name, "a verifier rejects it: "+problems[0].String(), "")
		for _, p := range problems[1:] {
			d.fail(name, p.String(), "")
		}
		return
	}
	text := "passes every verifier: "
	if secret == nil {
		text = "well-formed, signature not checked without the secret: "
	}
	d.report(station{Name: name, Mark: markOK, Text: text + compact(claims), Detail: []string{"header " + compact(header), "claims " + compact(claims)}})
}

// compact is JSON in one line.
func compact(raw json.RawMessage) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return string(raw)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return string(raw)
	}
	return string(text)
}

// problemDetail is what a problem document or a small page says.
func problemDetail(a *answer) string {
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if media == "application/problem+json" {
		var doc struct{ Detail string }
		if err := json.Unmarshal(a.text, &doc); err == nil {
			return doc.Detail
		}
	}
	text := string(a.text)
	if _, after, ok := strings.Cut(text, "<p>"); ok {
		text, _, _ = strings.Cut(after, "</p>")
	}
	return clip(strings.Join(strings.Fields(visible([]byte(text))), " "), 200)
}
