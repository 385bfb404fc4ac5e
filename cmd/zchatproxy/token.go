package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zchatproxy/signer"
)

// What a command cannot do without: see loadFor.
const (
	needsSecret = true
	needsNone   = false
)

// loadFor loads the configuration for a command that works with one site, asks nothing of its upstream, and may not
// need its secret.
func (a *app) loadFor(secret bool) (*configuration, error) {
	c := newLoader(a.env).load()
	problems := c.problems.without(func(f finding) bool {
		return f.missing && !(secret && strings.HasSuffix(f.Variable, "SECRET")) || f.passing && !secret
	})
	if len(problems) > 0 {
		return nil, &configError{problems}
	}
	return c, nil
}

// siteFlag adds --site.
func siteFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("site", "", "the site: its number (ZCHAT_SITES_<n>_) or one of its hosts; needed where there are several")
}

// pick returns the site that --site names.
func (c *configuration) pick(name string) (*site, error) {
	if name == "" {
		if len(c.sites) > 1 {
			return nil, usagef("there are %d sites; say which one with --site, by number or host", len(c.sites))
		}
		return c.sites[0], nil
	}
	host, _, problem := normalHost(name)
	for _, s := range c.sites {
		if n, err := strconv.Atoi(name); err == nil && (n == s.number || n == 0 && s.number < 0) {
			return s, nil
		}
		for _, h := range s.hosts {
			if problem == "" && h == host {
				return s, nil
			}
		}
	}
	return nil, usagef("--site %s: no site has this number or host; see 'zchatproxy check'", name)
}

// kindFlag adds --kind. The function it returns gives the kind for a site.
func kindFlag(cmd *cobra.Command) func(*site) (signer.Kind, error) {
	kind := cmd.Flags().String("kind", "", "chat, help-center or messaging; without it, what the site's widget needs")
	complete(cmd, "kind", "chat", "help-center", "messaging")
	return func(s *site) (signer.Kind, error) {
		switch *kind {
		case "":
			if s.vars.Widget == "messaging" {
				return signer.Messaging, nil
			}
			return signer.Chat, nil
		case "chat":
			return signer.Chat, nil
		case "help-center":
			return signer.HelpCenter, nil
		case "messaging":
			return signer.Messaging, nil
		}
		return 0, usagef("--kind is %q; write chat, help-center or messaging", *kind)
	}
}

// secretFor returns the secret that signs a kind of token.
func (s *site) secretFor(kind signer.Kind) (*signer.Secret, error) {
	if kind != signer.HelpCenter {
		return s.secret, nil
	}
	if s.helpCtr == nil {
		return nil, &configError{[]finding{{
			Variable: s.variable("HELP_CENTER_SECRET"),
			Message:  s.variable("HELP_CENTER_SECRET") + " is not set; help-center tokens are signed with it.",
		}}}
	}
	return s.helpCtr, nil
}

// tokenFlags adds --site and --kind. The function it returns loads the configuration, and gives the site that they choose,
// the kind, and the secret that signs it.
func (a *app) tokenFlags(cmd *cobra.Command) func() (*site, signer.Kind, *signer.Secret, error) {
	siteName, kindOf := siteFlag(cmd), kindFlag(cmd)
	return func() (*site, signer.Kind, *signer.Secret, error) {
		c, err := a.loadFor(needsSecret)
		if err != nil {
			return nil, 0, nil, err
		}
		s, err := c.pick(*siteName)
		if err != nil {
			return nil, 0, nil, err
		}
		kind, err := kindOf(s)
		if err != nil {
			return nil, 0, nil, err
		}
		secret, err := s.secretFor(kind)
		return s, kind, secret, err
	}
}

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Sign one token with the configured secret and print it",
		Long: `Sign one token with the configured secret and print it on standard output, as the proxy would hand it to the
visitor's browser. The id is what the gateway sends: ZCHAT_EXTERNAL_ID_PREFIX is put before it.`,
		Example: `  zchatproxy token --id 42 --email ada@example.com --name 'Ada Lovelace' --decode
  zchatproxy token verify "$TOKEN"`,
		Args: cobra.NoArgs,
	}
	var p signer.Person
	flags := cmd.Flags()
	flags.StringVar(&p.ID, "id", "", "the visitor's id")
	flags.StringVar(&p.Email, "email", "", "the visitor's e-mail address; classic and chat tokens need one")
	flags.StringVar(&p.Name, "name", "", "the visitor's name; without it, the part of the address before the @, else the id")
	flags.BoolVar(&p.EmailVerified, "email-verified", false, "messaging: the address is verified (as ZCHAT_EMAIL_VERIFIED=true says of all)")
	decode := flags.Bool("decode", false, "print header and claims as JSON on standard error")
	choose := a.tokenFlags(cmd)
	cmd.RunE = work(func(*cobra.Command, []string) error {
		s, kind, secret, err := choose()
		if err != nil {
			return err
		}
		return a.printToken(s, kind, secret, p, *decode)
	})
	cmd.AddCommand(a.verifyCommand())
	return cmd
}

