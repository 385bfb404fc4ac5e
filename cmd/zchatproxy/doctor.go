package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{Use: "doctor [URL]", Short: "Find out what would stop an authenticated chat", Args: cobra.MaximumNArgs(1),
		RunE: work(func(*cobra.Command, []string) error { return errors.New("under construction") })}
}
