#!/usr/bin/env bash
# One call of at most nine minutes on one large GPU: trains the default model's recipe over a ready pack, from where
# the last call stopped (while the machine is warm) or from a checkpoint, and leaves the weights in shards.
#
#   here:   lamdemo pack CLIPS --out pack --split SPLIT --crf 30 --height 144 --seconds 14 --things T --backgrounds B
#   there:  bash recipes/gpu.sh pack "$OUT"                  # again, as long as there is time
#   here:   bash recipes/gpu.sh --join FETCHED runs/gpu      # the shards become a checkpoint again
#
# MINUTES (8), START (layers, or a folder), CONFIG (configs/layers-gpu.toml), DEVICE (cuda), STEPS (of the schedule;
# as many as the minutes allow without it), STOP (at that step), RUN (runs/gpu), SHARD (15000000 bytes).
#
# Where only so much travels in a call, send what is needed alone (git sparse-checkout set --no-cone '/lamdemo/*'
# '/recipes/*' '/configs/*' '/checkpoints/layers/*.json' '/checkpoints/layers/model.safetensors'), and the pack in
# parts, copied together there by the first calls. Pipe the output through nothing that waits for its end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --join ]; then
    mkdir -p "$3"
    cat "$2"/model.safetensors.part-* >"$3/model.safetensors"
    cp "$2/config.json" "$3/config.json"
    exit
fi

pack=$1 out=$2 run=${RUN:-runs/gpu}
export PYTHONUNBUFFERED=1 PYTHONPATH=. OMP_WAIT_POLICY=passive
start=${START:-layers}
[ -d "$start" ] || start=checkpoints/$start
if [ -f "$run/state/state.safetensors" ]; then how=(); else how=(--start-from "$start"); fi
# Batches wait in shared memory, of which a machine may be given little.
mount -o remount,size=48G /dev/shm 2>/dev/null || true
python3 recipes/gpu.py "${CONFIG:-configs/layers-gpu.toml}" "$pack" "$run" --device "${DEVICE:-cuda}" \
    --minutes "${MINUTES:-8}" ${STEPS:+--steps "$STEPS"} ${STOP:+--stop "$STOP"} "${how[@]}"
# Files of more than 16 MiB do not come back.
split -b "${SHARD:-15000000}" -d "$run/checkpoint/model.safetensors" "$out/model.safetensors.part-"
cp "$run/checkpoint/config.json" "$out/"
cp -r "$run/logs" "$out/logs"
