# Sourced by the scripts: steps that name themselves, and packages installed by name.
# shellcheck shell=bash

step() { printf '\n\033[1m== %s\033[0m  (%s s)\n' "$*" "$SECONDS"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Installs Debian packages that are not there yet; says which before it does.
need_packages() {
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ "${#missing[@]}" -eq 0 ] && return
    command -v apt-get >/dev/null || fail "this needs the packages ${missing[*]}; there is no apt-get to install them with"
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "this needs the packages ${missing[*]}; run as root, or install sudo"
        sudo=(sudo)
    fi
    echo "installing ${missing[*]} with apt-get"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# shellcheck source=scripts/lib/rust.sh
. "$(dirname "${BASH_SOURCE[0]}")/rust.sh"
