#!/usr/bin/env bash
# Starts, shows and stops MedAssist in containers, for `make compose-up`, `compose-status` and `compose-down`.
# usage: compose/stack.sh up [SERVICE...] | down | status
# COMPOSE_PROFILES=logs,tracing adds Elasticsearch, Kibana and Filebeat, and Jaeger.
# COMPOSE_UP_OPTIONS replaces `--build`, an option of `docker compose up`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
compose=(docker compose)
secrets=${MEDASSIST_SECRETS:-$PWD/secrets}
readonly log_hint="a service's log: docker compose --project-directory compose logs SERVICE"
# For the slowest first start, with all images there and all volumes empty.
readonly TIMEOUT=${COMPOSE_TIMEOUT:-600}

fail() { echo "compose: $*" >&2; exit 1; }

# Made once: a running service keeps its password. The directory is its owner's alone, the files in it are readable by
# every container's user.
generate_secrets() {
    local name
    mkdir -p "$secrets"
    chmod 700 "$secrets"
    for name in mysql_{root,api,exporter,backup} redis_{api,exporter} webhook_token \
        grafana_{admin,secret_key,elasticsearch_password} elastic_password filebeat_password \
        kibana_{system_password,alerts_password,key_security,key_savedobjects,key_reporting}; do
        [[ -s $secrets/$name ]] && continue
        # Hexadecimal: nothing to be escaped in SQL, YAML or a URL. Complete or not there at all.
        openssl rand -hex 24 >"$secrets/$name.new"
        chmod 644 "$secrets/$name.new"
        mv "$secrets/$name.new" "$secrets/$name"
        echo "compose: generated $secrets/$name"
    done
    # Redis' own file has hashes only. The API is the default user, for it logs in with a password alone.
    {
        echo "user default on #$(hash redis_api) ~* &* +@all -@admin -@dangerous +info"
        echo "user exporter on #$(hash redis_exporter) -@all +ping +info +config|get +slowlog|len +slowlog|get" \
            "+latency|latest +cluster|info +client|setname"
    } >"$secrets/redis_users.new"
    chmod 644 "$secrets/redis_users.new"
    mv "$secrets/redis_users.new" "$secrets/redis_users"
    # Mail, pager and dead man's switch: files in secrets/alertmanager.d, which git does not have.
    mkdir -p "$secrets/alertmanager.d"
    ../alertmanager/render ../alertmanager/targets/compose "$secrets/alertmanager.d" >"$secrets/alertmanager.yml.new" ||
        fail "cannot write Alertmanager's configuration"
    chmod 644 "$secrets/alertmanager.yml.new"
    mv "$secrets/alertmanager.yml.new" "$secrets/alertmanager.yml"
}

