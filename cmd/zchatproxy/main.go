// Command zchatproxy stands in front of a web site that nobody can change, and gives its visitors an authenticated
// Zendesk chat: it puts one script into each HTML page and signs the tokens that script asks for, from the identity
// headers of the single sign-on gateway in front of it.
//
// See "zchatproxy help" for the commands and "zchatproxy help config" for the environment variables.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// The second signal of somebody who does not want to wait for the drain ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
