package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// query is what a PromQL expression names. That it is well formed is for promtool to say.
type query struct {
	selectors []selector
	grouping  []string // labels in by, on, group_left, …
}

type selector struct {
	metric   string
	matchers []matcher
}

type matcher struct{ label, op, value string }

var (
	promToken   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[0-9][0-9a-z.]*|[A-Za-z_:][A-Za-z0-9_:]*|=~|!~|!=|==|>=|<=|\S`)
	identifier  = regexp.MustCompile(`^[A-Za-z_:]`)
	groupWords  = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	promWords   = []string{"and", "or", "unless", "offset", "bool"}
	aggregators = []string{"sum", "avg", "min", "max", "count", "topk"}
)

// parseQuery finds the metrics, matchers and grouping labels of an expression.
func parseQuery(t testing.TB, expr string) query {
	t.Helper()
	var q query
	tokens := promToken.FindAllString(expr, -1)
	peek := func(i int) string {
		if i < len(tokens) {
			return tokens[i]
		}
		return ""
	}
	for i := 0; i < len(tokens); i++ {
		switch word := tokens[i]; {
		case slices.Contains(groupWords, word):
			if peek(i+1) != "(" {
				continue
			}
			for i += 2; i < len(tokens) && tokens[i] != ")"; i++ {
				if tokens[i] != "," {
					q.grouping = append(q.grouping, tokens[i])
				}
			}
		case !identifier.MatchString(word), slices.Contains(promWords, word):
		case peek(i+1) == "(", slices.Contains(aggregators, word): // a function
		default:
			s := selector{metric: word}
			if peek(i+1) == "{" {
				for i += 2; i < len(tokens) && tokens[i] != "}"; i++ {
					if tokens[i] == "," {
						continue
					}
					s.matchers = append(s.matchers, matcher{tokens[i], peek(i + 1), strings.Trim(peek(i+2), `"`)})
					i += 2
				}
			}
			q.selectors = append(q.selectors, s)
		}
	}
	if len(q.selectors) == 0 {
		t.Errorf("no metric in %s", expr)
	}
	return q
}

func TestParseQuery(t *testing.T) {
	q := parseQuery(t, `histogram_quantile(0.95, sum by (site, le) (rate(a_bucket{x=~"1|2", y!="}"}[5m]))) > 5
		and on (site) group_left (z) max without (i) (b offset 1d) / time() - count(c)`)
	want := query{
		selectors: []selector{{"a_bucket", []matcher{{"x", "=~", "1|2"}, {"y", "!=", "}"}}}, {metric: "b"}, {metric: "c"}},
		grouping:  []string{"site", "le", "site", "z", "i"},
	}
	if !slices.Equal(q.grouping, want.grouping) {
		t.Errorf("grouping labels %q, want %q", q.grouping, want.grouping)
	}
	if !slices.EqualFunc(q.selectors, want.selectors, func(a, b selector) bool {
		return a.metric == b.metric && slices.Equal(a.matchers, b.matchers)
	}) {
		t.Errorf("selectors %+v, want %+v", q.selectors, want.selectors)
	}
}
