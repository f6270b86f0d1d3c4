# shellcheck shell=bash
# Engines for scripts, to be sourced: find the one that runs, or start one of our own and end it again.
#
# An engine of our own has its data, socket, process file and cgroup in one folder, no bridge and no
# firewall rule: it leaves nothing behind and cannot disturb the host's.

# Whether the docker command line reaches an engine, in its own order: DOCKER_HOST, DOCKER_CONTEXT, the
# current context, the default socket.
engine_answers() {
    command -v docker >/dev/null 2>&1 &&
        [ -n "$(docker version --format '{{.Server.Version}}' 2>/dev/null </dev/null)" ]
}

# Starts an engine in FOLDER, which must be empty, and points DOCKER_HOST at it.
engine_start() { # engine_start FOLDER
    ENGINE_DIR=$1
    ENGINE_CGROUP=docker-scheduler-$(basename "$ENGINE_DIR" | tr -cd 'A-Za-z0-9')
    printf '{}\n' >"$ENGINE_DIR/daemon.json"
    dockerd --config-file "$ENGINE_DIR/daemon.json" \
        --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/run" --pidfile "$ENGINE_DIR/docker.pid" \
        --host "unix://$ENGINE_DIR/docker.sock" \
        --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
        --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$ENGINE_CGROUP" \
        >"$ENGINE_DIR/dockerd.log" 2>&1 </dev/null &
    ENGINE_PID=$!
    unset DOCKER_CONTEXT DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH
    export DOCKER_HOST="unix://$ENGINE_DIR/docker.sock"
    local tries=0
    until engine_answers; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! kill -0 "$ENGINE_PID" 2>/dev/null; then
            printf 'error: dockerd did not start; the end of its log:\n' >&2
            tail -n 5 "$ENGINE_DIR/dockerd.log" >&2
            printf 'hint: an engine needs a machine or a privileged container; or point DOCKER_HOST at one that runs\n' >&2
            return 1
        fi
        sleep 0.2
    done
}

# Ends the engine of `engine_start` and removes what it kept. Does nothing when there is none.
engine_stop() {
    [ -n "${ENGINE_PID:-}" ] || return 0
    kill "$ENGINE_PID" 2>/dev/null || true
    wait "$ENGINE_PID" 2>/dev/null || true
    ENGINE_PID=
    local mount
    # Mounts below the folder, the deepest first; normally there are none left.
    grep -F " $ENGINE_DIR/" /proc/mounts | cut -d' ' -f2 | sort -r | while read -r mount; do
        umount -l "$mount"
    done || true
    find /sys/fs/cgroup -depth -type d \( -path "*/$ENGINE_CGROUP/*" -o -name "$ENGINE_CGROUP" \) \
        -exec rmdir {} \; 2>/dev/null || true
    rm -rf "$ENGINE_DIR"
}

# Makes image NAME out of the host's static busybox: no registry, no network. SCRATCH is an empty folder.
engine_make_image() { # engine_make_image NAME SCRATCH
    local busybox=/bin/busybox applet
    [ -x "$busybox" ] || busybox=/usr/bin/busybox
    mkdir -p "$2/bin" "$2/etc" "$2/tmp"
    cp "$busybox" "$2/bin/busybox"
    "$busybox" --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$2/bin/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$2/etc/passwd"
    tar -C "$2" -cf - . | docker import - "$1" >/dev/null
}
