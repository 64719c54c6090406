"""What `recipes/gpu.sh` runs on the GPU's machine: training called as a library, without the command line's packages."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from lamdemo.training import TrainConfig, train

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("config", type=Path)
parser.add_argument("pack", type=Path)
parser.add_argument("run", type=Path)
parser.add_argument("--device", default="cuda")
parser.add_argument("--start-from", type=Path, help="folder of a checkpoint; without it the run is gone on with")
parser.add_argument("--minutes", type=float, help="stop after so many, to be called again")
parser.add_argument("--steps", type=int, help="that the schedule spans, instead of the config's")
parser.add_argument("--stop", type=int, help="stop at that step, to be called again")
given = parser.parse_args()

config = TrainConfig.read(given.config)
if given.steps:
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, steps=given.steps))
train(
    config,
    given.pack,
    given.run,
    device=given.device,
    resume=given.start_from is None,
    start_from=given.start_from,
    stop_after=given.minutes,
    max_steps=given.stop,
)
