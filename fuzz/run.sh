#!/usr/bin/env bash
# fuzz/run.sh SECONDS [TARGETS]: runs each fuzz target for so long on one thread, without sanitizer
# (the crate has no `unsafe` of its own), and prints its executions. Needs nightly and cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1; shift
targets=${*:-$(cargo +nightly fuzz list)}
python3 fuzz/seeds.py
for target in $targets; do
    log=$(mktemp)
    status=ok
    cargo +nightly fuzz run -s none -O "$target" -- -max_total_time="$seconds" \
        -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -max_len=65536 >"$log" 2>&1 || status=CRASH
    echo "$target $status $(grep -h 'number_of_executed_units' "$log" || tail -3 "$log")"
done
