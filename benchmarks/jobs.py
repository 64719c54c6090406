"""Whole jobs: a transfer as page and command line do it, the command itself, and a step of Drive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import controller_of, frames_for, loaded, sized
from benchmarks.measuring import BETWEEN, CLIP, PHOTO, ROOT, SIZES, Settings, entry, rounded, spread
from lamdemo.cli.carrying import Settings as Asked
from lamdemo.cli.carrying import Watched, requested, write_results
from lamdemo.engine import TransferPipeline, TransferStep
from lamdemo.jobs.transfer import Carried, Transferred, transfer

_MOMENTS = "first frame", "last frame", "judged", "files written"
_RUNS = (8, SIZES[0]), (32, SIZES[0]), (8, SIZES[1]), (32, SIZES[1]), (8, SIZES[2])


def _asked(steps: int) -> Asked:
    return Asked(None, None, 1.0, False, 1, 0, 0.0, steps, None, BETWEEN, None, (), False)


def _moments(pipeline: TransferPipeline, frames: np.ndarray, target: np.ndarray, folder: Path) -> dict[str, float]:
    """Seconds from the beginning until each of `_MOMENTS`, of one transfer whose files are read already."""
    asked = _asked((len(frames) - 1) // (BETWEEN + 1))
    source = Watched(CLIP, frames, None, len(frames) - 1, pipeline.fps)
    request = requested(source, target[None], asked)
    begun, made = time.perf_counter(), None
    at: dict[str, float] = {}
    for event in transfer(pipeline, request, keep=lambda step: step):
        now = time.perf_counter() - begun
        if isinstance(event, TransferStep) and event.index:
            at.setdefault("first frame", now)
        elif isinstance(event, Transferred):
            made, at["judged"] = event, now
        elif isinstance(event, Carried):
            at["last frame"] = now
    assert made is not None
    write_results(folder, made, request, source, asked)
    at["files written"] = time.perf_counter() - begun
    return at


def transfers(settings: Settings) -> dict[str, Any]:
    """Transfers of 8 and 32 steps: when the first and last frame are there, and the files."""
    pipeline, told = loaded(settings), {}
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch:
        for steps, (width, height) in _RUNS:
            frames, target = frames_for(steps, pipeline.fps), sized(PHOTO, width, height)
            _moments(pipeline, frames_for(1, pipeline.fps), target, Path(scratch))
            runs = [_moments(pipeline, frames, target, Path(scratch)) for _ in range(settings.repeats)]
            name = f"{steps} steps, {width}x{height}"
            for moment in _MOMENTS:
                told[f"{name}: {moment}"] = entry(spread([run[moment] for run in runs]))
            carrying = float(np.median([run["last frame"] - run["first frame"] for run in runs]))
            told[f"{name}: last frame"]["new frames a second"] = rounded((steps - 1) * (BETWEEN + 1) / carrying)
    return told


def command(settings: Settings) -> dict[str, Any]:
    """``lamdemo transfer`` of the page's first example, from the shell to its files; and its own laps."""
    whole, laps = [], []
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch:
        for k in range(settings.repeats):
            out = Path(scratch, str(k))
            words = [sys.executable, "-m", "lamdemo", "transfer", str(CLIP), str(PHOTO), "--out", str(out)]
            words += ["--max-steps", "16", *(("--checkpoint", settings.checkpoint) if settings.checkpoint else ())]
            threads = {"OMP_NUM_THREADS": str(settings.threads)}
            begun = time.perf_counter()
            subprocess.run(words, cwd=ROOT, env=os.environ | threads, check=True, capture_output=True)
            whole.append(time.perf_counter() - begun)
            laps.append(json.loads((out / "report.json").read_text(encoding="utf-8"))["seconds"])
    told = {"the command, 16 steps, 1024x768": entry(spread(whole))}
    return told | {f"the command: {name}": entry(spread([lap[name] for lap in laps])) for name in laps[0]}


def drive(settings: Settings) -> dict[str, Any]:
    """A step of Drive with what the page asks of it, and steps a second."""
    pipeline, told = loaded(settings), {}
    known, own = controller_of(pipeline)
    for width, height in SIZES[:2]:
        driving = pipeline.drive(sized(PHOTO, width, height), known, between=BETWEEN)
        command = known.spec.high / 2
        driving.step(command)
        seconds = []
        for _ in range(max(4 * settings.repeats, 4)):
            begun = time.perf_counter()
            driving.step(command)
            seconds.append(time.perf_counter() - begun)
        found = spread(seconds)
        told[f"a step of Drive, {width}x{height}"] = entry(found) | {
            "steps a second": rounded(1 / found["median"]),
            "controller": known.name,
            "its own": own,
        }
    return told
