package main

import (
	"context"

	"github.com/spf13/pflag"

	"ferry/service/embedstore"
	"ferry/syncer/s3remote"
)

// startStore starts the embedded store if it is asked for. It ends after
// everything that speaks to it.
func (m *mount) startStore(ctx context.Context) error {
	if m.c.Embedded == "" {
		return nil
	}
	store, err := embedstore.StartWith(ctx, embedstore.Options{Dir: m.c.Embedded, Log: m.log.With("part", "store")})
	if err != nil {
		return coded(exitEndpoint, err)
	}
	m.onClose(func() error { store.Stop(); return nil })
	m.endpoint = store.Endpoint
	m.creds = s3remote.StaticCredentials(store.AccessKey, store.SecretKey, "")
	return nil
}

// storeCommand is the embedded store's own process: ferry starts itself so.
func storeCommand() command {
	return command{
		name: embedstore.Subcommand, hidden: true, about: "The embedded store",
		setup: func(*pflag.FlagSet) func(context.Context, *terminal, []string) error {
			return func(ctx context.Context, _ *terminal, args []string) error { return embedstore.ServeMain(ctx, args) }
		},
	}
}
