#!/bin/sh
# Runs dockerd and the scheduler, and ends when either does, so that Docker's restart policy sees it.
set -eu

# A container that was killed leaves these, and the next dockerd would take their process for its own.
rm -f /var/run/docker.pid /run/docker/containerd/containerd.pid /var/run/docker/containerd/containerd.pid

# Jobs that run are stopped by the engine when it ends; without a shim that survives a container, there is
# nothing for --live-restore to keep.
if command -v dockerd-entrypoint.sh >/dev/null; then
    DOCKER_TLS_CERTDIR='' dockerd-entrypoint.sh dockerd --host "$DOCKER_HOST" "$@" &
else
    dockerd --host "$DOCKER_HOST" "$@" &
fi
engine=$!

# It waits for the engine by itself.
docker-scheduler watch /schedules &
scheduler=$!

# The scheduler first, so that no start meets an engine that is going down; then the engine, which stops
# the jobs that run.
# shellcheck disable=SC2317 # called by the trap
end() {
    trap '' TERM INT
    kill -TERM "$scheduler" 2>/dev/null || true
    wait "$scheduler" || true
    kill -TERM "$engine" 2>/dev/null || true
    wait "$engine" || true
    exit 0
}
trap end TERM INT

while kill -0 "$engine" 2>/dev/null && kill -0 "$scheduler" 2>/dev/null; do
    sleep 1 &
    wait $!
done
echo 'the engine or the scheduler has ended' >&2
kill -TERM "$scheduler" "$engine" 2>/dev/null || true
wait
exit 1
