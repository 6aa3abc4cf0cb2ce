#!/usr/bin/env bash
# Unpacks what the tests compare with and Debian 12 does not have, each with the libraries that it needs: MySQL 9.7, the newest mysqld_exporter,
# Alertmanager, Prometheus 3 and HAProxy 3.2 from Debian unstable, MariaDB 11.8 from Debian 13, moto from PyPI. Nothing is installed, and nothing outside DIRECTORY changes.
# usage: tests/unpack-servers.sh [DIRECTORY]      (default: target/unpacked)
set -euo pipefail
top=${1:-${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}/unpacked}
mkdir -p "$top"
top=$(cd "$top" && pwd)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# usage: unpack NAME SUITE PACKAGE...
unpack() {
    local root=$top/$1
    "$here/unpack-debs.sh" "$2" "$root" "${@:3}"
    # Their C library is newer than the system's: each is started through its own loader.
    local program
    for program in sbin/mysqld sbin/mariadbd bin/my_print_defaults bin/resolveip bin/mysqldump bin/mariadb-dump bin/mysqlbinlog bin/mariadb-binlog sbin/haproxy; do
        [[ -f $root/usr/$program && ! -f $root/usr/$program.elf ]] || continue
        mv "$root/usr/$program" "$root/usr/$program.elf"
        cat >"$root/usr/$program" <<'WRAPPER'
#!/bin/sh
usr=${0%/*/*}
exec "$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu" "$0.elf" "$@"
WRAPPER
        chmod 755 "$root/usr/$program"
    done
}

unpack unstable unstable mysql-server-core mysql-client-core prometheus prometheus-alertmanager prometheus-mysqld-exporter
# With its plugins, of which the tests load one.
unpack trixie trixie mariadb-server
# On its own: a new version of it does not fetch the others again.
unpack haproxy unstable haproxy

# An S3-compatible store, which Debian 12 has not.
moto=5.1.18
if [[ ! -d $top/moto/moto-$moto.dist-info ]]; then
    echo "fetching moto $moto from PyPI"
    rm -rf "$top/moto"
    python3 -m pip install --quiet --root-user-action=ignore --target "$top/moto" "moto[s3,server]==$moto"
fi
