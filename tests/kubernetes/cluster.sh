#!/usr/bin/env bash
# Runs a command against a Kubernetes cluster: `tests/kubernetes/cluster.sh COMMAND...`
#
# With KUBECONFIG set it is that cluster. Otherwise one of its own is started for the command and ended
# after it: etcd, API server and controllers, without a node. Pods are made and never run; tests finish
# them by writing their status, and a stub answers for what a kubelet would say of their output.
# The programs are built by `tests/setup.sh kubernetes`.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ $# -gt 0 ] || { echo "error: say what to run" >&2; exit 1; }
if [ -n "${KUBECONFIG:-}" ]; then
    exec "$@"
fi

programs=$(bash tests/kubernetes/build.sh --where)
[ -x "$programs/kube-apiserver" ] || { echo "error: run \`tests/setup.sh kubernetes\` first" >&2; exit 1; }

dir=$(mktemp -d)
children=()
finish() {
    local child
    # What they know is thrown away: there is nothing to wait for.
    for child in "${children[@]}"; do kill -KILL "$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# Waits until a command succeeds; slow machines need long.
until_ready() { # WHAT COMMAND...
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 600 ]; then
            echo "error: $what did not come up" >&2
            tail -n 20 "$dir"/*.log >&2
            exit 1
        fi
        sleep 0.5
    done
}

run() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$dir/$name.log" 2>&1 &
    children+=($!)
}

etcd_port=$(free_port)
peer_port=$(free_port)
port=$(free_port)
kubelet_port=$(free_port)

run etcd "$programs/etcd" --data-dir "$dir/etcd" --unsafe-no-fsync --log-level error \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-cluster "default=http://127.0.0.1:$peer_port"

token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
(umask 077 && printf '%s,admin,admin,system:masters\n' "$token" >"$dir/tokens")
openssl genrsa -out "$dir/accounts.key" 2048 2>/dev/null
openssl rsa -in "$dir/accounts.key" -pubout -out "$dir/accounts.pub" 2>/dev/null

run kube-apiserver "$programs/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" \
    --bind-address 127.0.0.1 --secure-port "$port" --cert-dir "$dir/certs" \
    --token-auth-file "$dir/tokens" --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
    --service-account-key-file "$dir/accounts.pub" --service-account-signing-key-file "$dir/accounts.key" \
    --service-account-issuer https://cluster.test --disable-admission-plugins ServiceAccount \
    --kubelet-preferred-address-types InternalIP --event-ttl 1h --allow-privileged=true

cat >"$dir/kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: test
contexts:
- name: test
  context: {cluster: test, user: admin}
clusters:
- name: test
  cluster: {server: "https://127.0.0.1:$port", certificate-authority: $dir/certs/apiserver.crt}
users:
- name: admin
  user: {token: $token}
END

ready() {
    (exec 3<>"/dev/tcp/127.0.0.1/$port") && [ -s "$dir/certs/apiserver.crt" ] &&
        printf 'GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n' "$token" |
        openssl s_client -quiet -connect "127.0.0.1:$port" 2>/dev/null | grep -q '^ok'
}
until_ready 'the API server' ready

run kube-controller-manager "$programs/kube-controller-manager" --kubeconfig "$dir/kubeconfig" \
    --leader-elect=false --secure-port 0 \
    --controllers cronjob-controller,job-controller,ttl-after-finished-controller,garbage-collector-controller,namespace-controller
mkdir "$dir/ended"
run kubelet "$programs/kubelet" "127.0.0.1:$kubelet_port" "$dir/ended"

export KUBECONFIG=$dir/kubeconfig
export DOCKER_SCHEDULER_TEST_KUBELET=$kubelet_port
# A file NAME.goes-on in it holds a pod's last line back, until there is a file NAME.
export DOCKER_SCHEDULER_TEST_ENDED=$dir/ended
export DOCKER_SCHEDULER_TEST_KUBECTL=$programs/kubectl
"$@"
