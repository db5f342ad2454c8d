#!/usr/bin/env bash
# make play: MinIO and a mount in a temporary folder, ferry's log on the screen.
# See a change with ls and cat in another terminal; Ctrl-C ends everything.
set -euo pipefail
shopt -s inherit_errexit
STORE=minio
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work_folder
mnt=$work/mnt
state=$work/state
mkdir "$mnt"
trap clean_up EXIT
trap 'exit 0' INT TERM

start_minio
mount_ferry
cat <<EOF
mounted at   $mnt
state in     $state
status       $ferry status $mnt
plain S3     eval "\$(cat $work/env)"; $tool s3 ls $bucket
Ctrl-C unmounts and removes it all.

EOF
umask 077
printf 'export AWS_ENDPOINT_URL=%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s\n' \
	"$AWS_ENDPOINT_URL" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >"$work/env"
# tail ends with the daemon; a Ctrl-C ends tail.
tail -n +1 -f --pid="$ferry_pid" "$work/ferry.log"
