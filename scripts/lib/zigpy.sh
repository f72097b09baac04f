#!/usr/bin/env bash
# Makes the Python environments of zigpy-zboss and of bellows, which need Python 3.12 or newer and two different zigpy: what
# tests/peers/requirements-zigpy.txt pins in CARDEA_TEST_ZIGPY, else in target/test-zigpy, and requirements-bellows.txt in
# CARDEA_TEST_BELLOWS, else in target/test-bellows. Where there is no such Python, or none of its wheels, it writes down why,
# and the tests of them say so and are skipped. Does nothing when it is up to date. Sourced by scripts/test; runs alone as
# well.

new_python() {
    local candidate
    for candidate in python3.14 python3.13 python3.12 python3 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_test_zigpy() { # what, environment, requirements
    local what=$1 venv=$2 requirements=$3 installed python
    installed=$venv/installed-requirements.txt # written last: an interrupted installation is done again
    cmp -s "$requirements" "$installed" && return
    mkdir -p "$venv" && rm -f "$installed" "$venv/why-not.txt" || return
    if ! python=$(new_python); then
        echo "$what needs Python 3.12 or newer, and there is none" | tee "$venv/why-not.txt"
        return
    fi
    echo "installing $what into $venv with $python"
    "$python" -m venv "$venv" || return
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$requirements" || return
    cp "$requirements" "$installed"
}

make_test_zigpys() {
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || return
    export CARDEA_TEST_ZIGPY="${CARDEA_TEST_ZIGPY:-$root/target/test-zigpy}"
    export CARDEA_TEST_BELLOWS="${CARDEA_TEST_BELLOWS:-$root/target/test-bellows}"
    make_test_zigpy zigpy-zboss "$CARDEA_TEST_ZIGPY" "$root/tests/peers/requirements-zigpy.txt" || return
    make_test_zigpy bellows "$CARDEA_TEST_BELLOWS" "$root/tests/peers/requirements-bellows.txt"
}

make_test_zigpys
