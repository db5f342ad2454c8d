package main

import "context"

// startStore starts the embedded store if it is asked for.
func (m *mount) startStore(context.Context) error {
	if m.c.Embedded == "" {
		return nil
	}
	return refuse(exitUsage, "give a BUCKET and --endpoint", "--embedded is not built in")
}
