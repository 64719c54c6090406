"""Training that is killed at any instant, and goes on.

    python -m benchmarks.kills [--kills 200] [--seed 0] [--out FILE]

Trains a toy with the loop of everything that is trained (`lamdemo.training.loop`), which saves after each step here, in
a process that gets SIGKILL at a random instant, and again from what it had saved, until it comes to its end; and so on
until there were so many kills. Whatever a kill leaves must be read, and each end must be that of a run that nobody
killed, bit for bit, with nothing beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lamdemo.evaluation.report import git_state
from lamdemo.training.loop import Loop, LoopConfig

STEPS = 40


class Toy(Loop[nn.Module, LoopConfig]):
    """Learns to copy noise."""

    def step_loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The same for a step whenever it is asked for."""
        given = torch.randn(32, 64, generator=torch.Generator().manual_seed(step))
        return (self.module(given) - given).square().mean(), {}


def train(folder: Path) -> None:
    """Go on from what is there, to the end."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
    toy = Toy(LoopConfig(steps=STEPS, save_minutes=-1.0), module)
    toy.resume(folder)
    toy.run(folder)


def begun(folder: Path) -> int:
    """The number of a process that trains; no tensor was made in this one, so that it can be copied."""
    process = os.fork()
    if process == 0:
        try:
            train(folder)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return process


def state(folder: Path) -> str:
    """The hash of what was saved; it must be whole."""
    path = folder / Toy.state_name
    with safe_open(path, "numpy") as file:
        json.loads(file.metadata()["progress"])
        for name in file.keys():
            file.get_tensor(name)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def saved(folder: Path) -> int:
    """When something was saved last, in nanoseconds; 0 for never."""
    path = folder / Toy.state_name
    return path.stat().st_mtime_ns if path.exists() else 0


def run(kills: int, seed: int, place: Path) -> dict[str, Any]:
    """Train and kill; gives what is to be reported."""
    chance = random.Random(seed)
    whole, began = place / "whole", time.monotonic()
    if os.waitpid(begun(whole), 0)[1]:
        raise SystemExit("The run that nobody kills fails.")
    lasts, wanted = time.monotonic() - began, state(whole)
    done = runs = unsaved = halves = stuck = 0
    reach = 1.2 * lasts  # seconds in which a kill comes; a run takes most of its time to begin
    wrong: list[str] = []
    while done < kills and not wrong:
        folder, runs = place / f"{runs:04d}", runs + 1
        while True:
            before, process = saved(folder), begun(folder)
            if done < kills:
                until, over = time.monotonic() + chance.uniform(0, reach), None
                while time.monotonic() < until and over is None:
                    time.sleep(min(0.01, max(until - time.monotonic(), 0)))
                    over = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                os.kill(process, signal.SIGKILL)
            code = os.waitpid(process, 0)[1]
            if code == 0:
                reach = 1.2 * lasts
                break
            if not os.WIFSIGNALED(code):
                wrong.append(f"run {runs} does not go on after {done} kills")
                break
            done += 1
            # Where other work keeps a run from saving until it is killed again, it gets more time.
            came = saved(folder) != before
            reach, stuck = 1.2 * lasts if came else 1.3 * reach, stuck + (not came)
            halves += len(list(folder.glob(".*.part"))) if folder.exists() else 0
            if (folder / Toy.state_name).exists():
                state(folder)
            else:
                unsaved += 1
        if not wrong and (state(folder) != wanted or os.listdir(folder) != [Toy.state_name]):
            wrong.append(f"run {runs} ends otherwise: {sorted(os.listdir(folder))}")
    return {
        "kills": done,
        "runs": runs,
        "killed_before_the_first_save": unsaved,
        "killed_before_another_save": stuck,
        "killed_while_saving": halves,
        "seconds_of_a_whole_run": round(lasts, 2),
        "wrong": wrong,
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    code = git_state()
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        report = run(asked.kills, asked.seed, Path(place))
    command = shlex.join(["python", "-m", "benchmarks.kills", *sys.argv[1:]])
    report = {"command": command, "seed": asked.seed, "git": code, **report}
    if asked.out:
        asked.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report))
    sys.exit(bool(report["wrong"]))


if __name__ == "__main__":
    main()
