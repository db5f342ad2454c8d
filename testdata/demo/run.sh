#!/usr/bin/env bash
# make demo: what happens to your bytes, shown with real figures. Every line
# that begins with "ok" has been checked; the first check that fails ends the
# demo with an error.
set -euo pipefail
shopt -s inherit_errexit
STORE=${STORE:-embedded}
case $STORE in embedded | minio) ;; *)
	echo "STORE must be embedded or minio, not '$STORE'" >&2
	exit 2
	;;
esac
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mib=$((1 << 20))
size=$((512 * mib))
begun=$SECONDS

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
ok() { printf 'ok %s\n' "$*"; }
fail() {
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}
# check WHAT LEFT OPERATOR RIGHT, integers
check() {
	if [ "$2" "$3" "$4" ]; then ok "$1"; else fail "$1 (got $2, wanted $3 $4)"; fi
}
in_mib() { awk -v b="$1" 'BEGIN { printf "%.1f MiB", b / 1048576 }'; }
in_kib() { awk -v b="$1" 'BEGIN { printf "%.0f KiB", b / 1024 }'; }
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }
sum_of() { sha256sum | cut -c1-64; }
# drop_pages forgets what the kernel has cached, where that is allowed.
drop_pages() {
	sync
	{ echo 3 >/proc/sys/vm/drop_caches; } 2>/dev/null || true
}

work_folder
mnt=$work/mnt
state=$work/state
mkdir "$mnt"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "store: $STORE; everything is in $work and goes when this ends"
if [ "$STORE" = minio ]; then start_minio; fi

step "A 512 MiB file, and everything killed in the middle of its upload"
head -c "$size" /dev/urandom >"$work/film.bin"
local_sum=$(sum_of <"$work/film.bin")
# The uplink is held to 48 MiB/s, so that there is a middle of the upload.
mount_ferry --upload-rate 48MiB
start=$EPOCHREALTIME
cp "$work/film.bin" "$mnt/film.bin"
say "cp returned after $(seconds_since "$start")"
for ((i = 0; ; i++)); do
	json=$("$ferry" status --json "$mnt")
	done_before=$("$tool" get '.uploads[0].parts_done' <<<"$json")
	[ "$done_before" -lt 12 ] || break
	[ "$i" -lt 600 ] || fail "the upload has not come to its 12th part in 60 s"
	sleep 0.1
done
kill_ferry
parts=$("$tool" get '.uploads[0].parts' <<<"$json")
stored_before=$("$tool" get '.uploads[0].stored_bytes' <<<"$json")
sent_before=$("$tool" get .counters.bytes_sent <<<"$json")
upload=$("$tool" get '.uploads[0].id' <<<"$json")
if [ "$STORE" = minio ]; then kill -9 "$minio_pid"; fi
say "kill -9 of everything at part $done_before of $parts: $(in_mib "$stored_before") of 512 MiB were stored"
check "the upload was in its middle" "$stored_before" -lt "$size"
if ls "$mnt" >/dev/null 2>&1; then fail "the mount answers though everything is dead"; fi

if [ "$STORE" = minio ]; then start_minio; fi
start=$EPOCHREALTIME
mount_ferry
say "mounted again after $(seconds_since "$start")"
mount_sum=$(sum_of <"$mnt/film.bin")
[ "$mount_sum" = "$local_sum" ] || fail "the file differs through the new mount"
ok "the file is whole through the new mount (sha256 ${local_sum:0:16}…)"
"$ferry" wait --timeout 2m "$mnt/film.bin"
say "stored $(seconds_since "$start") after the new start"
sent_after=$(value .counters.bytes_sent)
resent=$((sent_before + sent_after - size))
[ "$resent" -gt 0 ] || resent=0
say "upload $upload"
say "sent before the kill $(in_mib "$sent_before"), after it $(in_mib "$sent_after"), so twice: $(in_mib "$resent")"
check "the upload went on where it was: less than the whole file was sent after the kill" "$sent_after" -le $((size - stored_before + 64 * mib))
check "at most 64 MiB were sent twice" "$resent" -le $((64 * mib))
bucket_sum=$("$tool" s3 cat "$bucket" film.bin | sum_of)
[ "$bucket_sum" = "$local_sum" ] || fail "the object in the bucket differs from the file"
ok "a plain S3 client reads the same bytes from the bucket"
if [ "$STORE" = embedded ]; then
	[ "$(sum_of <"$work/store/$bucket/film.bin")" = "$local_sum" ] || fail "the store's plain file differs"
	ok "and so does sha256sum of the store's plain file"
