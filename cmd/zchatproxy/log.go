package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

// newLog returns the process's log: lines for people on a terminal, JSON elsewhere, unless the configuration says.
func newLog(w io.Writer, p processVars) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevel(p.LogLevel)}
	format := p.LogFormat
	if format == "" && terminal(w) {
		format = "text"
		options.ReplaceAttr = shortTime // somebody is watching, who knows what day it is
	}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func logLevel(name string) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo
	}
	return level
}

func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, a.Value.Time().Format(time.TimeOnly))
	}
	return a
}

// serverLog takes what net/http has to say about connections. Most of it is the visitor's doing (a scanner that speaks
// no TLS, a connection cut), so it is for debugging; and it names addresses, which are personal data.
func serverLog(to *slog.Logger) *log.Logger { return log.New(serverLogWriter{to}, "", 0) }

// takeStandardLog makes a line of the process's log out of what net/http's client side has to say: it has no other log
// than the standard one.
func takeStandardLog(to *slog.Logger) {
	log.SetFlags(0)
	log.SetOutput(serverLogWriter{to})
}

func withoutAddresses(text string) string { return address.ReplaceAllString(text, "a visitor") }

type serverLogWriter struct{ to *slog.Logger }

var address = regexp.MustCompile(`(\[[0-9a-fA-F:.%a-z]+\]|\b\d{1,3}(?:\.\d{1,3}){3}):\d+\b`)

// quotation is a Go string literal. What net/http quotes has been sent by a visitor, or is a piece of an answer to one.
var quotation = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func (w serverLogWriter) Write(line []byte) (int, error) {
	text := quotation.ReplaceAllString(strings.TrimSpace(withoutAddresses(string(line))), `"…"`)
	level := slog.LevelDebug
	switch {
	case strings.Contains(text, "panic serving"):
		level = slog.LevelError
	case strings.Contains(text, "Accept error"), strings.Contains(text, "superfluous"), strings.Contains(text, "too many open files"):
		level = slog.LevelWarn
	}
	w.to.Log(context.Background(), level, text, "from", "net/http")
	return len(line), nil
}
