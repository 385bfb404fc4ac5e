package wire

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
)

// net/http writes the standard's reason phrase for a status code, whatever the upstream's was. Old pages show it to people:
// scripts find it in XMLHttpRequest's statusText, and frameworks put messages into it.

// reason replaces the phrase in one status line.
type reason struct {
	standard string // the status line as net/http writes it, behind the version
	own      string // as it is to be
}

// SetReason gives the next status line with the code, on the connection that a request came on, a reason phrase of its own.
// It must be called right before that status line's WriteHeader. It does nothing for a phrase that is none (RFC 9112 section 4), and over
// HTTP/2, which has none. It needs ConnContext.
func SetReason(ctx context.Context, code int, phrase string) {
	c, ok := ctx.Value(connKey{}).(interface{ setReason(*reason) })
	if !ok || !isPhrase(phrase) {
		return
	}
	digits, standard := strconv.Itoa(code), http.StatusText(code)
	if standard == "" {
		standard = "status code " + digits
	}
	c.setReason(&reason{digits + " " + standard + "\r\n", digits + " " + phrase + "\r\n"})
}

// isPhrase reports whether s is a reason-phrase, or none at all, which clients must take too.
func isPhrase(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// versionLength is that of "HTTP/1.1 ".
const versionLength = 9

// apply returns p with the phrase replaced, and not ok where p does not begin with the status line.
func (r *reason) apply(p []byte) (replaced []byte, ok bool) {
	if len(p) < versionLength || !bytes.HasPrefix(p[versionLength:], []byte(r.standard)) {
		return nil, false
	}
	rest := p[versionLength+len(r.standard):]
	replaced = make([]byte, 0, versionLength+len(r.own)+len(rest))
	replaced = append(replaced, p[:versionLength]...)
	replaced = append(replaced, r.own...)
	return append(replaced, rest...), true
}

func (c *conn) setReason(r *reason) { c.reason.Store(r) }
