package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"regexp"
	"slices"
	"strings"

	"zchatproxy/inject"
	"zchatproxy/proxy/csp"
)

// visitPolicy says what the page's Content-Security-Policy lets through, before the proxy and after it. direct is nil
// where only the outside can be seen.
func (d *doctor) visitPolicy(a, direct *answer, injected bool) {
	const name = "policy"
	needs, nonce := d.policyNeeds(a)
	after := a.header.Values("Content-Security-Policy")
	var before []string
	if direct != nil {
		before = direct.header.Values("Content-Security-Policy")
	}
	meta := metaPolicies(a)
	if len(before)+len(after)+len(meta) == 0 {
		d.ok(name, "the page has none")
		return
	}
	if !injected {
		d.info(name, "not judged, since the script is not in the page: %s", clip(strings.Join(after, ", "), 120))
		return
	}
	if stopped := csp.Obstacles(after, nonce, needs); len(stopped) > 0 {
		remedy := "Set ZCHAT_CSP=patch, or add what is missing to the policy on the site."
		if d.site != nil {
			remedy = "Add what is missing to the policy on the site."
			if d.site.vars.CSP == "off" {
				remedy = "Set " + d.site.variable("CSP") + "=patch, or add what is missing to the policy on the site."
			}
		}
		d.reportObstacles("the Content-Security-Policy header", stopped, remedy, policyDetail(before, after))
		return
	}
	if stopped := csp.MetaObstacles(meta, needs); len(stopped) > 0 {
		d.reportObstacles("a Content-Security-Policy in a <meta> element", stopped, "The proxy does not change pages: let the <meta> allow it, or send the policy as a header, which the proxy mends.", meta)
		return
	}
	switch {
	case direct == nil:
		d.ok(name, "lets the script and the widget through")
	case slices.Equal(before, after):
		d.ok(name, "lets the script and the widget through as it is")
	default:
		d.report(station{Name: name, Mark: markOK, Text: "patched, " + policyChange(before, after), Detail: policyDetail(before, after)})
	}
}

func policyDetail(before, after []string) []string {
	var detail []string
	for _, v := range before {
		detail = append(detail, "before: "+v)
	}
	for _, v := range after {
		detail = append(detail, "after: "+v)
	}
	return detail
}

// reportObstacles fails where the script, its token or the widget itself is stopped, and warns where the widget only
// looks different.
func (d *doctor) reportObstacles(where string, list []csp.Obstacle, remedy string, detail []string) {
	var what []string
	fatal := false
	for _, o := range list {
		text := o.Stops + " (" + o.Directive + ")"
		if !slices.Contains(what, text) {
			what = append(what, text)
		}
		fatal = fatal || !strings.HasPrefix(o.Stops, "widget-") || o.Stops == "widget-script" || o.Stops == "widget-connect"
	}
	s := station{Name: "policy", Mark: markWarning, Text: where + " stops " + strings.Join(what, ", "), Remedy: remedy, Detail: detail}
	if fatal {
		s.Mark = markFailure
	}
	d.report(s)
}

var nonceAttribute = regexp.MustCompile(`^<script data-zchatproxy="" nonce="([^"]*)"`)

// policyNeeds says what must work on a page, with the nonce of the element in it.
func (d *doctor) policyNeeds(a *answer) (needs csp.Needs, nonce string) {
	needs = csp.Needs{Widget: "classic"}
	if d.site != nil {
		needs.Widget = d.site.vars.Widget
		needs.RoutePrefix = d.config.process.RoutePrefix
		needs.LoadsWidget = d.site.vars.WidgetKey != ""
		needs.Origin = "https://" + d.publicHost()
	}
	if d.options.target != "" {
		needs.Origin = originOf(d.options.target)
	}
	start, end := element(a.text)
	if start < 0 {
		return needs, ""
	}
	script := a.text[start:end]
	if m := nonceAttribute.FindSubmatch(script); m != nil {
		nonce = string(m[1])
	}
	script = script[bytes.IndexByte(script, '>')+1 : len(script)-len("</script>")]
	sum := sha256.Sum256(script)
	needs.ScriptHash = "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	return needs, nonce
}

// metaPolicies finds the policies in a page's <meta> elements, as the injection finds them.
func metaPolicies(a *answer) []string {
	page := a.text
	if start, end := element(page); start >= 0 {
		page = slices.Concat(page[:start], page[end:])
	}
	media, parameters, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return nil
	}
	doc := inject.Open(inject.Source{Body: io.NopCloser(bytes.NewReader(page)), XHTML: media == "application/xhtml+xml", Charset: parameters["charset"]})
	place, err := doc.Locate()
	if err != nil {
		return nil
	}
	return place.MetaPolicies
}

// policyChange lists the source expressions that the patch added, by directive.
func policyChange(before, after []string) string {
	had := map[string]bool{}
	for _, directive := range directives(before) {
		for _, word := range directive[1:] {
			had[directive[0]+" "+word] = true
		}
	}
	var order []string
	added := map[string][]string{}
	for _, directive := range directives(after) {
		name := directive[0]
		for _, word := range directive[1:] {
			if had[name+" "+word] || slices.Contains(added[name], word) {
				continue
			}
			if added[name] == nil {
				order = append(order, name)
			}
			added[name] = append(added[name], word)
		}
	}
	var parts []string
	for _, name := range order {
		parts = append(parts, fmt.Sprintf("%s (%d more)", name, len(added[name])))
	}
	return "for the script and the widget: " + strings.Join(parts, ", ")
}

// directives splits policies into their directives' words, names in lower case.
func directives(fields []string) [][]string {
	var list [][]string
	for _, field := range fields {
		for policy := range strings.SplitSeq(field, ",") {
			for directive := range strings.SplitSeq(policy, ";") {
				if words := strings.Fields(directive); len(words) > 0 {
					words[0] = strings.ToLower(words[0])
					list = append(list, words)
				}
			}
		}
	}
	return list
}

// clip shortens a text to n characters.
func clip(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return text
}
