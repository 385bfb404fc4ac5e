package csp

import (
	"slices"
	"strings"
)

// Obstacle is something that a policy stops, in words of a closed set: what a person is told about it is the caller's.
type Obstacle struct {
	// Policy is the policy's text, as it came.
	Policy string
	// Directive is the one that decides, as it stands in the policy: "connect-src", "default-src", "sandbox", ….
	Directive string
	// Stops is what it stops: "script" (the injected element), "token-route", "widget-script", "widget-connect",
	// "widget-style", "widget-image", "widget-media", or "widget-loader" (Trusted Types keep the injected script from
	// creating it).
	Stops string
}

// Obstacles lists what the policies in the header fields stop, where the injected element carries nonce (empty: none).
// Before a patch it says what there is to do, after it what no patch could do. A sandbox without allow-same-origin stops
// the token route alone: the page then has an origin of its own, and the chat stays anonymous.
func Obstacles(fields []string, nonce string, n Needs) []Obstacle {
	d := newDemand(n)
	var found []Obstacle
	all := parse(fields)
	for i := range all {
		p := &all[i]
		if s := p.find("sandbox"); s != nil {
			if !s.list.hasKeyword("allow-scripts") {
				found = append(found, p.obstacle(s, "script"))
			} else if !s.list.hasKeyword("allow-same-origin") {
				found = append(found, p.obstacle(s, "token-route"))
			}
		}
		if g := p.governing("script-src-elem"); g != nil && !d.admits(g.list, nonce) {
			found = append(found, p.obstacle(g, "script"))
		}
		found = d.loadObstacles(found, p)
	}
	return d.typesObstacles(found, all)
}

// MetaObstacles lists what policies in <meta> elements stop; each string is one element's content. No proxy can edit them
// without editing the page. The injected element stands before them, so they do not stop it, and a sandbox has no effect
// there (HTML §4.2.5.3); all that the script and the widget do later is subject to them.
func MetaObstacles(policies []string, n Needs) []Obstacle {
	d := newDemand(n)
	var found []Obstacle
	var all []policy
	for _, content := range policies {
		all = append(all, parsePolicy(content))
		if strings.Contains(content, ",") { // one policy by the specification, several to some browsers: fear both
			all = append(all, parse([]string{content})...)
		}
	}
	for i := range all {
		found = d.loadObstacles(found, &all[i])
	}
	return d.typesObstacles(found, all)
}

// HasNonce reports whether a field carries anything that looks like a nonce. A page from a browser's cache, revalidated by
// a 304, has the nonces of its first answer; a header with fresh ones must then not take the old header's place.
func HasNonce(fields []string) bool {
	const prefix = "'nonce-"
	for _, field := range fields {
		for rest := field; len(rest) >= len(prefix); rest = rest[1:] {
			i := strings.IndexByte(rest, '\'')
			if i < 0 || len(rest)-i < len(prefix) {
				break
			}
			if rest = rest[i:]; strings.EqualFold(rest[:len(prefix)], prefix) {
				return true
			}
		}
	}
	return false
}

func (p *policy) obstacle(d *directive, stops string) Obstacle {
	return Obstacle{Policy: p.String(), Directive: d.name, Stops: stops}
}

// loadObstacles appends what the policy stops of the script's and the widget's work.
func (d *demand) loadObstacles(found []Obstacle, p *policy) []Obstacle {
	if g := p.governing("connect-src"); g != nil && (g.list.hasURLHash() || !d.allowsTokenRoute(g.list)) {
		found = append(found, p.obstacle(g, "token-route"))
	}
	for _, part := range [...]struct{ effective, sources, stops string }{
		{"script-src-elem", "script-src", "widget-script"},
		{"connect-src", "connect-src", "widget-connect"},
		{"img-src", "img-src", "widget-image"},
		{"media-src", "media-src", "widget-media"},
	} {
		g := p.governing(part.effective)
		if g == nil || part.effective == "script-src-elem" && g.list.hasKeyword("'strict-dynamic'") {
			continue
		}
		if d.widget && g.list.hasURLHash() || len(d.missing(nil, g.list, part.sources)) > 0 || d.loader == "'none'" {
			found = append(found, p.obstacle(g, part.stops))
		}
	}
	for _, effective := range [...]string{"style-src-elem", "style-src-attr"} {
		if g := p.governing(effective); g != nil && d.widget && !g.list.allowsAllInline(effective) {
			if o := p.obstacle(g, "widget-style"); !slices.Contains(found, o) {
				found = append(found, o)
			}
		}
	}
	return found
}

// typesObstacles appends the policies that require Trusted Types, where they and the lists of allowed policies together
// keep the script from creating the loader.
func (d *demand) typesObstacles(found []Obstacle, all []policy) []Obstacle {
	if !d.trustedTypesStop([][]policy{all}) {
		return found
	}
	for i := range all {
		if all[i].requiresTrustedTypes() {
			found = append(found, all[i].obstacle(all[i].find("require-trusted-types-for"), "widget-loader"))
		}
	}
	return found
}
