"""How much of the machine a training step uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def matrix_rate(device: torch.device, precision: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, measured."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.ones(side, side, device=device, dtype=precision)

    def product(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            b = a @ a
        b[0, 0].item()  # waits for a GPU
        return (time.perf_counter() - start) / times

    product(1)
    return 2 * side**3 / min(product(3), product(3))


@dataclass
class StepWork:
    """How much of the machine a training step uses."""

    operations: float  # floating-point operations of a step's matrix products and convolutions, forward and backward
    peak: float  # operations a second of a large matrix product in the step's precision, measured
    _since: tuple[int, float] | None = None

    @classmethod
    def count(
        cls, model: nn.Module, loss: Callable[[], Tensor], device: torch.device, precision: torch.dtype
    ) -> StepWork:
        """Count a step's operations, and measure the peak.

        Args:
            model: that learns; its weights and buffers stay as they are.
            loss: computes the loss of a step.
            device: where.
            precision: of the step's matrix products.
        """
        kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
        with FlopCounterMode(display=False) as counter:
            loss().backward()
        for parameter in model.parameters():
            parameter.grad = None
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
        return cls(float(counter.get_total_flops()), matrix_rate(device, precision))

    def logs(self, step: int) -> dict[str, float]:
        """Seconds a step since the last call, and their share of the peak; nothing at the first call."""
        now = time.perf_counter()
        since, self._since = self._since, (step, now)
        if since is None or step <= since[0]:
            return {}
        seconds = (now - since[1]) / (step - since[0])
        return {"seconds": seconds, "share_of_peak": self.operations / seconds / self.peak}
