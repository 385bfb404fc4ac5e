package proxy

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// With ZCHAT_UPSTREAM_HOST other than "preserve" the upstream believes that it has another name than the
// one in the visitor's address bar. Every header that holds one of the two names is translated, so that
// links, redirects and cookies stay under the visitor's.

// isUpstreamName reports whether an authority is one that the upstream goes by.
func (s *site) isUpstreamName(authority string) bool {
	for _, scheme := range [...]string{"http", "https"} {
		if sameAuthority(authority, s.upstreamHost, scheme) || sameAuthority(authority, s.upstream.host, scheme) {
			return true
		}
	}
	return false
}

// renameRequest translates the visitor's origin in Origin and Referer to the upstream's.
func (s *site) renameRequest(ex *exchange, h http.Header) {
	up := s.upstream.scheme + "://" + s.upstreamHost
	for _, name := range [...]string{"Origin", "Referer"} {
		for i, v := range h[name] {
			if rest, ok := cutOrigin(v, ex.origin); ok {
				h[name] = append([]string(nil), h[name]...)
				h[name][i] = up + rest
			}
		}
	}
}

// cutOrigin cuts an origin off the front of a URL.
func cutOrigin(v string, o origin) (rest string, ok bool) {
	scheme, after, found := strings.Cut(v, "://")
	if !found || !strings.EqualFold(scheme, o.scheme) {
		return "", false
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	if !sameAuthority(after[:end], o.host, o.scheme) {
		return "", false
	}
	return after[end:], true
}

// renameResponse translates the upstream's name back.
func (s *site) renameResponse(ex *exchange, h http.Header) {
	for _, name := range [...]string{"Location", "Content-Location", "Access-Control-Allow-Origin"} {
		for i, v := range h[name] {
			h[name][i] = s.renameURL(v, ex.origin)
		}
	}
	for i, v := range h["Refresh"] {
		h["Refresh"][i] = s.renameRefresh(v, ex.origin)
	}
	for i, v := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = s.renameCookie(v, ex.origin)
	}
}

// renameURL puts the visitor's origin in place of the upstream's, and keeps every other byte.
func (s *site) renameURL(v string, o origin) string {
	prefix, after := "", ""
	switch scheme, rest, ok := strings.Cut(v, "//"); {
	case !ok:
		return v
	case scheme == "":
		prefix, after = "//", rest
	case strings.EqualFold(scheme, "http:"), strings.EqualFold(scheme, "https:"):
		prefix, after = o.scheme+"://", rest
	default:
		return v
	}
	end := strings.IndexAny(after, "/?#\\")
	if end < 0 {
		end = len(after)
	}
	if !s.isUpstreamName(after[:end]) {
		return v
	}
	return prefix + o.host + after[end:]
}

// renameRefresh translates the URL in a Refresh field, "5; url=http://…", quoted or not.
func (s *site) renameRefresh(v string, o origin) string {
	i := strings.Index(strings.ToLower(v), "url=")
	if i < 0 {
		return v
	}
	head, target := v[:i+4], v[i+4:]
	quote := ""
	if target != "" && (target[0] == '"' || target[0] == '\'') {
		quote, target = target[:1], target[1:]
	}
	return head + quote + s.renameURL(target, o)
}

// renameCookie translates the Domain attribute of a cookie, and takes off the attributes that demand a
// secure connection where the visitor has none but the upstream does.
func (s *site) renameCookie(v string, o origin) string {
	insecure := o.scheme == "http" && s.upstream.scheme == "https"
	parts := strings.Split(v, ";")
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "domain":
			if s.coversUpstream(value) {
				if !canBeDomain(o.hostname()) {
					continue // a cookie without a domain goes back to the host it came from
				}
				part = name + "=" + o.hostname()
			}
		case "secure":
			if insecure {
				continue
			}
		case "samesite":
			if insecure && strings.EqualFold(value, "none") {
				continue // without Secure, browsers refuse it
			}
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ";")
}

// coversUpstream reports whether a cookie domain domain-matches a name of the upstream (RFC 6265 section
// 5.1.3).
func (s *site) coversUpstream(domain string) bool {
	domain = strings.ToLower(strings.TrimPrefix(domain, "."))
	for _, authority := range [...]string{s.upstreamHost, s.upstream.host} {
		host := strings.ToLower((&url.URL{Host: authority}).Hostname())
		if domain != "" && (host == domain || strings.HasSuffix(host, "."+domain)) {
			return true
		}
	}
	return false
}

// canBeDomain reports whether browsers take a host for a cookie's Domain: no address, no single label.
func canBeDomain(host string) bool {
	return strings.Contains(host, ".") && net.ParseIP(strings.Trim(host, "[]")) == nil
}
