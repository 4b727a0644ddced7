#!/usr/bin/env bash
# Checks for what the build needs beside cargo: a C++ compiler and make (RocksDB, jemalloc) and
# libclang (RocksDB's bindings are generated at build time). What is missing is installed when this
# runs as root on a machine with apt-get; otherwise the one command to run is printed, and it stops.
#
#   scripts/setup.sh          what `make play` and `make test` need
#   scripts/setup.sh bench    and etcd, and Go for its client and TiKV's, to compare with
#   scripts/setup.sh rules    and promtool and Go (1.21), to check the alert rules and the dashboard
#   scripts/setup.sh console  and Chromium, to test the console in; without it that test is skipped
#
# It can't help with make and git themselves: whoever reads this has the one, and got here by the other.
set -euo pipefail

rust_min="1.91"

have() { command -v "$1" >/dev/null 2>&1; }

# Whether any of the patterns names an existing file.
any_of() {
    local pattern
    for pattern in "$@"; do
        [ -n "$(compgen -G "$pattern")" ] && return 0
    done
    return 1
}

# Whether bindgen can load libclang, and libclang finds the headers that belong to it (Debian's
# libclang1 alone has the library without them).
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    any_of '/usr/lib/llvm-*/lib/libclang.so*' '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' \
        '/usr/lib/*-linux-gnu/libclang*.so*' '/usr/lib64/libclang.so*' '/usr/lib/libclang.so*' &&
        any_of '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' '/usr/lib/clang/*/include/stddef.h' \
            '/usr/lib64/clang/*/include/stddef.h'
}

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
    echo "setup: cargo is in ~/.cargo/bin but not on PATH. Run:  . ~/.cargo/env" >&2
    exit 1
fi
if ! have cargo; then
    echo "setup: cargo is missing. Install Rust $rust_min or newer: https://rustup.rs" >&2
    exit 1
fi
rust_found="$(cargo --version | cut -d ' ' -f 2)"
if ! at_least "$rust_found" "$rust_min"; then
    echo "setup: cargo $rust_found is too old; $rust_min or newer is needed. Run:  rustup update" >&2
    exit 1
fi

# Unpacked and not installed, which takes no root: Debian's package would enable and start a service,
# and that holds the ports of `make play`.
unpack() {
    mkdir -p "$unpack_dir"
    (cd "$unpack_dir" && apt-get download "$1" && dpkg -x "$1"_*.deb . &&
        rm "$1"_*.deb) || {
        echo "setup: can't download $1. Run this, then run make again:" >&2
        echo "    sudo apt-get update" >&2
        exit 1
    }
}

packages=()
unpacked=()
unpack_dir="$HOME/.cache/kontiki/etcd" # its usr/bin is on the Makefile's PATH
have c++ || packages+=(g++)
have make || packages+=(make) # jemalloc's build calls it too
have_libclang || packages+=(libclang-dev)
if [ "${1:-}" = bench ]; then
    have go || packages+=(golang-go)
    have etcd || [ -x "$unpack_dir/usr/bin/etcd" ] || unpacked=(etcd-server)
fi
if [ "${1:-}" = console ]; then
    have chromium || have chromium-browser || have google-chrome || packages+=(chromium)
fi
if [ "${1:-}" = rules ]; then
    have go || packages+=(golang-go)
    have promtool || [ -x "$unpack_dir/usr/bin/promtool" ] || unpacked=(prometheus)
fi
[ "${#packages[@]}" -eq 0 ] && [ "${#unpacked[@]}" -eq 0 ] && exit 0

if ! have apt-get; then
    echo "setup: missing (by their Debian names): ${packages[*]} ${unpacked[*]}." \
        "Install them, then run make again." >&2
    exit 1
fi
install="apt-get install -y --no-install-recommends ${packages[*]}"
if [ "$(id -u)" -eq 0 ]; then
    echo "setup: installing ${packages[*]} ${unpacked[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    [ "${#packages[@]}" -eq 0 ] || $install
elif [ "${#packages[@]}" -gt 0 ]; then
    echo "setup: missing: ${packages[*]}. Run this, then run make again:" >&2
    echo "    sudo apt-get update && sudo $install" >&2
    exit 1
fi
for package in "${unpacked[@]}"; do unpack "$package"; done
