package proxy

import (
	"fmt"
	"html/template"
	"io"
	"strings"
)

// statusPlace is where the page has what browsers without JavaScript show.
const statusPlace = "<noscript></noscript>"

// plainStatus is the status of the moment in plain tables, for such browsers and for curl.
var plainStatus = template.Must(template.New("").Funcs(template.FuncMap{
	"sum": func(rows []tally) (n int) {
		for _, r := range rows {
			n += r.Count
		}
		return n
	},
	"total": func(requests count) (n int) {
		for _, c := range requests {
			n += c
		}
		return n
	},
	"milliseconds": func(seconds float64) string {
		if seconds == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f ms", seconds*1000)
	},
}).Parse(`<noscript>
<section><p>Version {{.Version}}, {{if .Ready}}ready{{else}}not ready{{end}}, trusts {{or .Trusted "no peer"}}, routes under {{.Prefix}}.
These are the counts of this moment; with JavaScript they would follow.</p>
{{with .Reasons}}<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>{{end}}</section>
{{range .Sites}}<section>
<h2>{{if eq .Name "*"}}Every host{{else}}{{.Name}}{{end}}</h2>
<table>
<tr><td class="n">{{total .Requests}}</td><td>requests</td></tr>
<tr><td class="n">{{.Injected}}</td><td>pages with the script</td></tr>
<tr><td class="n">{{sum .Skipped}}</td><td>pages without</td></tr>
<tr><td class="n">{{.Signed}}</td><td>tokens signed</td></tr>
<tr><td class="n">{{sum .Refused}}</td><td>tokens refused</td></tr>
<tr><td class="n">{{sum .Errors}}</td><td>upstream errors</td></tr>
<tr><td class="n">{{milliseconds .P50}}</td><td>upstream, median</td></tr>
<tr><td class="n">{{milliseconds .P95}}</td><td>upstream, 95 of 100</td></tr>
</table>
{{template "tallies" .Skipped}}{{template "tallies" .Refused}}{{template "tallies" .Errors}}
<table>{{range .Settings}}<tr><th scope="row">{{index . 0}}</th><td>{{index . 1}}</td></tr>
{{end}}</table>
</section>
{{end}}</noscript>
{{define "tallies"}}{{with .}}<table>{{range .}}<tr><td class="n">{{.Count}}</td><td><b>{{.Label}}</b> {{.Text}}</td></tr>
{{end}}</table>
{{end}}{{end}}`))

// writeStatusPage writes the page, with the status of the moment in it.
func writeStatusPage(w io.Writer, s status) error {
	before, after, _ := strings.Cut(statusPage, statusPlace)
	if _, err := io.WriteString(w, before); err != nil {
		return err
	}
	if err := plainStatus.Execute(w, s); err != nil {
		return err
	}
	_, err := io.WriteString(w, after)
	return err
}
