#!/usr/bin/env bash
# Random pairs of schemas, and data that Java drew, before Apache Avro's Java implementation and before ours:
#   avro.sh [CASES [SEED]]     default: 20,000 pairs, a seed from the clock (printed, so that a failure can be repeated)
# Needs a JDK, and Maven for the jars (fetched once); AVRO_JARS, a class path, stands in for Maven.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CASES=${1:-20000} SEED=${2:-$(date +%s)}
version=1.12.1
classes=target/avro-oracle
mkdir -p "$classes"
if [ -z "${AVRO_JARS:-}" ]; then
    cat >"$classes/pom.xml" <<POM
<project><modelVersion>4.0.0</modelVersion><groupId>oracle</groupId><artifactId>oracle</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.avro</groupId><artifactId>avro</artifactId><version>$version</version></dependency></dependencies>
</project>
POM
    mvn -q -B -f "$classes/pom.xml" dependency:build-classpath -Dmdep.outputFile=class-path
    AVRO_JARS=$(cat "$classes/class-path")
fi
javac -cp "$AVRO_JARS" -d "$classes" tests/long/avro/Oracle.java
AVRO_CLASS_PATH=$AVRO_JARS:$PWD/$classes cargo test --release -p schemas --test java -- --nocapture
