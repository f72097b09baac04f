#!/usr/bin/env bash
# Installs the JavaScript packages that the tests' peers run on: what tests/peers/herdsman/package-lock.json pins, into
# CARDEA_TEST_NODE, else into target/test-node. Does nothing when they are up to date. Sourced by scripts/test; runs alone
# as well.

make_test_node() {
    local root node lock installed
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || return
    node=${CARDEA_TEST_NODE:-$root/target/test-node}
    lock=$root/tests/peers/herdsman/package-lock.json
    installed=$node/installed-package-lock.json # written last: an interrupted installation is done again
    if ! cmp -s "$lock" "$installed"; then
        echo "installing JavaScript peers into $node"
        rm -f "$installed"
        mkdir -p "$node" || return
        cp "$lock" "$root/tests/peers/herdsman/package.json" "$node" || return
        # Nothing is compiled and no script of a package runs: the serial port's binding comes built.
        npm ci --prefix "$node" --ignore-scripts --no-audit --no-fund --loglevel=error || return
        cp "$lock" "$installed" || return
    fi
    export CARDEA_TEST_NODE="$node"
}

make_test_node
