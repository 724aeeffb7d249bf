#!/usr/bin/env bash
# All that needs a GPU, in one go: builds, tests, measures. Everything it finds goes under $OUT, which is required.
#
#   OUT=results benchmarks/gpu/run.sh [arguments of block_latency.py, such as --sms 0,32]
#
# Each part has seconds of its own, so that one that fails or hangs does not cost the others; 0 leaves a part out:
#   BUILD_S=120 TESTS_S=220 CALIBRATION_S=30 OVERHEAD_S=20 BLOCK_S=200      (in all under ten minutes)
#   HOST_S=0 MEMCHECK_S=0 OP_S=0      the op: what a call costs the host, memory checked, real products beside torch's
#   TUNING_S=0 SWEEP_S=0      measured tuning judged, and two sweeps of SWEEP_S each, of sm_86's code and the GPU's own
# These want ten minutes for themselves, each line of them:
#   export OUT=results TESTS_S=0 CALIBRATION_S=0 OVERHEAD_S=0 BLOCK_S=0
#   HOST_S=40 MEMCHECK_S=400 benchmarks/gpu/run.sh
#   OP_S=460 benchmarks/gpu/run.sh
#   TUNING_S=460 benchmarks/gpu/run.sh
#   SWEEP_S=230 benchmarks/gpu/run.sh
# TESTS (tests/gpu tests/python) names files of tests, as in TESTS=tests/gpu/test_op_gpu.py, where all TESTS_S are for
# the op; GEMM_TUNER_GPU_TESTS=all has it compute every family, dtype and layout with all kinds of operands.
# PYTHON (python3) must have torch, triton, pytest and what the build takes: no network is used, and nothing is installed
# but into a folder that goes away.
#
# Exit status, added up: 1 the build failed, 2 the tests or the check of memory, 4 a benchmark of the block or the op;
# 8 there is no GPU, so nothing was measured; 16 the calibration was refused, or the timer costs too much; 32 tuning
# lacks a part; 128 a sweep has nothing; 64, and nothing else: OUT makes no sense.
# What a benchmark's time did not suffice for is no failure: block_latency.json and op.json name it.
set -u

if [ -z "${OUT:-}" ]; then
  echo "OUT is not set: name the folder that the results are to go to, as in OUT=results $0" >&2
  exit 64
fi
{ mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) && cd "$(dirname "$0")/../.."; } || exit 64
PYTHON=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
failed=0

# part NAME SECONDS STATUS COMMAND...: runs it, into NAME.log too; where it fails, adds STATUS to what is returned
part() {
  local name=$1 seconds=$2 status=$3 result
  shift 3
  if [ "$seconds" = 0 ]; then
    echo "== $name: left out"
    return 0
  fi
  echo "== $name, at most $seconds s"
  timeout --kill-after=10 "$seconds" "$@" 2>&1 | tee "$OUT/$name.log"
  result=${PIPESTATUS[0]}
  [ "$result" = 124 ] && echo "== $name did not end within $seconds s" | tee -a "$OUT/$name.log"
  [ "$result" = 0 ] || failed=$((failed | status))
  return "$result"
}

# minutes SECONDS: that a part may plan with, so that it ends by itself before its seconds do
minutes() {
  awk "BEGIN { print ($1 > 30 ? $1 - 20 : 10) / 60 }"
}

"$PYTHON" benchmarks/gpu/environment.py > "$OUT/environment.json"
no_gpu=$?
cat "$OUT/environment.json"

part build "${BUILD_S:-120}" 1 "$PYTHON" -m pip install --quiet --no-build-isolation --no-deps --target "$site" .
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" GEMM_TUNER_CACHE_DIR="$site/gemm-tuner-cache"

# other versions of what is installed may warn of what ours do not: such warnings are shown and fail nothing
part tests "${TESTS_S:-220}" 2 "$PYTHON" -m pytest -o addopts=-ra -W default --continue-on-collection-errors \
  -p no:cacheprovider --durations=15 --junitxml="$OUT/tests.xml" -m gpu ${TESTS:-tests/gpu tests/python}

if [ "$no_gpu" != 0 ]; then
  echo "== no GPU: nothing was measured"
  exit $((failed + 8))
fi
part calibration "${CALIBRATION_S:-30}" 16 "$PYTHON" benchmarks/gpu/calibration.py --out "$OUT"
part timer_overhead "${OVERHEAD_S:-20}" 16 "$PYTHON" benchmarks/timer_overhead.py --check
seconds=${BLOCK_S:-200}
part block_latency "$seconds" 4 "$PYTHON" benchmarks/block_latency.py --out "$OUT" --minutes "$(minutes "$seconds")" "$@"
part host_overhead "${HOST_S:-0}" 4 "$PYTHON" benchmarks/gpu/host_overhead.py --out "$OUT"
seconds=${MEMCHECK_S:-0}
part memcheck "$seconds" 2 "$PYTHON" benchmarks/gpu/memcheck.py --out "$OUT" --minutes "$(minutes "$seconds")"
seconds=${OP_S:-0}
part op "$seconds" 4 "$PYTHON" benchmarks/gpu/op.py --out "$OUT" --minutes "$(minutes "$seconds")"
seconds=${TUNING_S:-0}
part tuning "$seconds" 32 "$PYTHON" benchmarks/gpu/tuning.py --out "$OUT" --minutes "$(minutes "$seconds")"
seconds=${SWEEP_S:-0}
part sweep_sm86 "$seconds" 128 "$PYTHON" benchmarks/sweep.py --code-device rtx-3060 \
  --out "$OUT/sweep_sm86.jsonl.gz" --minutes "$(minutes "$seconds")"
part sweep_native "$seconds" 128 "$PYTHON" benchmarks/sweep.py \
  --out "$OUT/sweep_native.jsonl.gz" --minutes "$(minutes "$seconds")"
exit "$failed"
