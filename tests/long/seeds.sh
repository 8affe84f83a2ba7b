#!/usr/bin/env bash
# The gate of determinism over more seeds than the test command has time for:
#   seeds.sh [SEEDS]     default: 200
set -euo pipefail
cd "$(dirname "$0")/../.."
BULKHEAD_SEEDS="${1:-200}" exec cargo test --release --workspace --test determinism -- --nocapture sixty_seeds
