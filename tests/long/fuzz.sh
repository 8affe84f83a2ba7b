#!/usr/bin/env bash
# The fuzz targets, one after the other, by AFL++ where `afl-fuzz` is installed:
#   fuzz.sh [SECONDS [SEED]]     default: 600 seconds each; a seed from the clock, for the mutator of the tests
# AFL++ needs no crate and no nightly Rust: the compiler's own coverage pass is linked with AFL++'s runtime, and each input
# is a run of the test. Without it the tests' own mutator goes on from seed to seed, blind.
# A finding is an input that must become a file of schemas/tests/corpus or tests/tests/corpus: every run of the tests replays it.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600} seed=${2:-$(date +%s)}
targets=(datum:datum frame:frames schema:schema)
others=(batch:batch request:request fault:fault config:configuration)

# Builds the targets of a package, prints the program.
instrumented() {
    local runtime host
    runtime=$(dirname "$(dirname "$(command -v afl-fuzz)")")/lib/afl/afl-compiler-rt.o
    host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS="-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=3 -C llvm-args=-sanitizer-coverage-trace-pc-guard -C codegen-units=1 -C link-arg=$runtime" \
        cargo test --release --target "$host" --target-dir "$PWD/target/afl" -p "$1" --test fuzz --no-run 2>&1 |
        sed -n 's/.*Executable tests\/fuzz.rs (\(.*\))$/\1/p'
}

# The targets of a package, named CORPUS:TEST.
by_coverage() {
    local package=$1 work=$PWD/target/afl test pair corpus name out
    shift
    test=$(instrumented "$package")
    test -x "$test" || { echo "fuzz.sh: the instrumented build failed" >&2; return 1; }
    export AFL_SKIP_CPUFREQ=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1
    # A failed test is a crash to the fuzzer.
    export AFL_CRASH_EXITCODE=101
    for pair in "$@"; do
        corpus=${pair%%:*} name=${pair##*:} out=$work/found-$corpus
        rm -rf "$out"
        FUZZ_INPUT=$work/$corpus.input afl-fuzz -V "$seconds" -i "$package/tests/corpus/$corpus" -o "$out" -f "$work/$corpus.input" \
            -- "$test" --exact "$name" --test-threads=1 </dev/null >"$work/$corpus.log" 2>&1
        sed -n 's/^\(execs_done\|corpus_count\|edges_found\|saved_crashes\|saved_hangs\) *: /fuzz.sh: '"$corpus"': \1 /p' "$out/default/fuzzer_stats"
        if grep -q '^saved_crashes *: [1-9]' "$out/default/fuzzer_stats"; then
            echo "fuzz.sh: $corpus: keep what is in $out/default/crashes in the corpus of that name" >&2
            return 1
        fi
    done
}

by_mutation() {
    local package=$1 pair name end rounds
    shift
    for pair in "$@"; do
        name=${pair##*:} end=$((SECONDS + seconds)) rounds=0
        while [ "$SECONDS" -lt "$end" ]; do
            FUZZ_SEED=$((seed + rounds)) FUZZ_MUTANTS=200000 cargo test -q --release -p "$package" --test fuzz -- --exact "$name" >/dev/null ||
                FUZZ_SEED=$((seed + rounds)) FUZZ_MUTANTS=200000 cargo test --release -p "$package" --test fuzz -- --exact "$name"
            rounds=$((rounds + 1))
        done
        printf 'fuzz.sh: %s: %s times 200,000 mutants from seed %s, no finding\n' "$name" "$rounds" "$seed"
    done
}

if command -v afl-fuzz >/dev/null; then way=by_coverage; else way=by_mutation; fi
"$way" schemas "${targets[@]}"
"$way" tests "${others[@]}"
