"""Training: steps a second by the recipe for a CPU, and how much of them is waiting for data."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.material import loaded
from benchmarks.measuring import EXAMPLES, ROOT, Settings, entry, rounded, spread
from lamdemo.models import read_config
from lamdemo.training import TrainConfig, Trainer
from lamdemo.training.batches import Batch
from lamdemo.training.material import training_material
from lamdemo.training.objective import Objective
from lamdemo.training.throughput import StepWork


class _Waiting:
    """Batches from worker processes, and how long each was waited for."""

    def __init__(self) -> None:
        self.source: Iterator[Batch] = iter(())
        self.seconds: list[float] = []

    def __call__(self, step: int) -> Batch:
        begun = time.perf_counter()
        batch = next(self.source)
        self.seconds.append(time.perf_counter() - begun)
        return batch


def train(settings: Settings) -> dict[str, Any]:
    """Steps that go on from the checkpoint, on the example clips and the bundled cut-outs."""
    pipeline = loaded(settings)
    assert pipeline.folder is not None
    recipe = TrainConfig.read(ROOT / "configs" / "layers-cpu.toml")
    recipe = dataclasses.replace(recipe, model=read_config(pipeline.folder)[0])
    steps, waiting = 2 + 2 * settings.repeats, _Waiting()
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch:
        material = training_material(recipe, EXAMPLES / "clips", Path(scratch))
        trainer = Trainer(recipe, *material, device=pipeline.model.device, batches=waiting, start_from=pipeline.folder)
        making = []
        for k in range(max(settings.repeats, 1)):
            begun = time.perf_counter()
            batch = trainer.maker[1000 + k]
            making.append(time.perf_counter() - begun)
        waiting.source = trainer.maker.prefetch(0, steps)
        seconds = []
        for _ in range(steps):
            begun = time.perf_counter()
            trainer.train_step()
            seconds.append(time.perf_counter() - begun)
        waiting.source = iter(())  # which ends its worker processes

        def loss() -> Tensor:
            with trainer.autocast():
                generator = torch.Generator(trainer.device).manual_seed(0)
                return trainer.loss(Objective(trainer.model), batch.to(trainer.device), generator)[0]

        precision = trainer.precision
        work = StepWork.count(trainer.model, loss, trainer.device, precision)
    # The first two steps warm up, and take batches that were made meanwhile.
    found = spread(seconds[2:])
    floor = {
        "seconds": rounded(work.operations / work.peak),
        "of": "the operations of its matrix products at the rate of a large one in its precision",
        "operations": work.operations,
    }
    more = {
        "steps a second": rounded(1 / found["median"]),
        "share of it waiting for data": rounded(float(np.sum(waiting.seconds[2:]) / np.sum(seconds[2:]))),
        "clips a step": len(batch.pictures),
    }
    made = spread(making)
    # A worker makes the next batch meanwhile, on cores that the step could use.
    share = {"over a step's seconds": rounded(made["median"] / found["median"])}
    return {"a training step": entry(found, floor) | more, "making its batch, alone": entry(made) | share}
