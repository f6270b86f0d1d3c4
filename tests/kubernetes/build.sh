#!/usr/bin/env bash
# Builds the programs of a Kubernetes control plane from the Go module beside this, once: etcd,
# kube-apiserver, kube-controller-manager, kubectl, and a stub for a kubelet. `--where` only prints their folder.
#
# They lie below the target folder, by a digest of what they are made from.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$root/tests/kubernetes"

version=$(awk '$1 == "k8s.io/kubernetes" {print $2; exit}' go.mod)
digest=$(cat go.mod go.sum ./*/main.go build.sh | sha256sum | cut -c1-12)
where=$target/kubernetes/$version-$digest
if [ "${1:-}" = --where ]; then
    echo "$where"
    exit
fi
if [ -f "$where/complete" ]; then
    exit
fi

printf '\n==> Building Kubernetes %s (once; six minutes on two cores that have nothing else to do)\n' "$version"
mkdir -p "$where"
export PATH="$PATH:/usr/local/go/bin" CGO_ENABLED=0 GOFLAGS=-mod=readonly
stamp="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version"
go build -trimpath -ldflags "-s -w $stamp" -o "$where/" ./etcd ./kube-apiserver ./kube-controller-manager ./kubectl ./kubelet
touch "$where/complete"
