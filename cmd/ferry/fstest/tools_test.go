package fstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// scripts are what people do with a file system. Each runs in an empty folder of
// the mount with set -eu; $TMP is a folder on the local disk.
var scripts = map[string]string{
	"copy a tree and compare": `
		mkdir "$TMP/src"; cd "$TMP/src"
		for d in a b c; do mkdir $d; for i in $(seq 30); do head -c $((i*997)) /dev/urandom >$d/$i; done; done
		ln -s ../a/1 b/link; chmod 600 a/2; chmod 755 a/3; touch -d 2001-02-03T04:05:06.789 a/4; mkdir empty; : >zero
		cd "$MNT"; cp -a "$TMP/src" copy
		diff -r --no-dereference "$TMP/src" copy
		test "$(readlink copy/b/link)" = ../a/1
		test "$(stat -c %a copy/a/2)" = 600
		test "$(stat -c %y copy/a/4)" = "$(stat -c %y "$TMP/src/a/4")"
		cp -a copy again; diff -r --no-dereference copy again; rm -r copy; test ! -e copy; rm -rf again`,
	"rsync twice": `
		mkdir "$TMP/src"; for i in $(seq 40); do head -c 5000 /dev/urandom >"$TMP/src/$i"; done
		rsync -a "$TMP/src/" dst/
		sent=$(rsync -ai "$TMP/src/" dst/ | wc -l); test "$sent" = 0
		echo more >>"$TMP/src/7"; touch "$TMP/src/7"
		test "$(rsync -ai "$TMP/src/" dst/ | grep -c '^>f')" = 1
		diff -r "$TMP/src" dst`,
	"git": `
		git init -q "$TMP/origin"; cd "$TMP/origin"; git config user.email a@b; git config user.name n
		for i in $(seq 50); do echo "line $i" >f$i; done; git add .; git commit -qm one
		cd "$MNT"; git clone -q "$TMP/origin" clone; cd clone
		test -z "$(git status --porcelain)"; git config user.email a@b; git config user.name n
		echo change >>f1; test "$(git status --porcelain)" = " M f1"; git commit -qam two
		git fsck --strict 2>/dev/null; git gc -q; test "$(git log --oneline | wc -l)" = 2; git checkout -q HEAD~1; test "$(cat f1)" = "line 1"`,
	"tar": `
		mkdir "$TMP/src"; for i in $(seq 30); do head -c 3000 /dev/urandom >"$TMP/src/$i"; done; ln -s 1 "$TMP/src/l"
		tar cf "$TMP/t.tar" -C "$TMP/src" .; mkdir x; tar xpf "$TMP/t.tar" -C x; diff -r --no-dereference "$TMP/src" x
		tar czf back.tgz x; mkdir y; tar xzf back.tgz -C y; diff -r --no-dereference x y/x`,
	"sqlite": `
		sqlite3 db 'create table t(a integer primary key, b text); begin; with recursive n(i) as (select 1 union all select i+1 from n where i<2000) insert into t select i, hex(randomblob(50)) from n; commit;'
		test "$(sqlite3 db 'select count(*) from t')" = 2000
		sqlite3 db 'delete from t where a%2=0; vacuum; pragma integrity_check' | grep -qx ok
		test "$(sqlite3 db 'select count(*) from t')" = 1000`,
	"zip": `
		for i in $(seq 20); do head -c 20000 /dev/urandom >f$i; done
		zip -q a.zip f*; unzip -l a.zip | grep -q '20 files'; mkdir out; unzip -q a.zip -d out; for i in $(seq 20); do cmp f$i out/f$i; done`,
	"an editor": `
		echo one >doc; for i in 1 2 3 4 5; do
			cp -p doc .doc.swp; echo "edit $i" >>.doc.swp; sync .doc.swp; mv doc doc~; mv .doc.swp doc; rm doc~
		done
		test "$(wc -l <doc)" = 6; sed -i s/edit/saved/ doc; test "$(grep -c saved doc)" = 5; test "$(ls -A | wc -l)" = 1
		( echo a; echo b ) >new; mv -f new doc; test "$(cat doc)" = "$(printf 'a\nb')"`,
	"names": `
		touch 'a b' 'ü' '*' "q'q" -- '-x'; test "$(ls -A | wc -l)" = 5; rm -- *; test "$(ls -A | wc -l)" = 0
		! mkdir "$(printf 'x%.0s' $(seq 300))" 2>/dev/null
		mkdir d; ! rmdir d/../d/.. 2>/dev/null; mkdir d/e; ! rmdir d 2>/dev/null; rmdir d/e; rmdir d
		! ln /etc/hostname h 2>/dev/null; ! mkfifo p 2>/dev/null; ! mknod n c 1 3 2>/dev/null`,
	"open and unlinked": `
		exec 3<>f; echo hello >&3; rm f; test ! -e f; echo more >&3; test "$(cat /dev/fd/3 | wc -c)" = 11; test "$(stat -Lc %h /dev/fd/3)" = 0; exec 3>&-
		test "$(ls -A | wc -l)" = 0`,
	"append and truncate": `
		for i in 1 2 3; do echo $i >>log; done; test "$(cat log)" = "$(printf '1\n2\n3')"
		truncate -s 100M big; test "$(stat -c %s big)" = 104857600; truncate -s 5 big; : >log; test ! -s log
		dd if=/dev/zero of=sparse bs=1 count=1 seek=1000000 status=none; test "$(stat -c %s sparse)" = 1000001
		dd if=/dev/urandom of=direct bs=1M count=3 oflag=direct status=none; test "$(stat -c %s direct)" = 3145728; dd if=direct of="$TMP/d" bs=64k iflag=direct status=none; cmp direct "$TMP/d"
		fallocate -l 1M fa; test "$(stat -c %s fa)" = 1048576; fallocate -p -o 4096 -l 8192 direct; cmp -n 4096 direct "$TMP/d"; test "$(dd if=direct bs=4096 skip=1 count=2 status=none | tr -d '\0' | wc -c)" = 0`,
	"locks": `flock f -c true; ( flock 9; ! flock -n f true ) 9>f`,
	"attributes": `
		touch f; setfattr -n user.colour -v red f; test "$(getfattr --only-values -n user.colour f)" = red
		! setfattr -n user.ferry.etag -v x f 2>/dev/null; test -n "$(getfattr --only-values -n user.ferry.state f)"
		! setfattr -n trusted.x -v y f 2>/dev/null; mv f g; test "$(getfattr --only-values -n user.colour g)" = red`,
	"set-id bits go when written": `
		echo x >f; chmod 6755 f; test "$(stat -c %a f)" = 6755; chown 1:1 f; test "$(stat -c %a f)" = 755`,
	"exchange": `
		mkdir d; echo a >a; echo b >d/b; python3 - <<'EOP'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.renameat2(-100, b"a", -100, b"d/b", 2) == 0, os.strerror(ctypes.get_errno())
assert libc.renameat2(-100, b"a", -100, b"d/b", 1) == -1 and ctypes.get_errno() == 17
assert libc.renameat2(-100, b"a", -100, b"d/b", 4) == -1 and ctypes.get_errno() == 22
EOP
		test "$(cat a d/b)" = "$(printf 'b\na')"`,
}

// What people do with files works: each script ends with 0.
//
// semantics: name-unlinked-open
func TestTools(t *testing.T) {
	m := mount(t, nil)
	i := 0
	for name, script := range scripts {
		i++
		dir := filepath.Join(m.dir, "t"+string(rune('a'+i)))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("bash", "-c", "set -eu\n"+script)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TMP="+t.TempDir(), "MNT="+dir, "LC_ALL=C.UTF-8")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
