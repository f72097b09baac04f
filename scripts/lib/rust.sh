# Sourced by common.sh: a Rust toolchain that is new enough, installed where there is none. One that is new enough is
# used as it is; one that is too old stays where it is, beside ours.
# shellcheck shell=bash

# What is installed where a toolchain is missing; the tests have run with it. A rust-toolchain file goes before it.
RUST_PIN=1.95.0
# rustup's installer, and what it must be. From rustup's archive, which keeps every version.
RUSTUP_VERSION=1.28.2
RUSTUP_SHA256_x86_64=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c
RUSTUP_SHA256_aarch64=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c

rust_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# A Rust toolchain at least as new as the workspace asks for, on PATH for the rest of the script.
need_rust() {
    local want pin
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$rust_root/Cargo.toml")
    pin=$(rust_pin)
    # Where rustup puts its commands; a shell that is older than the installation does not know it.
    local bin=${CARGO_HOME:-$HOME/.cargo}/bin
    rust_is_good "$want" && return
    if [ -x "$bin/cargo" ]; then
        PATH=$bin:$PATH
        hash -r
        rust_is_good "$want" && return
    fi
    if command -v cargo >/dev/null; then
        echo "the Rust on PATH is $(rust_version); $want is the oldest that works"
    else
        echo "there is no Rust toolchain on PATH"
    fi
    if command -v rustup >/dev/null; then
        rust_by_rustup "$pin" "$want"
    elif rust_is_packaged; then
        need_packages rustup
        hash -r
        rust_by_rustup "$pin" "$want"
    else
        rust_by_installer "$pin" "$want"
    fi
    hash -r
    rust_is_good "$want" || fail "Rust $pin was installed, but PATH gives $(rust_version); $(rust_advice "$want")"
}

# True when $1 is a version that is not older than $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }

rust_is_good() { # oldest
    command -v cargo >/dev/null && command -v rustc >/dev/null && at_least "$(rust_version)" "$1"
}

# The version on PATH, or 0. A nightly counts as the release it will be.
rust_version() {
    local version
    version=$(cd "$rust_root" && rustc --version 2>/dev/null | awk '{print $2}') || version=
    version=${version%%-*}
    echo "${version:-0}"
}

# The toolchain to install: what a rust-toolchain file of the project says, else ours.
rust_pin() {
    local channel=""
    if [ -f "$rust_root/rust-toolchain.toml" ]; then
        channel=$(sed -n 's/^ *channel *= *"\(.*\)".*/\1/p' "$rust_root/rust-toolchain.toml")
    elif [ -f "$rust_root/rust-toolchain" ]; then
        channel=$(sed -n -e 's/^ *channel *= *"\(.*\)".*/\1/p' -e 's/^ *\([0-9a-z][^ =]*\) *$/\1/p' "$rust_root/rust-toolchain")
    fi
    echo "${channel:-$RUST_PIN}"
}

# Whether this machine's package sources have rustup (Debian 13 and Ubuntu 24.04 do, Debian 12 does not).
rust_is_packaged() {
    command -v apt-get >/dev/null && command -v apt-cache >/dev/null || return
    local candidate
    candidate=$(apt-cache policy rustup 2>/dev/null | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate" ] && [ "$candidate" != "(none)" ]
}

# A toolchain of rustup's, beside the ones that are there. The default is left as it is.
rust_by_rustup() { # toolchain, oldest
    if ! RUSTUP_AUTO_INSTALL=0 rustup run "$1" rustc --version >/dev/null 2>&1; then
        echo "installing Rust $1 with rustup into ${RUSTUP_HOME:-$HOME/.rustup} (some 600 MB); no other toolchain is changed"
        rustup toolchain install "$1" --profile minimal --component rustfmt --component clippy --no-self-update ||
            fail "rustup could not install Rust $1: is ${RUSTUP_DIST_SERVER:-https://static.rust-lang.org} reachable? $(rust_advice "$2")"
    fi
    # For this script alone, and before any other cargo that PATH has.
    export RUSTUP_TOOLCHAIN=$1
    rust_is_good "$2" && return
    PATH=$(dirname "$(rustup which --toolchain "$1" cargo)"):$PATH
}

# rustup by its own installer, checked against the sum above.
rust_by_installer() { # toolchain, oldest
    local machine sum base url dir
    machine=$(uname -m)
    case $machine in
    x86_64) sum=$RUSTUP_SHA256_x86_64 ;;
    aarch64) sum=$RUSTUP_SHA256_aarch64 ;;
    *) fail "no installer is known for this machine ($machine); $(rust_advice "$2")" ;;
    esac
    base=${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup}
    url=$base/archive/$RUSTUP_VERSION/$machine-unknown-linux-gnu/rustup-init
    echo "installing Rust $1 for this user, by rustup $RUSTUP_VERSION from $base (checksum verified):"
    echo "  into ${RUSTUP_HOME:-$HOME/.rustup} and ${CARGO_HOME:-$HOME/.cargo}, some 600 MB, and nothing else;"
    echo "  \`rustup self uninstall\` takes it away. To use it yourself: PATH=${CARGO_HOME:-$HOME/.cargo}/bin:\$PATH"
    command -v curl >/dev/null || command -v wget >/dev/null || need_packages curl ca-certificates
    dir=$(mktemp -d)
    rust_download "$url" "$dir/rustup-init" || {
        rm -rf "$dir"
        fail "cannot download $url; $(rust_advice "$2")"
    }
    echo "$sum  $dir/rustup-init" | sha256sum --check --strict --status || {
        rm -rf "$dir"
        fail "$url is not what it was when this was written (SHA-256 differs): it is not run; $(rust_advice "$2")"
    }
    chmod +x "$dir/rustup-init"
    # An older Rust of the distribution is no obstacle: ours goes before it on PATH.
    RUSTUP_INIT_SKIP_PATH_CHECK=yes "$dir/rustup-init" -y -q --no-modify-path --profile minimal \
        --default-toolchain "$1" --component rustfmt --component clippy >/dev/null || {
        rm -rf "$dir"
        fail "the installer could not get Rust $1: is ${RUSTUP_DIST_SERVER:-https://static.rust-lang.org} reachable? $(rust_advice "$2")"
    }
    rm -rf "$dir"
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
}

rust_download() { # address, file
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --connect-timeout 20 --output "$2" "$1"
    else
        wget --quiet --timeout=20 --tries=2 --output-document="$2" "$1"
    fi
}

rust_advice() { # oldest
    echo "put cargo and rustc of at least $1 on PATH (rustup.rs, or a package of your distribution), or name a mirror in RUSTUP_DIST_SERVER and RUSTUP_UPDATE_ROOT; then run this again"
}
