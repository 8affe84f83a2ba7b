#!/usr/bin/env bash
# Makes the pages of the simulation and of the isolation matrix, and looks at them in Chromium: 375 px and a desk's width,
# by day and by night, no network, 0 violations by axe. Needs node; installs Chromium where it is missing and may be.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
chromium=$(command -v chromium || true)
if [ -z "$chromium" ]; then apt-get install -y -qq chromium >&2; chromium=$(command -v chromium); fi
cargo build --release --workspace --bin bulkhead-sim
target/release/bulkhead-sim compare --months 1 --curve 8 --evidence 4 --html "$room/month.html"
target/release/bulkhead-sim run --seed 3 --until 60s --html "$room/run.html" > /dev/null
cd "$room"
npm install --silent --no-save axe-core@4.11.0 puppeteer-core@24.31.0 >&2
node "$here/tests/pages/check.mjs" "$chromium" "$room/month.html" "$room/run.html"
