#!/usr/bin/env bash
# Every arm for MINUTES (10) and each seed of SEEDS (0,1,2), one after another, YOLOv8n beside them; then the table and the
# curve. From the repository's root, with the environment active:
#
#     bash experiments/etram_like/run.sh               # by the wall clock, on an otherwise quiet machine
#     COUNTED=1 bash experiments/etram_like/run.sh     # as many windows as that clock gives two quiet cores, on one thread:
#                                                      # other work beside it is of no account (YOLOv8n keeps the clock)
#
# 3 seeds x (6 arms x 10 min + 3 half arms x 5 min) and 3 x 10 min of YOLOv8n: about five hours. What is finished is not done again.
set -eu
export MINUTES=${MINUTES:-10} SEEDS=${SEEDS:-0,1,2} OUT=${OUT:-multirun/etram_like_${MINUTES:-10}min}
export HALF; HALF=$(python -c "import os; print(float(os.environ['MINUTES']) / 2)")
ARMS=${ARMS-published,coarse_ends,etram,twin_published,twin,twin_half,twin_first,distilled}
here=experiments/etram_like
# Of 115 updates each: ten quiet minutes make 1,257 updates of femto with their validations; the twin's cost 0.88 of them, and a
# teacher's forward passes are the student's time.
declare -A EPOCHS=([twin]=12 [twin_published]=12 [twin_half]=6 [twin_first]=5 [distilled]=4)

for seed in ${SEEDS//,/ }; do
    for arm in ${ARMS//,/ }; do # in this order: the last two begin with what twin_half leaves
        run=$OUT/${arm}_s$seed
        [ -f "$run/finished" ] && continue
        budget=
        [ "${COUNTED:-0}" = 0 ] || budget="trainer.threads=1 trainer.max_minutes=null trainer.max_epochs=$((${EPOCHS[$arm]:-11} * MINUTES / 10))"
        python -m spikeyolo.train -m --config-dir $here/conf +experiment=etram data=etram_like +budget=minutes "+arm=$arm" "seed=$seed" \
            "hydra.sweep.dir=$OUT" 'hydra.sweep.subdir=${name}_s${seed}' $budget ${EXTRA:-}
        python -m spikeyolo.evaluate "checkpoint=$run/checkpoints/best" split=test pixels=frame steps=scored
        touch "$run/finished"
    done
done

if [ "${YOLO:-1}" = 1 ]; then # in an environment of its own: it is a peer, and AGPL
    peer=$OUT/yolov8n
    [ -x "$peer/venv/bin/python" ] || { python -m venv "$peer/venv" && "$peer/venv/bin/pip" install -q ultralytics; }
    [ -f "$peer/images/data.yaml" ] || python -m experiments.etram_like.yolo images "$peer/images" ${EXTRA:-}
    for seed in ${SEEDS//,/ }; do
        [ -f "$peer/s$seed.json" ] && continue
        "$peer/venv/bin/python" $here/yolov8n.py --images "$peer/images" --minutes "$MINUTES" --seed "$seed" --out "$peer/s$seed"
        python -m experiments.etram_like.yolo score "$peer/images" "$peer/s$seed"
    done
fi
python -m experiments.etram_like.table "$OUT" --minutes "$MINUTES"
