# shellcheck shell=bash
# A Docker engine of the test's own, sourced by `run`: the machine's may be too old or absent, and must not see
# stand-ins under official names. From Debian unstable, unpacked; only runc is the machine's. Everything is in one
# directory, and `stop_engine` ends it.

# start_engine DIRECTORY: sets DOCKER_HOST, DOCKER_CONFIG and PATH for all that follows.
start_engine() {
    local directory=$1 packages=$1/engine
    [[ $(id -u) == 0 ]] || { echo "test-compose: only root can start a Docker engine" >&2; return 1; }
    tests/unpack-debs.sh unstable "$packages" docker.io docker-cli docker-buildx docker-compose containerd
    # Bound to a newer C library than the machine's.
    rm -f "$packages/usr/sbin/runc"
    engine_pid=$directory/dockerd.pid
    # A unix socket's path has at most 107 bytes.
    engine_run=$(mktemp -d)
    export PATH=$packages/usr/sbin:$packages/usr/bin:$PATH DOCKER_HOST=unix://$engine_run/docker.sock DOCKER_CONFIG=$directory/config
    mkdir -p "$DOCKER_CONFIG"
    ln -sfn "$packages/usr/libexec/docker/cli-plugins" "$DOCKER_CONFIG/cli-plugins"
    # Of an engine that was killed.
    rm -f "$engine_pid"
    dockerd --host "$DOCKER_HOST" --data-root "$directory/data" --exec-root "$engine_run/exec" --pidfile "$engine_pid" \
        >"$directory/dockerd.log" 2>&1 &
    local attempt
    for ((attempt = 0; ; attempt++)); do
        docker info >/dev/null 2>&1 && break
        if ((attempt == 120)) || ! kill -0 $! 2>/dev/null; then
            tail -n 20 "$directory/dockerd.log" >&2
            echo "test-compose: the Docker engine did not start" >&2
            return 1
        fi
        sleep 0.5
    done
    echo "test-compose: Docker engine $(docker version --format '{{.Server.Version}}'), storage $(docker info --format '{{.Driver}}')"
}

stop_engine() {
    [[ -s ${engine_pid-} ]] || return 0
    local pid
    pid=$(<"$engine_pid")
    kill "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    rm -rf "$engine_run"
}
