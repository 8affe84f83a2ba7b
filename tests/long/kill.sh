#!/usr/bin/env bash
# Kills the demo with -9 at random moments and demands that nothing is lost or counted twice:
#   kill.sh [ROUNDS [SEED]]     default: 25 rounds, a seed from the clock (printed, so that a failure can be repeated)
# Each round: demo on a fresh directory, killed; then `up --until-idle`; then `verify`, which recounts everything.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-25}
seed=${2:-$(date +%s)}
bulkhead=${BULKHEAD:-target/release/bulkhead}
[ -x "$bulkhead" ] || cargo build --release --bin bulkhead

RANDOM=$((seed % 32768))
directory=$(mktemp -d)
demo=
end() {
    [ -z "$demo" ] || kill -9 "$demo" 2>/dev/null || true
    rm -rf "$directory"
}
trap end EXIT
printf 'kill.sh: %s rounds, seed %s\n' "$rounds" "$seed"

field() { sed -n "s/.*\"$1\": *\([0-9-]*\).*/\1/p" "$2" | sort -u | tr '\n' ' '; }

for round in $(seq "$rounds"); do
    data=$directory/$round
    "$bulkhead" demo --data "$data" --seed "$RANDOM" --output json >"$directory/demo.json" 2>"$directory/demo.log" &
    demo=$!
    # 50 ms to 20 s after the start: creation of the directory, replay, the fault, catching up.
    after_ms=$((50 + RANDOM % 20000))
    sleep "$(printf '%d.%03d' $((after_ms / 1000)) $((after_ms % 1000)))"
    kill -9 "$demo" 2>/dev/null || printf 'round %s: the demo had ended before %s ms\n' "$round" "$after_ms"
    wait "$demo" 2>/dev/null || true
    demo=
    if ! "$bulkhead" up --data "$data" --until-idle >"$directory/up.log" 2>&1; then
        printf 'round %s: killed after %s ms; `up` failed:\n' "$round" "$after_ms"
        tail -20 "$directory/up.log"
        exit 1
    fi
    status=0
    "$bulkhead" verify --data "$data" --output json >"$directory/verify.json" 2>"$directory/verify.log" || status=$?
    difference=$(field recount_diff_micros "$directory/verify.json")
    unaccounted=$(field unaccounted "$directory/verify.json")
    if [ "$status" != 0 ] || [ "$difference" != "0 " ] || [ "${unaccounted:-0 }" != "0 " ]; then
        printf 'round %s: killed after %s ms; verify exit %s, difference %s, unaccounted %s\n' \
            "$round" "$after_ms" "$status" "$difference" "$unaccounted"
        cat "$directory/verify.json" "$directory/verify.log"
        trap - EXIT
        printf 'kept: %s\n' "$data"
        exit 1
    fi
    printf 'round %s: killed after %s ms, nothing lost, nothing twice\n' "$round" "$after_ms"
    rm -rf "$data"
done
printf 'kill.sh: %s rounds, all well\n' "$rounds"
