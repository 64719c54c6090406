#!/usr/bin/env bash
# Training on all GPUs of one machine: a process each, together one run.
#
#     bash recipes/node.sh CONFIG VIDEOS OUT [further options of lamdemo train]
#
# Called again it goes on from where it was stopped, also with another number of GPUs: [batch] parts of the recipe must be
# a multiple of it. PROCESSES (as many as there are GPUs), DEVICE (cuda), THREADS (of each process: 4).
set -euo pipefail

config=$1 videos=$2 out=$3
shift 3
count=${PROCESSES:-$(nvidia-smi --list-gpus | wc -l)}
if [ -f "$out/state/state.safetensors" ]; then set -- --resume "$@"; fi
export OMP_WAIT_POLICY=passive
# The recipe says what is computed in bfloat16 and compiled, so Accelerate does not.
exec accelerate launch --multi_gpu --num_machines 1 --num_processes "$count" --main_process_port "${PORT:-0}" \
    --mixed_precision no --dynamo_backend no --num_cpu_threads_per_process "${THREADS:-4}" \
    -m lamdemo train "$config" --videos "$videos" --out "$out" --device "${DEVICE:-cuda}" "$@"
