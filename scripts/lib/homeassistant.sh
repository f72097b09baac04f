#!/usr/bin/env bash
# Makes the Python environment of Home Assistant's own validators, which need Python 3.12 or 3.13: what
# tests/peers/requirements-homeassistant.txt pins, in CARDEA_TEST_HOMEASSISTANT, else in target/test-homeassistant. Where there is
# no such Python it writes down why, and the tests of it say so and are skipped. Does nothing when it is up to date. Sourced by
# scripts/test; runs alone as well.

homeassistant_python() {
    local candidate
    for candidate in python3.13 python3.12 python3 "$HOME"/.pyenv/versions/3.1[23]*/bin/python3; do
        if "$candidate" -c 'import sys, venv; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_test_homeassistant() {
    local root venv requirements installed python
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || return
    venv=${CARDEA_TEST_HOMEASSISTANT:-$root/target/test-homeassistant}
    requirements=$root/tests/peers/requirements-homeassistant.txt
    installed=$venv/installed-requirements.txt # written last: an interrupted installation is done again
    export CARDEA_TEST_HOMEASSISTANT="$venv"
    cmp -s "$requirements" "$installed" && return
    mkdir -p "$venv" && rm -f "$installed" "$venv/why-not.txt" || return
    if ! python=$(homeassistant_python); then
        echo "Home Assistant needs Python 3.12 or 3.13, and there is none" | tee "$venv/why-not.txt"
        return
    fi
    echo "installing Home Assistant's validators into $venv with $python"
    "$python" -m venv "$venv" || return
    "$venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary --no-deps -r "$requirements" || return
    cp "$requirements" "$installed"
}

make_test_homeassistant
