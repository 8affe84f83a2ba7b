#!/usr/bin/env bash
# Another registry takes over the topic `_schemas` on a real Kafka, goes on from there, and gives it back:
#   takeover.sh COMMAND...     starts Karapace, such as `env PYTHONPATH=karapace/src python3.12 -m karapace`
# It is configured by its environment (KARAPACE_*). What both registries answer is compared word by word: every version with
# its id, its schema and its references, soft and hard deletions, and levels. Needs Java, Maven, curl and python3.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/../.."
cargo build --release --workspace --locked --bin bulkhead
work=$(mktemp -d)
ours=http://127.0.0.1:18082 theirs=http://127.0.0.1:18081 process=
trap 'kill $process 2>/dev/null || true; rm -rf "$work"' EXIT
brokers=$(tests/kafka/up --with $$ --fresh)
target/release/bulkhead topics create --brokers "$brokers" >/dev/null

# Waits until a registry knows a subject.
until_knows() {
    for _ in $(seq 120); do
        curl -sf -m 2 "$1/subjects" | grep -q "\"$2\"" && return
        kill -0 "$process" || break
        sleep 0.5
    done
    echo "takeover.sh: $1 does not know $2" >&2
    tail -5 "$work/log" >&2
    return 1
}
bulkhead() {
    target/release/bulkhead up --log kafka --brokers "$brokers" --data "$work/data" --registry-listen 127.0.0.1:18082 >>"$work/log" 2>&1 &
    process=$!
    until_knows $ours impressions-value
}
end() {
    kill "$process"
    wait "$process" || true
}
send() {
    curl -sf -X "$1" -H 'Content-Type: application/vnd.schemaregistry.v1+json' "$2" ${3:+-d "$3"} >/dev/null ||
        { echo "takeover.sh: $1 $2 failed" >&2; return 1; }
}
state() {
    python3 - "$1" <<'PYTHON'
import json, sys, urllib.error, urllib.request
def get(path):
    try:
        return json.load(urllib.request.urlopen(sys.argv[1] + path))
    except urllib.error.HTTPError as error:
        return error.code
rows = {"level": get("/config")["compatibilityLevel"]}
subjects = get("/subjects")
rows["deleted"] = sorted(set(get("/subjects?deleted=true")) - set(subjects))
for subject in subjects:
    level = get(f"/config/{subject}")
    rows[f"level of {subject}"] = level if level == 404 else level["compatibilityLevel"]
    for version in get(f"/subjects/{subject}/versions"):
        found = get(f"/subjects/{subject}/versions/{version}")
        schema = json.loads(found["schema"])
        assert json.loads(get(f"/schemas/ids/{found['id']}")["schema"]) == schema
        rows[f"{subject} {version}"] = [found["id"], schema, found.get("references", [])]
print(json.dumps(rows, sort_keys=True, indent=1))
PYTHON
}

bulkhead
send POST $ours/subjects/money-value/versions '{"schema":"{\"type\":\"record\",\"name\":\"Money\",\"namespace\":\"shop\",\"fields\":[{\"name\":\"units\",\"type\":\"long\"}]}"}'
send POST $ours/subjects/visit-value/versions '{"schema":"{\"type\":\"record\",\"name\":\"Visit\",\"namespace\":\"shop\",\"fields\":[{\"name\":\"paid\",\"type\":\"shop.Money\"}]}","references":[{"name":"shop.Money","subject":"money-value","version":1}]}'
send PUT $ours/config '{"compatibility":"FULL"}'
send PUT $ours/config/visit-value '{"compatibility":"NONE"}'
send POST $ours/subjects/visit-value/versions '{"schema":"\"int\""}'
send POST $ours/subjects/gone-value/versions '{"schema":"\"long\""}'
send DELETE $ours/subjects/gone-value
send POST $ours/subjects/hard-value/versions '{"schema":"\"bytes\""}'
send DELETE $ours/subjects/hard-value
send DELETE "$ours/subjects/hard-value?permanent=true"
state $ours >"$work/ours"
end

KARAPACE_BOOTSTRAP_URI=$brokers KARAPACE_PORT=18081 KARAPACE_HOST=127.0.0.1 KARAPACE_ADVERTISED_HOSTNAME=127.0.0.1 \
    KARAPACE_ADVERTISED_PORT=18081 KARAPACE_REGISTRY_HOST=127.0.0.1 "$@" >>"$work/log" 2>&1 &
process=$!
until_knows $theirs visit-value
state $theirs >"$work/theirs"
diff "$work/ours" "$work/theirs"
echo "takeover.sh: $(grep -c '^ "[^ ]* [0-9]*": ' "$work/theirs") versions, levels and deletions: the same"
# It writes when it has been elected.
for _ in $(seq 60); do
    send POST $theirs/subjects/later-value/versions '{"schema":"\"double\""}' 2>/dev/null && break
    sleep 1
done
state $theirs >"$work/theirs"
end
bulkhead
until_knows $ours later-value
state $ours >"$work/ours"
end
diff "$work/ours" "$work/theirs"
echo "takeover.sh: what the other registry wrote is here, under the id that it gave"
