// Package group starts programs that start others, and ends them all, for tests of several packages. It stands under
// testdata so that no build and no wildcard of the go command ever takes it into what ships.
package group

import (
	"os"
	"os/exec"
)

// New makes a command, before it starts, the head of a group to which all belong that it starts.
func New(cmd *exec.Cmd) { own(cmd) }

// Signal sends a signal to all of a group. A system without groups gives it to the head alone, and one without signals
// ends that.
func Signal(cmd *exec.Cmd, s os.Signal) error { return send(cmd, s) }
