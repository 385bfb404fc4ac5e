package main

import (
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory keeps the garbage of a container within its memory. Left alone, the collector lets the heap grow to twice
// what is in use, whether or not there is so much: ten thousand idle connections then take 460 MiB, where 250 MiB do,
// and the kernel kills the process. (For processors Go does the like by itself.) A tenth is left to what is not the
// collector's: socket buffers and the program itself. GOMEMLIMIT is the operator's word, and counts.
func (a *app) limitMemory(log *slog.Logger) {
	if a.getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit := memoryOfGroup(os.DirFS("/")); limit > 0 {
		limit -= limit / 10
		debug.SetMemoryLimit(limit)
		log.Info("memory limited", "bytes", limit)
	}
}

// memoryOfGroup returns how many bytes of memory the control groups that this process is in may use, 0 without a limit.
// The smallest counts, of the process's own group and those around it. Inside a container the groups may have other
// paths than the kernel says; then the limit stands at the top.
func memoryOfGroup(root fs.FS) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path, where version 2 has neither number nor names
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		top, file := "sys/fs/cgroup", "memory.max"
		if parts[1] == "memory" {
			top, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		for group := path.Join("/", parts[2]); ; group = path.Dir(group) {
			text, err := fs.ReadFile(root, path.Join(top, group, file))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				least = min(least, n)
			}
			if group == "/" {
				break
			}
		}
	}
	if least >= 1<<62 { // "max", or what version 1 writes instead
		return 0
	}
	return least
}
