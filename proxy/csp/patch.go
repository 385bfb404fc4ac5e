package csp

import (
	"iter"
	"slices"
	"strings"
)

// parseFields reads each field into its policies, those without effect included, so that joined with commas they are the
// field again.
func parseFields(fields []string) [][]policy {
	parsed := make([][]policy, len(fields))
	for i, field := range fields {
		policies := make([]policy, 0, 1+strings.Count(field, ","))
		for text := range strings.SplitSeq(field, ",") {
			policies = append(policies, parsePolicy(text))
		}
		parsed[i] = policies
	}
	return parsed
}

// chooseNonce returns the nonce to put on the element, "" for none. The element can carry only one, so it is the one that
// satisfies the most enforced policies, then the most others; the first of equals. Policies that it leaves unsatisfied get
// the hash.
func (d *demand) chooseNonce(enforced, reported [][]policy) string {
	candidates := d.nonces(enforced)
	if len(candidates) == 0 {
		candidates = d.nonces(reported)
	}
	best, most := "", 0
	for _, nonce := range candidates {
		// A report counts as less than any number of enforced policies that a response can have.
		if n := 1024*d.satisfied(enforced, nonce) + d.satisfied(reported, nonce); n > most {
			best, most = nonce, n
		}
	}
	return best
}

// maxNonces bounds how many nonces are weighed against each other. Real pages have one or two.
const maxNonces = 16

// stopping yields the lists that stop an element without a nonce.
func (d *demand) stopping(fields [][]policy) iter.Seq[list] {
	return func(yield func(list) bool) {
		for _, policies := range fields {
			for i := range policies {
				if g := policies[i].governing("script-src-elem"); g != nil && !d.admits(g.list, "") && !yield(g.list) {
					return
				}
			}
		}
	}
}

// nonces collects the nonces of the lists that stop an element without one.
func (d *demand) nonces(fields [][]policy) (found []string) {
	for l := range d.stopping(fields) {
		for _, token := range l {
			if nonce := nonceOf(token); nonce != "" && len(found) < maxNonces && !slices.Contains(found, nonce) {
				found = append(found, nonce)
			}
		}
	}
	return found
}

// satisfied counts the policies that need the nonce and have it.
func (d *demand) satisfied(fields [][]policy, nonce string) (n int) {
	for l := range d.stopping(fields) {
		if l.hasNonce(nonce) {
			n++
		}
	}
	return n
}

// admits reports whether l lets the injected element run when it carries nonce.
func (d *demand) admits(l list, nonce string) bool {
	return l.allowsAllInline("script-src-elem") || l.hasNonce(nonce) || l.hasHash(d.ScriptHash) || l.hasOldHashes() && l.hasHash(oldHash(d.ScriptHash))
}

// hasOldHashes reports a list whose 'unsafe-inline' counts only where old spellings of hashes do not. A hash in the
// new spelling would end it everywhere, and with it the page's own scripts.
func (l list) hasOldHashes() bool {
	return !l.allowsAllInline("script-src-elem") && l.allowsAllInlineBut("script-src-elem", isNewHash)
}

// oldHash spells "sha256-…" as "sha-256-…".
func oldHash(hash string) string { return strings.Replace(hash, "sha", "sha-", 1) }

// blocked names what no edit can help against.
func (d *demand) blocked(enforced [][]policy, nonce string) string {
	for _, policies := range enforced {
		for i := range policies {
			p := &policies[i]
			if s := p.find("sandbox"); s != nil && !s.list.hasKeyword("allow-scripts") {
				return BlockedSandbox
			}
			if g := p.governing("script-src-elem"); g != nil && d.ScriptHash == "" && !d.admits(g.list, nonce) {
				return BlockedScript
			}
		}
	}
	if d.trustedTypesStop(enforced) {
		return BlockedTrustedTypes
	}
	return ""
}

// trustedTypesStop reports whether the script could not create the loader's element: a policy requires Trusted Types for
// scripts, and a list leaves the script's own out. Adding the name would be an edit, but such a list is how a site says
// which code may make scripts at all.
func (d *demand) trustedTypesStop(fields [][]policy) bool {
	if !d.LoadsWidget {
		return false
	}
	required, listed := false, true
	for _, policies := range fields {
		for i := range policies {
			required = required || policies[i].requiresTrustedTypes()
			listed = listed && policies[i].allowsTrustedTypesPolicy()
		}
	}
	return required && !listed
}

func (p *policy) requiresTrustedTypes() bool {
	d := p.find("require-trusted-types-for")
	return d != nil && d.list.hasKeyword("'script'")
}

// allowsTrustedTypesPolicy is what the trusted-types directive (Trusted Types, "Should Trusted Type policy creation be
// blocked by CSP?") says of the script's policy: names are compared exactly, and without the directive all may be made.
func (p *policy) allowsTrustedTypesPolicy() bool {
	d := p.find("trusted-types")
	return d == nil || slices.Contains(d.list, "*") || slices.Contains(d.list, TrustedTypesPolicy)
}

