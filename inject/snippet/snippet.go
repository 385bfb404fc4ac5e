// Package snippet renders the script that the proxy puts into a site's pages:
// the one that configures the Zendesk widget and keeps it logged in as
// whoever is logged in to the site.
//
// The script is written in snippet.js, which says how it works. What is
// embedded is its minified form, one per widget; `go generate` makes it anew,
// and a test fails when it is not what the source gives.
package snippet

//go:generate go test -run ^TestEmbedded$ . -update

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the minified scripts
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"strings"
)

var (
	//go:embed classic.min.js
	classic string
	//go:embed messaging.min.js
	messaging string
	//go:embed chat.min.js
	chat string
)

// placeholder is the free identifier in the script that stands for its
// settings.
const placeholder = "ZCHAT_CONFIG"

// TrustedTypesPolicy is the name of the policy that the script makes for the
// loader's address where the browser has Trusted Types, so that it works on
// pages that require them and let this name be used.
const TrustedTypesPolicy = "zchatproxy"

// tokenRoute is where the proxy serves tokens, below its route prefix.
const tokenRoute = "/jwt"

// Config is what a site's script depends on. It holds nothing about a
// visitor: the script is the same for all of them.
type Config struct {
	// Widget is "classic", "messaging" or "chat".
	Widget string
	// Key is the widget's key. Empty: pages load the widget themselves.
	Key string
	// Settings is a JSON object that the script merges into zESettings, under
	// the page's own. Empty means none.
	Settings json.RawMessage
	// RoutePrefix is the path below which the proxy's routes live, such as
	// "/__zchat".
	RoutePrefix string
	// HelpCenter also gives the classic widget tokens for restricted Help
	// Center content. The other widgets have no use for them.
	HelpCenter bool
	// Late is for sites where only the token route knows who is logged in:
	// the script asks it, where the visitor cookie names nobody.
	Late bool
	// WidgetURL loads the widget from another place than Zendesk's; Key is
	// added as its query. Empty: Zendesk's.
	WidgetURL string
}

// Snippet is the rendered script of one site. It is immutable and safe for
// concurrent use.
type Snippet struct {
	text string
	hash string
	id   string
}

// settings is the argument of the script, described in snippet.js.
type settings struct {
	Path     string          `json:"path"`
	Settings json.RawMessage `json:"settings,omitempty"`
	Help     int             `json:"help,omitempty"`
	Late     int             `json:"late,omitempty"`
	URL      string          `json:"url,omitempty"`
}

// Render makes the script for c. It fails on an unknown widget and on
// settings that are not a JSON object.
func Render(c Config) (*Snippet, error) {
	code, loader, err := variant(c.Widget)
	if err != nil {
		return nil, err
	}
	s := settings{Path: strings.TrimSuffix(c.RoutePrefix, "/") + tokenRoute}
	if s.Settings, err = cleanSettings(c.Settings); err != nil {
		return nil, err
	}
	if c.HelpCenter {
		s.Help = 1
	}
	if c.Late {
		s.Late = 1
	}
	if c.Key != "" {
		s.URL = loader.url(c.WidgetURL, c.Key)
	}
	arg, err := literal(s)
	if err != nil {
		return nil, err
	}
	text := strings.Replace(code, placeholder, arg, 1)
	sum := sha256.Sum256([]byte(text))
	return &Snippet{
		text: text,
		hash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		id:   hex.EncodeToString(sum[:6]),
	}, nil
}

// variant returns the minified script for a widget, and where Zendesk serves
// that widget.
func variant(widget string) (string, loader, error) {
	ekr := loader{base: "https://static.zdassets.com/ekr/snippet.js", query: "key="}
	switch widget {
	case "classic":
		return classic, ekr, nil
	case "messaging":
		return messaging, ekr, nil
	case "chat":
		return chat, loader{base: "https://v2.zopim.com/"}, nil
	}
	return "", loader{}, fmt.Errorf("widget %q is unknown: use classic, messaging or chat", widget)
}

// Element returns the script element as it goes into the page: ASCII, one
// line. A nonce that is not empty becomes its nonce attribute; it is part of
// neither Hash nor ID.
func (s *Snippet) Element(nonce string) []byte {
	var b bytes.Buffer
	b.WriteString(`<script data-zchatproxy=""`)
	if nonce != "" {
		b.WriteString(` nonce="`)
		b.WriteString(html.EscapeString(nonce))
		b.WriteByte('"')
	}
	b.WriteByte('>')
	b.WriteString(s.text)
	b.WriteString("</script>")
	return b.Bytes()
}

// Hash is the Content-Security-Policy hash source of the text between the
// tags, without the single quotes: "sha256-" and base64 (CSP3, section 2.3.1).
func (s *Snippet) Hash() string { return s.hash }

// ID is short and changes whenever the text does: 12 hexadecimal digits,
// fit for an entity tag.
func (s *Snippet) ID() string { return s.id }

// errSettings is what cleanSettings says of anything but one JSON object.
var errSettings = errors.New(`settings are not a JSON object: write {"webWidget":{…}}`)
