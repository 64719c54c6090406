"""What a second process adds to training: two with one thread each against one with one thread.

    python -m benchmarks.processes [--recipe FILE] [--steps N] [--rounds R] [--out FILE]

Both do the same run, whose batch has two parts: one process takes them one after the other, two take one each. They
take turns, round by round, and of each the fastest round counts, in which the rest of the machine disturbed it least.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import give
from lamdemo.data.scenes import read_bank
from lamdemo.data.videos import Recording
from lamdemo.evaluation.report import git_state
from lamdemo.training import TrainConfig, Trainer
from lamdemo.training.processes import Processes

ROOT = Path(__file__).resolve().parents[1]
_PARTS = 2


def measured(recipe: Path, steps: int) -> float:
    """Seconds a step, in as many processes as were launched, on clips of noise, after two steps that do not count."""
    torch.set_num_threads(1)
    processes = Processes.joined("cpu")
    config = TrainConfig.read(recipe)
    batch = dataclasses.replace(config.batch, parts=_PARTS, workers=0)
    rng = np.random.default_rng(0)
    recordings = [Recording(f"{i}.mp4", rng.integers(0, 256, (24, 144, 256, 3), np.uint8), 8.0) for i in range(8)]
    bank = read_bank(frames=list(rng.integers(0, 256, (8, 144, 256, 3), np.uint8)))
    trainer = Trainer(dataclasses.replace(config, batch=batch), recordings, bank, processes=processes)
    for _ in range(2):
        trainer.train_step()
    processes.wait()
    start = time.perf_counter()
    for _ in range(steps):
        trainer.train_step()
    processes.wait()
    seconds = (time.perf_counter() - start) / steps
    if processes.main:
        print(json.dumps(seconds))
    processes.part_ways()
    return seconds


def launched(count: int, recipe: Path, steps: int) -> float:
    """Seconds a step of ``count`` processes."""
    launcher = ["-m", "accelerate.commands.accelerate_cli", "launch", "--num_machines", "1", "--mixed_precision", "no"]
    launcher += ["--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", "--num_processes", str(count)]
    launcher += ["--multi_gpu"] if count > 1 else ["--cpu"]
    command = [sys.executable, *launcher, "-m", "benchmarks.processes", "--worker", "--steps", str(steps)]
    done = subprocess.run(
        [*command, "--recipe", str(recipe)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("configs/noisy-cpu.toml"))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        measured(arguments.recipe, arguments.steps)
        return
    code = git_state()
    rounds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(arguments.rounds):
        for count, seconds in rounds.items():
            seconds.append(launched(count, arguments.recipe, arguments.steps))
            print(f"{count}: {seconds[-1]:.3f} seconds a step", file=sys.stderr)
    one, two = min(rounds[1]), min(rounds[2])
    report = {
        "command": shlex.join(["python", "-m", "benchmarks.processes", *sys.argv[1:]]),
        "git": code,
        "seed": 0,
        "recipe": arguments.recipe.name,
        "cores": os.cpu_count(),
        "threads of a process": 1,
        "torch": torch.__version__,
        "load average": round(os.getloadavg()[0], 2),
        "seconds a step of one process, by round": [round(s, 3) for s in rounds[1]],
        "seconds a step of two processes, by round": [round(s, 3) for s in rounds[2]],
        "throughput of two / twice that of one": round(one / (2 * two), 3),
    }
    give(report, arguments.out)


if __name__ == "__main__":
    main()
