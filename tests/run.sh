#!/usr/bin/env bash
# Runs all tests of redlock, against real redis-servers on free ports of 127.0.0.1.
#
# Usage: tests/run.sh [arguments for cargo test]
#
# Needs the Rust toolchain. redis-server is installed from the packages of Debian or Ubuntu if it is missing;
# REDLOCK_REDIS_SERVER may name another binary (an absolute path, or a name on the PATH), such as valkey-server, which
# Debian has from its 13 on, and for its 12 among the backports: apt-get install -t bookworm-backports valkey-server.
#
# The tests beside a Python fleet make a virtual environment with python3 and pip. Where these, or the packages, cannot be
# had, those tests say that they were skipped; with REDLOCK_REQUIRE_PYTHON=1 what is missing is installed, and they must run.
#
# So it is with what some other tests need, each with a variable that lets it be installed, and its tests run or fail: a server of
# PostgreSQL for the example on it (REDLOCK_REQUIRE_POSTGRES), tmux for `redlock top` (REDLOCK_REQUIRE_TMUX), chromium for the page of
# `redlock serve` (REDLOCK_REQUIRE_BROWSER), and promtool, of Debian's package prometheus, for the alerts (REDLOCK_REQUIRE_PROMTOOL).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
    echo "== $*"
}

install_redis_server() {
    if ! command -v apt-get >/dev/null; then
        say "redis-server is missing, and this is neither Debian nor Ubuntu. Install it yourself, for instance:"
        echo "     Fedora:  sudo dnf install redis (or valkey)"
        echo "     Arch:    sudo pacman -S redis (or valkey)"
        echo "     Alpine:  sudo apk add redis"
        echo "     macOS:   brew install redis"
        echo "   or name a binary: REDLOCK_REDIS_SERVER=/path/to/redis-server tests/run.sh"
        exit 1
    fi
    install_packages redis-server
}

# install_packages PACKAGE...: with apt-get, which must be there
install_packages() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            say "$* is missing: have an administrator run: apt-get install $*"
            exit 1
        fi
        as_root=(sudo)
    fi
    say "$* is missing: installing it with apt-get"
    ${as_root[@]+"${as_root[@]}"} apt-get update -qq
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@"
}

server=${REDLOCK_REDIS_SERVER:-redis-server}
if ! command -v "$server" >/dev/null; then
    if [ -n "${REDLOCK_REDIS_SERVER:-}" ]; then
        say "REDLOCK_REDIS_SERVER names $server, which is not there"
        exit 1
    fi
    install_redis_server
fi

# Debian's python3 comes without what makes an environment with pip.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if [ -z "${REDLOCK_REQUIRE_PYTHON:-}" ]; then
        say "python3 with venv and pip is missing: the tests beside a Python fleet will be skipped"
    elif command -v apt-get >/dev/null; then
        install_packages python3 python3-venv
    else
        say "REDLOCK_REQUIRE_PYTHON is set, but python3 with venv and pip is missing: install it"
        exit 1
    fi
fi

# require VARIABLE PACKAGE WHAT: that package is missing, without which WHAT is not tested; installed later, with the others
missing=()
require() {
    if [ -z "${!1:-}" ]; then
        say "$2 is missing: $3 will not be tested"
    elif command -v apt-get >/dev/null; then
        missing+=("$2")
    else
        say "$1 is set, but $2 is missing: install it"
        exit 1
    fi
}

# is_there PROGRAM...: one of them is
is_there() {
    local program
    for program in "$@"; do
        if command -v "$program" >/dev/null; then
            return 0
        fi
    done
    return 1
}

# Debian does not have these on the PATH.
is_there initdb /usr/lib/postgresql/*/bin/initdb || require REDLOCK_REQUIRE_POSTGRES postgresql "the example on PostgreSQL"
is_there tmux || require REDLOCK_REQUIRE_TMUX tmux "redlock top on a terminal"
is_there chromium chromium-browser google-chrome || require REDLOCK_REQUIRE_BROWSER chromium "the page of redlock serve"
is_there promtool || require REDLOCK_REQUIRE_PROMTOOL prometheus "docs/alerts.yml"
if [ "${#missing[@]}" -gt 0 ]; then
    install_packages "${missing[@]}"
fi

# Most tests wait for servers and expiries most of the time, so more of them run at once than there are processors.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-14}

say "servers: $("$server" --version)"
# Of the whole workspace, so that whatever part of it is asked for, everything is compiled alike.
tests=(cargo test --workspace --all-features --no-fail-fast)
# cargo_test [argument...]
cargo_test() {
    say "${tests[*]} $*"
    "${tests[@]}" "$@"
}

if [ "$#" -gt 0 ]; then
    cargo_test "$@"
    exit
fi

# The model, the simulation, and what the compiler says of mistakes compute all the time, and the others wait most of it: they run side
# by side. Those that compute step back, and are few at a time, because they alone do not mind how long an answer takes. Their targets
# are named, and their packages left out below: whoever adds a target to one of these names it here.
cargo_test --no-run
computed=$(mktemp)
# A process group of their own, which can be ended with this.
set -m
RUST_TEST_THREADS=2 nice -n 5 "${tests[@]}" --test model --bin schedules --test fail --test pass </dev/null >"$computed" 2>&1 &
computing=$!
set +m
trap 'kill -- "-$computing" 2>/dev/null || true; rm -f "$computed"' EXIT
status=0
cargo_test --exclude redlock-model --exclude redlock-simulation --exclude redlock-ui || status=$?
wait "$computing" || status=$?
trap 'rm -f "$computed"' EXIT
say "what was computed meanwhile"
cat "$computed"
exit "$status"
