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

# Debian's own account of the package: what changed in the program is in the changelog beside it.
version=$(awk -F '"' '$1 == "version = " {print $2; exit}' Cargo.toml)
maintainer=$(awk -F '"' '$1 == "maintainer = " {print $2; exit}' Cargo.toml)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
printf 'docker-scheduler (%s-1) unstable; urgency=medium\n\n  * The release %s.\n\n -- %s  %s\n' \
    "$version" "$version" "$maintainer" "$(date -u -R -d "@$epoch")" >"$made/changelog"

cargo deb --quiet --locked --no-build "${compress[@]}" --profile "$profile" --output "$made/"
ls "$made"/*.deb
