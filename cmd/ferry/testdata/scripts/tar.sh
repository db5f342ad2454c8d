mkdir "$TMP/tar"
for i in $(seq 300); do head -c 2000 /dev/urandom >"$TMP/tar/f$i"; done
ln -s f1 "$TMP/tar/link"
touch -d 2001-02-03T04:05:06.789012345 "$TMP/tar/f5"
tar cf "$TMP/t.tar" --format=posix -C "$TMP" tar
tar xpf "$TMP/t.tar"
diff -r --no-dereference "$TMP/tar" tar
test "$(stat -c %y tar/f5)" = "$(stat -c %y "$TMP/tar/f5")"
tar cf back.tar --format=posix tar
tar df back.tar
