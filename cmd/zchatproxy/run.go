package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // the work failed
	exitUsage  = 2 // the command line or the configuration is wrong
)

// app is what the commands share: the outside world, which only main takes from package os.
type app struct {
	ctx            context.Context
	env            []string // NAME=value
	stdin          io.Reader
	stdout, stderr io.Writer
}

// failure is an error of a command's own work, with its exit code. Errors that are not one come from the command
// line's parser, before any work has begun.
type failure struct {
	code int
	err  error // nil: everything has been said already
}

func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// run executes one command line and returns the exit code. It reads nothing of the process but what it is given, and
// returns when the work is done or ctx has ended and open requests have been drained.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{ctx: ctx, env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var f *failure
	if !errors.As(err, &f) {
		fmt.Fprintf(stderr, "zchatproxy: %s\nRun '%s --help' to see what can be written.\n", lines(err), cmd.CommandPath())
		return exitUsage
	}
	var ce *configError
	switch {
	case errors.As(f.err, &ce):
		a.printProblems(stderr, ce.problems)
	case f.err != nil:
		fmt.Fprintf(stderr, "zchatproxy: %s\n", f.err)
	}
	return f.code
}

// lines is an error of the command line's parser without the blank lines it is set in.
func lines(err error) string {
	var kept []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.TrimSpace(line) != "" {
			kept = append(kept, strings.TrimRight(line, " \t"))
		}
	}
	return strings.Join(kept, "\n")
}

// work makes a cobra function of a command's own: what it returns is an error of its work.
func work(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd, args)
		var f *failure
		var ce *configError
		switch {
		case err == nil, errors.As(err, &f):
			return err
		case errors.As(err, &ce):
			return &failure{code: exitUsage, err: err}
		}
		return &failure{code: exitFailed, err: err}
	}
}

// usagef is an error of how a command was called that only its own work could find.
func usagef(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func (a *app) rootCommand() *cobra.Command {
	serve := a.serveCommand()
	root := &cobra.Command{
		Use:   "zchatproxy",
		Short: "Authenticated Zendesk chat for web sites that nobody can change",
		Long: `zchatproxy stands in front of a web site, passes everything on, and puts one script into each HTML page.
The script configures the Zendesk widget so that the visitor is authenticated, with a token that the proxy
signs from the identity headers of the single sign-on gateway in front of it.

It is configured by environment variables: see "zchatproxy help config". Without a command it serves.`,
		Example: `  # See it work, without any configuration
  zchatproxy demo

  # In front of your own site
  ZCHAT_UPSTREAM=http://127.0.0.1:8000 ZCHAT_SECRET_FILE=/run/secrets/zendesk zchatproxy

  # Is the configuration right? Would a visitor get an authenticated chat?
  zchatproxy check
  zchatproxy doctor --header 'X-Forwarded-User: 42' --header 'X-Forwarded-Email: ada@example.com'`,
		RunE:          serve.RunE,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionOf().Version,
	}
	root.SetVersionTemplate(versionOf().String() + "\n")
	root.AddCommand(serve, a.demoCommand(), a.checkCommand(), a.tokenCommand(), a.injectCommand(), a.doctorCommand(),
		a.versionCommand(), a.configHelp())
	return root
}

// formatFlag adds --format text|json.
func formatFlag(cmd *cobra.Command) *string {
	format := cmd.Flags().String("format", "text", "text for people, json for programs")
	check := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		if *format != "text" && *format != "json" {
			return fmt.Errorf("--format is %q; write text or json", *format)
		}
		if check != nil {
			return check(c, args)
		}
		return nil
	}
	complete(cmd, "format", "text", "json")
	return format
}

// complete offers words to the shell's completion of a flag.
func complete(cmd *cobra.Command, flag string, words ...string) {
	// It fails only for a flag that does not exist, which a test of the completion would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// getenv returns a variable of the environment that run was given, "" without it.
func (a *app) getenv(name string) string {
	for _, line := range a.env {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}

// terminal reports whether w is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns the columns of the terminal behind w; 0 where it is none.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// paint returns the colours for w: none unless it is a terminal that may have them (https://no-color.org).
func (a *app) paint(w io.Writer) palette {
	if !terminal(w) || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" {
		return palette{}
	}
	return palette{on: true}
}

// palette colours text with the terminal's own sixteen colours, which its owner has made readable.
type palette struct{ on bool }

func (p palette) escape(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p palette) bold(text string) string   { return p.escape("1", text) }
func (p palette) dim(text string) string    { return p.escape("2", text) }
func (p palette) red(text string) string    { return p.escape("31", text) }
func (p palette) green(text string) string  { return p.escape("32", text) }
func (p palette) yellow(text string) string { return p.escape("33", text) }

// printProblems writes the problems that keep a command from its work.
func (a *app) printProblems(w io.Writer, problems []finding) {
	paint, columns := a.paint(w), width(w)
	for _, p := range problems {
		io.WriteString(w, p.render(paint.red("✗"), paint, columns))
	}
	fmt.Fprintf(w, "%s\n", paint.dim(plural(len(problems), "problem")+" in the configuration; see 'zchatproxy help config'."))
}

// render sets a finding behind its sign, within the terminal's width, with the variable's name set off.
func (f finding) render(sign string, paint palette, columns int) string {
	room := 1 << 30
	if columns > 40 {
		room = columns - 2
	}
	text := strings.Join(wrap(f.Message, room), "\n  ")
	if rest, ok := strings.CutPrefix(text, f.Variable); ok && f.Variable != "" {
		text = paint.bold(f.Variable) + rest
	}
	return sign + " " + text + "\n"
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
