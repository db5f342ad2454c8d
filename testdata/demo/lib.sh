# Shared by run.sh and play.sh: a work folder, a store, a mount, and their end.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
ferry=$root/bin/ferry
tool=$root/bin/ferrybench
bucket=files

# work_folder makes $work on a file system that ferry keeps its state on. Where
# there is none (a container's overlay, tmpfs) ferry is told that we know.
work_folder() {
	local parent
	state_flags=()
	for parent in "${TMPDIR:-/tmp}" /var/tmp "$root"; do
		case $(stat -f -c %T "$parent" 2>/dev/null) in
		ext2/ext3 | ext4 | xfs | btrfs)
			work=$(mktemp -d "$parent/ferry-demo.XXXXXX")
			return
			;;
		esac
	done
	work=$(mktemp -d "${TMPDIR:-/tmp}/ferry-demo.XXXXXX")
	state_flags=(--state-fs-unsafe)
}

# tree_of prints a process and all its descendants.
tree_of() {
	local child
	echo "$1"
	for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
		tree_of "$child"
	done
}

# start_minio runs MinIO on the port and keys of this demo; the second time on
# the same data.
start_minio() {
	if [ -z "${minio_port:-}" ]; then
		minio_port=$("$tool" port)
		AWS_ENDPOINT_URL=http://127.0.0.1:$minio_port
		AWS_ACCESS_KEY_ID=demo$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
		AWS_SECRET_ACCESS_KEY=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
		export AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
	fi
	MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_BROWSER=off MINIO_UPDATE=off \
		setsid "$root/bin/minio" server --quiet --address "127.0.0.1:$minio_port" --certs-dir "$work/certs" "$work/minio" \
		>>"$work/minio.log" 2>&1 </dev/null &
	minio_pid=$!
	disown "$minio_pid" # no "Killed" line from the shell when we kill it
	"$tool" s3 ready
}

# mount_ferry mounts at $mnt, with further flags, and returns when it is ready.
mount_ferry() {
	local target=() said=$work/mount.out
	if [ "$STORE" = minio ]; then
		target=(--endpoint "$AWS_ENDPOINT_URL" --region us-east-1 --create-bucket "$@" "$bucket" "$mnt")
	else
		target=("$@" --embedded "$work/store" "$mnt")
	fi
	: >"$said"
	setsid "$ferry" mount --name demo --state-dir "$state" "${state_flags[@]}" "${target[@]}" \
		>"$said" 2>>"$work/ferry.log" </dev/null &
	ferry_pid=$!
	disown "$ferry_pid"
	local i
	for ((i = 0; i < 600; i++)); do
		if grep -q 'mounted at' "$said"; then
			find_store
			return 0
		fi
		kill -0 "$ferry_pid" 2>/dev/null || break
		sleep 0.05
	done
	echo "ferry did not mount; the last lines of its log:" >&2
	tail -n 15 "$work/ferry.log" >&2
	return 1
}

# find_store tells the plain S3 client where the embedded store listens now,
# with which keys and what its bucket is called: it decides that itself.
find_store() {
	[ "$STORE" = embedded ] || return 0
	AWS_ENDPOINT_URL=$(value .endpoint)
	bucket=$(value .bucket)
	set -a
	# shellcheck disable=SC1091 # written by ferry
	. "$work/store/.ferry-store/credentials"
	set +a
	export AWS_ENDPOINT_URL
}

# value prints one value of `ferry status --json`.
value() { "$ferry" status --json "$mnt" | "$tool" get "$1"; }

# umount_ferry waits until all is stored, and for the daemon's end.
umount_ferry() {
	"$ferry" umount "$@" "$mnt" >>"$work/ferry.log" 2>&1 || return 1
	local i
	for ((i = 0; i < 300; i++)); do
		kill -0 "$ferry_pid" 2>/dev/null || { ferry_pid=''; return 0; }
		sleep 0.1
	done
	echo "the daemon still runs 30 s after umount" >&2
	return 1
}

# kill_ferry kills keeper, daemon and the embedded store at once, with -9.
kill_ferry() {
	local pids
	mapfile -t pids < <(tree_of "$ferry_pid")
	kill -9 "${pids[@]}" 2>/dev/null || true
	ferry_pid=''
}

# clean_up leaves nothing behind: no process, no mount, no folder.
clean_up() {
	local code=$?
	trap - EXIT INT TERM
	if [ -n "${ferry_pid:-}" ]; then kill_ferry; fi
	if [ -n "${mnt:-}" ] && grep -q " $mnt " /proc/self/mounts; then
		umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt" 2>/dev/null || true
	fi
	if [ -n "${minio_pid:-}" ]; then kill -9 "$minio_pid" 2>/dev/null || true; fi
	if [ "$code" -ne 0 ] && [ -n "${work:-}" ] && [ -s "$work/ferry.log" ]; then
		echo "the last lines of ferry's log:" >&2
		tail -n 15 "$work/ferry.log" >&2
	fi
	# Only if nothing is mounted below it any more: rm must not empty a bucket.
	if [ -n "${work:-}" ] && ! grep -q " $work/" /proc/self/mounts; then
		rm -rf --one-file-system "$work"
	fi
	exit "$code"
}
