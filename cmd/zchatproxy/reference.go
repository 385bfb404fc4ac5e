package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// configHelp is the help topic of the environment variables.
func (a *app) configHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "The environment variables that configure zchatproxy (help topic)",
		Long:  textReference(),
	}
}

const configIntro = `zchatproxy is configured by environment variables. White space around values is cut, and an empty value counts
as not set. An unknown variable that starts with ZCHAT_ is an error.

Durations have a unit: 500ms, 30s, 2m. Secrets and settings can stand in a file instead: write its name into the
variable with _FILE at the end. Such a file is read again within 5 seconds of a change. Setting both is an error.`

const siteIntro = `Each of these configures the only site, or the defaults of all sites. Written as ZCHAT_SITES_0_HOSTS,
ZCHAT_SITES_1_HOSTS and so on, they configure one site each, and what a site leaves out it takes from the plain form;
an empty value of a site stands for the default instead. The numbers may have gaps, and SETTINGS are replaced, not
merged.`

// textReference is the reference for a terminal.
func textReference() string {
	var b strings.Builder
	b.WriteString(configIntro + "\n\nThe process:\n\n")
	textRows(&b, variablesOf(processVars{}))
	b.WriteString("\nSites:\n\n" + siteIntro + "\n\n")
	textRows(&b, variablesOf(siteVars{}))
	return b.String()
}

func textRows(b *strings.Builder, vars []variable) {
	for _, v := range vars {
		if v.FileOf != "" {
			continue
		}
		name := prefix + v.Key
		if v.FileForm != "" {
			name += ", " + prefix + v.FileForm
		}
		fmt.Fprintf(b, "  %s%s\n", name, inBrackets(v))
		for _, line := range wrap(v.Help, 100) {
			b.WriteString("      " + line + "\n")
		}
	}
}

func inBrackets(v variable) string {
	switch {
	case v.Required:
		return " (required)"
	case v.Default != "":
		return " (" + v.Default + ")"
	}
	return ""
}

// wrap breaks a text into lines of at most n characters.
func wrap(text string, n int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > n {
			out = append(out, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(out, line)
}

// markdownReference is the reference as CONFIGURATION.md has it.
func markdownReference() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n<!-- Generated from the struct tags in variables.go: go test ./cmd/zchatproxy -run Reference -update -->\n\n")
	b.WriteString(configIntro + "\n\n## The process\n\n")
	markdownRows(&b, variablesOf(processVars{}))
	b.WriteString("\n## Sites\n\n" + siteIntro + "\n\n")
	markdownRows(&b, variablesOf(siteVars{}))
	return b.String()
}

func markdownRows(b *strings.Builder, vars []variable) {
	b.WriteString("| variable | default | meaning |\n| --- | --- | --- |\n")
	for _, v := range vars {
		if v.FileOf != "" {
			continue
		}
		name := "`" + prefix + v.Key + "`"
		if v.FileForm != "" {
			name += ", `" + prefix + v.FileForm + "`"
		}
		value := ""
		if v.Required {
			value = "required"
		} else if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(v.Help, "|", `\|`))
	}
}
