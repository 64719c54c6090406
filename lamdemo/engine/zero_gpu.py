"""Transfers on a GPU that is lent for seconds: Hugging Face's ZeroGPU. Anywhere else nothing of this has an effect.

There the process of the page has no GPU. A function under ``spaces.GPU`` runs in a process that is forked off it, with
a GPU for as long as was asked for: what it is given and what it gives back are pickled, and whatever else it changes is
lost. So the two long parts of a transfer are lent a GPU, carrying out and judging, which take arrays and give arrays;
reading, inferring and all that keeps a state between two clicks (Drive, play mode) stay in the page's process, on its
CPU.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamdemo.core.latent_actions import LatentActions
from lamdemo.engine.rollout import TransferStep
from lamdemo.engine.transfer import TransferPipeline
from lamdemo.engine.verdict import Read, Verdict

DEVICE = "cuda"  # as it is called where one was lent
_LONGEST = 120.0  # seconds that are asked for at most
# Seconds: a start, a step, and a frame of a million pixels. A step is allowed what it takes on two busy CPU cores (0.98
# seconds at 1024 by 768 with two frames between, measured), so that no loan ends before its transfer does.
_START, _STEP, _FRAME = 8.0, 0.25, 0.25


def is_on() -> bool:
    """Whether this process is a Space's on ZeroGPU and the package ``spaces``, which lends GPUs there, is installed."""
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    return asked and importlib.util.find_spec("spaces") is not None


class LentGpuPipeline(TransferPipeline):
    """A pipeline on the CPU whose transfers are carried out and judged on a GPU that is lent for it."""

    all_at_once = True

    def place(self) -> LentGpuPipeline:
        """Load the weights for the GPU too, so that every process that is forked later has them; returns itself."""
        _lent()  # the Space is told at its start which functions want a GPU
        _twin(str(self.folder))
        return self

    def judge(
        self, source: np.ndarray, steps: list[TransferStep], applied: LatentActions, read: Read | None = None
    ) -> Verdict | None:
        """See `TransferPipeline.judge`; a GPU reads the source sooner than it is told of it."""
        if self.verdict_rule is None or len(steps) < 2:
            return None
        return _lent().judge(str(self.folder), source, steps, applied)

    def _run(self, actions: LatentActions, target: np.ndarray, between: int) -> Iterator[TransferStep]:
        yield from _lent().run(str(self.folder), actions, target, between)


def seconds_of_run(folder: str, actions: LatentActions, target: np.ndarray, between: int) -> float:
    """For how long a GPU is asked for to carry out actions; takes what `_run` takes.

    Made of a start (the weights' way to the GPU, the first kernels), the model's share of each step, and what is drawn:
    each frame by its size.
    """
    frames, pixels = len(actions) * (between + 1), target.shape[-3] * target.shape[-2]
    return min(_START + len(actions) * _STEP + frames * _FRAME * pixels / 1e6, _LONGEST)


def seconds_of_judging(folder: str, source: np.ndarray, steps: list[TransferStep], applied: LatentActions) -> float:
    """For how long a GPU is asked for to judge; takes what `_judge` takes."""
    return min(_START + len(applied) * _STEP, _LONGEST)


@dataclass(frozen=True)
class _Lent:
    """The functions that a GPU is lent for."""

    run: Any
    judge: Any


@functools.cache
def _lent() -> _Lent:
    import spaces

    return _Lent(spaces.GPU(_run, duration=seconds_of_run), spaces.GPU(_judge, duration=seconds_of_judging))


@functools.lru_cache(maxsize=2)
def _twin(folder: str) -> TransferPipeline:
    """The same checkpoint for the GPU; a forked process has those of its parent and loads what came later."""
    return TransferPipeline.from_pretrained(Path(folder), device=DEVICE)


def _run(folder: str, actions: LatentActions, target: np.ndarray, between: int) -> Iterator[TransferStep]:
    yield from _twin(folder).stream(actions, target, between=between)


def _judge(folder: str, source: np.ndarray, steps: list[TransferStep], applied: LatentActions) -> Verdict | None:
    return _twin(folder).judge(source, steps, applied)
