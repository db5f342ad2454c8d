package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ferry"
	"ferry/service/embedstore"
)

// mountConfig is a validated command line of `ferry mount`.
type mountConfig struct {
	Given      string // BUCKET[/PREFIX] as given, or the folder of the embedded store
	Bucket     string
	Prefix     string // without slash at either end
	MountGiven string
	Mountpoint string // absolute
	Embedded   string // absolute folder of the embedded store, "" if none

	Endpoint, Region, Name, StateDir, SSE    string
	Daemon, ReadOnly, AllowOther, MakeBucket bool
	UnsafeFS                                 bool
	Durability, Conflict                     string
	TTL                                      time.Duration
	StagingMax, MemoryMax, UploadRate        int64
	UploadParts                              int
	LogLevel                                 slog.Level
}

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
		}},
		{"region", "", "NAME", "the bucket's region; also AWS_REGION; default asks the server", text(func(c *mountConfig) *string { return &c.Region })},
		{"name", "", "NAME", "the mount's name for the other commands; default made of bucket and mount point", func(c *mountConfig, v string) error {
			c.Name = v
			if v != "" && !nameForm.MatchString(v) {
				return fmt.Errorf("%q is no name: letters, digits, dot, dash and underscore, at most 100", v)
			}
			return nil
		}},
		{"state-dir", "", "DIR", "where log, journal and staging are; default below $XDG_STATE_HOME/ferry or /var/lib/ferry", text(func(c *mountConfig) *string { return &c.StateDir })},
		{"daemon", "false", "", "return when mounted and go on in the background", yes(func(c *mountConfig) *bool { return &c.Daemon })},
		{"embedded", "", "DIR", "run a store of its own in DIR; then there is no BUCKET", text(func(c *mountConfig) *string { return &c.Embedded })},
		{"read-only", "false", "", "take no writes", yes(func(c *mountConfig) *bool { return &c.ReadOnly })},
		{"allow-other", "false", "", "let other users in, by the files' modes", yes(func(c *mountConfig) *bool { return &c.AllowOther })},
		{"create-bucket", "false", "", "make the bucket if it is not there", yes(func(c *mountConfig) *bool { return &c.MakeBucket })},
		{"durability", "local", "WHERE", "what close and fsync wait for: local (the disk) or remote (the bucket)", func(c *mountConfig, v string) error {
			if v == "remote" {
				return fmt.Errorf("remote is not in this release: `ferry wait FILE` after closing it waits for the bucket")
			}
			return oneOf(func(c *mountConfig) *string { return &c.Durability }, "local", "remote")(c, v)
		}},
		{"conflict", "keep-both", "HOW", "another writer's newer version: keep-both, theirs or ours", oneOf(func(c *mountConfig) *string { return &c.Conflict }, "keep-both", "theirs", "ours")},
		{"ttl", "10s", "TIME", "how long a listing counts before the bucket is asked again", func(c *mountConfig, v string) (err error) {
			if c.TTL, err = time.ParseDuration(v); err != nil || c.TTL <= 0 {
				return fmt.Errorf("%q is no time above zero: give it like 10s or 1m30s", v)
			}
			return nil
		}},
		{"staging-max", "", "SIZE", "most bytes in staging; default half of what is free on the disk", func(c *mountConfig, v string) error {
			if v == "" {
				return nil
			}
			return size(64<<20, func(c *mountConfig) *int64 { return &c.StagingMax })(c, v)
		}},
		{"memory-max", "160MiB", "SIZE", "how much memory the daemon aims to stay below", size(memoryFloor, func(c *mountConfig) *int64 { return &c.MemoryMax })},
		{"upload-parts", strconv.Itoa(defaultParts), "N", "most parts under way at once", func(c *mountConfig, v string) (err error) {
			if c.UploadParts, err = strconv.Atoi(v); err != nil || c.UploadParts < 1 || c.UploadParts > 64 {
				return fmt.Errorf("%q is no number from 1 to 64", v)
			}
			return nil
		}},
		{"upload-rate", "0", "SIZE/s", "most bytes sent a second, 0 is no bound", func(c *mountConfig, v string) (err error) {
			c.UploadRate, err = parseRate(v)
			return err
		}},
		{"sse", "", "MODE", "encryption by the server: s3, or kms:KEY", func(c *mountConfig, v string) error {
			c.SSE = v
			if v != "" && v != "s3" && (!strings.HasPrefix(v, "kms:") || v == "kms:") {
				return fmt.Errorf("%q is neither s3 nor kms:KEY", v)
			}
			return nil
		}},
		{"state-fs-unsafe", "false", "", "accept a file system for the state directory whose promises are not known", yes(func(c *mountConfig) *bool { return &c.UnsafeFS })},
		{"log-level", "info", "LEVEL", "debug, info, warn or error", func(c *mountConfig, v string) error {
			if err := c.LogLevel.UnmarshalText([]byte(v)); err != nil {
				return fmt.Errorf("%q is none of debug, info, warn, error", v)
			}
			return nil
		}},
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