hash() { tr -d '\n' <"$secrets/$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }

# A mounted file keeps the host's mode, and the containers' users are others: after a clone with umask 077 they could
# read nothing.
readable() {
    local hidden
    hidden=$(find . ../prometheus ../alertmanager ../grafana/{dashboards,provisioning} ../runbooks -path ./secrets -prune -o \
        \( -type d ! -perm -o=rx -o -type f ! -perm -o=r \) -print | head -3)
    [[ -z $hidden ]] || fail "containers can't read ${hidden//$'\n'/, }:" \
        "chmod -R o+rX compose prometheus alertmanager grafana runbooks"
}

# One line a container: service, state, health, exit code.
states() { "${compose[@]}" ps --all --format '{{.Service}} {{.State}} {{if .Health}}{{.Health}}{{else}}-{{end}} {{.ExitCode}}'; }

# What is not as it should be: not running, not healthy, or a one-shot that failed. cAdvisor is not waited for: it does not
# run on every engine, and nothing depends on it.
unsettled() {
    states | awk '
        $1 == "cadvisor" { next }
        $2 == "exited" && $4 == 0 && $1 ~ /-setup$/ { next }
        $2 == "running" && ($3 == "healthy" || $3 == "-") { next }
        { print $1 " " ($2 == "running" ? $3 : $2) }'
}

up() {
    local started=$SECONDS waiting='' shown=''
    "${compose[@]}" version >/dev/null 2>&1 || fail "docker compose is missing: https://docs.docker.com/compose/install/"
    docker info >/dev/null 2>&1 || fail "the Docker engine does not answer: is it running, and may this user use it?"
    # start_interval of the healthchecks.
    [[ $(docker version --format '{{.Server.Version}}' | cut -d. -f1) -ge 25 ]] || fail "this Docker engine is older than 25"
    command -v openssl >/dev/null || fail "openssl is missing: it makes the passwords"
    readable
    generate_secrets
    if [[ ,${COMPOSE_PROFILES-}, == *,tracing,* ]]; then
        export OTEL_EXPORTER_OTLP_ENDPOINT=${OTEL_EXPORTER_OTLP_ENDPOINT:-http://jaeger:4317}
    fi
    export MEDASSIST_REVISION=${MEDASSIST_REVISION:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)}
    # It waits for what others depend on, and returns when the last container is started.
    # shellcheck disable=SC2086
    "${compose[@]}" up --detach --remove-orphans ${COMPOSE_UP_OPTIONS---build} "$@" || {
        unsettled | sed 's/^/compose: not healthy: /' >&2
        fail "the start failed; $log_hint"
    }
    while waiting=$(unsettled); [[ -n $waiting ]]; do
        [[ $waiting == "$shown" ]] || echo "compose: after $((SECONDS - started)) s waiting for: ${waiting//$'\n'/, }"
        shown=$waiting
        ((SECONDS - started < TIMEOUT)) || fail "not all services are healthy after $TIMEOUT s; $log_hint"
        sleep 1
    done
    echo "compose: all services are up after $((SECONDS - started)) s"
    [[ $(states) != *cadvisor* || $(states) == *"cadvisor running healthy"* ]] ||
        echo "compose: except cadvisor, which measures containers; all else works without it. $log_hint"
    urls
}

# host:port of a service's published port, if it runs.
published() { "${compose[@]}" port "$1" "$2" 2>/dev/null || true; }

urls() {
    local name service port path address
    while read -r service port path name; do
        address=$(published "$service" "$port")
        [[ -z $address || $address == *:0 ]] || printf '  %-28s http://%s%s\n' "$name" "$address" "$path"
    done <<'URLS'
nginx 8080 / Patients' page
grafana 3000 / Grafana (dashboards)
prometheus 9090 /alerts Prometheus
alertmanager 9093 / Alertmanager
haproxy 8404 /stats HAProxy's statistics
kibana 5601 / Kibana (logs)
jaeger 16686 / Jaeger (traces)
URLS
    [[ -z $(published grafana 3000) ]] || echo "  Grafana's user is admin, its password is in $secrets/grafana_admin"
    [[ -z $(published kibana 5601) ]] || echo "  Kibana's user is elastic, its password is in $secrets/elastic_password"
}

status() {
    local rows waiting
    rows=$("${compose[@]}" ps --all --format 'table {{.Service}}\t{{.State}}\t{{.Health}}\t{{.Status}}')
    [[ $(wc -l <<<"$rows") -gt 1 ]] || fail "nothing runs: make compose-up"
    echo "$rows"
    urls
    waiting=$(unsettled)
    [[ -z $waiting ]] || fail "not healthy: ${waiting//$'\n'/, }"
}

down() {
    # With all profiles: what was started with one is stopped without it, too. Data stays in the volumes.
    COMPOSE_PROFILES='*' "${compose[@]}" down --remove-orphans
    echo "compose: stopped; data stays in volumes, passwords in $secrets. To delete both: see compose/README.md"
}

case ${1-} in
up | down | status) "$@" ;;
*) sed -n '3,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
