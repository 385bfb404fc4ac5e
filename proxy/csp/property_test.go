package csp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Random policies are put together from words that mean something, and some that do not.
var (
	someDirectives = strings.Fields("default-src default-src script-src script-src script-src-elem script-src-attr style-src style-src-elem style-src-attr connect-src " +
		"img-src media-src font-src worker-src child-src frame-src object-src Script-Src report-uri sandbox trusted-types require-trusted-types-for upgrade-insecure-requests x")
	someSources = strings.Fields("'self' 'SELF' 'none' 'none' * https: http: wss: ws: data: blob: 'unsafe-inline' 'unsafe-inline' 'Unsafe-Inline' 'unsafe-eval' 'strict-dynamic' " +
		"'unsafe-hashes' 'report-sample' 'nonce-AAAA' 'nonce-BBBB' 'nonce-' 'nonce-{}' 'sha256-" + hashOfEvil + "' '" + scriptHash + "' 'sha512-short' 'sha384-shorter' 'sha-256-abcd' 'sha-256-abcd' 'url-sha256-abcd' 'URL-sha512-a' " +
		"www.example.com https://www.example.com https://www.example.com/__zchat/ https://www.example.com/api http://www.example.com:80 *.example.com *:* *:8443 " +
		"https://*.zdassets.com *.zopim.com wss://*.zopim.com https://*.zendesk.com:443 https://*.zendesk.com/ https://static.zdassets.com *.com *.io https://*.ingest.sentry.io " +
		"http://*.zendesk.com:80 https://cdn.example.net/lib/ cdn.example.net:8443 allow-scripts allow-same-origin zchatproxy 'script' é 127.0.0.1 a:b:c /path ' https://")
	someURLs = strings.Fields("https://www.example.com/ https://www.example.com/__zchat/jwt https://www.example.com/api http://www.example.com/ https://www.example.com:8443/ wss://www.example.com/s " +
		"ws://www.example.com/s https://cdn.example.net/lib/a.js https://cdn.example.net/other.js https://cdn.example.net:8443/x http://cdn.example.net/lib/a.js https://evil.test/ wss://evil.test/ " +
		"https://static.zdassets.com/ekr/snippet.js http://static.zdassets.com/x https://a.b.zdassets.com/x https://zdassets.com/x https://shop.zendesk.com/x wss://shop.zendesk.com/x ws://shop.zendesk.com/ " +
		"https://v2.zopim.com/?k wss://a.zopim.com/s https://evilzopim.com/ https://o1.ingest.sentry.io/x https://v2assets.zopim.io/i.png https://x.zopim.io/i.png https://static.zdassets.com:8443/ " +
		"data:image/png;base64,AA blob:https://www.example.com/1 https://127.0.0.1/ about:blank https://evil.test/__zchat/jwt https://cdn.example.net/lib%2Fa.js https://cdn.example.net/lib/%61.js")
	someOrigins = strings.Fields("https://www.example.com https://www.example.com http://www.example.com https://www.example.com:8443")
	loadKinds   = strings.Fields("script-src-elem style-src-elem connect-src img-src media-src font-src worker-src frame-src object-src manifest-src")
	inlineKinds = strings.Fields("script-src-elem script-src-attr style-src-elem style-src-attr")
	someScripts = []string{scriptText, "evil()", "", "zchat(4)"}
	someNonces  = []string{"", "AAAA", "BBBB", "CCCC", "{}"}
)

// hashOfEvil is the SHA-256 of "evil()".
const hashOfEvil = "HD1jgiOUGdQw9/CUjocrllDng4vPgh6k2/wliwrrhRs="

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func randomField(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString(pick(r, []string{"", "", " ", "\t"}))
		b.WriteString(pick(r, someDirectives))
		for range r.IntN(5) {
			b.WriteString(pick(r, []string{" ", " ", " ", "  ", "\t"}))
			b.WriteString(pick(r, someSources))
		}
		b.WriteString(pick(r, []string{";", ";", ";", "; ", " ; ", ";;", ",", ""}))
	}
	return b.String()
}

func randomFields(r *rand.Rand, most int) []string {
	fields := make([]string, r.IntN(most+1))
	for i := range fields {
		fields[i] = randomField(r)
	}
	return fields
}

func randomNeeds(r *rand.Rand) Needs {
	return Needs{
		ScriptHash:  pick(r, []string{scriptHash, scriptHash, scriptHash, ""}),
		Widget:      pick(r, []string{"classic", "messaging", "chat", ""}),
		WidgetURL:   pick(r, []string{"", "", "https://widget.test:9090/l.js", "/demo/l.js"}),
		LoadsWidget: r.IntN(2) == 0,
		Origin:      pick(r, append([]string{""}, someOrigins...)),
	}
}

