"""Parts of a computation beside each other: on a CPU, two threads for two halves beat two threads for each layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def beside(function: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
    """``function`` of each part, in order; on CPUs in as many threads as torch has, each with one for its layers.

    Layers of small models are too short to be shared between threads; whole rollouts are not. With gradients, or one
    thread, or elsewhere than on a CPU, the parts come one after the other.
    """
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2 or torch.is_grad_enabled() or parts[0].device.type != "cpu":
        return [function(part) for part in parts]
    inference = torch.is_inference_mode_enabled()

    def one(part: Tensor) -> Tensor:
        # Modes belong to a thread, so each has to be told.
        with torch.inference_mode(inference), torch.no_grad():
            return function(part)

    whole = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(one, parts))
    finally:
        torch.set_num_threads(whole)
