package csp

import "strings"

// policy is one serialized policy: what stands between two commas of a header field, or the content of a <meta> element.
type policy struct {
	// text is the policy as it came, white space included. Every string below is a part of it.
	text string
	// directives are those that count and that this package has to do with, in order: the first of each name, ASCII only
	// (CSP3 §2.2.1).
	directives []directive
}

// directive is one directive of a policy. Its list is the directive's value, split at white space.
type directive struct {
	name string // in lower case
	list list
	end  int // offset in policy.text just behind the directive's last byte that is not white space
}

// parse reads header fields into the policies they carry, in order (CSP3 §2.2.2). Nothing is an error: what a browser
// ignores is ignored. Policies that forbid nothing are left out.
func parse(fields []string) []policy {
	var policies []policy
	for _, field := range fields {
		for text := range strings.SplitSeq(field, ",") {
			if p := parsePolicy(text); len(p.directives) > 0 {
				policies = append(policies, p)
			}
		}
	}
	return policies
}

// String returns the policy's text as it came, without the white space around it.
func (p policy) String() string { return strings.TrimFunc(p.text, isSpace) }

// parsePolicy is CSP3 §2.2.1, "parse a serialized CSP".
func parsePolicy(text string) policy {
	p := policy{text: text}
	for at := 0; at <= len(text); {
		stop := len(text)
		if i := strings.IndexByte(text[at:], ';'); i >= 0 {
			stop = at + i
		}
		p.addDirective(at, stop)
		at = stop + 1
	}
	return p
}

// addDirective reads the directive that stands at text[at:stop].
func (p *policy) addDirective(at, stop int) {
	token := strings.TrimRightFunc(p.text[at:stop], isSpace)
	stop = at + len(token)
	token = strings.TrimLeftFunc(token, isSpace)
	name, value := token, ""
	if i := strings.IndexFunc(token, isSpace); i >= 0 {
		name, value = token[:i], token[i:]
	}
	name = strings.ToLower(name)
	if isRelevant(name) && isASCII(token) && p.find(name) == nil {
		p.directives = append(p.directives, directive{name: name, list: strings.FieldsFunc(value, isSpace), end: stop})
	}
}

// isRelevant tells the directives that decide about loading and running from those that this package need not know. It
// also bounds the directives of a policy, so that looking for one stays cheap whatever an upstream sends.
func isRelevant(name string) bool {
	switch name {
	case "default-src", "sandbox", "trusted-types", "require-trusted-types-for":
		return true
	}
	return fallbacks(name) != [3]string{}
}

// find returns the directive of that name, nil when the policy has none.
func (p *policy) find(name string) *directive {
	for i := range p.directives {
		if p.directives[i].name == name {
			return &p.directives[i]
		}
	}
	return nil
}

// governing returns the directive that decides about what browsers report as a violation of effective: the directive
// itself or the first of its fallbacks that is there (CSP3 §6.8.3 and §6.8.4). Nil: the policy says nothing about it.
func (p *policy) governing(effective string) *directive {
	if d := p.find(effective); d != nil {
		return d
	}
	for _, name := range fallbacks(effective) {
		if name == "" {
			break
		}
		if d := p.find(name); d != nil {
			return d
		}
	}
	return nil
}

// fallbacks names the directives that speak where effective is missing, in order; empty names mean nothing. An array, so
// that asking costs no allocation.
func fallbacks(effective string) [3]string {
	switch effective {
	case "script-src-elem", "script-src-attr":
		return [3]string{"script-src", "default-src"}
	case "style-src-elem", "style-src-attr":
		return [3]string{"style-src", "default-src"}
	case "worker-src":
		return [3]string{"child-src", "script-src", "default-src"}
	case "frame-src":
		return [3]string{"child-src", "default-src"}
	case "script-src", "style-src", "child-src", "connect-src", "font-src", "img-src", "manifest-src", "media-src", "object-src":
		return [3]string{"default-src"}
	}
	return [3]string{} // not a fetch directive: default-src does not stand in for it
}

// isSpace reports ASCII white space as the HTML and Infra standards define it: no vertical tab, no Unicode.
func isSpace(r rune) bool {
	return r == ' ' || r == '\t' || r == '\n' || r == '\f' || r == '\r'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
