#!/usr/bin/env bash
# Unpacks packages of another Debian suite, with every library that they need, into DIRECTORY. Nothing is installed, no
# maintainer script runs, and nothing outside DIRECTORY changes. It does nothing if DIRECTORY already has these
# packages. usage: tests/unpack-debs.sh SUITE DIRECTORY PACKAGE...
set -euo pipefail
suite=$1 root=$2 partial=$2.partial
shift 2
[[ -f $root/packages && $(<"$root/packages") == "$*" ]] && exit
# The machine's own mirror, another suite. apt's state is in a directory of its own, with no package installed: so apt
# brings every library, and the system's lists don't change.
mirror=$(awk '/^URIs:/ && /debian\/?$/ { print $2; exit } /^deb / && $2 ~ /debian\/?$/ { print $2; exit }' \
    /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null)
[[ -n $mirror ]] || { echo "unpack-debs: no Debian mirror in apt's sources" >&2; exit 1; }
echo "unpack-debs: fetching $* from Debian $suite"
rm -rf "$root" "$partial"
mkdir -p "$partial"/apt/{lists,archives}/partial
partial=$(cd "$partial" && pwd)
: >"$partial/apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$partial/apt/sources.list"
apt=(apt-get -qq -o "Dir::Etc::SourceList=$partial/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State=$partial/apt" -o "Dir::State::Status=$partial/apt/status" -o "Dir::Cache=$partial/apt"
    -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=3
    # As root apt would fetch as another user, who may not write here.
    -o APT::Sandbox::User=)
"${apt[@]}" update
"${apt[@]}" install --yes --download-only --no-install-recommends "$@" >/dev/null
for package in "$partial"/apt/archives/*.deb; do
    dpkg -x "$package" "$partial"
done
rm -rf "$partial/apt"
echo "$*" >"$partial/packages"
mv "$partial" "$root"
