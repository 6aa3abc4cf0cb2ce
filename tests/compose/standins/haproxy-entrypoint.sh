#!/bin/sh
set -e
# Options alone are haproxy's. It runs as a master with workers in the foreground.
case ${1-} in -* | '') set -- haproxy "$@" ;; esac
if [ "$1" = haproxy ]; then
    shift
    set -- haproxy -W -db "$@"
fi
exec "$@"
