"""Parts of a computation in parallel: on a CPU, two threads for two halves beat two threads for each layer."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_starting = threading.Lock()


def in_parallel(function: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
    """``function`` of each part, in order; on CPUs in as many threads as torch has, each with one for its layers.

    Layers of small models are too short to be shared between threads; whole rollouts are not. With gradients, or one
    thread, or elsewhere than on a CPU, the parts come one after the other. No other thread's setting is touched.
    """
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2 or torch.is_grad_enabled() or parts[0].device.type != "cpu":
        return [function(part) for part in parts]
    inference = torch.is_inference_mode_enabled()

    def one(part: Tensor) -> Tensor:
        # Modes belong to a thread, so each has to be told.
        with torch.inference_mode(inference), torch.no_grad():
            return function(part)

    with _starting:
        pool = _pool(threads)
    return list(pool.map(one, parts))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch computes alone.

    `torch.set_num_threads` sets two numbers: that of the calling thread, and what threads still to come begin with.
    The second is put back at once, so the threads are made together here and kept.
    """
    whole = torch.get_num_threads()
    together = threading.Barrier(threads + 1)

    def start() -> None:
        torch.get_num_threads()  # a thread takes the number that threads begin with at its first question, and no more
        torch.set_num_threads(1)
        together.wait()

    pool = ThreadPoolExecutor(threads, "lamdemo-parallel", start)
    for _ in range(threads):
        pool.submit(int)
    together.wait()
    torch.set_num_threads(whole)
    return pool
