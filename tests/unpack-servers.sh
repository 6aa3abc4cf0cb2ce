#!/usr/bin/env bash
# Unpacks what the tests compare with and Debian 12 does not have, each with the libraries that it needs: MySQL 9.7, the newest mysqld_exporter
# and Prometheus 3 from Debian unstable, MariaDB 11.8 from Debian 13. Nothing is installed, and nothing outside DIRECTORY changes.
# usage: tests/unpack-servers.sh [DIRECTORY]      (default: target/unpacked)
set -euo pipefail
top=${1:-${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}/unpacked}
mkdir -p "$top"
top=$(cd "$top" && pwd)

# The machine's own mirror, another suite. apt's state stays in a directory of its own, with no package installed: so it brings every library, and the
# system's lists don't change.
unpack() {
    local suite=$1 root=$top/$1 partial=$top/$1.partial
    shift
    [[ -f $root/packages && $(<"$root/packages") == "$*" ]] && return
    local mirror
    mirror=$(awk '/^URIs:/ && /debian\/?$/ { print $2; exit } /^deb / && $2 ~ /debian\/?$/ { print $2; exit }' \
        /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null)
    [[ -n $mirror ]] || { echo "unpack-servers: no Debian mirror in apt's sources" >&2; exit 1; }
    echo "unpack-servers: fetching $* from Debian $suite"
    rm -rf "$root" "$partial"
    mkdir -p "$partial"/apt/{lists,archives}/partial
    : >"$partial/apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$partial/apt/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::SourceList=$partial/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State=$partial/apt" -o "Dir::State::Status=$partial/apt/status" -o "Dir::Cache=$partial/apt"
        -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=3
        # As root apt would fetch as another user, who may not write here.
        -o APT::Sandbox::User=)
    "${apt[@]}" update
    "${apt[@]}" install --yes --download-only --no-install-recommends "$@" >/dev/null
    local package
    for package in "$partial"/apt/archives/*.deb; do
        dpkg -x "$package" "$partial"
    done
    rm -rf "$partial/apt"
    # Their C library is newer than the system's: each is started through its own loader.
    local program
    for program in sbin/mysqld sbin/mariadbd bin/my_print_defaults bin/resolveip; do
        [[ -f $partial/usr/$program ]] || continue
        mv "$partial/usr/$program" "$partial/usr/$program.elf"
        cat >"$partial/usr/$program" <<'WRAPPER'
#!/bin/sh
usr=${0%/*/*}
exec "$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu" "$0.elf" "$@"
WRAPPER
        chmod 755 "$partial/usr/$program"
    done
    echo "$*" >"$partial/packages"
    mv "$partial" "$root"
}

unpack unstable mysql-server-core prometheus prometheus-mysqld-exporter
# With its plugins, of which the tests load one.
unpack trixie mariadb-server
