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
		for _, name := range s.usual {
			if v, ok := env(name); value == "" && ok && v != "" {
				value, where = v, name
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
