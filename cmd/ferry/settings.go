package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Defaults of the mount. They are also what --help shows.
const (
	defaultMemory  = 160 << 20
	defaultStaging = 0 // a share of the disk
	defaultParts   = 8
	// memoryFloor holds the parts in flight, the read buffers and Go itself.
	memoryFloor = 64 << 20
)

// A setting is one flag of mount that is also FERRY_NAME in the environment. Its
// value stays text until all are read, so that every fault can be named.
type setting struct {
	name, fallback, kind, about string
	apply                       func(c *mountConfig, value string) error
	// usual are other tools' variables for the same thing, which come last.
	usual []string
}

func settings() []setting {
	text := func(at func(*mountConfig) *string) func(*mountConfig, string) error {
		return func(c *mountConfig, v string) error { *at(c) = v; return nil }
	}
	yes := func(at func(*mountConfig) *bool) func(*mountConfig, string) (err error) {
		return func(c *mountConfig, v string) (err error) {
			if *at(c), err = strconv.ParseBool(v); err != nil {
				return fmt.Errorf("%q is neither true nor false", v)
			}
			return nil
		}
	}
	size := func(least int64, at func(*mountConfig) *int64) func(*mountConfig, string) error {
		return func(c *mountConfig, v string) (err error) {
			if *at(c), err = parseSize(v); err == nil && *at(c) < least {
				err = fmt.Errorf("%q is too little: at least %s", v, formatSize(least))
			}
			return err
		}
	}
	oneOf := func(at func(*mountConfig) *string, words ...string) func(*mountConfig, string) error {
		return func(c *mountConfig, v string) error {
			for _, w := range words {
				if v == w {
					*at(c) = v
					return nil
				}
			}
			return fmt.Errorf("%q is none of %s", v, strings.Join(words, ", "))
		}
	}
	return []setting{
		{"endpoint", "", "URL", "the S3 server; also AWS_ENDPOINT_URL; default Amazon", func(c *mountConfig, v string) error {
			c.Endpoint = v
			return checkEndpoint(v)
		}, []string{"AWS_ENDPOINT_URL"}},
		{"region", "", "NAME", "the bucket's region; also AWS_REGION; default asks the server", text(func(c *mountConfig) *string { return &c.Region }), []string{"AWS_REGION", "AWS_DEFAULT_REGION"}},
		{"name", "", "NAME", "the mount's name for the other commands; default made of bucket and mount point", func(c *mountConfig, v string) error {
			c.Name = v
			if v != "" && !nameForm.MatchString(v) {
				return fmt.Errorf("%q is no name: letters, digits, dot, dash and underscore, at most 100", v)
			}
			return nil
		}, nil},
		{"state-dir", "", "DIR", "where log, journal and staging are; default below $XDG_STATE_HOME/ferry or /var/lib/ferry", text(func(c *mountConfig) *string { return &c.StateDir }), nil},
		{"daemon", "false", "", "return when mounted and go on in the background", yes(func(c *mountConfig) *bool { return &c.Daemon }), nil},
		{"embedded", "", "DIR", "run a store of its own in DIR; then there is no BUCKET", text(func(c *mountConfig) *string { return &c.Embedded }), nil},
		{"read-only", "false", "", "take no writes", yes(func(c *mountConfig) *bool { return &c.ReadOnly }), nil},
		{"allow-other", "false", "", "let other users in, by the files' modes", yes(func(c *mountConfig) *bool { return &c.AllowOther }), nil},
		{"create-bucket", "false", "", "make the bucket if it is not there", yes(func(c *mountConfig) *bool { return &c.MakeBucket }), nil},
		{"durability", "local", "WHERE", "what close and fsync wait for: local, the disk; ferry wait waits for the bucket", func(c *mountConfig, v string) error {
			if v == "remote" {
				return fmt.Errorf("remote is not in this release: `ferry wait FILE` after closing it waits for the bucket")
			}
			return oneOf(func(c *mountConfig) *string { return &c.Durability }, "local", "remote")(c, v)
		}, nil},
		{"conflict", "keep-both", "HOW", "another writer's newer version: keep-both, theirs or ours", oneOf(func(c *mountConfig) *string { return &c.Conflict }, "keep-both", "theirs", "ours"), nil},
		{"ttl", "10s", "TIME", "how long a listing counts before the bucket is asked again", func(c *mountConfig, v string) (err error) {
			if c.TTL, err = time.ParseDuration(v); err != nil || c.TTL <= 0 {
				return fmt.Errorf("%q is no time above zero: give it like 10s or 1m30s", v)
			}
			return nil
		}, nil},
		{"staging-max", "", "SIZE", "most bytes in staging; default half of what is free on the disk", func(c *mountConfig, v string) error {
			if v == "" {
				return nil
			}
			return size(64<<20, func(c *mountConfig) *int64 { return &c.StagingMax })(c, v)
		}, nil},
		{"memory-max", "160MiB", "SIZE", "how much memory the daemon aims to stay below", size(memoryFloor, func(c *mountConfig) *int64 { return &c.MemoryMax }), nil},
		{"upload-parts", strconv.Itoa(defaultParts), "N", "most parts under way at once", func(c *mountConfig, v string) (err error) {
			if c.UploadParts, err = strconv.Atoi(v); err != nil || c.UploadParts < 1 || c.UploadParts > 64 {
				return fmt.Errorf("%q is no number from 1 to 64", v)
			}
			return nil
		}, nil},
		{"upload-rate", "0", "SIZE/s", "most bytes sent a second, 0 is no bound", func(c *mountConfig, v string) (err error) {
			c.UploadRate, err = parseRate(v)
			return err
		}, nil},
		{"sse", "", "MODE", "encryption by the server: s3, or kms:KEY", func(c *mountConfig, v string) error {
			c.SSE = v
			if v != "" && v != "s3" && (!strings.HasPrefix(v, "kms:") || v == "kms:") {
				return fmt.Errorf("%q is neither s3 nor kms:KEY", v)
			}
			return nil
		}, nil},
		{"state-fs-unsafe", "false", "", "accept a file system for the state directory whose promises are not known", yes(func(c *mountConfig) *bool { return &c.UnsafeFS }), nil},
		{"log-level", "info", "LEVEL", "debug, info, warn or error", func(c *mountConfig, v string) error {
			if err := c.LogLevel.UnmarshalText([]byte(v)); err != nil {
				return fmt.Errorf("%q is none of debug, info, warn, error", v)
			}
			return nil
		}, nil},
	}
}

// declare makes the flags of mount.
func declare(fs *pflag.FlagSet) {
	for _, s := range settings() {
		fs.String(s.name, s.fallback, fmt.Sprintf("%s (FERRY_%s)", s.about, envName(s.name)))
		f := fs.Lookup(s.name)
		f.Value = &setValue{text: s.fallback, kind: s.kind}
		if s.kind == "" {
			f.NoOptDefVal = "true"
		}
	}
}

// setValue is a flag's text with the word that --help shows for it.
type setValue struct{ text, kind string }

func (v *setValue) String() string     { return v.text }
func (v *setValue) Set(s string) error { v.text = s; return nil }

// Type is what --help shows; "bool" shows nothing.
func (v *setValue) Type() string {
	if v.kind == "" {
		return "bool"
	}
	return v.kind
}

func envName(flag string) string { return strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) }
