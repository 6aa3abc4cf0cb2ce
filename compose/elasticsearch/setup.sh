#!/usr/bin/env bash
# Prepares Elasticsearch for the logs: passwords, roles, users, template, data streams, retention. Runs once at each
# start, before Kibana and Filebeat, and may run again at any time: templates act only on what is created after them.
program=elasticsearch-setup
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/request.sh"

server "${ELASTICSEARCH_URL:-http://elasticsearch:9200}" elastic elastic_password

# Here 408 means that the cluster is not ready yet.
request GET '/_cluster/health?wait_for_status=yellow&timeout=5s'
while [[ $status == 408 ]] && ((SECONDS < wait_seconds)); do
    request GET '/_cluster/health?wait_for_status=yellow&timeout=5s'
done
[[ $status != 401 ]] ||
    die "GET $base/_cluster/health answered 401: the data volume was made with another password of elastic than the secret" \
        "has. Reset it with bin/elasticsearch-reset-password in the container, or remove the volume"
[[ $status == 200 ]] || refused GET /_cluster/health
log "the cluster is ready"

# The built-in users may appear some seconds after the first answer; until then this one is 404.
password=$(secret kibana_system_password)
printf '{"password":"%s"}' "$password" >"$scratch/kibana_system"
expect "200 404" POST /_security/user/kibana_system/_password "$scratch/kibana_system"
while [[ $status == 404 ]] && ((SECONDS < wait_seconds)); do
    sleep 1
    expect "200 404" POST /_security/user/kibana_system/_password "$scratch/kibana_system"
done
[[ $status == 200 ]] || refused POST /_security/user/kibana_system/_password
log "user kibana_system has its password"

# user NAME SECRET: a user with the role of the same name.
user() {
    local password
    password=$(secret "$2")
    printf '{"password":"%s","roles":["%s"]}' "$password" "$1" >"$scratch/user"
    expect 200 PUT "/_security/role/$1" "$here/roles/$1.json"
    expect 200 PUT "/_security/user/$1" "$scratch/user"
    log "user $1 has its role and its password"
}
user medassist_filebeat filebeat_password
user medassist_grafana grafana_elasticsearch_password
user medassist_alerts kibana_alerts_password

expect 200 PUT /_component_template/logs-medassist@custom "$here/component-template.json"
expect 200 PUT /_index_template/logs-medassist "$here/index-template.json"
log "template logs-medassist is in place"

for stream in logs-medassist.api-default logs-medassist.containers-default; do
    expect "200 400" PUT "/_data_stream/$stream"
    [[ $status == 200 ]] || [[ $(<"$answer") == *resource_already_exists_exception* ]] || refused PUT "/_data_stream/$stream"
    log "data stream $stream exists"
done

# A stream takes both from the template only when it is created.
expect 200 PUT '/_data_stream/logs-medassist.*/_lifecycle' "$here/lifecycle.json"
expect 200 PUT '/_data_stream/logs-medassist.*/_options' "$here/options.json"
log "retention and failure store are set"

# The result: the fields have their types, and the built-in policy, which never deletes, does not overrule the
# retention.
expect 200 POST /_index_template/_simulate_index/logs-medassist.api-default
has '"duration_ms":{"type":"float"}' "the template does not reach the stream"
expect 200 GET /_data_stream/logs-medassist.api-default
has '"prefer_ilm":false' "the stream's retention is not in force"
log "done"
