package main

import (
	"context"
	"fmt"

	"ferry"
	"ferry/service/control"
)

// doctorPages bounds how much of a bucket is listed in the search for keys that
// cannot be paths.
const doctorPages = 100

// Doctor returns what is and is not as it should be.
func (d *daemon) Doctor(ctx context.Context) (control.Report, error) {
	var r report
	state, reason := d.stateNow()
	if reason == "" {
		r.ok("mount", fmt.Sprintf("%s at %s is %s", d.config.Given, d.config.Mountpoint, state))
	} else {
		r.add(control.LevelWarning, "mount", fmt.Sprintf("%s at %s is %s: %s", d.config.Given, d.config.Mountpoint, state, reason))
	}
	r.stateDir(d.state.path, d.state.unsafe)
	if err := d.check(); err != nil {
		r.add(control.LevelError, "journal", sentence(err))
	} else {
		r.ok("journal", "every invariant holds")
	}
	r.capabilities(d.caps())
	d.mu.Lock()
	for _, w := range d.warnings {
		r.add(control.LevelWarning, "promises", w)
	}
	d.mu.Unlock()
	r.keys(ctx, d.health)
	return control.Report{Findings: r.findings}, nil
}

// report gathers findings.
type report struct{ findings []control.Finding }

func (r *report) add(level, topic, text string) {
	r.findings = append(r.findings, control.Finding{Topic: topic, Level: level, Text: text})
}

func (r *report) ok(topic, text string) { r.add(control.LevelOK, topic, text) }

func (r *report) stateDir(dir, unsafe string) {
	if unsafe != "" {
		r.add(control.LevelWarning, "state directory", unsafe)
	}
	free, err := freeBytes(dir)
	switch {
	case err != nil:
		r.add(control.LevelError, "state directory", sentence(err))
	case free < stagingFloor:
		r.add(control.LevelWarning, "state directory", fmt.Sprintf("%s has %s free: writers will soon get ENOSPC", dir, formatSize(free)))
	default:
		r.ok("state directory", fmt.Sprintf("%s, %s free", dir, formatSize(free)))
	}
}

func (r *report) capabilities(c ferry.Capabilities) {
	server := c.Server
	if server == "" {
		server = "a server that does not name itself"
	}
	r.ok("server", server)
	for _, p := range []struct {
		name string
		has  bool
	}{
		{"conditional put (If-Match, If-None-Match)", c.ConditionalPut},
		{"conditional completion of multipart uploads", c.ConditionalFinish},
		{"copy of parts at the server", c.CopyPart},
		{"ETag is the MD5 of what was sent", c.ETagIsMD5},
		{"listings with metadata", c.ListsMetadata},
		{"notifications of changes", c.Notifications},
		{"bulk delete", c.BulkDelete},
	} {
		if p.has {
			r.ok("server", "yes: "+p.name)
		} else {
			r.add(control.LevelNote, "server", "no: "+p.name)
		}
	}
	for _, s := range c.Shortfalls() {
		r.add(control.LevelWarning, "promises", s)
	}
}

// lister is what keys needs of a remote.
type lister interface {
	List(ctx context.Context, req ferry.ListRequest) (ferry.Page, error)
}

// keys looks for keys that the tree cannot show.
func (r *report) keys(ctx context.Context, remote lister) {
	var req ferry.ListRequest
	var seen, bad int
	files := map[ferry.Path]bool{} // at most doctorPages × 1000; false once it was told
	for page := 0; ; page++ {
		p, err := remote.List(ctx, req)
		if err != nil {
			r.add(control.LevelWarning, "keys", "the bucket cannot be listed: "+sentence(err))
			return
		}
		for _, o := range p.Objects {
			seen++
			why := o.Key.Check()
			if why == nil {
				why = besideFile(files, o.Key)
			}
			if why != nil {
				if bad++; bad <= 100 {
					r.add(control.LevelWarning, "keys", "not shown in the mount as it is: "+sentence(why))
				}
			}
		}
		if !p.More || page+1 == doctorPages {
			text := fmt.Sprintf("%d objects looked at, %d cannot be paths", seen, bad)
			if p.More {
				text += "; there are more objects, which were not looked at"
			}
			r.add(map[bool]string{true: control.LevelOK, false: control.LevelNote}[bad == 0], "keys", text)
			return
		}
		req.After = p.Last
	}
}

// besideFile notes key and returns an error if a file has the name of a folder
// that it lies in; one error for each such file.
func besideFile(files map[ferry.Path]bool, key ferry.ObjectKey) error {
	dir := key.Path()
	if !key.IsMarker() {
		files[dir] = true
		dir, _ = dir.Split()
	}
	for ; dir != ""; dir, _ = dir.Split() {
		if files[dir] {
			files[dir] = false
			return &ferry.Error{Key: string(dir), Msg: "a file and a folder have this name"}
		}
	}
	return nil
}
