#!/bin/sh
# Writes canonical.txt anew: what a real `docker compose config` makes of each form in attributes.txt.
# Usage: tests/compose/canonical.sh PATH-OF-docker-compose
set -eu
cd "$(dirname "$0")/../.."
DOCKER_COMPOSE="$(realpath "$1")" cargo test --locked --test it -- compose::forms_are_read_as_docker_compose_reads_them
