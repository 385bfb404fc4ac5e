package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"zchatproxy/cmd/zchatproxy/demo"
)

func (a *app) demoCommand() *cobra.Command {
	options := demo.Options{Version: versionOf().Version}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all on this machine: a legacy site, a gateway, a widget and the proxy",
		Long: `Start a small legacy site, a stand-in gateway where you can log in, switch user and log out, a stand-in widget
that keeps Zendesk's published contract, and the proxy in between as it would really run. Nothing has to be
configured, and nothing but this machine is contacted. Open the address that is printed; Ctrl-C ends it.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&options.Listen, "listen", "", "address to open in the browser (default 127.0.0.1:8090, or a free port)")
	cmd.Flags().StringVar(&options.Widget, "widget", "classic", "classic, messaging or chat")
	complete(cmd, "widget", "classic", "messaging", "chat")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "show the log of all parts")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch options.Widget {
		case "classic", "messaging", "chat":
			return nil
		}
		return fmt.Errorf("--widget is %q; write classic, messaging or chat", options.Widget)
	}
	cmd.RunE = work(func(*cobra.Command, []string) error {
		if *verbose {
			options.Log = newLog(a.stderr, processVars{LogLevel: "debug"})
		}
		d, err := demo.Start(a.ctx, options)
		if err != nil {
			return err
		}
		paint := a.paint(a.stdout)
		fmt.Fprintf(a.stdout, `Open %s

Log in there as one of three people, open the old site in a second tab, and look at the chat in its corner: it
knows you, and follows when you switch person or log out. Not a line of the site was changed. Ctrl-C ends it.
`, paint.bold(d.URL()))
		return d.Wait()
	})
	return cmd
}
