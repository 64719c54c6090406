"""Training until the error on other recordings stops falling, with the weights of the best look kept.

A model that learns from five episodes is at its best after a few dozen steps, one that learns from two hundred after
many hundred. A fixed number of steps would favour one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from safetensors.torch import load_file, save
from torch import Tensor, device

from lamdemo.core.files import write_safely

_LOOKS, _BEST = "looks.json", "best.safetensors"


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """When a training has come to its end."""

    look: int = 50  # steps between two looks at the other recordings
    patience: int = 4  # looks without a better one after which training ends
    batches: int = 8  # of clips that a look takes

    def __post_init__(self) -> None:
        if min(self.look, self.patience, self.batches) < 1:
            raise ValueError("early stopping needs at least one step, one look and one batch")


J = TypeVar("J", contravariant=True)


class Judging(Protocol, Generic[J]):
    """A training `Loop` that can tell how well it does on recordings that it does not learn from."""

    config: Any
    step: int
    device: device
    average: dict[str, Tensor]

    def resume(self, folder: Path) -> bool:
        """See `Loop.resume`."""

    def run(self, folder: Path | None, *, most: int | None = None) -> bool:
        """See `Loop.run`."""

    def error(self, judged: J, batches: int) -> float:
        """Of the averages; the lower, the better."""


def train_until_flat(
    trainer: Judging[J],
    judged: J,
    folder: Path,
    config: EarlyStoppingConfig,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Train until the error on other recordings stops falling, at most to the end of the schedule.

    Args:
        trainer: at step 0; what lies in the folder is gone on with.
        judged: recordings that are not trained on, as the trainer takes them.
        folder: gets what is needed to go on.
        config: when to stop.
        say: is told each look.

    Returns:
        ``looks`` (``step`` and ``error``, see `Judging.error`, the first before any training), ``step`` (of the best)
        and ``stopped`` ("flat", or "schedule" where the schedule ended first). The trainer's average holds the best
        look's weights.

    Raises:
        LamdemoError: see `Loop.run` and `Loop.resume`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    looks: list[dict[str, float]] = []
    if trainer.resume(folder) and (folder / _LOOKS).is_file():
        # A look of a step that was not saved is taken again.
        looks = [k for k in json.loads((folder / _LOOKS).read_text("utf-8")) if k["step"] <= trainer.step]

    def best() -> int:
        return int(np.argmin([k["error"] for k in looks]))

    while True:
        if not looks or looks[-1]["step"] < trainer.step:
            error = trainer.error(judged, config.batches)
            looks.append({"step": trainer.step, "error": error})
            if best() == len(looks) - 1:
                write_safely(folder / _BEST, save({k: v.contiguous() for k, v in trainer.average.items()}))
            write_safely(folder / _LOOKS, json.dumps(looks).encode())
            say(f"step {trainer.step}: error {error:.4f} on other recordings")
        flat = len(looks) - 1 - best() >= config.patience
        if flat or trainer.step >= trainer.config.steps:
            break
        trainer.run(folder, most=trainer.step + config.look)
    trainer.average = {k: v.to(trainer.device) for k, v in load_file(folder / _BEST).items()}
    return {"looks": looks, "step": looks[best()]["step"], "stopped": "flat" if flat else "schedule"}
