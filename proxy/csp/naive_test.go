package csp

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// The naive evaluator answers the same questions as List by other means: every source expression becomes a regular
// expression over the URL, policies are read with regular expressions, and nothing is shared with the product. It is slow,
// and meant to be read against the specification.

// reading is how browsers read what the specification leaves to them.
type reading int

const (
	asChromium reading = iota // knows an old spelling of hashes, and hashes of addresses
	asOthers                  // ignores both
)

var (
	naiveHost    = regexp.MustCompile(`^(?:([A-Za-z][A-Za-z0-9+.-]*)://)?((?:\*|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?))(?::([0-9]+|\*))?(/[^?#]*)?$`)
	naiveScheme  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):$`)
	naiveNonce   = regexp.MustCompile(`^'(?i:nonce)-([A-Za-z0-9+/_-]+={0,2})'$`)
	naiveHash    = regexp.MustCompile(`^'(?i:(url-)?(sha-?)(256|384|512))-([A-Za-z0-9+/_-]+(={0,2}))'$`)
	naiveSpace   = regexp.MustCompile(`[\t\n\f\r ]+`)
	naiveOutside = regexp.MustCompile(`[^\x00-\x7f]`)
)

// naiveCompiled keeps the expressions, most of which come again.
var naiveCompiled sync.Map

func naiveCompile(expression string) *regexp.Regexp {
	if re, ok := naiveCompiled.Load(expression); ok {
		return re.(*regexp.Regexp)
	}
	re := regexp.MustCompile(expression)
	naiveCompiled.Store(expression, re)
	return re
}

type naivePolicy map[string][]string

func naiveParse(fields []string) (out []naivePolicy) {
	for text := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		p := naivePolicy{}
		for part := range strings.SplitSeq(text, ";") {
			if naiveOutside.MatchString(part) {
				continue
			}
			words := slices.DeleteFunc(naiveSpace.Split(part, -1), func(s string) bool { return s == "" })
			if len(words) == 0 {
				continue
			}
			name := strings.ToLower(words[0])
			if _, seen := p[name]; !seen {
				p[name] = words[1:]
			}
		}
		out = append(out, p)
	}
	return out
}

var naiveOrder = map[string][]string{
	"script-src-elem": {"script-src-elem", "script-src", "default-src"},
	"script-src-attr": {"script-src-attr", "script-src", "default-src"},
	"style-src-elem":  {"style-src-elem", "style-src", "default-src"},
	"style-src-attr":  {"style-src-attr", "style-src", "default-src"},
	"worker-src":      {"worker-src", "child-src", "script-src", "default-src"},
	"frame-src":       {"frame-src", "child-src", "default-src"},
	"connect-src":     {"connect-src", "default-src"},
	"img-src":         {"img-src", "default-src"},
	"media-src":       {"media-src", "default-src"},
	"font-src":        {"font-src", "default-src"},
	"object-src":      {"object-src", "default-src"},
	"manifest-src":    {"manifest-src", "default-src"},
}

// decides returns the name and the value of the directive that governs, and whether there is one.
func (p naivePolicy) decides(effective string) (string, []string, bool) {
	for _, name := range naiveOrder[effective] {
		if value, ok := p[name]; ok {
			return name, value, true
		}
	}
	return "", nil, false
}

func naiveHas(value []string, keyword string) bool {
	return slices.ContainsFunc(value, func(s string) bool { return strings.ToLower(s) == keyword })
}

func naiveNonces(value []string) (out []string) {
	for _, token := range value {
		if m := naiveNonce.FindStringSubmatch(token); m != nil {
			out = append(out, m[1])
		}
	}
	return out
}

// naiveHashes lists the hashes of scripts themselves, or of their addresses: the algorithms, and the digests as bytes.
func naiveHashes(value []string, of string, how reading) (out [][2]string) {
	for _, token := range value {
		m := naiveHash.FindStringSubmatch(token)
		if m == nil || strings.ToLower(m[1]) != of || how == asOthers && (of != "" || strings.HasSuffix(m[2], "-")) {
			continue
		}
		digits := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(m[4], "="))
		raw, err := base64.RawStdEncoding.DecodeString(digits)
		if most := (3 - len(raw)%3) % 3; err == nil && len(m[5]) <= most {
			out = append(out, [2]string{m[3], string(raw)})
		}
	}
	return out
}

func naiveAllowsLoad(fields []string, r Load, how reading) bool {
	for _, p := range naiveParse(fields) {
		name, value, ok := p.decides(r.Directive)
		if !ok {
			continue
		}
		script := strings.HasPrefix(r.Directive, "script") || r.Directive == "worker-src" && !strings.HasPrefix(name, "worker") && !strings.HasPrefix(name, "child")
		if (script || strings.HasPrefix(r.Directive, "style")) && slices.Contains(naiveNonces(value), r.Nonce) && r.Nonce != "" {
			continue
		}
		if script && naiveHas(value, "'strict-dynamic'") {
			if r.ParserInserted {
				return false
			}
			continue
		}
		if len(naiveHashes(value, "url-", how)) > 0 {
			return false
		}
		if !slices.ContainsFunc(value, func(token string) bool { return naiveMatches(token, r.URL, r.Origin, r.Redirected) }) {
			return false
		}
	}
	return true
}

// naiveURL writes a URL with its port always present.
func naiveURL(raw string) (scheme, whole string) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", ""
	}
	scheme = strings.ToLower(u.Scheme)
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}[scheme]
	}
	return scheme, scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port + u.EscapedPath()
}

func naiveMatches(token, raw, origin string, redirected bool) bool {
	scheme, whole := naiveURL(raw)
	own, self := naiveURL(origin)
	network := naiveCompile(`^(https?|wss?)$`).MatchString(scheme)
	if token == "*" {
		return network || scheme == own && own != ""
	}
	secure := map[string]string{"http": "(http|https)", "ws": "(ws|wss)"} // what a written scheme takes in
	widen := func(s string) string {
		if w := secure[s]; w != "" {
			return w
		}
		return regexp.QuoteMeta(s)
	}
	if m := naiveScheme.FindStringSubmatch(token); m != nil {
		return naiveCompile("^" + widen(strings.ToLower(m[1])) + "$").MatchString(scheme)
	}
	if strings.ToLower(token) == "'self'" {
		return naiveSelf(self, own, scheme, whole)
	}
	m := naiveHost.FindStringSubmatch(token)
	if m == nil || !strings.Contains(raw, "://") {
		return false
	}
	written := strings.ToLower(m[1])
	if written == "" {
		written = own
	}
	host := regexp.QuoteMeta(strings.ToLower(m[2]))
	host = strings.Replace(host, `\*`, `[^:/]+`, 1)
	port := m[3]
	switch {
	case port == "*":
		port = `\d+`
	case port == "":
		port = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}[scheme]
	case scheme != written && strings.TrimLeft(port, "0") == "80":
		port = "443"
	case scheme != written:
		return false
	}
	path := `.*`
	if m[4] != "" && !redirected {
		path = regexp.QuoteMeta(naiveDecode(m[4]))
		if strings.HasSuffix(path, "/") {
			path += `.*`
		}
		if m[4] == "/" {
			path = `(/.*)?`
		}
		at := strings.Index(whole, "://") + 3
		if slash := strings.IndexByte(whole[at:], '/'); slash >= 0 {
			whole = whole[:at+slash] + naiveDecode(whole[at+slash:])
		}
	}
	if written == "" {
		return false
	}
	return naiveCompile(`^` + widen(written) + `://` + host + `:0*` + strings.TrimLeft(port, "0") + path + `$`).MatchString(whole)
}

