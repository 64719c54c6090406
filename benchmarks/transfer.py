"""What a transfer's time is spent on, as ratios within one run.

    python -m benchmarks.transfer [--checkpoint ID] [--threads 2] [--out FILE]

Prints seconds for orientation and, what is to be compared between machines and versions, ratios: the key-value
cache against feeding the whole past again, a large target against a small one, refined latents against a glance.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lamdemo.core.files import write_safely
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.report import git_state


def median_seconds(work: Callable[[], object], runs: int = 5) -> float:
    """Median wall time of ``work`` over ``runs`` calls, after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    code = git_state()
    torch.set_num_threads(arguments.threads)
    pipeline = TransferPipeline.from_pretrained(arguments.checkpoint)
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (9, 256, 256, 3), dtype=np.uint8)
    small = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    large = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    actions = pipeline.infer(source)
    states = pipeline.encode(source[:8])[None]
    z = torch.from_numpy(actions.z)[None]
    model = pipeline.model.world_model

    def cached() -> None:
        cache = model.new_cache()
        for t in range(8):
            model(states[:, t : t + 1], z[:, t : t + 1], cache)

    def uncached() -> None:
        for t in range(8):
            model(states[:, : t + 1], z[:, : t + 1])

    with torch.no_grad():
        times = {
            "encode 9 frames": median_seconds(lambda: pipeline.encode(source)),
            "infer 8 actions": median_seconds(lambda: pipeline.infer(source)),
            "infer 8 actions at a glance": median_seconds(lambda: pipeline.infer(source, refinement=0)),
            "carry out 8 steps and 8 of no action, 256x256": median_seconds(
                lambda: list(pipeline.stream(actions, small))
            ),
            "transfer of 8 steps, 256x256": median_seconds(lambda: pipeline.transfer(source, small)),
            "the same, actions given": median_seconds(lambda: pipeline.transfer(actions, small)),
            "the same, target 1280x720": median_seconds(lambda: pipeline.transfer(actions, large)),
            "8 cached steps": median_seconds(cached),
            "8 uncached steps": median_seconds(uncached),
        }
    ratios = {
        "uncached / cached": times["8 uncached steps"] / times["8 cached steps"],
        "large / small target": times["the same, target 1280x720"] / times["the same, actions given"],
        "inference / at a glance": times["infer 8 actions"] / times["infer 8 actions at a glance"],
        "inference / transfer": times["infer 8 actions"] / times["transfer of 8 steps, 256x256"],
    }
    rounded = {k: {n: round(v, 3) for n, v in d.items()} for k, d in (("seconds", times), ("ratios", ratios))}
    report = {
        "command": shlex.join(["python", "-m", "benchmarks.transfer", *sys.argv[1:]]),
        "git": code,
        "checkpoint": pipeline.checkpoint,
        "seed": 0,
        "threads": arguments.threads,
        "torch": torch.__version__,
        "load average": round(os.getloadavg()[0], 2),
        **rounded,
    }
    text = json.dumps(report, indent=2) + "\n"
    if arguments.out is None:
        print(text, end="")
    else:
        write_safely(arguments.out, text.encode())


if __name__ == "__main__":
    main()
