package csp

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what testdata/policies.txt expects; read the difference before keeping it")

// scriptText stands for the injected script. Its hash has characters in which the alphabets of base64 differ.
const (
	scriptText = "zchat(3)"
	scriptHash = "sha256-Ms4HE7lLw/y82HZGhkDQ7m+mOj8ydDBGZOdvJ8XMPIA="
)

// policyCase is one entry of testdata/policies.txt; its README explains the lines.
type policyCase struct {
	name                  string
	settings              []string // "widget: …" and so on, as they stand
	needs                 Needs
	enforce, report       []string
	wantEnforce, wantRep  []string // "=": as it came
	nonce, blocked        string
	stops, left           string
	fieldsInOrderOfSource []string // "< …" and "<r …", for -update
}

const policiesFile = "testdata/policies.txt"

func readPolicies(t testing.TB) []*policyCase {
	t.Helper()
	text, err := os.ReadFile(policiesFile)
	if err != nil {
		t.Fatal(err)
	}
	var cases []*policyCase
	for number, line := range strings.Split(string(text), "\n") {
		if line == "" {
			continue
		}
		if name, found := strings.CutPrefix(line, "== "); found {
			cases = append(cases, &policyCase{name: name, needs: Needs{ScriptHash: scriptHash, Widget: "classic", Origin: "https://www.example.com"}})
			continue
		}
		if len(cases) == 0 || !cases[len(cases)-1].readLine(line) {
			t.Fatalf("%s:%d: cannot read %q", policiesFile, number+1, line)
		}
	}
	return cases
}

func (c *policyCase) readLine(line string) bool {
	key, value, _ := strings.Cut(line, " ")
	field := strings.NewReplacer("·", " ", "→", "\t").Replace(value)
	switch key {
	case "<":
		c.enforce = append(c.enforce, field)
		c.fieldsInOrderOfSource = append(c.fieldsInOrderOfSource, line)
	case "<r":
		c.report = append(c.report, field)
		c.fieldsInOrderOfSource = append(c.fieldsInOrderOfSource, line)
	case ">":
		c.wantEnforce = append(c.wantEnforce, field)
	case ">r":
		c.wantRep = append(c.wantRep, field)
	case "nonce:":
		c.nonce = value
	case "blocked:":
		c.blocked = value
	case "stops:":
		c.stops = value
	case "left:":
		c.left = value
	default:
		c.settings = append(c.settings, line)
		return c.readSetting(key, value)
	}
	return true
}

func (c *policyCase) readSetting(key, value string) bool {
	switch key {
	case "widget:":
		c.needs.Widget = value
	case "origin:":
		c.needs.Origin = strings.TrimPrefix(value, "-")
	case "loader:":
		c.needs.WidgetURL = value
	case "loads:":
		c.needs.LoadsWidget = value == "yes"
	case "hash:":
		c.needs.ScriptHash = ""
	default:
		return false
	}
	return true
}

// widgetLists spells out, apart from the product's own table, what Zendesk documents.
func widgetLists(widget string) *strings.Replacer {
	s := "https://*.zdassets.com https://*.zendesk.com https://*.zopim.com https://*.ingest.sentry.io"
	c := s + " wss://*.zendesk.com wss://*.zopim.com"
	i := "https://v2assets.zopim.io https://static.zdassets.com data:"
	if widget == "messaging" {
		s = "https://*.zdassets.com https://*.zendesk.com https://*.smooch.io https://*.ingest.sentry.io https://*.twilio.com"
		c = s + " wss://*.zendesk.com wss://api.smooch.io wss://voice-js.roaming.twilio.com"
		i = "https://static.zdassets.com https://*.zendesk.com https://media.smooch.io https://*.zdusercontent.com blob: data:"
	}
	return strings.NewReplacer("{hash}", "'"+scriptHash+"'", "{s}", s, "{c}", c, "{i}", i, "{m}", "https://static.zdassets.com")
}

func (c *policyCase) expand(came, want []string) []string {
	out := make([]string, len(want))
	for i, field := range want {
		if field == "=" && i < len(came) {
			out[i] = came[i]
		} else {
			out[i] = widgetLists(c.needs.Widget).Replace(field)
		}
	}
	return out
}

