package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferry/service/embedstore"
	"ferry/syncer/storetest"
)

// Each bad input gets one sentence and its exit code, and nothing is mounted.
func TestBadInput(t *testing.T) {
	needMount(t)
	s3 := storetest.StartMinIO(t)
	bucket := s3.MakeBucket(t)
	notS3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>hello</html>")
	}))
	defer notS3.Close()

	tests := []struct {
		name string
		env  []string
		args func(p *place) []string // of mount
		code int
		says string
	}{
		{"no bucket", nil, func(p *place) []string { return []string{"no-such-bucket", p.mnt()} }, exitNoBucket, "no-such-bucket"},
		{"wrong secret", []string{"AWS_SECRET_ACCESS_KEY=wrong"}, func(p *place) []string { return []string{bucket, p.mnt()} }, exitDenied, "refuses these credentials"},
		{"wrong key", []string{"AWS_ACCESS_KEY_ID=nobody"}, func(p *place) []string { return []string{bucket, p.mnt()} }, exitDenied, "refuses these credentials"},
		{"no keys", []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, func(p *place) []string { return []string{bucket, p.mnt()} }, exitDenied, "no credentials"},
		{"nobody listens", nil, func(p *place) []string { return []string{"--endpoint", "http://127.0.0.1:1", bucket, p.mnt()} }, exitEndpoint, "no S3 server answers"},
		{"not S3", nil, func(p *place) []string { return []string{"--endpoint", notS3.URL, bucket, p.mnt()} }, exitEndpoint, ""},
		{"mount point absent", nil, func(p *place) []string { return []string{bucket, filepath.Join(p.dir, "absent")} }, exitNoFolder, "is not there"},
		{"mount point a file", nil, func(p *place) []string {
			return []string{bucket, p.write("file", "x")}
		}, exitNoFolder, "is no folder"},
		{"mount point not empty", nil, func(p *place) []string {
			p.write("mnt/letter.txt", "dear")
			return []string{bucket, p.mnt()}
		}, exitNotEmpty, "letter.txt"},
		{"mount point busy", nil, func(p *place) []string {
			return []string{bucket, p.tmpfs("16m")}
		}, exitBusy, "mounted at"},
		{"file system not allowed", []string{"FERRY_STATE_FS_UNSAFE="}, func(p *place) []string {
			return []string{"--state-dir", p.tmpfs("16m"), bucket, p.mnt()}
		}, exitStateFS, "tmpfs"},
		{"no space for staging", []string{"FERRY_STATE_FS_UNSAFE=true"}, func(p *place) []string {
			return []string{"--state-dir", p.tmpfs("16m"), bucket, p.mnt()}
		}, exitNoSpace, "free"},
		{"more staging than disk", nil, func(p *place) []string { return []string{"--staging-max", "900TiB", bucket, p.mnt()} }, exitNoSpace, "900"},
		{"state inside the mount", nil, func(p *place) []string {
			return []string{"--state-dir", filepath.Join(p.mnt(), "state"), bucket, p.mnt()}
		}, exitUsage, "wait for itself"},
		{"several bad flags", nil, func(p *place) []string { return []string{"--ttl", "soon", "--upload-parts", "-3", bucket, p.mnt()} }, exitUsage, "--upload-parts"},
		{"unknown flag", nil, func(p *place) []string { return []string{"--sync-harder", bucket, p.mnt()} }, exitUsage, "sync-harder"},
		{"no mount point", nil, func(*place) []string { return []string{bucket} }, exitUsage, "MOUNTPOINT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t, s3)
			p.env = append(p.env, tt.env...)
			args := tt.args(p)
			before := mountsIn(p)
			r := p.run(append([]string{"mount"}, args...)...)
			if r.code != tt.code || !strings.Contains(r.err, tt.says) {
				t.Errorf("exit %d, want %d; said: %s (want %q in it)", r.code, tt.code, r.err, tt.says)
			}
			if n := strings.Count(r.err, "\n"); n > 2 {
				t.Errorf("it is no sentence but %d lines: %s", n, r.err)
			}
			if r.out != "" || mountsIn(p) != before {
				t.Errorf("mounted though refused; standard output %q", r.out)
			}
		})
	}
}

func (p *place) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *place) tmpfs(size string) string {
	p.t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("FERRY_REQUIRE_MOUNT") != "" {
			p.t.Fatal("this test mounts a small file system of its own: run make test as root")
		}
		p.t.Skip("needs root: a small file system of its own is mounted")
	}
	dir := p.mkdir("tmpfs")
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// mountsIn counts the mounts in the place's folder.
func mountsIn(p *place) int {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		p.t.Fatal(err)
	}
	return bytes.Count(table, []byte(" "+p.dir+"/"))
}

