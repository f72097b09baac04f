# Sourced by scripts/mcu: a compiler with sources for a bare-metal target. Sets CARDEA_MCU_COMPILER (a name to print),
# CARDEA_MCU_STD (cargo's arguments) and CARDEA_MCU_RUSTFLAGS, and exports RUSTC where it is not the usual one.
# shellcheck shell=bash

# Debian's web-browser toolchain: the newest Rust in a stable release, and its package has the matching sources.
mcu_packages=(rustc-web rust-web-src libstd-rust-web-dev)

mcu_compiler() { # directory that keeps the packaged compiler
    local dir=$1
    if [ -d "$(rustc --print target-libdir --target thumbv7em-none-eabi)" ] &&
        [ -d "$(rustc --print target-libdir --target thumbv6m-none-eabi)" ]; then
        CARDEA_MCU_COMPILER="$(rustc --version) with its own targets"
        CARDEA_MCU_STD=()
        CARDEA_MCU_RUSTFLAGS=""
        return
    fi
    mcu_unpack "$dir" || return
    local library
    library=$(echo "$dir"/usr/src/rustc-*/library)
    export RUSTC="$dir/rustc" RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$library"
    CARDEA_MCU_COMPILER="$("$RUSTC" --version | sed 's/ (.*//') as Debian packages it, core built with the firmware"
    CARDEA_MCU_STD=(-Z build-std=core -Z build-std-features=optimize_for_size)
    CARDEA_MCU_RUSTFLAGS="-Zunstable-options -Cpanic=immediate-abort"
}

# Downloads and unpacks the packages, nothing of which is installed. Does nothing when that was done for these versions.
mcu_unpack() {
    local dir=$1 version release packages llvm stamp
    command -v apt-get >/dev/null || { echo "no apt-get to download Debian's compiler with"; return 1; }
    version=$(apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p')
    if [ -f "$dir/complete" ] && { [ -z "$version" ] || [ "$(cat "$dir/complete")" = "$version" ]; } &&
        "$dir/rustc" --version >/dev/null 2>&1; then
        return
    fi
    [ -n "$version" ] && [ "$version" != "(none)" ] || { echo "no package rustc-web in this machine's sources"; return 1; }
    release=$(echo "$version" | grep -oE '^[0-9]+\.[0-9]+')
    llvm=$(apt-cache depends "rustc-web=$version" "libstd-rust-web-$release=$version" | grep -oE 'libllvm[0-9]+' | sort -u | tail -1)
    packages=("${mcu_packages[@]/%/=$version}" "libstd-rust-web-$release=$version" "$llvm")
    echo "downloading ${packages[*]} (some 140 MB, unpacked 850 MB, once)"
    rm -rf "$dir"
    mkdir -p "$dir/packages"
    # apt checks each package against the signed list of its repository.
    (cd "$dir/packages" && apt-get -q -o APT::Sandbox::User=root download "${packages[@]}") >"$dir/download.log" 2>&1 ||
        { echo "apt-get could not download them: $(tail -1 "$dir/download.log")"; return 1; }
    local package
    for package in "$dir"/packages/*.deb; do dpkg-deb -x "$package" "$dir" || return; done
    rm -r "$dir/packages"
    stamp=$dir/rustc
    cat >"$stamp" <<'WRAPPER'
#!/bin/sh
usr=$(dirname "$(readlink -f "$0")")/usr
libraries=$(echo "$usr"/lib/*-linux-gnu):$(echo "$usr"/lib/llvm-*/lib)
LD_LIBRARY_PATH=$libraries exec "$usr/bin/rustc" "$@"
WRAPPER
    chmod +x "$stamp"
    "$stamp" --version >/dev/null || { echo "the unpacked compiler does not run"; return 1; }
    echo "$version" >"$dir/complete" # written last: an interrupted installation is done again
}

# rust-lld of the usual toolchain, else Debian's lld.
mcu_linker() {
    local lld
    lld=$(echo "$(rustc --print sysroot)"/lib/rustlib/*-linux-gnu/bin/rust-lld)
    [ -x "$lld" ] || { need_packages lld && lld=$(command -v ld.lld); }
    echo "$lld"
}
