package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"ferry"
	"ferry/syncer/s3remote"
)

// Settings that the journal keeps for the wiring.
const (
	settingCaps   = "capabilities" // what the last probe found, as JSON
	settingDigest = "digest-key"   // hex
	settingStarts = "starts"       // of daemons on this state directory
)

// askPatience is how long the first mount waits for a server that is starting;
// offlinePatience is how long a later one does before it mounts offline.
const (
	askPatience     = 5 * time.Second
	offlinePatience = 3 * time.Second
	probeTimeout    = 60 * time.Second
	probeTries      = 4
)

// remoteOptions are the mount's options in the words of s3remote.
func remoteOptions(c *mountConfig, endpoint string, creds *s3remote.Credentials, digest [32]byte) s3remote.Options {
	return s3remote.Options{
		Endpoint: endpoint, Region: c.Region, Bucket: c.Bucket, Prefix: c.Prefix, Credentials: creds,
		UserAgent: "ferry/" + version, SSE: sseMode(c.SSE), DigestKey: digest, UploadRate: c.UploadRate,
	}
}

func sseMode(mode string) string {
	if key, ok := strings.CutPrefix(mode, "kms:"); ok {
		return "aws:kms:" + key
	}
	if mode == "s3" {
		return "AES256"
	}
	return mode
}

// defaultEndpoint is Amazon's.
func defaultEndpoint(c *mountConfig) string {
	switch {
	case c.Endpoint != "":
		return c.Endpoint
	case c.Region != "":
		return "https://s3." + c.Region + ".amazonaws.com"
	default:
		return "https://s3.amazonaws.com"
	}
}

// connect asks for the bucket and probes the server. A server that does not
// answer is no error if the bucket was mounted with this state directory before:
// then offline says why, and the capabilities are the remembered ones.
func connect(ctx context.Context, c *mountConfig, r *s3remote.Remote, creds *s3remote.Credentials, remembered *ferry.Capabilities, log *slog.Logger) (offline, err error) {
	if offline, err = findBucket(ctx, c, r, creds, remembered, log); offline != nil || err != nil {
		return offline, err
	}
	return nil, probe(ctx, c, r, remembered, log)
}

// findBucket is connect without the probe.
func findBucket(ctx context.Context, c *mountConfig, r *s3remote.Remote, creds *s3remote.Credentials, remembered *ferry.Capabilities, log *slog.Logger) (offline, err error) {
	patience := askPatience
	if remembered != nil {
		patience = offlinePatience
	}
	exists, err := askForBucket(ctx, r, patience)
	if err == nil && !exists && c.MakeBucket {
		if err = r.MakeBucket(ctx); err == nil {
			log.Info("bucket made", "bucket", c.Bucket)
			exists = true
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil && !exists:
		return nil, refuse(exitNoBucket, "check the name, or make it with --create-bucket", "there is no bucket %s at %s", c.Bucket, defaultEndpoint(c))
	case err == nil:
		return nil, nil
	case ferry.IsKind(err, ferry.KindDenied):
		return nil, denied(c, creds, err)
	case ferry.IsKind(err, ferry.KindTransient) && remembered != nil:
		r.SetCapabilities(*remembered)
		return err, nil
	default:
		return nil, unreachable(c, err)
	}
}

// askForBucket asks until it has an answer or patience is at an end.
func askForBucket(ctx context.Context, r *s3remote.Remote, patience time.Duration) (exists bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		var again error
		exists, again = r.BucketExists(ctx)
		if again == nil || !ferry.IsKind(again, ferry.KindTransient) {
			return exists, again
		}
		if err == nil || ctx.Err() == nil {
			err = again // not the one of the deadline: it says less
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false, err
		}
	}
}

