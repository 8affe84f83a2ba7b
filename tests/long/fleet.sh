#!/usr/bin/env bash
# Three processes of one platform on a real Kafka, under traffic at their edges. One is killed with -9 every four seconds
# and started again, the broker dies once; then everything is counted again:
#   fleet.sh [SECONDS]     default: 60
set -euo pipefail
cd "$(dirname "$0")/../.."
BULKHEAD_FLEET_S=${1:-60} cargo test --release --workspace --test kafka_processes -- --nocapture
