package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// What a page's own markup says about the widget. The expressions are looked for in the page's text, not in the scripts
// that it loads.
var (
	ekrLoader      = regexp.MustCompile(`(?i)/ekr/snippet\.js\?key=([\w-]+)`)
	zopimLoader    = regexp.MustCompile(`(?i)//v2\.zopim\.com/\?([\w-]*)`)
	messengerCall  = regexp.MustCompile(`zE\s*\(\s*['"]messenger`)
	classicCall    = regexp.MustCompile(`zE\s*\(\s*['"]webWidget`)
	anyScript      = regexp.MustCompile(`(?i)<script[^>]*\ssrc\s*=`)
	misspelledKey  = regexp.MustCompile(`\bauthentication['"]?\s*:\s*\{`)
	invertedKeys   = regexp.MustCompile(`\bchat['"]?\s*:\s*\{\s*['"]?authenticate\b`)
	ownClassicAuth = regexp.MustCompile(`\bauthenticate['"]?\s*:\s*\{[^}]{0,200}\b(jwtFn|jwt|chat)\b`)
	ownChatAuth    = regexp.MustCompile(`livechat\s*\.\s*authenticate\s*\(`)
	ownLogin       = regexp.MustCompile(`['"]messenger['"]\s*,\s*['"]loginUser['"]`)
	pageToken      = regexp.MustCompile(`\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}`)
)

// visitWidget looks for the widget on the page, and for what is left of older attempts to sign visitors in.
func (d *doctor) visitWidget(a *answer) {
	if a.undecoded != nil {
		d.skip("the page cannot be looked into", "widget", "leftovers")
		return
	}
	page := a.text
	if start, end := element(page); start >= 0 {
		page = append(append([]byte(nil), page[:start]...), page[end:]...)
	}
	d.visitLoader(page)
	d.visitLeftovers(page)
}

// visitLoader says whether the page has the widget that is configured.
func (d *doctor) visitLoader(page []byte) {
	const name = "widget"
	kind, key, variable := "", "", prefix+"WIDGET"
	if d.site != nil {
		kind, key, variable = d.site.vars.Widget, d.site.vars.WidgetKey, d.site.variable("WIDGET")
	}
	ekr, zopim := ekrLoader.FindSubmatch(page), zopimLoader.FindSubmatch(page)
	switch {
	case zopim != nil && ekr == nil && kind != "chat" && kind != "":
		d.fail(name, fmt.Sprintf("the page loads the standalone Chat widget (v2.zopim.com), but %s is %s", variable, kind), "Set "+variable+"=chat.")
	case ekr != nil && zopim == nil && kind == "chat":
		d.fail(name, fmt.Sprintf("the page loads the Web Widget (ekr/snippet.js), but %s is chat", variable), "Set "+variable+" to classic or messaging, as the widget is set up in Zendesk.")
	case kind == "classic" && messengerCall.Match(page) && !classicCall.Match(page):
		d.fail(name, fmt.Sprintf("the page's own code speaks to the messaging widget (zE('messenger', …)), but %s is classic", variable), "Set "+variable+"=messaging, with the key's id and secret.")
	case kind == "messaging" && classicCall.Match(page) && !messengerCall.Match(page):
		d.warn(name, fmt.Sprintf("the page's own code speaks to the Classic widget (zE('webWidget', …)), but %s is messaging", variable), "If the account has not moved to messaging yet, set "+variable+"=classic; else remove the old calls.")
	case ekr != nil && key != "" && string(ekr[1]) != key:
		d.warn(name, fmt.Sprintf("the page loads the widget with the key %s itself; the configured key %s is not used there", ekr[1], key), "Remove one of the two.")
	case ekr != nil || zopim != nil:
		d.ok(name, "the page loads it itself")
	case key != "":
		d.ok(name, "the proxy's script loads it, with the key %s", key)
	case d.site == nil && bytes.Contains(page, []byte("zdassets.com")):
		d.ok(name, "the page loads it itself")
	case anyScript.Match(page):
		d.warn(name, "the page's markup does not load it; perhaps one of its scripts or a tag manager does", "If not, set "+d.keyVariable()+", and the proxy's script loads it.")
	default:
		d.fail(name, "nothing loads it: neither the page nor the proxy", "Set "+d.keyVariable()+" to the widget's key.")
	}
}

func (d *doctor) keyVariable() string {
	if d.site != nil {
		return d.site.variable("WIDGET_KEY")
	}
	return prefix + "WIDGET_KEY"
}

// visitLeftovers reports old code that signs visitors in, or tries to.
func (d *doctor) visitLeftovers(page []byte) {
	const name = "leftovers"
	found := 0
	for _, x := range []struct {
		expression   *regexp.Regexp
		text, remedy string
	}{
		{pageToken, "a token is written into the page's markup, where caches keep it for others", "Remove it: the proxy's script fetches a fresh one for each visitor."},
		{misspelledKey, "the page's own settings spell authentication, which no widget reads", "Remove it (the word is authenticate, and it is the proxy's now)."},
		{invertedKeys, "the page's own settings have authenticate inside chat, where no widget looks", "Remove it (chat belongs inside authenticate, and both are the proxy's now)."},
		{ownClassicAuth, "the page's own zESettings sign visitors in", "Remove them: the proxy's take their place."},
		{ownChatAuth, "the page calls $zopim.livechat.authenticate itself, which can undo the proxy's sign-in", "Remove the call."},
		{ownLogin, "the page calls zE('messenger', 'loginUser', …) itself, which can undo the proxy's sign-in", "Remove the call."},
	} {
		if at := x.expression.FindIndex(page); at != nil {
			line := 1 + bytes.Count(page[:at[0]], []byte("\n"))
			d.warn(name, fmt.Sprintf("line %d: %s", line, x.text), x.remedy)
			found++
		}
	}
	if n := len(ekrLoader.FindAll(page, -1)); n > 1 {
		d.warn(name, fmt.Sprintf("the page loads the widget %d times", n), "Keep one of the tags.")
		found++
	}
	if call, loader := classicOrMessengerCall(page), ekrLoader.FindIndex(page); call >= 0 && loader != nil && call < loader[0] {
		d.warn(name, "the page calls zE before the widget's tag, where it does not exist yet", "Move the call behind the tag.")
		found++
	}
	if found == 0 {
		d.ok(name, "no old widget code in the page")
	}
}

// classicOrMessengerCall is where the page first calls zE outside of a function, as far as can be seen; -1 for nowhere.
func classicOrMessengerCall(page []byte) int {
	for _, script := range inlineScript.FindAllSubmatchIndex(page, -1) {
		body := page[script[2]:script[3]]
		if trimmed := strings.TrimSpace(string(body)); strings.HasPrefix(trimmed, "zE(") {
			return script[2]
		}
	}
	return -1
}

var inlineScript = regexp.MustCompile(`(?is)<script[^>]*>(.*?)</script>`)