func probe(ctx context.Context, c *mountConfig, r *s3remote.Remote, remembered *ferry.Capabilities, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	caps, err := r.Probe(ctx)
	for try := 1; try < probeTries && ferry.IsKind(err, ferry.KindTransient) && ctx.Err() == nil; try++ {
		log.Debug("the probe broke off and is made again", "err", err)
		caps, err = r.Probe(ctx)
	}
	switch {
	case err == nil:
		log.Info("server probed", "server", caps.Server, "conditional_put", caps.ConditionalPut, "conditional_finish", caps.ConditionalFinish,
			"copy_part", caps.CopyPart, "etag_is_md5", caps.ETagIsMD5, "lists_metadata", caps.ListsMetadata, "bulk_delete", caps.BulkDelete)
		return nil
	case c.ReadOnly:
		log.Warn("the server was not probed, which needs to write", "err", err)
		return nil
	case remembered != nil && ferry.IsKind(err, ferry.KindTransient):
		r.SetCapabilities(*remembered)
		log.Warn("the server could not be probed: what it could do before counts", "err", err)
		return nil
	case ferry.IsKind(err, ferry.KindDenied):
		return coded(exitDenied, err)
	default:
		return coded(exitEndpoint, &ferry.Error{
			Op: "ferry.probe", Kind: ferry.KindOf(err), Msg: defaultEndpoint(c) + " does not answer as an S3 server does", Err: cause(err),
			Hint: "is this the address of its API? (MinIO's console has another port)",
		})
	}
}

func denied(c *mountConfig, creds *s3remote.Credentials, err error) error {
	if creds.Anonymous() {
		return refuse(exitDenied, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them to ~/.aws/credentials",
			"there are no credentials, and %s does not show bucket %s to everybody", defaultEndpoint(c), c.Bucket)
	}
	return coded(exitDenied, &ferry.Error{
		Op: "ferry.mount", Kind: ferry.KindDenied, Msg: fmt.Sprintf("%s refuses these credentials for bucket %s", defaultEndpoint(c), c.Bucket), Err: cause(err),
		Hint: "check access key and secret, and that they belong to this server",
	})
}

func unreachable(c *mountConfig, err error) error {
	return coded(exitEndpoint, &ferry.Error{
		Op: "ferry.mount", Kind: ferry.KindUnknown, Msg: "no S3 server answers at " + defaultEndpoint(c), Err: cause(err),
		Hint: "check --endpoint and that the server runs",
	})
}

// cause takes the outer sentence off: it is replaced by a better one.
func cause(err error) error {
	e, ok := err.(*ferry.Error) //nolint:errorlint // only the outermost
	switch {
	case !ok:
		return err
	case e.Err != nil:
		return e.Err
	default:
		return errors.New(e.Msg)
	}
}

// memory is what the journal remembers of earlier starts.
type memory struct {
	caps   *ferry.Capabilities // nil if the bucket was never reached
	digest [32]byte
	starts int
}

// recall reads it, counts this start, and makes the digest key at the first.
func recall(j ferry.Journal) (m memory, err error) {
	err = j.Update(func(tx ferry.Tx) error {
		m = memory{}
		var caps ferry.Capabilities
		if text := tx.Setting(settingCaps); text != "" && json.Unmarshal([]byte(text), &caps) == nil {
			m.caps = &caps
		}
		if key, err := hex.DecodeString(tx.Setting(settingDigest)); err != nil || copy(m.digest[:], key) != len(m.digest) {
			_, _ = rand.Read(m.digest[:]) // never fails
			tx.PutSetting(settingDigest, hex.EncodeToString(m.digest[:]))
		}
		_, _ = fmt.Sscan(tx.Setting(settingStarts), &m.starts) // "" is the first
		m.starts++
		tx.PutSetting(settingStarts, fmt.Sprint(m.starts))
		return nil
	})
	return m, err
}

// remember keeps what the probe found for a start without the server.
func remember(j ferry.Journal, c ferry.Capabilities) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return j.Update(func(tx ferry.Tx) error {
		if tx.Setting(settingCaps) != string(text) {
			tx.PutSetting(settingCaps, string(text))
		}
		return nil
	})
}
