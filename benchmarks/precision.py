"""Whether inference in half precision is faster on this machine, and whether it does the same.

    python -m benchmarks.precision [--device NAME] [--rounds R] [--pairs P] [--steps S] [--out FILE]

Transfers of the bundled clips, each onto one bundled photograph, in float32, bfloat16 and float16; each round takes the
precisions in turn, and of each the fastest round counts. What they make is compared with what float32 makes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import give
from lamdemo.core.devices import AUTO, best_device, device_in_words
from lamdemo.core.places import shipped
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.report import git_state
from lamdemo.video import read_clip, read_image

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PAIRS = (
    ("meadow_tilt", "mountain_path"),
    ("woman_walking", "sheep"),
    ("city_drift", "palace_square"),
    ("head_leaning_in", "astronaut"),
)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--device", default=AUTO)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="how many of the transfers")
    parser.add_argument("--steps", type=int, default=4, help="of each")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    code = git_state()
    torch.set_num_threads(arguments.threads)
    device = best_device(arguments.device)
    pipelines = {
        name: TransferPipeline.from_pretrained(arguments.checkpoint, device=device, dtype=dtype)
        for name, dtype in PRECISIONS.items()
    }
    fps = pipelines["float32"].fps
    clips = [
        (
            read_clip(
                shipped("examples") / f"clips/{clip}.mp4", fps=fps, max_side=320, max_frames=arguments.steps + 1
            ).frames,
            read_image(shipped("examples") / f"photos/{photo}.jpg", max_side=512),
        )
        for clip, photo in PAIRS[: arguments.pairs]
    ]
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    made: dict[str, list[Any]] = {}
    for _ in range(arguments.rounds + 1):  # the first does not count
        for name, pipeline in pipelines.items():
            start = time.perf_counter()
            made[name] = [pipeline.transfer(clip, photo) for clip, photo in clips]
            seconds[name].append(time.perf_counter() - start)
            print(f"{name}: {seconds[name][-1]:.2f} seconds", file=sys.stderr)
    fastest = {name: min(times[1:]) for name, times in seconds.items()}
    true = made["float32"]
    report: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.precision", *sys.argv[1:]]),
        "git": code,
        "checkpoint": pipelines["float32"].checkpoint,
        "device": device_in_words(device),
        "threads": arguments.threads,
        "torch": torch.__version__,
        "load average": round(os.getloadavg()[0], 2),
        "transfers": [" -> ".join(pair) for pair in PAIRS[: arguments.pairs]],
        "precisions": {
            name: {
                "seconds": round(fastest[name], 3),
                "over float32": round(fastest[name] / fastest["float32"], 3),
                "of latents, distance from float32's over their length": _distance(
                    [r.latents.z for r in results], [r.latents.z for r in true]
                ),
                "of last frames, gray levels from float32's": _apart(results, true),
                "float32's last frames from the picture, gray levels": _apart(true, [r.frames[0] for r in true]),
                "verdicts": [r.verdict.label for r in results if r.verdict is not None],
            }
            for name, results in made.items()
        },
    }
    give(report, arguments.out)


def _distance(some: list[np.ndarray], true: list[np.ndarray]) -> float:
    off = np.concatenate(some).astype(float) - np.concatenate(true)
    return round(float(np.linalg.norm(off) / np.linalg.norm(np.concatenate(true))), 4)


def _apart(some: list[Any], others: list[Any]) -> float:
    """Mean absolute difference of last frames, or of pictures."""

    def last(result: Any) -> np.ndarray:
        return np.asarray(result if isinstance(result, np.ndarray) else result.frames[-1], float)

    return round(float(np.mean([np.abs(last(a) - last(b)).mean() for a, b in zip(some, others, strict=True)])), 3)


if __name__ == "__main__":
    main()
