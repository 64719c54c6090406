#!/usr/bin/env bash
# One call of at most nine minutes on one large GPU: trains the default model's recipe over a ready pack, from where
# the last call stopped (while the machine is warm) or from a checkpoint, and leaves the weights in shards.
#
#   here:   lamdemo pack CLIPS --out pack --split SPLIT --crf 36 --height 112 --seconds 12 --things T --backgrounds B
#   there:  bash recipes/gpu.sh pack "$OUT"                  # again, as long as there is time
#   here:   bash recipes/gpu.sh --join FETCHED runs/gpu      # the shards become a checkpoint again
#
# MINUTES (8), START (layers), CONFIG (configs/layers-gpu.toml), DEVICE (cuda), STEPS (none: the whole schedule),
# RUN (runs/gpu), SHARD (15000000 bytes).
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
if [ -f "$run/state/state.safetensors" ]; then how=(--resume); else how=(--start-from "${START:-layers}"); fi
python3 -m lamdemo train "${CONFIG:-configs/layers-gpu.toml}" --videos "$pack" --out "$run" --device "${DEVICE:-cuda}" \
    --stop-after "${MINUTES:-8}" ${STEPS:+--max-steps "$STEPS"} "${how[@]}"
# Files of more than 16 MiB do not come back.
split -b "${SHARD:-15000000}" -d "$run/checkpoint/model.safetensors" "$out/model.safetensors.part-"
cp "$run/checkpoint/config.json" "$out/"
cp -r "$run/logs" "$out/logs"
