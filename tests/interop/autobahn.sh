#!/usr/bin/env bash
# Runs Autobahn's fuzzing client against the server's WebSocket, on both runtimes: slow, so it stands beside the tests.
#
#   tests/interop/autobahn.sh              both runtimes
#   tests/interop/autobahn.sh mio          one of them
#
# Compression (cases 12 and 13) is left out: the server never negotiates it. Reports go to target/autobahn/<runtime>.
# ENISHI_BIN names another program to test; CASES other cases, for example CASES='"9.*"'.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
wstest=${ENISHI_TEST_TOOLS:-$HOME/.cache/enishi-tests}/autobahn/py27/bin/wstest
cases=${CASES:-'"*"'}
server=
# Cases 9.* send messages of up to 16 MiB.
limits=(--max-message-bytes 16777216 --outbox-soft-bytes 33554432 --outbox-hard-bytes 67108864)

die() { printf 'autobahn: %s\n' "$*" >&2; exit 1; }
stop() { [ -z "$server" ] || { kill -TERM "$server" 2>/dev/null; wait "$server" || true; server=; }; }
trap stop EXIT

[ -x "$wstest" ] || die "no $wstest: run tests/setup first"
command -v python3 >/dev/null || die "no python3: run tests/setup first"

# cargo run becomes the program it runs, so that its process id is the server's.
if [ -n "${ENISHI_BIN:-}" ]; then
    enishi=("$ENISHI_BIN")
else
    (cd "$root" && cargo build --quiet --package enishi)
    enishi=(cargo run --quiet --manifest-path "$root/Cargo.toml" --package enishi --)
fi

# Starts the server on a free port and prints what it listens on.
start() {
    local log=$1 runtime=$2 tries
    "${enishi[@]}" signal --test-echo --listen 127.0.0.1:0 --runtime "$runtime" "${limits[@]}" >"$log" 2>&1 &
    server=$!
    for tries in $(seq 300); do
        url=$(grep -o -m 1 'ws://127\.0\.0\.1:[0-9]*' "$log" || true)
        [ -z "$url" ] || return 0
        kill -0 "$server" 2>/dev/null || die "the server did not start: $(cat "$log")"
        sleep 0.1
    done
    die "no ws:// address within 30 s: $(cat "$log")"
}

# Fails unless every case behaved, closing included.
judge() {
    python3 - "$1" "$2" <<'PYTHON'
import collections, json, sys

report, runtime = sys.argv[1:]
cases = json.load(open(report))[runtime]
good = {"OK", "NON-STRICT", "INFORMATIONAL"}
counts = collections.Counter(case["behavior"] for case in cases.values())
print(f"autobahn: {runtime}: {len(cases)} cases: " + ", ".join(f"{count} {what}" for what, count in counts.most_common()))
bad = [name for name, case in cases.items() if not {case["behavior"], case["behaviorClose"]} <= good]
for name in sorted(bad, key=lambda name: [int(part) for part in name.split(".")]):
    print(f"autobahn: {runtime}: case {name}: {cases[name]['behavior']}, closing: {cases[name]['behaviorClose']}")
sys.exit(1 if bad or not cases else 0)
PYTHON
}

failed=0
for runtime in ${@:-mio smol}; do
    reports=$root/target/autobahn/$runtime
    rm -rf "$reports"
    mkdir -p "$reports"
    start "$reports/server.log" "$runtime"
    cat >"$reports/spec.json" <<JSON
{"outdir": "$reports", "options": {"failByDrop": false},
 "servers": [{"agent": "$runtime", "url": "$url/echo", "options": {"version": 18}}],
 "cases": [$cases], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {}}
JSON
    (cd "$reports" && "$wstest" --webport 0 --mode fuzzingclient --spec spec.json >wstest.log 2>&1) ||
        die "wstest failed: $(tail -5 "$reports/wstest.log")"
    stop
    judge "$reports/index.json" "$runtime" || failed=1
done
[ $failed = 0 ] || die "see target/autobahn/*/index.html"
