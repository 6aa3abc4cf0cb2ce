#!/usr/bin/env bash
# Puts the data view, the dashboard and the alert rule into Kibana. Runs once at each start, and may run again at any
# time: each write replaces what is there. A change made in the browser to these three lasts until then.
program=kibana-setup
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../elasticsearch/request.sh"

dashboard=/api/dashboards/medassist-logs
rule=/api/alerting/rule/medassist-5xx

server "${KIBANA_URL:-http://kibana:5601}" elastic elastic_password

request GET /api/status
while [[ $status == 200 && $(<"$answer") != *'"level":"available"'* ]] && ((SECONDS < wait_seconds)); do
    sleep 1
    request GET /api/status
done
[[ $status == 200 ]] || refused GET /api/status
has '"level":"available"' "Kibana is not available after $wait_seconds s"
log "Kibana is available"

expect 200 POST /api/data_views/data_view "$here/data-view.json"
expect 200 POST /api/data_views/default "$here/default-data-view.json"
log "data view Filebeat Logs is in place"

expect "200 201" PUT "$dashboard" "$here/dashboard.json"
expect 200 GET "$dashboard"
[[ $(<"$answer") != *'"warnings":[{'* ]] || die "Kibana left out a part of the dashboard: $(excerpt)"
printf '{"objects":[{"type":"dashboard","id":"medassist-logs"}],"includeReferencesDeep":true}' >"$scratch/export"
expect 200 POST /api/saved_objects/_export "$scratch/export"
has '"missingRefCount":0' "the dashboard refers to what is not there"
log "dashboard MedAssist logs is in place"

# Without a fixed key the rule's own API key is lost with the next restart.
expect 200 GET /api/alerting/_health
has '"has_permanent_encryption_key":true' "the alerting framework is not ready"

# The three keys that only a new rule may have.
new='"rule_type_id": ".es-query", "consumer": "stackAlerts", "enabled": true,'
expect "200 404" GET "$rule"
if [[ $status == 404 ]]; then
    body=$(<"$here/rule.json")
    printf '{%s%s' "$new" "${body#\{}" >"$scratch/rule"
    expect 200 POST "$rule" "$scratch/rule"
    log "rule medassist-5xx is created"
else
    expect 200 PUT "$rule" "$here/rule.json"
    expect "200 204" POST "$rule/_enable"
    log "rule medassist-5xx is replaced and enabled"
fi
log "done"
