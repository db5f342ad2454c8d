package fusefs

import (
	"log/slog"
	"os"
	"strings"
)

// kernelReadAhead is how far the kernel reads ahead of a program, in KiB. Its own
// default of 128 makes two requests of what can be one; much more would make every
// page fault of a mapped file fetch as much.
const kernelReadAhead = "256"

// tuneReadAhead sets the kernel's read-ahead of the mount. Only root may; without
// it reading is a little slower.
func tuneReadAhead(mountpoint string, log *slog.Logger) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	device := ""
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && unescape(f[4]) == mountpoint {
			device = f[2]
		}
	}
	if device == "" {
		return
	}
	if err := os.WriteFile("/sys/class/bdi/"+device+"/read_ahead_kb", []byte(kernelReadAhead), 0); err != nil {
		log.Debug("the kernel's read-ahead stays as it is", "error", err)
	}
}
