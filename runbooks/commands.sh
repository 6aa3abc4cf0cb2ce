# The commands that the runbooks use, alike for the local stack and for compose. Source it in bash, in the repository's root:
#   . runbooks/commands.sh            finds out which of the two runs
#   . runbooks/commands.sh compose    or `local`: says which
# It defines functions and ENVIRONMENT, and starts nothing.

ENVIRONMENT=${1:-}
if [[ -z $ENVIRONMENT ]]; then
    ENVIRONMENT=local
    if command -v docker >/dev/null && [[ -n $(timeout 5 docker compose --project-directory compose ps --quiet prometheus 2>/dev/null) ]]; then
        ENVIRONMENT=compose
    fi
fi

_compose() { docker compose --project-directory compose "$@"; }
_port() { printf '%s' "$((10#$1 + ${STACK_PORT_OFFSET:-0}))"; }

# The address of a service's HTTP port, as this machine reaches it. Containers answer on their own addresses.
address() {
    local port host
    case $ENVIRONMENT:$1 in
        *:nginx) port=8081 ;; *:haproxy) port=8404 ;; *:api[0-9]) port=8080 ;; *:prometheus) port=9090 ;; *:alertmanager) port=9093 ;;
        *:pushgateway) port=9091 ;; *:node-exporter) port=9100 ;; *:mysql-exporter) port=9104 ;; *:redis-exporter) port=9121 ;;
        *:haproxy-exporter) port=9101 ;; *:nginx-exporter) port=9113 ;; *:backup-exporter) port=10150 ;; *:grafana) port=3000 ;;
        *:cadvisor) port=8080 ;; *:elasticsearch) port=9200 ;; *:kibana) port=5601 ;;
        *) echo "no HTTP address of $1 is known" >&2; return 2 ;;
    esac
    if [[ $ENVIRONMENT == compose ]]; then
        host=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' "$(_compose ps --quiet "$1")" | head -n 1)
        [[ -n $host ]] || { echo "$1 does not run" >&2; return 1; }
        printf '%s:%s' "$host" "$port"
        return
    fi
    case $1 in
        nginx) port=18001 ;; haproxy) port=18404 ;; api[0-9]) port=1808${1#api} ;; backup-exporter) port=19150 ;; pushgateway) port=19092 ;;
        *) port=1$port ;;
    esac
    printf '127.0.0.1:%s' "$(_port "$port")"
}

# query 'EXPRESSION': asks Prometheus.
query() { promtool query instant "http://$(address prometheus)" "$1"; }
# health EXPORTER: its verdict with reasons, as JSON.
health() { curl -sS -m 12 "http://$(address "$1")/health"; }
# get SERVICE PATH: a page of the service, and its status.
get() { curl -sS -m 12 -w '\n%{http_code}\n' "http://$(address "$1")$2"; }
# firing [--inhibited] [MATCHER...]: the alerts that Alertmanager has.
firing() {
    if command -v amtool >/dev/null; then amtool --alertmanager.url="http://$(address alertmanager)" alert query "$@"
    else _compose exec -T alertmanager amtool --alertmanager.url=http://127.0.0.1:9093 alert query "$@"; fi
}

# services: each with its state. logs SERVICE: the end of its log.
services() { if [[ $ENVIRONMENT == compose ]]; then make -s compose-status; else make -s status; fi; }
logs() { if [[ $ENVIRONMENT == compose ]]; then _compose logs --no-log-prefix --tail=100 "$1"; else make -s logs SERVICE="$1"; fi; }
# service start|stop|kill|pause|resume SERVICE
service() {
    local verb=$1
    if [[ $ENVIRONMENT != compose ]]; then make -s "$verb" SERVICE="$2"; return; fi
    [[ $verb == resume ]] && verb=unpause
    _compose "$verb" "$2"
}

# sql 'STATEMENT': as the database's root. redis COMMAND...: as the API's user. haproxy 'COMMAND': on the runtime socket.
sql() {
    if [[ $ENVIRONMENT == compose ]]; then
        _compose exec -T mysql sh -c 'MYSQL_PWD=$(cat /run/secrets/mysql_root) exec mysql --user=root --table --execute="$1"' sh "$1"
    else
        mariadb --no-defaults --socket="${STACK_DIRECTORY:-target/stack}/run/mysql.sock" --user=root --table --execute="$1"
    fi
}
redis() {
    if [[ $ENVIRONMENT == compose ]]; then
        _compose exec -T redis redis-cli --no-auth-warning -a "$(<"${MEDASSIST_SECRETS:-compose/secrets}/redis_api")" "$@"
    else
        REDISCLI_AUTH=$(<"${STACK_DIRECTORY:-target/stack}/secrets/redis_api") redis-cli -p "$(_port 16379)" "$@"
    fi
}
haproxy() {
    if [[ $ENVIRONMENT == compose ]]; then _compose exec -T haproxy sh -c 'echo "$1" | socat -t 5 stdio /run/haproxy/admin.sock' sh "$1"
    else echo "$1" | socat -t 5 - "UNIX-CONNECT:${STACK_DIRECTORY:-target/stack}/run/haproxy.sock"; fi
}
# backup: runs the backup job once, now.
backup() {
    if [[ $ENVIRONMENT == compose ]]; then _compose run --rm --no-deps -e MYSQL_BACKUP_SCHEDULE_EVERY= mysql-backup
    else make -s backup; fi
}
# backups [list|verify]: the runs of the backup job with state and reason; whether the newest backup's file is what its manifest says.
backups() {
    if [[ $ENVIRONMENT == compose ]]; then _compose exec -T mysql-backup /mysql-backup "${1:-list}"
    else "target/${STACK_PROFILE:-release}/mysql-backup" "${1:-list}" --backup.directory="${STACK_DIRECTORY:-target/stack}/data/backups" --backup.name=mysql; fi
}

echo "runbooks: commands for the $ENVIRONMENT environment" >&2