// patchFields returns the fields with what the demand lacks in each policy. Where nothing lacks it returns fields itself.
func (d *demand) patchFields(fields []string, parsed [][]policy, nonce string) ([]string, bool) {
	out := fields
	changed := false
	for i, policies := range parsed {
		field, edited := d.patchField(fields[i], policies, nonce)
		if !edited {
			continue
		}
		if !changed {
			out, changed = slices.Clone(fields), true
		}
		out[i] = field
	}
	return out, changed
}

func (d *demand) patchField(field string, policies []policy, nonce string) (string, bool) {
	var texts []string
	for i := range policies {
		plan := d.plan(&policies[i], nonce)
		if len(plan) == 0 {
			continue
		}
		if texts == nil {
			texts = strings.Split(field, ",")
		}
		texts[i] = plan.apply(&policies[i])
	}
	if texts == nil {
		return field, false
	}
	return strings.Join(texts, ","), true
}

// addition is what one directive gains.
type addition struct {
	base   *directive // the directive that decides now
	name   string     // the directive that is to decide: base itself, or a new one with a copy of its list
	tokens []string
}

// plan is the additions of one policy, in the order in which new directives are written.
type plan []addition

// plan finds what the policy lacks.
func (d *demand) plan(p *policy, nonce string) plan {
	var todo plan
	if g := p.governing("script-src-elem"); g != nil {
		var add []string
		if !d.admits(g.list, nonce) && d.ScriptHash != "" { // without a hash, a report cannot be helped
			source := d.ScriptHash
			if g.list.hasOldHashes() {
				source = oldHash(source)
			}
			add = append(add, "'"+source+"'")
		}
		if !g.list.hasKeyword("'strict-dynamic'") {
			add = d.missing(add, g.list, "script-src")
		}
		todo.add(g, "script-src", add)
	}
	if g := p.governing("connect-src"); g != nil {
		var add []string
		if !d.allowsTokenRoute(g.list) {
			add = append(add, "'self'")
		}
		todo.add(g, "connect-src", d.missing(add, g.list, "connect-src"))
	}
	for _, effective := range [...]string{"style-src-elem", "style-src-attr"} {
		if g := p.governing(effective); g != nil && d.widget && !g.list.allowsAllInline(effective) && !g.list.disablesInline() {
			todo.add(g, "style-src", []string{"'unsafe-inline'"})
		}
	}
	for _, effective := range [...]string{"img-src", "media-src"} {
		if g := p.governing(effective); g != nil {
			todo.add(g, effective, d.missing(nil, g.list, effective))
		}
	}
	// Where a list that leaves the script out matters, blocked has said so. Elsewhere, in reports or where Trusted Types
	// are not required, naming the script's policy only keeps its creation from being reported.
	if d.LoadsWidget && !p.allowsTrustedTypesPolicy() {
		todo.add(p.find("trusted-types"), "trusted-types", []string{TrustedTypesPolicy})
	}
	return todo
}

// disablesInline reports a nonce or a hash, beside which 'unsafe-inline' has no effect on styles.
func (l list) disablesInline() bool {
	return slices.ContainsFunc(l, func(token string) bool { return nonceOf(token) != "" || isHash(token) })
}

// add notes that g, or the directive of that name made from g where g is the general default-src, gains tokens. Both
// kinds of style may ask for the same.
func (todo *plan) add(g *directive, name string, tokens []string) {
	if len(tokens) == 0 {
		return
	}
	if g.name != "default-src" {
		name = g.name
	}
	for _, known := range *todo {
		if known.name == name {
			return
		}
	}
	*todo = append(*todo, addition{base: g, name: name, tokens: tokens})
}

// apply writes the policy's text with the additions in it.
func (todo plan) apply(p *policy) string {
	var b strings.Builder
	at := 0
	for i := range p.directives {
		d := &p.directives[i]
		for _, a := range todo {
			if a.name != d.name {
				continue
			}
			if len(d.list) == 1 && d.list.isNone() { // the first token takes the place of 'none'
				b.WriteString(p.text[at : d.end-len(d.list[0])])
				b.WriteString(a.tokens[0])
				writeTokens(&b, a.tokens[1:])
			} else {
				b.WriteString(p.text[at:d.end])
				writeTokens(&b, a.tokens)
			}
			at = d.end
		}
	}
	end := len(strings.TrimRightFunc(p.text, isSpace)) // at or behind the last directive's end
	b.WriteString(p.text[at:end])
	open := !strings.HasSuffix(p.text[:end], ";")
	for _, a := range todo {
		if a.name == a.base.name {
			continue
		}
		if open {
			b.WriteByte(';')
		}
		open = true
		b.WriteByte(' ')
		b.WriteString(a.name)
		if !a.base.list.isNone() {
			writeTokens(&b, a.base.list)
		}
		writeTokens(&b, a.tokens)
	}
	b.WriteString(p.text[end:])
	return b.String()
}

func writeTokens(b *strings.Builder, tokens []string) {
	for _, token := range tokens {
		b.WriteByte(' ')
		b.WriteString(token)
	}
}