var (
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	bucketForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$`)
)

// readConfig validates flags over environment over defaults. Its error names
// every fault.
func readConfig(fs *pflag.FlagSet, env func(string) (string, bool), args []string) (*mountConfig, error) {
	var c mountConfig
	var faults []string
	for _, s := range settings() {
		value, where := fs.Lookup(s.name).Value.String(), "--"+s.name
		if v, ok := env("FERRY_" + envName(s.name)); ok && !fs.Changed(s.name) && v != "" {
			value, where = v, "FERRY_"+envName(s.name)
		}
		if value == "" && s.name == "endpoint" {
			if v, ok := env("AWS_ENDPOINT_URL"); ok && v != "" {
				value, where = v, "AWS_ENDPOINT_URL"
			}
		}
		if err := s.apply(&c, value); err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", where, err))
		}
	}
	faults = append(faults, c.readArgs(args)...)
	if c.Embedded != "" && c.Endpoint != "" && fs.Changed("endpoint") {
		faults = append(faults, "--endpoint: an embedded store has its own")
	}
	if len(faults) > 0 {
		return nil, usage("%s", strings.Join(faults, "; "))
	}
	return &c, c.complete()
}

// readArgs reads BUCKET[/PREFIX] MOUNTPOINT, or MOUNTPOINT alone for an embedded
// store.
func (c *mountConfig) readArgs(args []string) (faults []string) {
	want, names := 2, "BUCKET[/PREFIX] MOUNTPOINT"
	if c.Embedded != "" {
		want, names = 1, "MOUNTPOINT alone, because --embedded names the store"
	}
	if len(args) != want {
		return []string{fmt.Sprintf("give %s; there are %d arguments", names, len(args))}
	}
	c.MountGiven = args[want-1]
	if c.Embedded != "" {
		c.Given, c.Bucket = c.Embedded, embedstore.Bucket
		return nil
	}
	c.Given = args[0]
	c.Bucket, c.Prefix, _ = strings.Cut(strings.TrimPrefix(c.Given, "s3://"), "/")
	c.Prefix = strings.Trim(c.Prefix, "/")
	if !bucketForm.MatchString(c.Bucket) {
		faults = append(faults, fmt.Sprintf("%q is no bucket name: 3 to 63 letters, digits, dots and dashes", c.Bucket))
	}
	if c.Prefix != "" {
		if err := ferry.ObjectKey(c.Prefix).Check(); err != nil || ferry.ObjectKey(c.Prefix+"/").Reserved() {
			faults = append(faults, fmt.Sprintf("%q cannot be a prefix", c.Prefix))
		}
	}
	return faults
}

func checkEndpoint(v string) error {
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%q is no URL of a server: give it like https://host or http://host:9000", v)
	}
	if u.User != nil {
		// The value is not repeated: it holds a password.
		return fmt.Errorf("credentials do not belong into the URL: put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return nil
}

// complete makes paths absolute and fills in the name and the state directory.
func (c *mountConfig) complete() (err error) {
	if c.Mountpoint, err = filepath.Abs(c.MountGiven); err != nil {
		return err
	}
	if full, err := filepath.EvalSymlinks(c.Mountpoint); err == nil {
		c.Mountpoint = full
	}
	if c.Embedded != "" {
		if c.Embedded, err = filepath.Abs(c.Embedded); err != nil {
			return err
		}
		c.Endpoint = ""
	}
	if c.Name == "" {
		c.Name = defaultName(c)
	}
	if c.StateDir == "" {
		c.StateDir = filepath.Join(stateRoot(os.Geteuid(), os.LookupEnv), c.Name)
	}
	if c.StateDir, err = filepath.Abs(c.StateDir); err != nil {
		return err
	}
	for _, dir := range []string{c.StateDir, c.Embedded} {
		if rest, ok := strings.CutPrefix(dir, c.Mountpoint); ok && dir != "" && (rest == "" || rest[0] == '/') {
			return usage("%s lies in the mount point, and the daemon would wait for itself: put it elsewhere", dir)
		}
	}
	return nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// defaultName is for people and unique for bucket, prefix and mount point: the
// same command finds its state again.
func defaultName(c *mountConfig) string {
	what := c.Bucket + "/" + c.Prefix
	if c.Embedded != "" {
		what = c.Embedded
	}
	sum := sha256.Sum256([]byte(what + "\x00" + c.Mountpoint))
	word := strings.Trim(notInNames.ReplaceAllString(strings.Trim(what, "/"), "-"), "-.")
	if len(word) > 60 {
		word = strings.TrimRight(word[:60], "-.")
	}
	if word == "" {
		word = "mount"
	}
	return word + "-" + hex.EncodeToString(sum[:4])
}

// stateRoot is where state directories are by default. Root is asked too whether
// it has said where.
func stateRoot(uid int, env func(string) (string, bool)) string {
	if dir, ok := env("XDG_STATE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "ferry")
	}
	if uid == 0 {
		return "/var/lib/ferry"
	}
	home, _ := env("HOME")
	return filepath.Join("/", home, ".local", "state", "ferry")
}