func (a *app) printToken(s *site, kind signer.Kind, secret *signer.Secret, p signer.Person, decode bool) error {
	sign, err := signer.New(signer.Config{Kind: kind, Secret: secret, KeyID: keyIDFor(s, kind), TTL: s.vars.TokenTTL, OmitEmail: s.vars.OmitEmail})
	if err != nil {
		return err
	}
	if p.ID != "" {
		p.ID = s.vars.ExternalIDPrefix + p.ID
	}
	p.EmailVerified = p.EmailVerified || s.vars.EmailVerified
	token, err := sign.Sign(p)
	if err != nil {
		return explainSign(err)
	}
	if decode {
		header, claims, _ := signer.Inspect(token, kind, secret, time.Now())
		fmt.Fprintf(a.stderr, "%s\n%s\n", indented(header), indented(claims))
	}
	_, err = fmt.Fprintln(a.stdout, token)
	return err
}

// keyIDFor is the kid of a token: the second secret of the Web Widget has none.
func keyIDFor(s *site, kind signer.Kind) string {
	if kind == signer.HelpCenter {
		return ""
	}
	return s.vars.KeyID
}

// explainSign says which flag is missing.
func explainSign(err error) error {
	switch {
	case errors.Is(err, signer.ErrNoID):
		return usagef("%v: give one with --id", err)
	case errors.Is(err, signer.ErrNoEmail):
		return usagef("%v: give one with --email", err)
	case errors.Is(err, signer.ErrBadEmail):
		return usagef("--email: %v", err)
	}
	return err
}

// indented sets JSON in lines.
func indented(raw json.RawMessage) string {
	if raw == nil {
		return "(not readable)"
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return string(raw)
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return string(raw)
	}
	return string(text)
}

// verification is the form of token verify --format json.
type verification struct {
	Valid    bool            `json:"valid"`
	Header   json.RawMessage `json:"header"`
	Claims   json.RawMessage `json:"claims"`
	Problems []tokenProblem  `json:"problems"`
}

type tokenProblem struct {
	Check  string `json:"check"`  // the claim or header field, or what else was looked at
	Detail string `json:"detail"` // what is wrong and what to do
}

func (a *app) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [TOKEN|-]",
		Short: "Judge a token as Zendesk and the strictest verifiers would",
		Long: `Print a token's header and claims, and everything for which Zendesk, or one of the libraries that verify its
tokens, would reject it. The token is the argument, or is read from standard input.

Exit code 0: all accept it. Exit code 1: it has problems.`,
		Example: `  curl -s -H 'X-Forwarded-User: 42' -H 'X-Forwarded-Email: ada@example.com' \
    http://127.0.0.1:8080/__zchat/jwt | zchatproxy token verify`,
		Args: cobra.MaximumNArgs(1),
	}
	format, choose := formatFlag(cmd), a.tokenFlags(cmd)
	cmd.RunE = work(func(_ *cobra.Command, args []string) error {
		token, err := a.tokenArgument(args)
		if err != nil {
			return err
		}
		_, kind, secret, err := choose()
		if err != nil {
			return err
		}
		return a.printVerification(verify(token, kind, secret), *format)
	})
	return cmd
}

func verify(token string, kind signer.Kind, secret *signer.Secret) verification {
	header, claims, problems := signer.Inspect(token, kind, secret, time.Now())
	v := verification{Valid: len(problems) == 0, Header: header, Claims: claims, Problems: []tokenProblem{}}
	for _, p := range problems {
		v.Problems = append(v.Problems, tokenProblem(p))
	}
	return v
}

// tokenArgument returns the token to verify. Only the newline that a shell's tools leave at the end of their output is
// cut: any other white space is a mistake that verify is there to find.
func (a *app) tokenArgument(args []string) (string, error) {
	if len(args) == 1 && args[0] != "-" {
		return args[0], nil
	}
	data, err := io.ReadAll(io.LimitReader(a.stdin, 1<<20))
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

func (a *app) printVerification(v verification, format string) error {
	if format == "json" {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		paint := a.paint(a.stdout)
		fmt.Fprintf(a.stdout, "%s\n%s\n", indented(v.Header), indented(v.Claims))
		for _, p := range v.Problems {
			fmt.Fprintf(a.stdout, "%s %s: %s\n", paint.red("✗"), paint.bold(p.Check), p.Detail)
		}
		if v.Valid {
			fmt.Fprintf(a.stdout, "%s every verifier accepts it\n", paint.green("✓"))
		}
	}
	if !v.Valid {
		return &failure{code: exitFailed}
	}
	return nil
}
