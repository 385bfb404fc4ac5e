package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the release build: -ldflags "-X main.version=v1.2.3 -X main.commit=0123456 -X main.date=2026-01-31".
// Without them the module's build information stands in.
var version, commit, date string

// build is what a binary knows about itself.
type build struct {
	Version  string `json:"version"` // "devel" where nothing says more
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from files that were not committed
	Date     string `json:"date,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionOf() build {
	b := build{Version: version, Commit: commit, Date: date, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && b.Commit == "":
			b.Commit = s.Value
		case s.Key == "vcs.time" && b.Date == "":
			b.Date = s.Value
		case s.Key == "vcs.modified":
			b.Modified = s.Value == "true" && commit == ""
		}
	}
	return b
}

func (b build) String() string {
	text := "zchatproxy " + b.Version
	text += ", commit " + cmp.Or(b.Commit[:min(12, len(b.Commit))], "unknown")
	if b.Modified {
		text += " with changes"
	}
	if b.Date != "" {
		text += ", " + b.Date
	}
	return text + ", " + b.Go + ", " + b.Platform
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cobra.NoArgs,
	}
	format := formatFlag(cmd)
	cmd.RunE = work(func(*cobra.Command, []string) error {
		if *format == "json" {
			return a.printJSON(versionOf())
		}
		_, err := fmt.Fprintln(a.stdout, versionOf())
		return err
	})
	return cmd
}

// printJSON writes a value to standard output as people can read it too.
func (a *app) printJSON(value any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}
