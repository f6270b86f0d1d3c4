#!/usr/bin/env bash
# `make demo`: what docker-scheduler does, in a minute, on any machine; it ends by itself and leaves
# nothing behind.
#
# It works on the engine that runs, or on one of its own, as the instance `demo`, with a copy of
# schedules.d and a state folder in a scratch folder. It touches no container that it did not make.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin"
# shellcheck source=tests/engine.sh
. tests/engine.sh

say() { printf '\n==> %s\n' "$*"; }

# Shows a command as a person would type it, and runs it.
show() {
    printf '\n$ docker-scheduler %s\n' "$*"
    "$program" "$@"
}

# Everything on the engine that could be left behind, one line each.
inventory() {
    docker ps -a --no-trunc --format 'container {{.ID}} {{.Names}}'
    docker images -a --no-trunc --format 'image {{.ID}} {{.Repository}}:{{.Tag}}'
    docker volume ls --format 'volume {{.Name}}'
}

our_volumes() {
    docker volume ls --format '{{.Name}}' | grep -x -e "docker-scheduler\.$instance" -e "${instance}_.*" || true
}

our_containers() {
    docker ps -aq --filter "label=docker-scheduler.instance=$instance"
}

stop_watch() {
    [ -n "$watch" ] || return 0
    kill -TERM "$watch" 2>/dev/null || true
    wait "$watch" 2>/dev/null || true
    watch=
}

# Takes away what the demo made on the engine: containers that `down` did not, volumes, the image.
sweep() {
    local name
    our_containers | while read -r name; do docker rm -f -v "$name" >/dev/null; done
    our_volumes | while read -r name; do docker volume rm "$name" >/dev/null; done
    if [ -n "$made_image" ]; then docker image rm "$made_image" >/dev/null; fi
    made_image=
}

# Runs at every end, also after a failure or Ctrl-C.
finish() {
    local code=$?
    trap - EXIT INT TERM
    set +e
    stop_watch
    if [ "$claimed" = yes ]; then
        say 'The demo did not reach its end; cleaning up'
        "$program" down
        sweep
    fi
    engine_stop
    rm -rf "$scratch"
    exit "$code"
}

choose_engine() {
    if engine_answers; then
        say "Using the engine that runs here: Docker $(docker version --format '{{.Server.Version}}')"
        return
    fi
    say 'No engine runs here; starting a private one (own data, own socket, no network)'
    if [ "$(id -u)" -ne 0 ]; then
        printf 'error: starting an engine needs root\n' >&2
        printf 'hint: start Docker, or point DOCKER_HOST at an engine, or run: sudo -E make demo\n' >&2
        exit 1
    fi
    bash tests/setup.sh engine
    # Installing Docker starts it on a machine with an init system.
    if engine_answers; then
        say 'The engine just installed is up; using it'
        return
    fi
    mkdir "$scratch/engine"
    engine_start "$scratch/engine"
    say "Private engine: Docker $(docker version --format '{{.Server.Version}}')"
}

# An earlier demo that was killed, or somebody's own instance `demo`, is left alone.
choose_instance() {
    instance=demo
    if [ -n "$(our_containers)$(our_volumes)" ]; then
        instance=demo-$$
        say "The name 'demo' is taken on this engine; this demo is the instance '$instance'"
    fi
    export DOCKER_SCHEDULER_INSTANCE=$instance
}

# schedules.d asks for busybox:latest. Without it a look-alike is made under a name of our own, so that
# nobody else on the engine gets it by mistake.
choose_image() {
    image=busybox:latest
    if docker image inspect "$image" >/dev/null 2>&1; then
        say "The engine has $image"
        return
    fi
    if [ ! -x /bin/busybox ] && [ ! -x /usr/bin/busybox ] && command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
        bash tests/setup.sh busybox
    fi
    if [ -x /bin/busybox ] || [ -x /usr/bin/busybox ]; then
        image=docker-scheduler-$instance:latest
        say "Making a small image, $image, out of this machine's busybox: no registry is asked"
        made_image=$image
        mkdir "$scratch/image"
        engine_make_image "$image" "$scratch/image"
    else
        say "Pulling $image"
        made_image=$image
        docker pull -q "$image" >/dev/null
    fi
}