fi

step "Ends and middles of a cold 512 MiB zip"
mkdir "$work/zip"
for i in 1 2 3 4 5 6 7 8; do
	dd if="$work/film.bin" of="$work/zip/reel$i.bin" bs=1M skip=$(((i - 1) * size / 8 / mib)) count=$((size / 8 / mib)) status=none
done
(cd "$work/zip" && zip -q -0 ../films.zip reel*.bin)
rm -r "$work/zip"
# Put by the plain client, so that ferry has never seen a byte of it.
"$tool" s3 put "$bucket" films.zip "$work/films.zip"
umount_ferry
rm -rf "$state"
mount_ferry
drop_pages

# fetched COMMAND...: runs it with its output in $work/out, prints the bytes
# that were fetched from the bucket for it.
fetched() {
	local before
	before=$(value .counters.bytes_fetched)
	"$@" >"$work/out"
	echo $(($(value .counters.bytes_fetched) - before))
}
n=$(fetched tail -c 100 "$mnt/films.zip")
tail -c 100 "$work/films.zip" | cmp - "$work/out" || fail "tail -c 100 gave other bytes"
check "tail -c 100 fetched $(in_kib "$n") of 512 MiB" "$n" -le $((256 * 1024))
n=$(fetched dd if="$mnt/films.zip" bs=4096 skip=70000 count=1 status=none)
dd if="$work/films.zip" bs=4096 skip=70000 count=1 status=none | cmp - "$work/out" || fail "dd skip= gave other bytes"
check "dd skip=70000 (4 KiB in the middle) fetched $(in_kib "$n")" "$n" -le $((512 * 1024))
n=$(fetched unzip -l "$mnt/films.zip")
[ "$(grep -c 'reel[1-8].bin' "$work/out")" -eq 8 ] || fail "unzip -l did not list the 8 files"
check "unzip -l listed 8 files and fetched $(in_kib "$n")" "$n" -le "$mib"
rm "$work/films.zip"

step "2,000 files copied in and removed"
mkdir "$work/many"
for ((i = 0; i < 2000; i++)); do
	printf 'file %d of 2000\n' "$i" >"$work/many/note-$i.txt"
done
start=$EPOCHREALTIME
cp -r "$work/many" "$mnt/many"
say "cp -r returned after $(seconds_since "$start")"
"$ferry" wait --timeout 2m "$mnt/many"
say "stored after $(seconds_since "$start")"
check "the bucket holds 2000 files" "$("$tool" s3 ls "$bucket" many/ | grep -c 'note-')" -eq 2000
before=$(value .counters.requests.DeleteObjects)
single=$(value .counters.requests.DeleteObject)
start=$EPOCHREALTIME
rm -r "$mnt/many"
say "rm -r returned after $(seconds_since "$start")"
"$ferry" wait --timeout 2m "$mnt"
say "deleted in the bucket after $(seconds_since "$start")"
check "no object is left of them" "$("$tool" s3 ls "$bucket" many | wc -l)" -eq 0
requests=$(($(value .counters.requests.DeleteObjects) - before))
single=$(($(value .counters.requests.DeleteObject) - single))
check "2000 files took $requests DeleteObjects requests" "$requests" -le 6
check "and $single single deletes" "$single" -le 2

umount_ferry
printf '\nAll checks passed in %d s.\n' $((SECONDS - begun))