// naiveDecode decodes a path segment by segment; a slash that was encoded does not become one that divides.
func naiveDecode(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if d, err := url.PathUnescape(s); err == nil {
			segments[i] = strings.ReplaceAll(d, "/", "\x00")
		}
	}
	return strings.Join(segments, "/")
}

// naiveSelf spells 'self' out: the origin, and from the default port also what is more secure, WebSockets included.
func naiveSelf(self, own, scheme, whole string) bool {
	if own == "" {
		return false
	}
	cut := func(s string) (host, port string) {
		s = s[strings.Index(s, "://")+3:]
		if i := strings.IndexByte(s, '/'); i >= 0 {
			s = s[:i]
		}
		i := strings.LastIndexByte(s, ':')
		return s[:i], s[i+1:]
	}
	if !strings.Contains(whole, "://") || !naiveCompile(`^[a-z]+://[^/]+:\d+`).MatchString(whole) {
		return false
	}
	ownHost, ownPort := cut(self)
	host, port := cut(whole)
	if host != ownHost {
		return false
	}
	allowed := map[string][]string{"http": {"http", "https", "ws", "wss"}, "https": {"https", "wss"}}[own]
	if !slices.Contains(allowed, scheme) {
		return false
	}
	defaults := map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}
	return port == ownPort || ownPort == defaults[own] && port == defaults[scheme]
}

func naiveAllowsInline(fields []string, in Inline, how reading) bool {
	for _, p := range naiveParse(fields) {
		_, value, ok := p.decides(in.Directive)
		if !ok {
			continue
		}
		attribute := strings.HasSuffix(in.Directive, "attr")
		hashes := naiveHashes(value, "", how)
		dynamic := strings.HasPrefix(in.Directive, "script") && naiveHas(value, "'strict-dynamic'")
		if naiveHas(value, "'unsafe-inline'") && len(hashes) == 0 && !dynamic && len(naiveNonces(value)) == 0 {
			continue
		}
		if !attribute && in.Nonce != "" && slices.Contains(naiveNonces(value), in.Nonce) {
			continue
		}
		if (!attribute || naiveHas(value, "'unsafe-hashes'")) && slices.ContainsFunc(hashes, func(h [2]string) bool { return naiveDigest(h[0], in.Text) == h[1] }) {
			continue
		}
		return false
	}
	return true
}

func naiveDigest(algorithm, text string) string {
	a, b, c := sha256.Sum256([]byte(text)), sha512.Sum384([]byte(text)), sha512.Sum512([]byte(text))
	return string(map[string][]byte{"256": a[:], "384": b[:], "512": c[:]}[algorithm])
}
