#!/usr/bin/env bash
# Installs what the suite builds with, runs on and tests against, from Debian and only what is missing. It asks nothing, and no
# service runs afterwards that did not run before. With the argument `bench` it adds what `make bench` compares with, with `dist-pgo` also
# what reads the compiler's profiles, with `compose` what `make test-compose` runs on.
set -euo pipefail

# command: package. A command that is there already, from wherever, is good enough.
declare -A needed=(
    [age]=age
    [cc]=gcc
    [curl]=curl
    [jq]=jq
    [make]=make
    [mariadb]=mariadb-client
    [mariadb-dump]=mariadb-client
    [mariadb-install-db]=mariadb-server
    [mariadbd]=mariadb-server
    [redis-server]=redis-server
    [redis-cli]=redis-tools
    [dnsmasq]=dnsmasq-base
    [haproxy]=haproxy
    [prometheus]=prometheus
    [nginx]=nginx-light
    [node]=nodejs
    [npm]=npm
    [pip3]=python3-pip
    [openssl]=openssl
    [promtool]=prometheus
    [prometheus-alertmanager]=prometheus-alertmanager
    [amtool]=prometheus-alertmanager
    [prometheus-pushgateway]=prometheus-pushgateway
    [prometheus-haproxy-exporter]=prometheus-haproxy-exporter
    [prometheus-nginx-exporter]=prometheus-nginx-exporter
    [prometheus-node-exporter]=prometheus-node-exporter
    [setpriv]=util-linux
    [setsid]=util-linux
    [socat]=socat
    [zstd]=zstd
)
# file: package. gcc only recommends the C library's headers.
declare -A files=(
    [/usr/include/stdio.h]=libc6-dev
    [/etc/ssl/certs/ca-certificates.crt]=ca-certificates
    [/usr/lib/python3/dist-packages/yaml/__init__.py]=python3-yaml
    [/usr/lib/python3/dist-packages/aiosmtpd/__init__.py]=python3-aiosmtpd
)
case ${1-} in
'') ;;
bench | dist-pgo)
    needed+=([prometheus-redis-exporter]=prometheus-redis-exporter)
    # Of the same LLVM as rustc's, if rustup has not brought it.
    if [[ $1 == dist-pgo ]] && ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata" >/dev/null; then
        llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
        needed[llvm-profdata-$llvm]=llvm-$llvm
    fi
    ;;
compose)
    # The engine is unpacked from a newer Debian, except runc, which needs the machine's C library.
    needed+=([chromium]=chromium [iptables]=iptables [python3]=python3 [runc]=runc)
    files+=([/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf]=fonts-dejavu-core)
    ;;
*)
    echo "usage: $0 [bench|compose|dist-pgo]" >&2
    exit 2
    ;;
esac

# The servers live in /usr/sbin, which a user's PATH lacks.
PATH=$PATH:/usr/sbin:/sbin
packages=()
for command in "${!needed[@]}"; do
    command -v "$command" >/dev/null || packages+=("${needed[$command]}")
done
for file in "${!files[@]}"; do
    [[ -e $file ]] || packages+=("${files[$file]}")
done
if [[ ${#packages[@]} == 0 ]]; then
    exit 0
fi
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

if ! command -v apt-get >/dev/null; then
    echo "install-packages: this is not Debian; please install: ${packages[*]}" >&2
    exit 1
fi
if [[ $(id -u) != 0 ]]; then
    echo "install-packages: missing packages, and only root can install them:" >&2
    echo "    sudo apt-get install ${packages[*]}" >&2
    # Without an argument: what `dist-pgo` needs depends on rustc, which root may not have.
    echo "(or sudo $0 first, which also keeps Debian from starting the servers)" >&2
    exit 1
fi
echo "install-packages: installing ${packages[*]}"

# Debian starts a server as soon as it is installed, unless this file says no. What was there comes back.
policy=/usr/sbin/policy-rc.d
saved=
restore() {
    rm -f "$policy"
    [[ -z $saved ]] || mv "$saved" "$policy"
}
if [[ -e $policy || -L $policy ]]; then
    saved=$policy.before-medassist
    mv "$policy" "$saved"
fi
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
# Only what a server needs: no mail, no recommended helpers. A lock of another apt is waited for.
apt=(apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -qq)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null

# The next boot would start the services. A package without a unit is skipped.
if command -v systemctl >/dev/null; then
    for package in "${packages[@]}"; do
        systemctl disable --quiet "${package/#mariadb-server/mariadb}" 2>/dev/null || true
    done
fi
echo "install-packages: done; no service was started"
