//go:build !unix

package sqldbtest

import (
	"os"
	"os/exec"
)

func unprivileged(*exec.Cmd, string) error { return nil }

func interrupt(p *os.Process) error { return p.Kill() }
