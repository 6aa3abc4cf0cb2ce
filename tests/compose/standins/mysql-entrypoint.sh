#!/bin/bash
# What the official image's entrypoint does with an empty data directory, and with the variables that compose.yaml sets.
set -eo pipefail
if [[ ${1-} == -* ]]; then set -- mysqld "$@"; fi
[[ $1 == mysqld ]] || exec "$@"

# NAME or NAME_FILE, never both.
read_variable() {
    local name=$1 file=$1_FILE
    if [[ ${!name-} && ${!file-} ]]; then echo "entrypoint: both $name and $file are set" >&2; exit 1; fi
    if [[ ${!file-} ]]; then export "$name=$(<"${!file}")"; fi
    unset "$file"
}

if [[ ! -d /var/lib/mysql/mysql ]]; then
    read_variable MYSQL_ROOT_PASSWORD
    read_variable MYSQL_DATABASE
    [[ ${MYSQL_ROOT_PASSWORD-} ]] || { echo "entrypoint: the database is empty, and MYSQL_ROOT_PASSWORD is not set" >&2; exit 1; }
    echo "entrypoint: initializing"
    mysqld --initialize-insecure --default-time-zone=SYSTEM
    mysqld --daemonize --skip-networking
    mysql --protocol=socket --user=root <<SQL
ALTER USER root@localhost IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
CREATE DATABASE IF NOT EXISTS \`${MYSQL_DATABASE:-test}\`;
SQL
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
        *.sh)
            echo "entrypoint: running $script"
            # As in the image: a script without the x bit is sourced.
            if [[ -x $script ]]; then "$script"; else . "$script"; fi
            ;;
        *.sql) mysql --defaults-extra-file=<(printf '[client]\npassword="%s"\n' "$MYSQL_ROOT_PASSWORD") --user=root <"$script" ;;
        esac
    done
    mysqladmin --defaults-extra-file=<(printf '[client]\npassword="%s"\n' "$MYSQL_ROOT_PASSWORD") --user=root shutdown
    while [[ -e /var/run/mysqld/mysqld.pid ]]; do sleep 0.1; done
    echo "entrypoint: initialized"
fi
unset MYSQL_ROOT_PASSWORD MYSQL_ROOT_PASSWORD_FILE
exec "$@"
