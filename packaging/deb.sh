#!/usr/bin/env bash
# Builds the Debian package: `packaging/deb.sh [PROFILE]`, release by default. The last line of its output
# is the package's path.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
folder=$profile
compress=()
if [ "$profile" = dev ]; then
    folder=debug
    # Ten times the size of a release: to be tried, and not to be kept.
    compress=(--fast)
fi
target=${CARGO_TARGET_DIR:-target}
program=$target/$folder/docker-scheduler

cargo build --locked --profile "$profile" --bin docker-scheduler

# What the program itself writes. The folder's name is the one that Cargo.toml's list of assets has.
made=target/deb
rm -rf "$made"
mkdir -p "$made/man" "$made/completions"
for shell in bash zsh fish; do
    "$program" completions "$shell" >"$made/completions/$shell"
done
"$program" man --dir "$made/man" >/dev/null
# The docker command finds its plugins by their names in this folder.
ln -s ../../../bin/docker-scheduler "$made/plugin"

cargo deb --quiet --locked --no-build "${compress[@]}" --profile "$profile" --output "$made/"
ls "$made"/*.deb
