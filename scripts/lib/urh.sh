#!/usr/bin/env bash
# Makes the Python environment of Universal Radio Hacker: what tests/peers/requirements-urh.txt pins, in CARDEA_TEST_URH, else in
# target/test-urh. It is built for x86-64 with glibc 2.34 and Python 3.11 to 3.14 only; elsewhere that is written down, and the
# tests say so and are skipped. Does nothing when it is up to date. Sourced by scripts/test; runs alone as well.

make_test_urh() {
    local root venv requirements installed
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || return
    venv=${CARDEA_TEST_URH:-$root/target/test-urh}
    requirements=$root/tests/peers/requirements-urh.txt
    installed=$venv/installed-requirements.txt # written last: an interrupted installation is done again
    export CARDEA_TEST_URH="$venv"
    cmp -s "$requirements" "$installed" && return
    mkdir -p "$venv" && rm -f "$installed" "$venv/why-not.txt" || return
    if ! python3 - <<'PYTHON' >/dev/null 2>&1; then
import platform, sys, venv
libc, version = platform.libc_ver()
new = libc == "glibc" and tuple(map(int, version.split("."))) >= (2, 34)
sys.exit(not (new and platform.machine() == "x86_64" and (3, 11) <= sys.version_info[:2] <= (3, 14)))
PYTHON
        echo "Universal Radio Hacker is not built for this machine or its Python" | tee "$venv/why-not.txt"
        return
    fi
    echo "installing Universal Radio Hacker into $venv"
    python3 -m venv "$venv" || return
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r "$requirements" || return
    cp "$requirements" "$installed"
}

make_test_urh
