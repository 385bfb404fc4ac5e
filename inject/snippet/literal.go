package snippet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf16"
)

// loader is where a widget's own script comes from.
type loader struct {
	base  string
	query string // what stands before the key
}

// url returns the address of the loader for key, at other instead of
// Zendesk's address if that is not empty.
func (l loader) url(other, key string) string {
	base := l.base
	if other != "" {
		base = other
	}
	sep := "?"
	if strings.Contains(base, "?") {
		sep = "&"
	}
	return base + sep + l.query + url.QueryEscape(key)
}

// cleanSettings checks that raw is one JSON object and takes out what must
// not be in it: webWidget.authenticate, since a log-in that does not come from
// the visitor's identity would be everybody's. It returns nil for no settings.
func cleanSettings(raw json.RawMessage) (json.RawMessage, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&object); err != nil || object == nil {
		return nil, errSettings
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errSettings
	}
	if err := refuseProto(object); err != nil {
		return nil, err
	}
	if widget, ok := object["webWidget"].(map[string]any); ok {
		delete(widget, "authenticate")
	}
	if len(object) == 0 {
		return nil, nil
	}
	return json.Marshal(object)
}

// refuseProto rejects the one key that means something else in a JavaScript
// object literal than in JSON.
func refuseProto(value any) error {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			if key == "__proto__" {
				return fmt.Errorf("settings have a member named %q: remove it", key)
			}
			if err := refuseProto(member); err != nil {
				return err
			}
		}
	case []any:
		for _, member := range v {
			if err := refuseProto(member); err != nil {
				return err
			}
		}
	}
	return nil
}

// literal writes v as JSON that is also a JavaScript expression in ASCII and
// stands in HTML and XHTML as it is: all that is not ASCII, and the characters
// <, > and &, are escapes. Such characters occur inside strings only.
func literal(v any) (string, error) {
	raw, err := json.Marshal(v) // escapes <, >, &, U+2028 and U+2029
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range string(raw) {
		switch {
		case r < 0x7f: // DEL is as invisible as the rest
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String(), nil
}
