#!/usr/bin/env bash
# Builds the programs of a current Docker engine from the Go module beside this, once: dockerd,
# containerd and its shim, runc. `--where` only prints their folder.
#
# No distribution packs the newest engine, and its module's sums pin every line of it. Go's linker puts
# no version into it, so `docker version` says `library-import` unless it is told.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$root/tests/moby"

version=$(awk '$1 == "github.com/moby/moby/v2" {print $2; exit}' go.mod)
digest=$(cat go.mod go.sum tools.go build.sh | sha256sum | cut -c1-12)
where=$target/moby/$version-$digest
if [ "${1:-}" = --where ]; then
    echo "$where"
    exit
fi
if [ -f "$where/complete" ]; then
    exit
fi

printf '\n==> Building a Docker engine, %s (once; three minutes on two cores that have nothing else to do)\n' "$version"
mkdir -p "$where"
export PATH="$PATH:/usr/local/go/bin" GOFLAGS=-mod=readonly
stamp="-X github.com/moby/moby/v2/dockerversion.Version=$version"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $stamp" -o "$where/" \
    github.com/moby/moby/v2/cmd/dockerd \
    github.com/containerd/containerd/v2/cmd/containerd \
    github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
# In C where it enters namespaces, and filters system calls by a library.
CGO_ENABLED=1 go build -trimpath -ldflags '-s -w' -tags seccomp -o "$where/" github.com/opencontainers/runc
touch "$where/complete"
