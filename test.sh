#!/usr/bin/env bash
# Everything that must hold before a change is taken: installs what is missing, then format, lints, build, tests.
# Ends with the test runner's own closing lines; exit 0 only if every step passed.
set -euo pipefail
cd "$(dirname "$0")"

# Assertions, tests and binaries share one profile, so that dependencies build once.
steps=()
step() {
    local name=$1 start=$SECONDS
    shift
    printf -- '--- %s: %s\n' "$name" "$*"
    "$@"
    steps+=("$name $((SECONDS - start)) s")
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Only what is missing is installed, so that a machine without network can run this too.
need() {
    local command=$1 package=$2
    command -v "$command" >/dev/null && return
    if ! command -v apt-get >/dev/null; then
        printf 'test.sh: %s is missing; install it and start again\n' "$command" >&2
        exit 1
    fi
    as_root apt-get update -qq
    as_root apt-get install -y -qq "$package"
}

need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    if ! command -v rustup >/dev/null; then
        printf 'test.sh: cargo %s is missing; install it (rustup component add %s) and start again\n' "$1" "$2" >&2
        exit 1
    fi
    rustup component add "$2"
}

# What only some tests use: without it they say loudly that they were skipped.
want() {
    local command=$1 package=$2
    command -v "$command" >/dev/null && return
    command -v apt-get >/dev/null && as_root apt-get update -qq && as_root apt-get install -y -qq "$package" && return
    printf 'test.sh: %s is missing: tests that need it will be SKIPPED\n' "$command" >&2
}

need cc gcc
need make make
# A real Apache Kafka for its tests.
need java default-jre-headless
need mvn maven
# Clients and registries of others: Confluent's Python client, Apicurio Registry.
want python3 python3
python3 -c 'import ensurepip' 2>/dev/null || want python3-venv python3-venv
want curl curl
need promtool prometheus
if ! command -v cargo >/dev/null; then
    printf 'test.sh: Rust is missing; install it from https://rustup.rs and start again\n' >&2
    exit 1
fi
need_component fmt rustfmt
need_component clippy clippy

step format cargo fmt --all --check
step lints cargo clippy --release --workspace --all-targets --locked -- -D warnings
step build cargo build --release --workspace --bins --locked
printf -- '--- took: %s\n' "$(IFS=,; printf '%s' "${steps[*]}")"
# Last, so that the runner has the last word. The tests of the whole start the programs that were just built.
printf -- '--- tests: cargo test\n'
exec cargo test --release --workspace --locked --no-fail-fast
