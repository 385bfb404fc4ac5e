package csp

import "strings"

// What each widget needs, as Zendesk documents it for site owners ("Using Content Security Policy with Web Widget
// (Classic)", and the same for Messaging). The lists change now and then: this table is the only place to follow them.
// The standalone Chat widget has no page of its own; it comes from the hosts of Classic.
//
// Each constant is a source list as it would stand in the directive. Script and connect share their hosts, but a script
// cannot come by WebSocket.
const (
	classicScript  = "https://*.zdassets.com https://*.zendesk.com https://*.zopim.com https://*.ingest.sentry.io"
	classicConnect = classicScript + " wss://*.zendesk.com wss://*.zopim.com"
	classicImage   = "https://v2assets.zopim.io https://static.zdassets.com data:"

	messagingScript  = "https://*.zdassets.com https://*.zendesk.com https://*.smooch.io https://*.ingest.sentry.io https://*.twilio.com"
	messagingConnect = messagingScript + " wss://*.zendesk.com wss://api.smooch.io wss://voice-js.roaming.twilio.com"
	messagingImage   = "https://static.zdassets.com https://*.zendesk.com https://media.smooch.io https://*.zdusercontent.com blob: data:"

	anyMedia = "https://static.zdassets.com"
)

// documented returns the widget's source list for a directive, "" when it needs nothing there or is unknown. Styles are
// not listed: what the widgets need there is 'unsafe-inline', which is not a place.
func documented(widget, directive string) string {
	switch widget {
	case "classic", "chat":
		switch directive {
		case "script-src":
			return classicScript
		case "connect-src":
			return classicConnect
		case "img-src":
			return classicImage
		case "media-src":
			return anyMedia
		}
	case "messaging":
		switch directive {
		case "script-src":
			return messagingScript
		case "connect-src":
			return messagingConnect
		case "img-src":
			return messagingImage
		case "media-src":
			return anyMedia
		}
	}
	return ""
}

// demand is Needs made ready for judging policies.
type demand struct {
	Needs
	self   target // the page's origin; zero: unknown
	widget bool   // a widget is known, so that its needs count
	loader string // the source expression that stands for the documented hosts; empty: they stand themselves
}

func newDemand(n Needs) *demand {
	d := &demand{Needs: n, widget: documented(n.Widget, "script-src") != ""}
	if n.RoutePrefix == "" {
		d.RoutePrefix = "/__zchat"
	}
	if n.Origin != "" {
		d.self, _ = parseTarget(n.Origin)
	}
	if n.WidgetURL != "" && d.widget {
		d.loader = d.loaderSource()
	}
	return d
}

// loaderSource is the origin of WidgetURL as a source expression. Where no expression can name it, as with an address of
// IPv6, the result matches nothing and the widget remains an Obstacle.
func (d *demand) loaderSource() string {
	base := d.self
	if base.host == "" {
		base = target{scheme: "https", host: unknownHost, port: "443"}
	}
	t, ok := base.join(d.WidgetURL)
	switch {
	case !ok:
		return "'none'"
	case base.sameOrigin(t):
		return "'self'"
	case !isHostPattern(t.host):
		return "'none'"
	}
	expression := t.scheme + "://" + t.host
	if t.port != defaultPort(t.scheme) {
		expression += ":" + t.port
	}
	return expression
}

// unknownHost stands for the page's host where it is not known. The name is reserved (RFC 2606), so no policy means it.
const unknownHost = "unknown.invalid"

// missing appends to add the widget's sources for directive that l does not cover yet.
func (d *demand) missing(add []string, l list, directive string) []string {
	loaderSeen := false
	for token := range strings.FieldsSeq(documented(d.Widget, directive)) {
		if d.loader != "" && strings.Contains(token, "://") {
			if loaderSeen || d.loader == "'none'" {
				continue
			}
			loaderSeen, token = true, d.loader
		}
		if !d.covered(l, token) && !d.covered(add, token) {
			add = append(add, token)
		}
	}
	return add
}

// covered reports whether l allows everything that the source expression want allows.
func (d *demand) covered(l list, want string) bool {
	if l.hasKeyword(want) { // the very same expression; none of ours has a path, so letter case does not matter
		return true
	}
	place, ok := parseSource(want)
	if strings.EqualFold(want, "'self'") {
		if l.hasKeyword("*") { // true of any page, known or not
			return true
		}
		place, ok = source{scheme: d.self.scheme, host: d.self.host, port: d.self.port}, d.self.host != ""
	}
	if !ok {
		return false
	}
	for _, token := range l {
		if have, ok := parseSource(token); ok && have.covers(place, d.self) {
			return true
		}
	}
	return place.host != "" && l.hasKeyword("'self'") && selfMatches(d.self, place.asTarget())
}

// allowsTokenRoute reports whether the script's requests for a token pass l. Without knowing the origin they must pass for
// any page, whatever its scheme and port.
func (d *demand) allowsTokenRoute(l list) bool {
	if l.hasKeyword("'self'") || l.hasKeyword("*") {
		return true
	}
	if d.self.host != "" {
		return d.allowsRoutesOf(l, d.self)
	}
	return d.allowsRoutesOf(l, target{scheme: "http", host: unknownHost, port: unknownPort}) &&
		d.allowsRoutesOf(l, target{scheme: "https", host: unknownHost, port: unknownPort})
}

// unknownPort is one that a policy names only by '*': it is not a number that a listener could have.
const unknownPort = "65536"

func (d *demand) allowsRoutesOf(l list, self target) bool {
	for _, route := range [...]string{"/jwt", "/jwt/help-center"} {
		t := self
		t.path = d.RoutePrefix + route
		if !l.matches(t, self, false) {
			return false
		}
	}
	return true
}
