#!/usr/bin/env bash
# Tests need_rust (rust.sh) on a PATH of stand-ins: which way it takes on which machine, and what it says.
# usage: scripts/lib/rust-test.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0

# A machine with nothing but the basic commands. `calls` lists what was asked of the stand-ins.
machine() {
    rm -rf "$work/bin" "$work/home" "$work/calls"
    mkdir -p "$work/bin" "$work/home"
    local tool
    for tool in bash awk sed sort head mktemp rm mv chmod cat env dirname mkdir sha256sum; do
        ln -s "$(command -v "$tool")" "$work/bin/$tool"
    done
    stand_in uname 'echo x86_64'
    stand_in id 'echo 0'
    stand_in dpkg-query 'exit 1'
}

# Puts a command on that machine's PATH: name, script.
stand_in() {
    mkdir -p "$work/bin"
    printf '#!/bin/bash\necho "%s $*" >>%q\n%s\n' "$1" "$work/calls" "$2" >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}

toolchain() { # version
    stand_in cargo "echo 'cargo $1'"
    stand_in rustc "echo 'rustc $1 (0123 2026-01-01)'"
}

# A rustup that has these toolchains and installs every other one, whose rustc stands beside it from then on.
rustup() {
    stand_in rustup 'case "$1" in
run) case " '"$*"' " in *" $2 "*) ;; *) exit 1 ;; esac ;;
toolchain) ;;
which) mkdir -p '"$work"'/toolchain
    for c in cargo rustc; do printf "#!/bin/bash\necho \"$c $3 (x)\"\n" >'"$work"'/toolchain/$c; chmod +x '"$work"'/toolchain/$c; done
    echo '"$work"'/toolchain/cargo ;;
esac'
}

# An installer that is what curl "downloads"; its checksum is put in the place of the real one.
installer() {
    cat >"$work/rustup-init" <<SH
#!/bin/bash
echo "rustup-init \$*" >>"$work/calls"
mkdir -p "\$HOME/.cargo/bin"
for c in cargo rustc; do printf '#!/bin/bash\necho "%s 1.95.0 (x)"\n' "\$c" >"\$HOME/.cargo/bin/\$c"; chmod +x "\$HOME/.cargo/bin/\$c"; done
SH
    stand_in curl 'while [ "$1" != --output ]; do shift; done; cat '"$work"'/rustup-init >"$2"'
}

# Runs need_rust on that machine, in a project that asks for 1.94, and keeps what it says and the version it ends with.
need() { # lines before it
    env -i HOME="$work/home" PATH="$work/bin" bash -c "set -euo pipefail
. scripts/lib/common.sh
rust_root=$work/project
RUSTUP_SHA256_x86_64=$(sha256sum "$work/rustup-init" 2>/dev/null | cut -d' ' -f1)
$1
need_rust
echo \"ends with \$(rust_version) \${RUSTUP_TOOLCHAIN:-}\"" >"$work/said" 2>&1
}
run() { need "$1" || { echo "it failed:"; cat "$work/said"; exit 1; }; }
fails() { if need "$1"; then echo "it should have failed:"; cat "$work/said"; exit 1; fi; }

