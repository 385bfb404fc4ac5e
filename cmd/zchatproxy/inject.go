package main

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"zchatproxy/inject"
	"zchatproxy/inject/snippet"
	"zchatproxy/proxy"
)

// injectOptions say what the response's header would.
type injectOptions struct {
	contentType string
	coding      string
	diff        bool
}

func (a *app) injectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inject [FILE]",
		Short: "Rewrite one HTML document just as the proxy would",
		Long: `Rewrite one HTML document from FILE, or from standard input, to standard output, just as the proxy would, and say
on standard error where the script went, or why it went nowhere (the document is then printed as it came).

It needs no configuration; with one, the site's widget, key and settings are used.`,
		Example: `  zchatproxy inject index.html > index.new.html
  curl -s https://www.example.com/ | zchatproxy inject --diff
  zchatproxy inject --content-type 'application/xhtml+xml; charset=iso-8859-1' old.xhtml`,
		Args: cobra.MaximumNArgs(1),
	}
	var o injectOptions
	flags := cmd.Flags()
	flags.StringVar(&o.contentType, "content-type", "", "the Content-Type the document is served with (text/html; application/xhtml+xml for *.xhtml)")
	flags.StringVar(&o.coding, "content-encoding", "", "the coding the document is in: gzip, deflate, br or zstd")
	flags.BoolVar(&o.diff, "diff", false, "print the change alone, as a unified diff")
	complete(cmd, "content-type", "text/html", "application/xhtml+xml")
	complete(cmd, "content-encoding", "gzip", "deflate", "br", "zstd")
	siteName := siteFlag(cmd)
	cmd.RunE = work(func(_ *cobra.Command, args []string) error {
		c, err := a.loadFor(needsNone)
		if err != nil {
			return err
		}
		s, err := c.pick(*siteName)
		if err != nil {
			return err
		}
		element, err := scriptFor(c, s)
		if err != nil {
			return err
		}
		body, name, err := a.openInput(args)
		if err != nil {
			return err
		}
		defer body.Close()
		return a.inject(body, name, element, o)
	})
	return cmd
}

// scriptFor renders the element that the proxy puts into the pages of a site.
func scriptFor(c *configuration, s *site) ([]byte, error) {
	script, err := snippet.Render(snippet.Config{
		Widget: s.vars.Widget, Key: s.vars.WidgetKey, Settings: s.settings, RoutePrefix: c.process.RoutePrefix,
		HelpCenter: s.helpCtr != nil, Late: s.vars.Identity == "upstream",
	})
	if err != nil {
		return nil, fmt.Errorf("rendering the script: %w", err)
	}
	return script.Element(""), nil
}

// openInput opens the document. Its name is for messages and the diff.
func (a *app) openInput(args []string) (io.ReadCloser, string, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(a.stdin), "stdin", nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, "", err
	}
	return f, args[0], nil
}

func (a *app) inject(body io.ReadCloser, name string, element []byte, o injectOptions) error {
	contentType := o.contentType
	if contentType == "" {
		contentType = "text/html"
		switch strings.ToLower(filepath.Ext(name)) {
		case ".xhtml", ".xht":
			contentType = "application/xhtml+xml"
		}
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return usagef("--content-type: %v", err)
	}
	if media != "text/html" && media != "application/xhtml+xml" {
		fmt.Fprintf(a.stderr, "not injected: not-html: %s is passed on as it is; only text/html and application/xhtml+xml are rewritten\n", media)
		if o.diff {
			return nil
		}
		_, err := io.Copy(a.stdout, body)
		return err
	}
	var original bytes.Buffer
	if o.diff {
		body = readCloser{io.TeeReader(body, &original), body}
	}
	doc := inject.Open(inject.Source{
		Body: body, XHTML: media == "application/xhtml+xml", Charset: parameters["charset"], Coding: o.coding,
	})
	place, err := doc.Locate()
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	a.sayPlace(place)
	out := doc.Insert(inject.NewElement(element)) // passes the document on where there is no place
	defer out.Close()
	if !o.diff {
		_, err = io.Copy(a.stdout, out)
		return err
	}
	var changed bytes.Buffer
	if _, err := io.Copy(&changed, out); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	_, err = a.stdout.Write(unifiedDiff(name, original.Bytes(), changed.Bytes()))
	return err
}

type readCloser struct {
	io.Reader
	io.Closer
}

// sayPlace writes one line about what became of the document.
func (a *app) sayPlace(p inject.Place) {
	if p.Reason != "" {
		fmt.Fprintf(a.stderr, "not injected: %s: %s\n", p.Reason, proxy.ReasonText(string(p.Reason)))
		return
	}
	fmt.Fprintf(a.stderr, "injected at byte %d, before %s\n", p.Offset, p.Before)
	if p.ContentTypeCharset != "" {
		fmt.Fprintf(a.stderr, "the page's <meta charset> moves out of the bytes that browsers look through: Content-Type gains charset=%s\n", p.ContentTypeCharset)
	}
}
