"""Prefetching: files are read while the model works on those read before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def prefetch(function: Callable[[A], B], items: Iterable[A], *, most: int, workers: int = 2) -> Iterator[tuple[A, B]]:
    """Each item with the function's result, in order; at most ``most`` are begun and not yet handed out.

    An error of the function is raised when its item's turn comes; those after it are then given up.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[A, Future[B]]] = deque()
        left = iter(items)
        try:
            while True:
                while len(waiting) < most:
                    try:
                        item = next(left)
                    except StopIteration:
                        break
                    waiting.append((item, pool.submit(function, item)))
                if not waiting:
                    return
                item, future = waiting.popleft()
                yield item, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
