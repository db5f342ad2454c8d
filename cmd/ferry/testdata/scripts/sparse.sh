truncate -s 64M holes
printf end | dd of=holes bs=1 seek=$((64 * 1024 * 1024)) conv=notrunc status=none
printf mid | dd of=holes bs=1 seek=$((20 * 1024 * 1024)) conv=notrunc status=none
sum=$(sha256sum <holes)
"$FERRY" wait --timeout 1m holes
test "$(sha256sum <holes)" = "$sum"
cp --sparse=always holes "$TMP/local"
cmp holes "$TMP/local"
