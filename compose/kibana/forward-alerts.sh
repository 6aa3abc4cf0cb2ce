#!/usr/bin/env bash
# Takes Kibana's alert to Alertmanager: Kibana's own webhook needs a paid licence, the alert documents that its rules
# write do not. While the rule medassist-5xx is active, each round repeats the alert with an end three rounds away. When
# the rule recovers, or this script or Elasticsearch stops, Alertmanager resolves the alert at that end.
program=kibana-alerts
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../elasticsearch/request.sh"

elasticsearch=${ELASTICSEARCH_URL:-http://elasticsearch:9200}
alertmanager=${ALERTMANAGER_URL:-http://alertmanager:9093}
every=${EVERY_SECONDS:-30}
# Where a browser finds runbooks and dashboards, as in Prometheus' rules.
links=${LINKS_URL:?must be set}
# The healthcheck compares the age of this file with the length of a round.
alive=${ALIVE_FILE:-/tmp/alive}

active() {
    server "$elasticsearch" medassist_alerts kibana_alerts_password
    # Before the rule's first alert there is no such index; the pattern then matches nothing, and the count is 0.
    expect 200 GET '/.alerts-stack.alerts-*/_count?q=kibana.alert.status:active%20AND%20kibana.alert.rule.uuid:%22medassist-5xx%22'
    has '"count":' "this is not a count"
    [[ $(tr -d '[:space:]' <"$answer") != *'"count":0,'* ]]
}

# As a container's first process it would not end by SIGTERM otherwise.
trap 'kill $(jobs -p) 2>/dev/null || true; exit 0' TERM INT

firing=
while :; do
    # The time that a server may be away is counted for each round.
    SECONDS=0
    if active; then
        server "$alertmanager"
        body=$(<"$here/alert.json")
        body=${body//@LINKS_URL@/$links}
        printf '%s' "${body/@ENDS_AT@/$(date -u -d "+$((every * 3)) seconds" +%FT%TZ)}" >"$scratch/alert"
        expect 200 POST /api/v2/alerts "$scratch/alert"
        [[ -n $firing ]] || log "medassist-5xx is active: Alertmanager has the alert"
        firing=yes
    elif [[ -n $firing ]]; then
        log "medassist-5xx has recovered: Alertmanager resolves the alert within $((every * 3)) s"
        firing=
    fi
    touch "$alive"
    # bash runs a trap only after the command in front of it, but at once while it waits for one behind it.
    sleep "$every" &
    wait $!
done
