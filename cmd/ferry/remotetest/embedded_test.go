// Package remotetest holds the contract of syncer.Remote against the embedded
// store: syncer and service do not know each other, so their tests meet here.
package remotetest

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"ferry/service/embedstore"
	"ferry/syncer"
	"ferry/syncer/s3remote"
	"ferry/syncer/storetest"
)

// TestMain makes this binary the store's child when it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == embedstore.Subcommand {
		if err := embedstore.ServeMain(context.Background(), os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestEmbeddedContract runs the contract of syncer.Remote on the embedded store.
func TestEmbeddedContract(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server; -short")
	}
	c, err := embedstore.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	var killed int64
	server := &storetest.Server{
		Endpoint: c.Endpoint, AccessKey: c.AccessKey, SecretKey: c.SecretKey,
		Kill: func() {
			killed = c.Restarts() + 1
			if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		Start: func() { // its supervisor does it
			for deadline := time.Now().Add(10 * time.Second); c.Restarts() < killed || c.PID() == 0; {
				if time.Now().After(deadline) {
					t.Fatal("the store does not come back")
				}
				time.Sleep(10 * time.Millisecond)
			}
		},
	}
	storetest.TestRemote(t, storetest.Kit{
		Server: server, KeepsHeaders: true, ManglesControls: true,
		Connect: func(t testing.TB, target storetest.Target) syncer.Remote {
			r, err := s3remote.New(s3remote.Options{
				Endpoint: target.Endpoint, Bucket: target.Bucket, Prefix: target.Prefix,
				Credentials:   s3remote.StaticCredentials(target.AccessKey, target.SecretKey, ""),
				AnswerTimeout: target.Patience, StallTimeout: target.Patience,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(r.Close)
			caps, err := r.Probe(t.Context())
			t.Logf("%+v, %v", caps, err)
			return r
		},
	})
}