# A copy whose jobs and volumes carry the demo's own project name.
copy_manifests() {
    local file
    mkdir "$scratch/schedules.d"
    for file in schedules.d/*.yaml; do
        sed -e "s/^name: starter/name: $instance/" -e "s|image: busybox:latest|image: $image|" \
            "$file" >"$scratch/$file"
    done
}

# The same three changes that a pull request could hold.
make_branch() {
    cp -r "$scratch/schedules.d" "$scratch/branch"
    sed 's/every: 10s /every: 5s  /' "$scratch/schedules.d/heartbeat.yaml" >"$scratch/branch/heartbeat.yaml"
    rm "$scratch/branch/report.yaml"
    cat >"$scratch/branch/slow.yaml" <<END
name: $instance
jobs:
  slow:
    image: $image
    command: sleep 60
    network_mode: none
    stop_grace_period: 1s
    triggers: {manual: true}
    x-scheduler: {every: 10s, timeout: 3s}
END
}

succeeded() { # succeeded JOB
    "$program" history "$1" --filter outcome=succeeded -q | wc -l
}

watch=
claimed=no
made_image=
bash tests/setup.sh build
say 'Building docker-scheduler'
cargo build --locked --quiet
program=${CARGO_TARGET_DIR:-target}/debug/docker-scheduler
case $program in /*) ;; *) program=$PWD/$program ;; esac

scratch=$(mktemp -d "${TMPDIR:-/tmp}/ds-demo.XXXXXX")
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Nothing of the caller's own scheduler: neither its settings nor its state.
unset DOCKER_SCHEDULER_TAKE_OVER DOCKER_SCHEDULER_LOG_FORMAT DOCKER_SCHEDULER_LOG_LEVEL
printf '# the demo needs no settings\n' >"$scratch/config.yaml"
export DOCKER_SCHEDULER_CONFIG=$scratch/config.yaml DOCKER_SCHEDULER_STATE=$scratch/state

choose_engine
choose_instance
inventory | sort >"$scratch/before"
claimed=yes
choose_image
copy_manifests
cd "$scratch"

say 'A copy of schedules.d: four jobs in Compose files; one runs too often for daily life, and is warned about'
show validate schedules.d
say 'The plan: what would be done, before anything is done'
show plan schedules.d

say 'Watching for 40 seconds: each line behind "watch |" is one thing that it did'
printf '\n$ docker-scheduler watch schedules.d\n'
"$program" watch schedules.d > >(while IFS= read -r line; do printf '  watch | %s\n' "$line"; done) 2>&1 &
watch=$!
sleep 13

say 'A change, as in a pull request: heartbeat twice as often, one job more, one job less'
make_branch
show plan branch
say 'It is merged: the watched folder now holds the new files, and nobody restarts anything'
cp branch/heartbeat.yaml branch/slow.yaml schedules.d/
rm schedules.d/report.yaml
sleep 2
say 'Beside its schedule, a job can be started by hand; its exit code is ours'
show trigger "$instance.cleanup" --wait
sleep 24
say 'That was watch; it is told to end'
stop_watch

say 'The jobs now'
show ls
say 'Every slot is accounted for, also those that did not end well: slow ran into its timeout'
show history -n 12
say 'The output of a run, kept after its container is gone'
show logs "$instance.heartbeat"
say 'Down: every container of this instance goes, foreign ones are never touched'
show down

if [ "$(succeeded "$instance.heartbeat")" -lt 4 ]; then
    printf 'error: fewer heartbeats than 40 seconds hold\n' >&2
    exit 1
fi
sweep
claimed=no
inventory | sort >"$scratch/after"
if diff "$scratch/before" "$scratch/after"; then
    say 'Done. The engine holds the same containers, images and volumes as before'
elif [ -n "$(our_containers)$(our_volumes)" ]; then
    printf 'error: the demo left the lines above behind\n' >&2
    exit 1
else
    say 'Done. Nothing of the demo is left; the lines above are the work of others in the meantime'
fi