expect() { # what, pattern in what was said; then: called|uncalled pattern
    checks=$((checks + 1))
    grep -qe "$2" "$work/said" || { echo "$1: not said: $2"; cat "$work/said"; exit 1; }
    shift 2
    while [ $# -gt 0 ]; do
        if [ "$1" = called ]; then
            grep -qe "$2" "$work/calls" || { echo "never called: $2"; cat "$work/said" "$work/calls"; exit 1; }
        elif grep -qe "$2" "$work/calls" 2>/dev/null; then
            echo "called: $2"; cat "$work/said" "$work/calls"; exit 1
        fi
        shift 2
    done
}

mkdir "$work/project"
echo 'rust-version = "1.94"' >"$work/project/Cargo.toml"

# Versions.
. scripts/lib/common.sh
for pair in "1.94 1.94" "1.94.0 1.94" "1.94.1 1.94" "1.100.0 1.94" "2.0.0 1.94"; do
    # shellcheck disable=SC2086
    at_least $pair || { echo "at_least $pair"; exit 1; }
    checks=$((checks + 1))
done
for pair in "1.93.9 1.94" "1.9.0 1.94" "0 1.94" "0.99 1.94"; do
    # shellcheck disable=SC2086
    ! at_least $pair || { echo "at_least $pair, though it is not"; exit 1; }
    checks=$((checks + 1))
done

# One that is new enough is used as it is, and nothing is asked of anyone.
machine; toolchain 1.94.0; rustup; stand_in apt-cache 'exit 0'; stand_in apt-get 'exit 0'
run ""; expect "new enough" "^ends with 1.94.0 $" uncalled "^rustup" uncalled "^apt" uncalled "^curl"
[ "$(wc -l <"$work/said")" = 1 ] || { echo "it is silent when there is nothing to do"; exit 1; }
machine; toolchain 1.96.0-nightly; run ""; expect "a nightly" "^ends with 1.96.0"

# One that rustup installed after this shell was started.
machine; mkdir -p "$work/home/.cargo/bin"; toolchain 1.95.0; mv "$work/bin/cargo" "$work/bin/rustc" "$work/home/.cargo/bin/"
run ""; expect "beside PATH" "^ends with 1.95.0"

# rustup is there: it installs ours beside what it has, says so before, and changes no default.
machine; toolchain 1.63.0; rustup stable
run ""; expect "too old, with rustup" "is 1.63.0; 1.94 is the oldest" \
    called "^rustup toolchain install 1.95.0 --profile minimal" uncalled "^rustup default" uncalled "self"' '"update"
expect "says what and where" "^installing Rust 1.95.0 with rustup into $work/home/.rustup"
expect "for this script" "^ends with 1.95.0 1.95.0$"
machine; rustup 1.95.0; run ""; expect "it has ours" "^ends with 1.95.0" uncalled "^rustup toolchain install"
# A rust-toolchain file goes first.
printf '[toolchain]\nchannel = "1.97.1"\n' >"$work/project/rust-toolchain.toml"
machine; rustup; run ""; expect "pinned by the project" "^ends with 1.97.1" called "^rustup toolchain install 1.97.1"
rm "$work/project/rust-toolchain.toml"; echo 1.96.2 >"$work/project/rust-toolchain"
machine; rustup; run ""; expect "pinned, the old way" "^ends with 1.96.2" called "^rustup toolchain install 1.96.2"
rm "$work/project/rust-toolchain"
# It cannot reach its server.
machine; stand_in rustup 'exit 1'
fails ""
expect "unreachable" "^error: rustup could not install Rust 1.95.0: is https://static.rust-lang.org reachable? put cargo"

# No rustup, but the package sources have it.
machine; stand_in apt-cache 'echo "  Candidate: 1.27.1-3"'
rustup; mv "$work/bin/rustup" "$work/rustup"
stand_in apt-get 'case "$*" in *install*rustup*) mv '"$work/rustup $work/bin/rustup"' ;; esac'
run ""; expect "packaged" "^installing rustup with apt-get" called "^apt-get install .* rustup" called "^rustup toolchain install 1.95.0"

# Debian 12: the package sources have none, or only in name.
machine; stand_in apt-get 'exit 0'; stand_in apt-cache 'printf "rustup:\n  Candidate: (none)\n"'; installer
run ""; expect "the installer" "^ends with 1.95.0" called "^rustup-init -y .*--no-modify-path .*--default-toolchain 1.95.0" uncalled "^apt-get"
expect "says what and where" "into $work/home/.rustup and $work/home/.cargo, some 600 MB"
# The second time there is nothing to install.
: >"$work/calls"; run ""; expect "again" "^ends with 1.95.0" uncalled "^rustup-init" uncalled "^curl"
# An old packaged Rust stays and is passed over.
machine; toolchain 1.63.0; installer
run ""; expect "too old, no rustup" "^ends with 1.95.0" called "^rustup-init"

# What is not what it should be is not run.
machine; installer
fails "RUSTUP_SHA256_x86_64=$(printf '%064d' 0)"
expect "another installer" "^error: .*SHA-256 differs.*it is not run" uncalled "^rustup-init"
# No network.
machine; stand_in curl 'echo "curl: (6) Could not resolve host" >&2; exit 6'
fails ""
expect "no network" "^error: cannot download https://static.rust-lang.org/rustup/archive/.*put cargo and rustc of at least 1.94 on PATH"
# A machine nobody has an installer for.
machine; installer; stand_in uname 'echo riscv64'
fails ""
expect "another machine" "no installer is known for this machine (riscv64)" uncalled "^curl"

echo "need_rust: $checks checks passed"
