package proxy

import (
	"net/http"
	"strings"
)

// What comes over HTTP/1.x has been through package wire. Frames of HTTP/2 cannot be read in two ways, but most requests
// go up over HTTP/1.1, and net/http takes more from frames than a request line and its fields can hold: a space in the
// path, say, that moves the end of the path, or a name that CGI takes for Content-Length.

// malformed says what keeps a request of HTTP/2 from meaning the same over HTTP/1.1, "" where nothing does.
func malformed(r *http.Request) string {
	if r.ProtoMajor < 2 {
		return ""
	}
	switch {
	case r.Method == "PRI" || !isToken(r.Method):
		return "The method holds a character that it may not hold."
	case !isTarget(r.RequestURI):
		return "The path must begin with a slash, and hold neither spaces nor control characters."
	case !isAuthority(r.Host):
		return "The host holds a character that it may not hold."
	}
	for name, values := range r.Header {
		if name == "Host" {
			for _, v := range values {
				if !strings.EqualFold(v, r.Host) {
					return "The request names two hosts."
				}
			}
		} else if framesAnyway(name) {
			return "A field name is a misspelling of one that frames the request."
		}
	}
	return ""
}

// isTarget reports whether a target can stand in a request line: in origin-form or as an asterisk (RFC 9113 section
// 8.3.1), every byte visible.
func isTarget(target string) bool {
	for i := 0; i < len(target); i++ {
		if c := target[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return target == "*" || strings.HasPrefix(target, "/")
}

// isAuthority reports whether a host and port can stand in Host (RFC 3986 section 3.2, without user information).
func isAuthority(host string) bool {
	for i := 0; i < len(host); i++ {
		if !isAlphanumeric(host[i]) && strings.IndexByte("-._~%!$&'()*+,;=:[]", host[i]) < 0 {
			return false
		}
	}
	return true
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// framesAnyway reports whether a field is not one of those that frame a message, but becomes one where punctuation is
// folded, as CGI and its successors do.
func framesAnyway(name string) bool {
	for _, framing := range [...]string{"Content-Length", "Transfer-Encoding"} {
		if len(name) != len(framing) || name == framing {
			continue
		}
		same := true
		for i := 0; i < len(name) && same; i++ {
			c := name[i]
			same = c|0x20 == framing[i]|0x20 || framing[i] == '-' && !isAlphanumeric(c)
		}
		if same {
			return true
		}
	}
	return false
}
