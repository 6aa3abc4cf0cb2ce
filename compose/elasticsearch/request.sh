# shellcheck shell=bash
# What the scripts of Elasticsearch and Kibana share: one HTTP request, and a clear line when it fails.
# A script sets `program`, sources this file, calls `server`, and then `expect` or `request`.
# The Elasticsearch image has bash and curl, but neither jq nor Python: answers are compared as text.
set -euo pipefail

secrets=${SECRETS_DIR:-/run/secrets}
wait_seconds=${WAIT_SECONDS:-300}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
answer=$scratch/answer
base=''
status=''

# shellcheck disable=SC2154 # program is the script's
log() { printf '%s: %s\n' "$program" "$*"; }
die() {
    printf '%s: FAILED: %s\n' "$program" "$*" >&2
    exit 1
}
excerpt() { head -c 600 "$answer" | tr '\n' ' '; }

# A secret, ready for the inside of a JSON string; curl's configuration file has the same rules. The line end that an
# editor leaves is not part of it, nor is Windows' one.
secret() {
    local file=$secrets/$1 value
    [[ -r $file ]] || die "the secret $file is missing, or this user can't read it"
    value=$(<"$file")
    value=${value%$'\r'}
    [[ -n $value ]] || die "the secret $file is empty"
    [[ $value != *[[:cntrl:]]* ]] || die "the secret $file has more than one line"
    value=${value//\\/\\\\}
    printf '%s' "${value//\"/\\\"}"
}

# server URL [USER SECRET]: requests go there from now on. The login is in a file: arguments show in the list of
# processes.
server() {
    local password
    base=$1
    {
        printf 'header = "%s"\n' 'Content-Type: application/json' 'kbn-xsrf: true'
        if (($# > 1)); then
            # An `if` around the caller would switch `set -e` off.
            password=$(secret "$3") || exit 1
            printf 'user = "%s:%s"\n' "$2" "$password"
        fi
    } >"$scratch/curl"
}

# request METHOD PATH [FILE]: $status is the answer's code, $answer a file with its body. A server that is not ready (no
# connection, 429, 503) gets the request again until WAIT_SECONDS of the script's time are over.
request() {
    local method=$1 path=$2 body=${3:-} problem previous=
    local arguments=(--silent --show-error --max-time 30 --config "$scratch/curl" --request "$method"
        --output "$answer" --write-out '%{http_code}')
    [[ -z $body ]] || arguments+=(--data-binary "@$body")
    while :; do
        : >"$answer"
        # An answer that broke off has a code, too.
        status=$(curl "${arguments[@]}" "$base$path" 2>"$scratch/problem") || status=000
        case $status in
        000) problem=$(<"$scratch/problem") ;;
        429 | 503) problem="it answers $status" ;;
        *) return 0 ;;
        esac
        ((SECONDS < wait_seconds)) || die "$method $base$path: not ready after $wait_seconds s: $problem"
        [[ $previous == "$status" ]] || log "waiting for $base: $problem"
        previous=$status
        sleep 1
    done
}

# refused METHOD PATH: the end, for an answer that the script can't go on with.
refused() { die "$1 $base$2 answered $status: $(excerpt)"; }

# expect CODES METHOD PATH [FILE]: a request whose answer must have one of the codes.
expect() {
    local codes=$1
    shift
    request "$@"
    [[ " $codes " == *" $status "* ]] || refused "$@"
}

# has TEXT MEANING: the last answer, a JSON document without its white space, contains TEXT.
has() { [[ $(tr -d '[:space:]' <"$answer") == *"$1"* ]] || die "$2: the answer lacks $1: $(excerpt)"; }
