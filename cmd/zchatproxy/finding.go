package main

import (
	"fmt"
	"slices"
	"strings"
)

// finding is one sentence or two about the configuration: what is wrong, and what to write instead.
type finding struct {
	Variable string `json:"variable,omitempty"` // full name; "" where no single variable is to blame
	Message  string `json:"message"`            // a whole sentence, with the variable's name in it

	// missing marks a required variable that was not set: commands that do without it pass over the finding.
	missing bool
	// passing marks what may come right while the proxy runs (a secret's file that is not there yet). The proxy
	// starts all the same, so that the site stays up, and answers 503 for tokens; check calls it a problem.
	passing bool
	// stops marks a warning about something that the proxy can run with, but that lets no authenticated chat come about.
	stops bool
	// site is the number of the site that a warning is about; -1 for the process and for the plain form.
	site int
}

// findings collects what there is to say. The same sentence is said once, however many sites inherit its cause.
type findings struct {
	list []finding
	seen map[string]bool
}

func (f *findings) add(n finding) {
	if f.seen == nil {
		f.seen = make(map[string]bool)
	}
	if f.seen[n.Message] {
		return
	}
	f.seen[n.Message] = true
	f.list = append(f.list, n)
}

// addf adds the sentence "<variable> <format…>".
func (f *findings) addf(variable, format string, args ...any) {
	f.add(finding{Variable: variable, Message: variable + " " + fmt.Sprintf(format, args...), site: siteOf(variable)})
}

// stopf adds such a sentence as a warning about something that lets no authenticated chat come about.
func (f *findings) stopf(variable, format string, args ...any) {
	f.add(finding{Variable: variable, Message: variable + " " + fmt.Sprintf(format, args...), site: siteOf(variable), stops: true})
}

// siteOf returns the number in a variable's name, -1 without one.
func siteOf(variable string) int {
	if n, _, ok := siteVariable(strings.TrimPrefix(variable, prefix)); ok {
		return n
	}
	return -1
}

// without returns the findings for which drop is false.
func (f *findings) without(drop func(finding) bool) []finding {
	return slices.DeleteFunc(slices.Clone(f.list), drop)
}

// configError is a configuration that cannot be used: exit code 2.
type configError struct{ problems []finding }

func (e *configError) Error() string {
	lines := make([]string, len(e.problems))
	for i, p := range e.problems {
		lines[i] = p.Message
	}
	return strings.Join(lines, "\n")
}