// letters writes obstacles in the notation of the table, in the table's order.
func letters(found []Obstacle) string {
	var b strings.Builder
	for _, known := range [...]struct{ stops, letter string }{
		{"script", "S"}, {"token-route", "T"}, {"widget-loader", "L"}, {"widget-script", "s"}, {"widget-connect", "c"},
		{"widget-style", "y"}, {"widget-image", "i"}, {"widget-media", "m"},
	} {
		if slices.ContainsFunc(found, func(o Obstacle) bool { return o.Stops == known.stops }) {
			b.WriteString(known.letter)
		}
	}
	return b.String()
}

func TestPolicies(t *testing.T) {
	cases := readPolicies(t)
	if len(cases) < 60 {
		t.Fatalf("%d policies, want 60 at least", len(cases))
	}
	if *update {
		rewritePolicies(t, cases)
		return
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			enforce, report := slices.Clone(c.enforce), slices.Clone(c.report)
			r := Patch(enforce, report, c.needs)
			want := Result{Enforce: c.expand(c.enforce, c.wantEnforce), ReportOnly: c.expand(c.report, c.wantRep), Nonce: c.nonce, Blocked: c.blocked}
			want.Changed = !slices.Equal(want.Enforce, c.enforce) || !slices.Equal(want.ReportOnly, c.report)
			if diff := cmp.Diff(want, Result{slices.Clone(r.Enforce), slices.Clone(r.ReportOnly), r.Nonce, r.Blocked, r.Changed}, equateEmpty); diff != "" {
				t.Errorf("Patch (-want +got):\n%s", diff)
			}
			if !slices.Equal(enforce, c.enforce) || !slices.Equal(report, c.report) {
				t.Error("Patch wrote into its arguments")
			}
			if got := letters(Obstacles(c.enforce, "", c.needs)); got != c.stops {
				t.Errorf("stopped as it comes: %q, want %q", got, c.stops)
			}
			if got := letters(Obstacles(r.Enforce, r.Nonce, c.needs)); got != c.left {
				t.Errorf("stopped when patched: %q, want %q", got, c.left)
			}
		})
	}
}

var equateEmpty = cmp.Comparer(func(a, b []string) bool { return slices.Equal(a, b) })

// rewritePolicies writes the table anew with what the code does now.
func rewritePolicies(t *testing.T, cases []*policyCase) {
	var b strings.Builder
	for i, c := range cases {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "== %s\n", c.name)
		for _, line := range c.settings {
			fmt.Fprintln(&b, line)
		}
		r := Patch(c.enforce, c.report, c.needs)
		enforced, reported := r.Enforce, r.ReportOnly
		for _, line := range c.fieldsInOrderOfSource {
			fmt.Fprintln(&b, line)
			key, value, _ := strings.Cut(line, " ")
			next := &enforced
			if key == "<r" {
				next = &reported
			}
			fmt.Fprintln(&b, strings.Replace(key, "<", ">", 1)+" "+c.contract(value, (*next)[0]))
			*next = (*next)[1:]
		}
		for _, line := range [...][2]string{
			{"nonce", r.Nonce}, {"blocked", r.Blocked},
			{"stops", letters(Obstacles(c.enforce, "", c.needs))}, {"left", letters(Obstacles(r.Enforce, r.Nonce, c.needs))},
		} {
			if line[1] != "" {
				fmt.Fprintf(&b, "%s: %s\n", line[0], line[1])
			}
		}
	}
	if err := os.WriteFile(policiesFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// contract is the opposite of expand, for one field.
func (c *policyCase) contract(came, sent string) string {
	sent = strings.NewReplacer("\t", "→").Replace(sent)
	if strings.Contains(came, "·") {
		sent = strings.ReplaceAll(sent, " ", "·")
	}
	if sent == came {
		return "="
	}
	for _, short := range [...]string{"{hash}", "{c}", "{s}", "{i}"} {
		long := widgetLists(c.needs.Widget).Replace(short)
		if strings.Contains(came, "·") {
			long = strings.ReplaceAll(long, " ", "·")
		}
		if !strings.Contains(came, long) {
			sent = strings.ReplaceAll(sent, long, short)
		}
	}
	return sent
}
