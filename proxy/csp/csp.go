// Package csp decides what a page's Content-Security-Policy lets happen, and changes it as little as possible, so that
// the injected script, its token route and the widget work.
//
// It follows Content Security Policy Level 3 (https://www.w3.org/TR/CSP3/). Where the browsers and the specification
// disagree, or disagree among themselves, the stricter reading decides whether something has to be added: a superfluous
// source expression costs some bytes, a missing one costs the chat.
//
// Nothing here holds state: every function may be called from many goroutines at once.
package csp

// Needs says what must work on the page. The zero value needs nothing but to reach the token route.
type Needs struct {
	// ScriptHash is the hash source of the injected script's text without quotes, "sha256-…=". Empty: the script can
	// only be let through by a nonce or by 'unsafe-inline'.
	ScriptHash string
	// Widget is "classic", "messaging" or "chat", and chooses the documented hosts. Empty: no widget's needs.
	Widget string
	// WidgetURL is the loader's address when it is not Zendesk's (absolute, or relative to the page). Its origin then
	// stands for all of the widget's documented hosts.
	WidgetURL string
	// LoadsWidget says that the injected script may create the loader's element itself. It then makes a Trusted Types
	// policy called TrustedTypesPolicy for the loader's address.
	LoadsWidget bool
	// Origin is the page's origin as the visitor sees it, "https://www.example.com" or with a port. It decides whether a
	// host name in a policy means the page's own site. Empty: unknown, and only what holds for any origin counts.
	Origin string
	// RoutePrefix is where the token routes live, "/__zchat" when empty.
	RoutePrefix string
}

// TrustedTypesPolicy is the name of the Trusted Types policy that the injected script makes when it loads the widget.
const TrustedTypesPolicy = "zchatproxy"

// Result is what Patch makes of a response's policies.
type Result struct {
	// Enforce and ReportOnly are the field values to send, as many as came in. They are the very slices that were given
	// when nothing changed.
	Enforce, ReportOnly []string
	// Nonce goes on the injected element; empty: none.
	Nonce string
	// Blocked names why the script must not be injected (one of the Blocked constants); empty: inject. The policies are
	// then as they came.
	Blocked string
	// Changed says that some field's bytes differ from what came.
	Changed bool
}

// Reasons in Result.Blocked. The set is closed, so that it can label a metric.
const (
	// BlockedSandbox: a sandbox directive without allow-scripts, under which no script runs at all.
	BlockedSandbox = "csp-sandbox"
	// BlockedTrustedTypes: Trusted Types are required, and TrustedTypesPolicy is not among those that may be made, so that
	// the script could not set the loader's address.
	BlockedTrustedTypes = "csp-trusted-types"
	// BlockedScript: inline scripts need a nonce or a hash, and there is neither.
	BlockedScript = "csp-script"
)

// Patch returns the policies with the smallest change that lets through what n names. Each policy of each field is judged
// and edited on its own, since all of them must allow; those of reportOnly likewise, so that the proxy causes no reports.
// A policy that needs nothing keeps its bytes, and an edited one all bytes but those put in. The arguments are not
// modified. Without any policy it costs nothing.
//
// What is added, and where:
//   - For the element: the page's nonce where its policies agree on one, else the script's hash; nothing where
//     'unsafe-inline' counts, since a nonce or a hash would end that and with it the page's own scripts.
//   - For the token route and the widget: 'self' and the documented sources that the list does not cover yet. Under
//     'strict-dynamic' none for scripts, where they would not count: what the injected script creates is trusted with it.
//   - For the widget's styles: 'unsafe-inline', but not beside a nonce or a hash, where no browser heeds it. Taking those
//     away instead would allow more than the widget needs; what remains blocked is reported by Obstacles.
//   - Where default-src decides, it stays as it is, and the particular directive is added with a copy of its list.
//     Where script-src or style-src decides, it is edited itself: adding script-src-elem would help only the browsers that
//     know it. 'none' alone gives way to what is added.
func Patch(enforce, reportOnly []string, n Needs) Result {
	unchanged := Result{Enforce: enforce, ReportOnly: reportOnly}
	if len(enforce) == 0 && len(reportOnly) == 0 {
		return unchanged
	}
	d := newDemand(n)
	enforced, reported := parseFields(enforce), parseFields(reportOnly)
	nonce := d.chooseNonce(enforced, reported)
	if reason := d.blocked(enforced, nonce); reason != "" {
		unchanged.Blocked = reason
		return unchanged
	}
	r := Result{Nonce: nonce}
	var changed, changedReports bool
	r.Enforce, changed = d.patchFields(enforce, enforced, nonce)
	r.ReportOnly, changedReports = d.patchFields(reportOnly, reported, nonce)
	r.Changed = changed || changedReports
	return r
}
