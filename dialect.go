package ferry

import (
	"encoding/hex"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// metaReader reads one object's user metadata and remembers which names it
// understood: the others are foreign.
type metaReader struct {
	meta map[string]string
	used map[string]bool
}

// take returns the value of name and marks it as understood.
func (m *metaReader) take(name string) string {
	v, ok := m.meta[name]
	if ok {
		m.used[name] = true
	}
	return v
}

// mode returns type and permission bits. A leading 0 says octal (ferry, rclone,
// FSx), else it is decimal (s3fs, geesefs, s3sync); gsutil's name is octal always.
func (m *metaReader) mode() (mode uint32, ok bool) {
	for _, name := range [...]string{metaMode, "permissions", "file-permissions", "goog-reserved-posix-mode"} {
		v := m.take(name)
		base := 10
		if strings.HasPrefix(v, "0") || name == "goog-reserved-posix-mode" {
			base = 8
		}
		if n, err := strconv.ParseUint(v, base, 32); err == nil && !ok {
			mode, ok = uint32(n), true
		}
	}
	return mode, ok
}

// id sets *to to the first of names that is a number.
func (m *metaReader) id(to *uint32, names ...string) {
	found := false
	for _, name := range names {
		if n, err := strconv.ParseUint(m.take(name), 10, 32); err == nil && !found {
			*to, found = uint32(n), true
		}
	}
}

// mtime sets *to to the modification time if there is one: seconds with or
// without a fraction (ferry, rclone, s3fs, geesefs, gsutil), nanoseconds with
// "ns" (FSx), or RFC 3339 (gcsfuse).
func (m *metaReader) mtime(to *int64) {
	found := false
	for _, name := range [...]string{metaMtime, "file-mtime", "goog-reserved-file-mtime", "gcsfuse_mtime"} {
		if t, ok := parseTime(m.take(name)); ok && !found {
			*to, found = t, true
		}
	}
}

// target returns the target of a symlink by ferry or geesefs.
func (m *metaReader) target() (target string, ok bool) {
	for _, name := range [...]string{metaTarget, "--symlink-target"} {
		v := m.take(name)
		if v == "" || ok {
			continue
		}
		if u, err := url.PathUnescape(v); err == nil {
			v = u
		}
		target, ok = v, true
	}
	return target, ok
}

// isSymlink reports whether gcsfuse says that the object's bytes are a target.
func (m *metaReader) isSymlink() bool { return m.take("goog-reserved-file-is-symlink") == "true" }

// xattrs returns the extended attributes; nil if there are none.
func (m *metaReader) xattrs() map[string][]byte {
	var out map[string][]byte
	for name, v := range m.meta {
		h, ok := strings.CutPrefix(name, metaXattrPrefix)
		if !ok {
			continue
		}
		n, err := hex.DecodeString(h)
		value, valid := decodeXattr(v)
		if err != nil || !valid || !strings.HasPrefix(string(n), "user.") || len(n) > 255 || strings.ContainsRune(string(n), 0) {
			continue // foreign then: it stays as it is
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[string(n)] = value
		m.used[name] = true
	}
	return out
}

// drop marks what is neither ours nor may survive: times that ferry does not
// keep, and checksums of a content that may be about to change (rclone would
// take a stale one for corruption).
func (m *metaReader) drop() {
	for _, name := range [...]string{
		"atime", "ctime", "btime", "file-atime", "file-ctime", "goog-reserved-file-atime",
		"md5chksum", "s3cmd-attrs",
	} {
		m.take(name)
	}
}

// foreign returns what nobody understood, by its name in [Inode].Foreign.
func (m *metaReader) foreign() map[string]string {
	var out map[string]string
	for name, v := range m.meta {
		if m.used[name] {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[foreignPrefix+name] = v
	}
	return out
}

// unixNano is 0 for the zero time and for what int64 nanoseconds cannot hold.
func unixNano(t time.Time) int64 {
	if t.IsZero() || t.Year() < 1678 || t.Year() > 2261 {
		return 0
	}
	return t.UnixNano()
}

// second is one second in nanoseconds.
const second = uint64(time.Second)

// formatSeconds writes nanoseconds as decimal seconds with nine digits: s3fs
// reads the digits after the dot as a count of nanoseconds.
func formatSeconds(ns int64) string {
	sign, u := "", uint64(ns)
	if ns < 0 {
		sign, u = "-", -u
	}
	frac := strconv.FormatUint(u%second, 10)
	return sign + strconv.FormatUint(u/second, 10) + "." + strings.Repeat("0", 9-len(frac)) + frac
}

func parseTime(s string) (ns int64, ok bool) {
	if n, isNano := strings.CutSuffix(s, "ns"); isNano {
		v, err := strconv.ParseInt(n, 10, 64)
		return v, err == nil
	}
	if strings.Contains(s, "T") {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || t.Year() < 1678 || t.Year() > 2261 {
			return 0, false
		}
		return t.UnixNano(), true
	}
	return parseSeconds(s)
}

// parseSeconds reads decimal seconds exactly; digits beyond nanoseconds are cut.
func parseSeconds(s string) (ns int64, ok bool) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, frac, _ := strings.Cut(digits, ".")
	if len(frac) > 9 {
		for _, c := range frac[9:] {
			if c < '0' || c > '9' {
				return 0, false
			}
		}
		frac = frac[:9]
	}
	sec, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || sec > math.MaxInt64/second {
		return 0, false
	}
	var nano uint64
	if frac != "" {
		if nano, err = strconv.ParseUint(frac, 10, 63); err != nil {
			return 0, false
		}
		for range 9 - len(frac) {
			nano *= 10
		}
	}
	u := sec*second + nano
	switch {
	case negative && u <= 1<<63:
		return int64(-u), true
	case !negative && u <= math.MaxInt64:
		return int64(u), true
	default:
		return 0, false
	}
}

// cutFold is strings.CutPrefix without regard to case.
func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