func TestStateDirectoryIsRefusedToOthers(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket, other := s3.MakeBucket(t), s3.MakeBucket(t)
	m := p.mount(bucket, p.mnt())
	second := p.mkdir("second")
	if r := p.run("mount", "--name", "x", "--state-dir", p.state(), bucket, second); r.code != exitLocked {
		t.Errorf("a locked state directory: exit %d, want %d: %s", r.code, exitLocked, r.err)
	}
	if r := p.run("mount", "--state-dir", filepath.Join(p.dir, "state2"), bucket, p.mnt()); r.code != exitBusy {
		t.Errorf("a mount point in use: exit %d, want %d: %s", r.code, exitBusy, r.err)
	}
	if code := m.end(syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: exit %d, want 0\n%s", code, m.tail())
	}
	r := p.run("mount", "--state-dir", p.state(), other, p.mnt())
	if r.code != exitOtherState || !strings.Contains(r.err, bucket) || !strings.Contains(r.err, other) {
		t.Errorf("a state directory of another bucket: exit %d, want %d and both buckets named: %s", r.code, exitOtherState, r.err)
	}
}

func TestMountStatusWaitUmount(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	m := p.mount("--name", "photos", bucket+"/album", p.mnt())
	if want := "ferry: " + bucket + "/album mounted at " + p.mnt(); m.line != want {
		t.Errorf("said %q; want %q", m.line, want)
	}
	data := make([]byte, 20<<20)
	_, _ = rand.Read(data)
	if err := os.WriteFile(filepath.Join(p.mnt(), "big.bin"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.mnt(), "note.txt"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must("wait", "--timeout", "1m", filepath.Join(p.mnt(), "big.bin"), filepath.Join(p.mnt(), "note.txt"))
	for name, want := range map[string][]byte{"album/big.bin": data, "album/note.txt": []byte("hello")} {
		if got := object(t, s3, bucket, name); sha256.Sum256(got) != sha256.Sum256(want) {
			t.Errorf("object %s: %d bytes that differ from the %d written", name, len(got), len(want))
		}
	}
	checkStatusFields(t, p, bucket)
	if r := p.run("wait", filepath.Join(p.mnt(), "no-such-file")); r.code != exitNotFound {
		t.Errorf("wait for nothing: exit %d, want %d: %s", r.code, exitNotFound, r.err)
	}
	if r := p.run("status", p.dir); r.code != exitNoDaemon {
		t.Errorf("status of a folder that is no mount: exit %d, want %d: %s", r.code, exitNoDaemon, r.err)
	}
	if out := p.must("status").out; !strings.Contains(out, "everything is stored") || !strings.Contains(out, "photos") {
		t.Errorf("status for people: %s", out)
	}
	p.must("uploads", "list", "--name", "photos")
	p.must("jobs", "list")
	p.must("cache", "drop", p.mnt())
	if got, err := os.ReadFile(filepath.Join(p.mnt(), "big.bin")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read after cache drop: %d bytes, %v", len(got), err)
	}
	if out := p.must("doctor", p.mnt()).out; !strings.Contains(out, "every invariant holds") || !strings.Contains(out, "yes: conditional put") {
		t.Errorf("doctor: %s", out)
	}
	p.must("umount", p.mnt())
	// The process has ended; a second is for the test to be told.
	if code := m.code(time.Second); code != 0 {
		t.Errorf("the daemon's exit after umount is %d; want 0", code)
	}
	if mountsIn(p) != 0 {
		t.Error("still mounted after umount")
	}
	if r := p.run("status", "--name", "photos"); r.code != exitNoDaemon {
		t.Errorf("status after umount: exit %d, want %d", r.code, exitNoDaemon)
	}
}

// checkStatusFields holds `status --json` to the contract of design.md §15.
func checkStatusFields(t *testing.T, p *place, bucket string) {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal([]byte(p.must("status", "--json", p.mnt()).out), &s); err != nil {
		t.Fatal(err)
	}
	fields := map[string][]string{
		"": {"name", "endpoint", "bucket", "prefix", "mountpoint", "state", "uploads", "parked", "jobs"}, "daemon": {"pid", "started", "restarts"},
		"pending": {"operations", "bytes", "oldest_seconds"}, "staging": {"bytes", "max"}, "cache": {"bytes", "max"},
		"counters": {"bytes_sent", "bytes_fetched", "bytes_copied", "parts_sent", "parts_copied", "requests", "conflicts"},
	}
	for group, names := range fields {
		obj := s
		if group != "" {
			obj, _ = s[group].(map[string]any)
		}
		for _, n := range names {
			if v, ok := obj[n]; !ok || v == nil {
				t.Errorf("status --json lacks %s.%s", group, n)
			}
		}
	}
	if s["bucket"] != bucket || s["prefix"] != "album" || s["state"] != "ready" || s["mountpoint"] != p.mnt() {
		t.Errorf("status --json says bucket %v, prefix %v, state %v, mountpoint %v", s["bucket"], s["prefix"], s["state"], s["mountpoint"])
	}
	st := p.status()
	if st.Counters.BytesSent < 20<<20 || st.Counters.Requests["CompleteMultipartUpload"] == 0 || st.Pending.Operations != 0 {
		t.Errorf("counters %+v, pending %+v", st.Counters, st.Pending)
	}
}

// object reads an object with a plain S3 GET.
func object(t *testing.T, s3 *storetest.Server, bucket, key string) []byte {
	t.Helper()
	u, err := s3.Client(t).PresignedGetObject(t.Context(), bucket, key, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("object %s: %s, %v", key, resp.Status, err)
	}
	return got
}

func TestDaemonGoesOnBehind(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	r := p.must("mount", "--daemon", "--state-dir", p.state(), bucket, p.mnt())
	if want := "ferry: " + bucket + " mounted at " + p.mnt() + "\n"; r.out != want {
		t.Errorf("said %q; want %q", r.out, want)
	}
	pid := p.status().Daemon.PID
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("the daemon's session is %d, %v; want its own, %d", sid, err, pid)
	}
	if r := p.run("mount", "--daemon", "--state-dir", filepath.Join(p.dir, "s2"), "no-such-bucket", p.mkdir("mnt2")); r.code != exitNoBucket || !strings.Contains(r.err, "no-such-bucket") {
		t.Errorf("a daemon that cannot mount: exit %d, want %d: %s", r.code, exitNoBucket, r.err)
	}
	p.must("umount", p.mnt())
}

func TestEmbeddedStore(t *testing.T) {
	p := newPlace(t, nil)
	store := filepath.Join(p.dir, "store")
	m := p.mount("--embedded", store, p.mnt())
	if want := "ferry: " + store + " mounted at " + p.mnt(); m.line != want {
		t.Errorf("said %q; want %q", m.line, want)
	}
	if err := os.WriteFile(filepath.Join(p.mnt(), "note.txt"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("wait", "--timeout", "1m", p.mnt())
	if got, err := os.ReadFile(filepath.Join(store, embedstore.Bucket, "note.txt")); err != nil || string(got) != "hello" {
		t.Errorf("the store's plain file: %q, %v", got, err)
	}
	p.must("umount", p.mnt())
	p.mount("--embedded", store, p.mnt())
	if got, err := os.ReadFile(filepath.Join(p.mnt(), "note.txt")); err != nil || string(got) != "hello" {
		t.Errorf("after mounting again: %q, %v", got, err)
	}
}

func TestSecretsStayOut(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	m := p.mount(s3.MakeBucket(t), p.mnt())
	if err := os.WriteFile(filepath.Join(p.mnt(), "a"), []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("wait", "--timeout", "1m", p.mnt())
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(m.cmd.Process.Pid) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	said := p.must("status", "--json", p.mnt()).out + p.must("doctor", p.mnt()).out
	// The server goes away, so that the log gets errors with addresses in them.
	s3.Kill()
	_, _ = os.ReadDir(filepath.Join(p.mnt(), "nowhere"))
	m.end(syscall.SIGTERM)
	for where, text := range map[string]string{"the log": m.text(), "the command line": string(cmdline), "status and doctor": said} {
		if strings.Contains(text, s3.SecretKey) {
			t.Errorf("%s holds the secret key", where)
		}
		// Access keys are no secrets, but a log is sent around.
		if strings.Contains(text, s3.AccessKey) && where == "the log" {
			t.Errorf("%s holds the access key", where)
		}
	}
	err = filepath.WalkDir(p.state(), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
		if info.Mode().IsRegular() {
			if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte(s3.SecretKey)) {
				t.Errorf("%s holds the secret key (%v)", path, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
