#!/usr/bin/env bash
# Everything that is to be measured on a CUDA device, in under eight minutes; prints JSON. From the repository's root:
#
#     bash experiments/benchmarks/cuda/run.sh                          # on the device
#     bash experiments/benchmarks/cuda/run.sh --device cpu --quick     # that the script works, on any machine
#
# Each part leaves OUT/PART.json and is not done again; --out FOLDER says where (default: multirun/cuda_DEVICE).
set -eu
device=cuda quick='' out='' status=0
while [ $# -gt 0 ]; do
    case $1 in
    --device) device=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --quick) quick=--quick; shift ;;
    *) echo "$1: expected --device cuda|cpu, --quick or --out FOLDER" >&2; exit 2 ;;
    esac
done
out=${out:-multirun/cuda_$device$quick}
measure=$(dirname "$0")/measure.py
if [ "$device" = cuda ] && ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "torch sees no CUDA device here; expected one, or --device cpu --quick" >&2
    exit 2
fi
# The most telling parts first. A part that its time ends leaves what it has (steps.partial.jsonl) and goes on next time.
for part in steps:200 tests:110 highfreq:90 sweep:70; do
    name=${part%:*} seconds=${part#*:}
    [ -n "$quick" ] && seconds=1200
    [ -f "$out/$name.json" ] && continue
    timeout "$seconds" python "$measure" "$name" --device "$device" $quick --out "$out" >&2 || {
        echo "$name: not finished (exit code $?); the same command goes on with it" >&2
        status=1
    }
done
python "$measure" report --out "$out"
exit $status
