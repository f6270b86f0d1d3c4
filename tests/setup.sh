#!/usr/bin/env bash
# Installs what is missing for building, linting and testing: `tests/setup.sh WHAT...`
#
#   build    cargo (only checked) and a C compiler, for the SQLite that is compiled in
#   lint     rustfmt and clippy
#   windows  the target x86_64-pc-windows-gnu and its C compiler
#   engine   a Docker engine's programs and a static busybox, for engines of our own
#   busybox  the latter alone
#   moby     Go, and from it the newest Docker engine, which no distribution packs
#   kubernetes  Go, and from it the servers of a Kubernetes cluster; nothing when KUBECONFIG names one
#   packaging  what builds and tries the packages: debootstrap, Compose, cargo-deb
#
# Installs by apt, as root on Debian and its kin; anywhere else it says what is missing. What is there
# already is left alone, so it may be run before every command.
set -euo pipefail

say() { printf '\n==> %s\n' "$*"; }

fail() {
    printf '\nerror: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# A user's PATH often lacks the folders of daemons, and a fresh rustup is not in any PATH yet.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin"

can_install() { [ "$(id -u)" -eq 0 ] && have apt-get; }

updated=no
install() { # install WHY PACKAGE...
    local why=$1
    shift
    if ! can_install; then
        fail "missing: $* ($why)" "install it, or run this as root on Debian and it is installed for you"
    fi
    say "Installing $* ($why)"
    export DEBIAN_FRONTEND=noninteractive
    if [ "$updated" = no ]; then
        apt-get -qq -o Acquire::Retries=3 update </dev/null
        updated=yes
    fi
    apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" </dev/null >/dev/null
}

setup_build() {
    have cargo || fail 'cargo is not installed' 'get Rust from https://rustup.rs'
    if ! have cc; then
        install 'the ledger is SQLite, compiled in' gcc libc6-dev
    fi
}

setup_lint() {
    setup_build
    local component
    for component in rustfmt clippy; do
        # The proxy of a component that is not installed exists, and fails.
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
        have rustup || fail "$component is not installed" "install it beside your cargo"
        say "Installing $component"
        rustup component add "$component"
    done
}

# The standard library of the target, and a C compiler for SQLite.
setup_windows() {
    setup_build
    have x86_64-w64-mingw32-gcc || install 'SQLite is compiled for Windows' gcc-mingw-w64-x86-64
    have rustup || {
        [ -d "$(rustc --print sysroot)/lib/rustlib/x86_64-pc-windows-gnu" ] && return 0
        fail 'the standard library for Windows is not installed' \
            "install the target x86_64-pc-windows-gnu beside your rustc, or use https://rustup.rs"
    }
    rustup target list --installed | grep -qx x86_64-pc-windows-gnu || {
        say 'Installing the target x86_64-pc-windows-gnu'
        rustup target add x86_64-pc-windows-gnu
    }
}

setup_engine() {
    if ! have dockerd || ! have containerd || ! have runc; then
        install 'a Docker engine' docker.io containerd runc
    fi
    # Debian 13 packs the command line apart.
    have docker || install 'the docker command line' docker-cli
    have ip || install 'network namespaces of the engine' iproute2
    have iptables || install 'bridge networks of the engine' iptables
    setup_busybox
}

# The release that the package was written for; a packager's newer one may serve as well.
CARGO_DEB=3.8.0

setup_packaging() {
    have debootstrap || install 'base images without a registry' debootstrap
    have podman || install 'the other engine' podman
    have docker-compose || install 'the example with Compose' docker-compose
    have dpkg-shlibdeps || install 'what the Debian package depends on' dpkg-dev
    cargo deb --version >/dev/null 2>&1 || {
        say "Installing cargo-deb $CARGO_DEB (the Debian package)"
        cargo install --quiet --locked --no-default-features --version "$CARGO_DEB" cargo-deb
    }
}

setup_busybox() {
    [ -x /bin/busybox ] || [ -x /usr/bin/busybox ] ||
        install 'an image without a registry' busybox-static
}

# Whether the Go that is there is new enough for a module: have_go MODULE
have_go() {
    local need found
    need=$(awk '$1 == "go" {print $2; exit}' "$(dirname "$0")/$1/go.mod")
    found=$(go env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//')
    [ -n "$found" ] && [ "$(printf '%s\n%s\n' "$need" "$found" | sort -V | head -n 1)" = "$need" ]
}

setup_go() { # setup_go MODULE WHAT OTHERWISE...
    local module=$1 what=$2 offered
    shift 2
    export PATH="$PATH:/usr/local/go/bin"
    if ! have_go "$module" && can_install; then
        offered=$(apt-cache policy golang-go 2>/dev/null | awk '/Candidate:/ {print $2}' | sed 's/^[0-9]*://')
        if [ "$(printf '1.26\n%s\n' "${offered:-0}" | sort -V | head -n 1)" = 1.26 ]; then
            install "$what built from source" golang-go
        fi
    fi
    have_go "$module" || fail 'Go 1.26 or later is not installed' \
        "get it from https://go.dev/dl; $what built from source with it" "$@"
}

setup_moby() {
    setup_go moby 'the newest Docker engine is'
    # runc is the one part in C.
    have pkg-config || install 'runc is built from source' pkg-config
    pkg-config --exists libseccomp || install 'runc filters system calls' libseccomp-dev
    bash "$(dirname "$0")/moby/build.sh"
}

setup_kubernetes() {
    [ -z "${KUBECONFIG:-}" ] || return 0
    setup_go kubernetes 'the servers of a Kubernetes cluster are' \
        'or set KUBECONFIG, and the tests run against that cluster'
    have openssl || install 'keys of the cluster' openssl
    bash "$(dirname "$0")/kubernetes/build.sh"
}

[ $# -gt 0 ] || fail 'say what to set up: build, lint, windows, engine, busybox, moby, kubernetes or packaging'
for what in "$@"; do
    case $what in
    build) setup_build ;;
    lint) setup_lint ;;
    windows) setup_windows ;;
    engine) setup_engine ;;
    busybox) setup_busybox ;;
    packaging) setup_packaging ;;
    moby) setup_moby ;;
    kubernetes) setup_kubernetes ;;
    *) fail "do not know how to set up '$what'" 'build, lint, windows, engine, busybox, moby, kubernetes or packaging' ;;
    esac
done
