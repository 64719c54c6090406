"""Several processes that train one model together, each on its own parts of every step's batch, by Accelerate.

Every process holds the whole model and optimizer; gradients are added up once a step. What a step sees is a matter of
the seed, the step and the part alone, so that any number of processes that divides the parts does the same run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError


class Processes:
    """One process among those that train together; alone, nothing here does anything.

    Attributes:
        count: how many they are.
        index: which one this is, from 0, the main one: it alone writes files and shows progress.
    """

    def __init__(self, state: Any = None) -> None:
        """Args: Accelerate's ``PartialState`` of a run of several processes; None for one alone."""
        self._state = state
        self.count: int = 1 if state is None else state.num_processes
        self.index: int = 0 if state is None else state.process_index

    @classmethod
    def joined(cls, device: torch.device | str) -> Processes:
        """Meet the others that ``accelerate launch`` (or ``torchrun``) has started, if it did.

        Args:
            device: where this process computes; of several GPUs it is given its own.

        Raises:
            LamdemoError: there are others, and Accelerate is not installed.
        """
        if not launched():
            return cls()
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise LamdemoError("Training in several processes needs Accelerate: pip install accelerate.") from error
        return cls(PartialState(cpu=torch.device(device).type == "cpu"))

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.index == 0

    def own(self, parts: int) -> range:
        """Which of ``parts`` parts of a batch are this process's.

        Raises:
            LamdemoError: they cannot be shared out evenly.
        """
        if parts % self.count:
            raise LamdemoError(
                f"A step's batch has {parts} part{'s' * (parts > 1)} and there are {self.count} processes; set parts "
                f"under [batch] of the recipe to {self.count} or a multiple of it."
            )
        return range(self.index, parts, self.count)

    def add_up(self, parameters: Sequence[Tensor]) -> None:
        """Put the sum of all processes' gradients in the place of each one's own."""
        if self.count == 1 or not parameters:
            return
        # One message: many small ones would take longer than all they carry. At its end, who has a gradient at all.
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        has = torch.tensor([float(p.grad is not None) for p in parameters], device=grads[0].device)
        total = self._sum(torch.cat([*(g.flatten().float() for g in grads), has]))
        anybody = total[-len(has) :].tolist()
        at = 0
        for parameter, grad, some in zip(parameters, grads, anybody, strict=True):
            if some:
                parameter.grad = grad.copy_(total[at : at + grad.numel()].view_as(grad))
            at += grad.numel()

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Mean of numbers over all processes, which have them by the same names."""
        if self.count == 1:
            return values
        total = self._sum(torch.tensor(list(values.values()), dtype=torch.float32, device=self._state.device))
        return dict(zip(values, (total / self.count).tolist(), strict=True))

    def all(self, yes: bool) -> bool:
        """Whether it holds in every process; they then do the same and none waits for another in vain."""
        if self.count == 1:
            return yes
        return float(self._sum(torch.tensor(float(yes), device=self._state.device))) == self.count

    def as_main(self, yes: bool) -> bool:
        """What the main process says."""
        if self.count == 1:
            return yes
        return float(self._sum(torch.tensor(float(yes and self.main), device=self._state.device))) > 0

    @torch.no_grad()
    def copy_main(self, tensors: Sequence[Tensor]) -> None:
        """Put the main process's values in the place of each one's own."""
        if self.count > 1:
            with self._together():
                for tensor in tensors:
                    torch.distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Go on when all have come as far."""
        if self.count > 1:
            with self._together():
                self._state.wait_for_everyone()

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Do something where the main process of this machine has done it, whose files are then found."""
        if self._state is None:
            yield
            return
        with self._state.local_main_process_first():
            yield

    def part_ways(self) -> None:
        """End the meeting."""
        if self._state is not None:
            self._state.destroy_process_group()

    def _sum(self, tensor: Tensor) -> Tensor:
        with self._together():
            torch.distributed.all_reduce(tensor)
            return tensor

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Say in a sentence that somebody is missing."""
        try:
            yield
        except RuntimeError as error:  # a closed connection, or nothing heard for long
            raise LamdemoError(
                "Another process of this run has stopped, and so does this one; go on with --resume."
            ) from error


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def is_main() -> bool:
    """Whether this is the main process, before the others are met."""
    return int(os.environ.get("RANK") or 0) == 0
