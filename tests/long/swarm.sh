#!/usr/bin/env bash
# Many seeds of the simulation, each with faults of its own:
#   swarm.sh [SEEDS [BUDGET]]     default: 500 seeds, at most 20m
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --release -p sim -- swarm --seeds "${1:-500}" --jobs "$(nproc)" --budget "${2:-20m}"
