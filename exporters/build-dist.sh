#!/usr/bin/env bash
# Builds exporters as they are shipped, into target/dist: one static file each, optimized by what they do in real scrapes. They are built twice:
# first to count what runs when `bench train` scrapes them, then with these counts. On MariaDB that is 0.85 of the processor time, and 1 MB less memory,
# for what never runs lies apart. It takes a quarter of an hour on two cores from nothing, and five minutes after a change.
# usage: exporters/build-dist.sh EXPORTER...      (what it needs: tests/install-packages.sh dist, tests/unpack-servers.sh)
set -euo pipefail
[[ $# -gt 0 ]] || { echo "usage: $0 EXPORTER..." >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/dist"
target=$(cd "$target" && pwd)
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if ! [[ -x $profdata ]]; then
    profdata=$(command -v "llvm-profdata-$llvm") || {
        echo "build-dist: no llvm-profdata of LLVM $llvm, as rustc's: rustup component add llvm-tools, or apt-get install llvm-$llvm" >&2
        exit 1
    }
fi

# Static: runs on every Linux and in a container with nothing else, and 0.8 MB less is resident than with the machine's C library. Its relocations packed
# are 0.4 MB less; the C library that applies them is the one within, so only that of the building machine must know them (glibc 2.36).
static="-Ctarget-feature=+crt-static -Clink-arg=-Wl,-z,pack-relative-relocs"

# build DIRECTORY FLAGS EXPORTER...
build() {
    local directory=$1 flags=$2 exporter
    shift 2
    # One by one: built together, each would carry the features of libraries that only another one asks for.
    for exporter in "$@"; do
        # With --target the flags don't reach what runs while building.
        CARGO_TARGET_DIR=$directory RUSTFLAGS="$static $flags" \
            cargo build --locked --profile dist --target "$host" --package "$exporter"
    done
}

pgo=$target/pgo
build "$pgo/counting" "-Cprofile-generate=$pgo/counts" "$@"
cargo build --locked --release --bin bench
rm -rf "$pgo/counts"
"$target/release/bench" train "$pgo/counting/$host/dist" "$@"
"$profdata" merge --output="$pgo/exporters.profdata" "$pgo/counts"

build "$pgo/optimized" "-Cprofile-use=$pgo/exporters.profdata" "$@"
for exporter in "$@"; do
    install -m 755 "$pgo/optimized/$host/dist/$exporter" "$target/dist/$exporter"
done
ls -l "${@/#/$target/dist/}"
