#!/usr/bin/env bash
# Makes the Python environment of Schemathesis: what tests/peers/requirements-schemathesis.txt pins, in
# CARDEA_TEST_SCHEMATHESIS, else in target/test-schemathesis. Where there is no Python 3.10 or newer it writes down why, and
# the test says so and is skipped. Does nothing when it is up to date. Sourced by scripts/test; runs alone as well.

make_test_schemathesis() {
    local root venv requirements installed
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || return
    venv=${CARDEA_TEST_SCHEMATHESIS:-$root/target/test-schemathesis}
    requirements=$root/tests/peers/requirements-schemathesis.txt
    installed=$venv/installed-requirements.txt # written last: an interrupted installation is done again
    export CARDEA_TEST_SCHEMATHESIS="$venv"
    cmp -s "$requirements" "$installed" && return
    mkdir -p "$venv" && rm -f "$installed" "$venv/why-not.txt" || return
    if ! python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
        echo "Schemathesis needs Python 3.10 or newer, and there is none" | tee "$venv/why-not.txt"
        return
    fi
    echo "installing Schemathesis into $venv"
    python3 -m venv "$venv" || return
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$requirements" || return
    cp "$requirements" "$installed"
}

make_test_schemathesis
