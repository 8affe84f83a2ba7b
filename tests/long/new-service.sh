#!/usr/bin/env bash
# "Add a consumer", timed: a new service in a copy of the project compiles, passes its tests and the suite of every service, and
# shows up in the topology, the metrics and the documentation's checks. Takes as long as three builds.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git clone --quiet . "$copy/bulkhead"
cd "$copy/bulkhead"
cargo build --release --quiet --workspace --bins
started=$SECONDS
program=target/release/bulkhead
"$program" new service pacing --reads impressions
cargo test --release --quiet --workspace --lib -- pacing::
cargo test --release --quiet --workspace --test contract --test tidy
"$program" graph | grep pacing || { echo "new-service: not in the topology" >&2; exit 1; }
"$program" demo --requests 2000 --speed max --no-fault --output json |
    python3 -c 'import json, sys; rows = json.load(sys.stdin)["services"]; assert any(r["service"] == "pacing" and r["handled"] > 0 for r in rows), rows'
printf 'new-service: from the command to a service that handles events: %s s\n' "$((SECONDS - started))"
