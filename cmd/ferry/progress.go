package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ferry/service/control"
)

// progress shows what is still to be stored: a bar on a terminal, a line now and
// then in a pipe. Not safe for concurrent use.
type progress struct {
	out      io.Writer
	terminal bool
	// Every is how often a pipe gets a line.
	every time.Duration

	most    control.Pending // the most that was seen pending: what 100 % is
	started time.Time
	last    time.Time // when a pipe got its last line
	drawn   bool
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, terminal: isTerminal(out), every: 2 * time.Second, started: time.Now()}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

const barWidth = 30

// show is called with each line of the daemon's answer.
func (p *progress) show(line control.Progress) {
	pending := line.Pending
	p.most.Bytes = max(p.most.Bytes, pending.Bytes)
	p.most.Operations = max(p.most.Operations, pending.Operations)
	now := time.Now()
	if line.Note != "" {
		p.clear()
		fmt.Fprintln(p.out, line.Note)
	}
	if pending.Operations == 0 && line.Note != "" {
		return
	}
	if !p.terminal {
		// The first line comes late: most waits are over before.
		if now.Sub(p.started) >= p.every && now.Sub(p.last) >= p.every {
			p.last = now
			fmt.Fprintln(p.out, p.text(line))
		}
		return
	}
	done := p.fraction(pending)
	full := int(done * barWidth)
	fmt.Fprintf(p.out, "\r[%s%s] %3.0f %%  %s\x1b[K", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), done*100, p.text(line))
	p.drawn = true
}

// text says what is left.
func (p *progress) text(line control.Progress) string {
	text := fmt.Sprintf("%s in %d operations to go", formatSize(line.Pending.Bytes), line.Pending.Operations)
	if sent := p.most.Bytes - line.Pending.Bytes; sent > 0 {
		if took := time.Since(p.started).Seconds(); took > 0.5 {
			text += fmt.Sprintf(", %s/s", formatSize(int64(float64(sent)/took)))
		}
	}
	if line.State == control.StateOffline {
		text += ", the server does not answer"
	}
	return text
}

// fraction is what is done of the most that was pending: of bytes if there were
// any, else of operations.
func (p *progress) fraction(now control.Pending) float64 {
	switch {
	case p.most.Bytes > 0:
		return float64(p.most.Bytes-now.Bytes) / float64(p.most.Bytes)
	case p.most.Operations > 0:
		return float64(p.most.Operations-now.Operations) / float64(p.most.Operations)
	default:
		return 1
	}
}

// clear takes the bar off the terminal.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.drawn = false
	}
}