// rounds is how many random policies a property is tried on.
func rounds() int {
	if os.Getenv("ZCHATPROXY_TEST_ALL") == "1" {
		return 4000
	}
	return 600
}

// forEachRandom runs check with generators that any failure can be replayed from.
func forEachRandom(t *testing.T, check func(r *rand.Rand) error) {
	t.Helper()
	for seed := range uint64(rounds()) {
		if err := check(rand.New(rand.NewPCG(seed, 1))); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestEvaluatorAgreesWithTheNaiveOne(t *testing.T) {
	forEachRandom(t, func(r *rand.Rand) error {
		fields := randomFields(r, 3)
		list := listOf(fields)
		for range 30 {
			load := Load{Directive: pick(r, loadKinds), URL: pick(r, someURLs), Origin: pick(r, append([]string{""}, someOrigins...)), Nonce: pick(r, someNonces),
				ParserInserted: r.IntN(2) == 0, Redirected: r.IntN(4) == 0}
			if got, want := list.AllowsLoad(load), naiveAllowsLoad(fields, load, asChromium); got != want {
				return fmt.Errorf("%q: AllowsLoad(%+v) = %v, the naive evaluator says %v", fields, load, got, want)
			}
			in := Inline{Directive: pick(r, inlineKinds), Text: pick(r, someScripts), Nonce: pick(r, someNonces)}
			if got, want := list.AllowsInline(in), naiveAllowsInline(fields, in, asChromium); got != want {
				return fmt.Errorf("%q: AllowsInline(%+v) = %v, the naive evaluator says %v", fields, in, got, want)
			}
		}
		return nil
	})
}

// TestPatchLetsThroughAndNothingElse is the heart of the matter: after the patch the script, its token route and the widget
// work, what was allowed is allowed, and what was forbidden is forbidden but for what the patch is there to allow.
func TestPatchLetsThroughAndNothingElse(t *testing.T) {
	forEachRandom(t, func(r *rand.Rand) error { return checkPatch(r, randomFields(r, 2), randomFields(r, 1), randomNeeds(r)) })
}

func checkPatch(r *rand.Rand, enforce, report []string, n Needs) error {
	got := Patch(enforce, report, n)
	if len(got.Enforce) != len(enforce) || len(got.ReportOnly) != len(report) {
		return fmt.Errorf("%q %q: %d and %d fields, want %d and %d", enforce, report, len(got.Enforce), len(got.ReportOnly), len(enforce), len(report))
	}
	if same := slices.Equal(got.Enforce, enforce) && slices.Equal(got.ReportOnly, report); same == got.Changed {
		return fmt.Errorf("%q: Changed = %v", enforce, got.Changed)
	}
	if again := Patch(got.Enforce, got.ReportOnly, n); again.Changed || again.Nonce != got.Nonce || again.Blocked != got.Blocked {
		return fmt.Errorf("%q %q: patched to %q %q nonce %q, and then to %+v", enforce, report, got.Enforce, got.ReportOnly, got.Nonce, again)
	}
	for i := range enforce {
		if err := checkKept(enforce[i], got.Enforce[i]); err != nil {
			return err
		}
	}
	if got.Blocked != "" {
		if got.Changed {
			return fmt.Errorf("%q: blocked (%s) and yet changed", enforce, got.Blocked)
		}
		return nil
	}
	for _, how := range [...]reading{asChromium, asOthers} {
		if err := checkWorks(got.Enforce, got.Nonce, n, false, how); err != nil {
			return fmt.Errorf("%q patched to %q, read in way %d: %w", enforce, got.Enforce, how, err)
		}
		if err := checkWorks(got.ReportOnly, got.Nonce, n, true, how); err != nil {
			return fmt.Errorf("report-only %q patched to %q, read in way %d: %w", report, got.ReportOnly, how, err)
		}
		for _, pair := range [...][2][]string{{enforce, got.Enforce}, {report, got.ReportOnly}} {
			if err := checkOnlyNeeded(r, pair[0], pair[1], n, how); err != nil {
				return fmt.Errorf("%q patched to %q, read in way %d: %w", pair[0], pair[1], how, err)
			}
		}
	}
	return nil
}

// checkKept wants every byte of before in after, in order, except those of 'none', which may have had to go.
func checkKept(before, after string) error {
	rest := after
	for _, c := range []byte(noNone.ReplaceAllString(before, "")) {
		i := strings.IndexByte(rest, c)
		if i < 0 {
			return fmt.Errorf("%q is not %q with something put in", after, before)
		}
		rest = rest[i+1:]
	}
	return nil
}

var noNone = regexp.MustCompile(`(?i)'none'`)

// checkWorks asks the naive evaluator whether what the patch is for is allowed.
func checkWorks(fields []string, nonce string, n Needs, reportOnly bool, how reading) error {
	element := Inline{Directive: "script-src-elem", Text: scriptText, Nonce: nonce}
	if (n.ScriptHash != "" || !reportOnly) && !naiveAllowsInline(fields, element, how) {
		return fmt.Errorf("the script is stopped")
	}
	origin := n.Origin
	if origin == "" {
		origin = "https://shop.example.org:444"
	}
	token := Load{Directive: "connect-src", URL: origin + "/__zchat/jwt", Origin: origin}
	if !naiveAllowsLoad(fields, token, how) && !hashesAddresses(fields, "connect-src", how) {
		return fmt.Errorf("the token route is stopped")
	}
	for _, load := range widgetLoads(n, origin) {
		if !naiveAllowsLoad(fields, load, how) && !hashesAddresses(fields, load.Directive, how) {
			return fmt.Errorf("the widget is stopped from %+v", load)
		}
	}
	return nil
}

// hashesAddresses tells whether a list has hashes of addresses in it, where no patch can help.
func hashesAddresses(fields []string, directive string, how reading) bool {
	return slices.ContainsFunc(naiveParse(fields), func(p naivePolicy) bool {
		_, value, _ := p.decides(directive)
		return len(naiveHashes(value, "url-", how)) > 0
	})
}

// widgetLoads lists a request for each of the widget's documented sources.
func widgetLoads(n Needs, origin string) (loads []Load) {
	if n.Widget == "" {
		return nil
	}
	for directive, list := range map[string]string{"script-src-elem": "{s}", "connect-src": "{c}", "img-src": "{i}", "media-src": "{m}"} {
		for source := range strings.FieldsSeq(widgetLists(n.Widget).Replace(list)) {
			u := strings.Replace(source, "*", "probe", 1) + "/x"
			if strings.HasSuffix(source, ":") {
				u = source + "x"
			} else if strings.HasPrefix(n.WidgetURL, "/") {
				u = origin + n.WidgetURL
			} else if n.WidgetURL != "" {
				u = n.WidgetURL
			}
			loads = append(loads, Load{Directive: directive, URL: u, Origin: origin})
		}
	}
	return loads
}

// checkOnlyNeeded compares what random requests and inline code may do before and after.
func checkOnlyNeeded(r *rand.Rand, before, after []string, n Needs, how reading) error {
	origin := n.Origin
	if origin == "" {
		origin = pick(r, someOrigins)
	}
	for range 25 {
		load := Load{Directive: pick(r, loadKinds), URL: pick(r, someURLs), Origin: origin, Nonce: pick(r, someNonces), ParserInserted: r.IntN(2) == 0, Redirected: r.IntN(4) == 0}
		was, is := naiveAllowsLoad(before, load, how), naiveAllowsLoad(after, load, how)
		if was && !is {
			return fmt.Errorf("no longer allows %+v", load)
		}
		if is && !was && !needed(load, n) {
			return fmt.Errorf("now allows %+v", load)
		}
		in := Inline{Directive: pick(r, inlineKinds), Text: pick(r, someScripts), Nonce: pick(r, someNonces)}
		was, is = naiveAllowsInline(before, in, how), naiveAllowsInline(after, in, how)
		ours := in.Directive == "script-src-elem" && in.Text == scriptText || strings.HasPrefix(in.Directive, "style") && n.Widget != "" ||
			in.Directive == "script-src-attr" && in.Text == scriptText // 'unsafe-hashes' takes our text for a handler too
		if was && !is || is && !was && !ours {
			return fmt.Errorf("allowed %+v before: %v, after: %v", in, was, is)
		}
	}
	return nil
}

// needed tells whether a request is one of those that the patch may allow: the page's own site for connections, and the
// widget's sources.
func needed(r Load, n Needs) bool {
	kind := r.Directive
	if kind == "worker-src" { // governed by script-src where nothing else is said about workers
		kind = "script-src-elem"
	}
	list := map[string]string{"script-src-elem": "{s}", "connect-src": "{c}", "img-src": "{i}", "media-src": "{m}"}[kind]
	sources := strings.Fields(widgetLists(n.Widget).Replace(list))
	if n.Widget == "" {
		sources = nil
	}
	for _, source := range sources {
		if strings.Contains(source, "://") && n.WidgetURL != "" {
			source = "https://widget.test:9090"
			if strings.HasPrefix(n.WidgetURL, "/") {
				source = "'self'"
			}
		}
		if naiveMatches(source, r.URL, r.Origin, r.Redirected) {
			return true
		}
	}
	return kind == "connect-src" && naiveMatches("'self'", r.URL, r.Origin, r.Redirected)
}
