#!/usr/bin/env bash
# The fuzz targets, one after the other:
#   fuzz.sh [SECONDS [SEED]]     default: 600 seconds each, a seed from the clock (printed, so that a failure can be repeated)
# A finding prints the input in hex: keep it as a file in schemas/tests/corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600} seed=${2:-$(date +%s)}
for target in datum frames schema; do
    end=$((SECONDS + seconds)) rounds=0
    while [ "$SECONDS" -lt "$end" ]; do
        FUZZ_SEED=$((seed + rounds)) FUZZ_MUTANTS=200000 cargo test -q --release -p schemas --test fuzz -- --exact "$target" >/dev/null ||
            FUZZ_SEED=$((seed + rounds)) FUZZ_MUTANTS=200000 cargo test --release -p schemas --test fuzz -- --exact "$target"
        rounds=$((rounds + 1))
    done
    printf 'fuzz.sh: %s: %s times 200,000 mutants from seed %s, no finding\n' "$target" "$rounds" "$seed"
done
