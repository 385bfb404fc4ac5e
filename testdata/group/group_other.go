//go:build !unix

package group

import (
	"os"
	"os/exec"
)

func own(*exec.Cmd) {}

func send(cmd *exec.Cmd, _ os.Signal) error { return cmd.Process.Kill() }
