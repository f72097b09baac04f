#!/usr/bin/env bash
# Makes the Python environment that the tests' peers run in: what tests/peers/requirements.txt pins, in CARDEA_TEST_VENV,
# else in target/test-venv. Does nothing when it is up to date. Sourced by scripts/test; runs alone as well.

make_test_venv() {
    local root venv requirements installed
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || return
    venv=${CARDEA_TEST_VENV:-$root/target/test-venv}
    requirements=$root/tests/peers/requirements.txt
    installed=$venv/installed-requirements.txt # written last: an interrupted installation is done again
    if ! cmp -s "$requirements" "$installed"; then
        echo "installing Python peers into $venv"
        rm -f "$installed"
        python3 -m venv "$venv" || return
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" || return
        cp "$requirements" "$installed" || return
    fi
    export CARDEA_TEST_VENV="$venv"
}

make_test_venv
