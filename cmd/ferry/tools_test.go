package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ferry/syncer/storetest"
)

// onMount runs a bash script in an empty folder of the mount. $TMP is a folder on
// the local disk, $FERRY the binary.
func (p *place) onMount(t *testing.T, folder, script string) {
	t.Helper()
	dir := filepath.Join(p.mnt(), folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(p.command().Env, "TMP="+t.TempDir(), "FERRY="+ferryBin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// goSource is the tree of Go's own sources, some 13,000 names.
const goSource = `GOSRC=$(cd / && go env GOROOT)/src; `

// What people do with a file system works on the real thing, and all of it is in
// the bucket as it was: after a remount with an empty state directory every tree
// is the same.
//
// semantics: meta-survives write-holes
func TestToolsOnMinIO(t *testing.T) {
	needMount(t)
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	m := p.mount(bucket, p.mnt())
	scripts, err := filepath.Glob("testdata/scripts/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		name := filepath.Base(path)
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { p.onMount(t, name, string(script)) })
	}
	t.Run("go source tree", func(t *testing.T) {
		p.onMount(t, "go", goSource+`cp -a "$GOSRC" . && diff -r --no-dereference "$GOSRC" src`)
	})
	// What diff does not see: modes, owners, times to the nanosecond, links, attributes.
	const list = `find . -mindepth 1 -printf '%P %y %m %U %G %s %l ' \( -type f -printf '%T@\n' -o -printf '\n' \) | sort`
	t.Run("attributes", func(t *testing.T) {
		p.onMount(t, "attributes", `
			echo x >f; chmod 4750 f; chown 12:34 f; touch -d 1999-12-31T23:59:59.123456789Z f
			mkdir -m 711 d; ln -s "../ü b" link; setfattr -n user.colour -v red f; setfattr -n user.note -v dir d`)
	})
	listed := func() string {
		out, err := exec.Command("sh", "-c", "cd '"+p.mnt()+"' && "+list).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if r := p.run("wait", "--timeout", "10m", p.mnt()); r.code != 0 {
		t.Fatalf("wait: exit %d: %s", r.code, r.err)
	}
	before := listed()
	p.must("umount", p.mnt())
	<-m.ended
	if err := os.RemoveAll(p.state()); err != nil {
		t.Fatal(err)
	}
	p.mount(bucket, p.mnt())
	if after := listed(); after != before {
		t.Errorf("after a remount with an empty state directory:\n%s", firstDifference(t, before, after))
	}
	t.Run("go source tree again", func(t *testing.T) {
		p.onMount(t, "go", goSource+`diff -r --no-dereference "$GOSRC" src`)
	})
	t.Run("attributes again", func(t *testing.T) {
		p.onMount(t, "attributes", `
			test "$(getfattr --only-values -n user.colour f)" = red
			test "$(getfattr --only-values -n user.note d)" = dir
			test "$(readlink link)" = "../ü b"`)
	})
}

// firstDifference returns what diff says of two texts, cut short.
func firstDifference(t *testing.T, a, b string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"before": a, "after": b} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := exec.Command("diff", filepath.Join(dir, "before"), filepath.Join(dir, "after")).CombinedOutput() // differs: exit 1
	if len(out) > 3000 {
		out = append(out[:3000], "…"...)
	}
	return string(out)
}
