#!/bin/sh
set -e
# Options or a file alone are redis-server's.
case ${1-} in -* | *.conf) set -- redis-server "$@" ;; esac
umask 0077
exec "$@"
