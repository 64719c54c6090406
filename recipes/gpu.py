"""What `recipes/gpu.sh` runs on the GPU's machine: training as a library, without the command line's packages."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from lamdemo.models import checkpoint_hash
from lamdemo.training import TrainConfig, Trainer
from lamdemo.training.material import training_material

_LONG, _MEASURED = 20_000, 90  # steps of a schedule whose end is not known yet, and until its end is known

began = time.monotonic()
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("config", type=Path)
parser.add_argument("pack", type=Path)
parser.add_argument("run", type=Path)
parser.add_argument("--device", default="cuda")
parser.add_argument("--start-from", type=Path, help="folder of a checkpoint; without it the run is gone on with")
parser.add_argument("--minutes", type=float, required=True, help="that this call may take")
parser.add_argument("--steps", type=int, help="that the schedule spans; as many as the minutes allow without it")
parser.add_argument("--stop", type=int, help="stop at that step, to be called again")
given = parser.parse_args()


def spanning(config: TrainConfig, steps: int) -> TrainConfig:
    """The same recipe with a schedule of another length."""
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, steps=steps))


def left() -> float:
    """Minutes of this call that are left."""
    return given.minutes - (time.monotonic() - began) / 60


config = TrainConfig.read(given.config)
fitted = not given.steps and not given.stop and given.start_from is not None
recordings, bank = training_material(config, given.pack, given.run / "cache")
trainer = Trainer(
    spanning(config, _LONG if fitted else given.steps or config.optimizer.steps),
    recordings,
    bank,
    device=given.device,
    start_from=given.start_from,
)
trainer.about = {"videos": len(recordings)}
if given.start_from is not None:
    trainer.about["began_with"] = {"name": given.start_from.name, "sha256": checkpoint_hash(given.start_from)}
else:
    trainer.resume(given.run / "state")
if fitted:
    # The first third is slower: kernels are chosen, and workers begin.
    trainer.train(given.run, most=_MEASURED // 3)
    since = time.monotonic()
    trainer.train(given.run, most=_MEASURED)
    rate = (trainer.step - _MEASURED // 3) / (time.monotonic() - since)
    trainer.config = spanning(config, trainer.step + int(0.97 * rate * 60 * max(left(), 0)))
    print(f"{rate:.2f} steps a second, {trainer.config.optimizer.steps} in all", flush=True)
trainer.train(given.run, minutes=left(), most=given.stop)
