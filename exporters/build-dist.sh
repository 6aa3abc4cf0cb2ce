#!/usr/bin/env bash
# Builds exporters as they are shipped, into target/shipped: one static file each, optimized by what they do in real scrapes. They are built twice:
# first to count what runs when `bench train` scrapes them, then with these counts: a seventh less processor time, and 1 MB less memory of 7. It takes half
# an hour on two cores from nothing.
# usage: exporters/build-dist.sh EXPORTER...      (what it needs: tests/install-packages.sh dist, tests/unpack-servers.sh)
set -euo pipefail
[[ $# -gt 0 ]] || { echo "usage: $0 EXPORTER..." >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/shipped"
target=$(cd "$target" && pwd)
[[ $target != *[[:space:]]* ]] || { echo "build-dist: the compiler's flags can't name a path with a space: $target" >&2; exit 1; }
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

# build DIRECTORY FLAGS LINK_FLAGS EXPORTER...
build() {
    local directory=$1 flags=$2 link_flags=$3 exporter
    shift 3
    # One by one: built together, each would carry the features of libraries that only another one asks for.
    for exporter in "$@"; do
        # With --target the flags don't reach what runs while building.
        CARGO_TARGET_DIR=$directory RUSTFLAGS="$static $flags" \
            cargo rustc --locked --profile dist --target "$host" --package "$exporter" --bin "$exporter" -- $link_flags
    done
}

pgo=$target/pgo
build "$pgo/counting" "-Cprofile-generate=$pgo/counts" "" "$@"
cargo build --locked --release --bin bench
# Not again for the same programs and the same scrapes: other counts would mean to build everything again.
counted=$(sha256sum tests/src/bin/bench/*.rs && cd "$pgo/counting/$host/dist" && sha256sum "$@")
if ! cmp -s "$pgo/counted" <<<"$counted"; then
    echo "build-dist: scraping $*"
    rm -rf "$pgo/counts" "$pgo/counted"
    "$target/release/bench" train "$pgo/counting/$host/dist" "$@"
    "$profdata" merge --output="$pgo/exporters.profdata" "$pgo/counts"
    echo "$counted" >"$pgo/counted"
fi

# What ran goes before all that did not, the most frequent first: the kernel keeps 64 kB around each page that is touched, so code that is scattered
# takes 0.7 MB more. Only LLVM's linker can, rustc's own on this processor.
link_flags=
if [[ $host == x86_64-* ]]; then
    "$profdata" show --all-functions --counts "$pgo/exporters.profdata" | awk '
        # A function of one crate alone has that crate before its name.
        /^  [^ ].*:$/ { name = substr($0, 3, length($0) - 3); sub(/.*;/, "", name) }
        /Block counts:/ {
            gsub(/[][,]/, " ")
            most = 0
            for (i = 3; i <= NF; i++) if ($i + 0 > most) most = $i + 0
            if (most) print most, name
        }' | sort --key=1,1nr --stable | cut -d' ' -f2 >"$pgo/order"
    link_flags="-Clink-arg=-Wl,--symbol-ordering-file=$pgo/order,--no-warn-symbol-ordering"
fi
build "$pgo/optimized" "-Cprofile-use=$pgo/exporters.profdata" "$link_flags" "$@"
for exporter in "$@"; do
    install -m 755 "$pgo/optimized/$host/dist/$exporter" "$target/shipped/$exporter"
done
ls -l "${@/#/$target/shipped/}"
