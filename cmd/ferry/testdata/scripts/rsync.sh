# The second run sends nothing.
mkdir -p "$TMP/rsync/sub"
for i in $(seq 100); do head -c $((i * 300)) /dev/urandom >"$TMP/rsync/f$i"; done
ln -s f1 "$TMP/rsync/link"
chmod 640 "$TMP/rsync/f2"
rsync -a "$TMP/rsync/" to/
test -z "$(rsync -ai "$TMP/rsync/" to/)"
"$FERRY" wait --timeout 1m to
test -z "$(rsync -ai "$TMP/rsync/" to/)"
echo more >>"$TMP/rsync/f7"
test "$(rsync -ai "$TMP/rsync/" to/ | grep -c '^>f')" = 1
diff -r "$TMP/rsync" to
