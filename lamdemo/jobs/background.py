"""Something that tells its news by a callback, as an iterator of them that takes turns with others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any


class _Left(BaseException):
    """Nobody wants what is being made in the background any more."""


def in_background(work: Callable[[Callable[[Any], None]], Any]) -> Iterator[Any]:
    """Run something that tells news by a callback, as an iterator of its news.

    It goes on only while the next news is waited for: between two of them others have their turns.

    Args:
        work: is given what to call with news; runs in a thread of its own. The call returns when it is to go on.

    Yields:
        The news, then what ``work`` returned.

    Raises:
        BaseException: what it raised.
    """
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    wanted = threading.Semaphore(0)
    left = False

    def wait() -> None:
        wanted.acquire()
        if left:
            raise _Left

    def tell(news: Any) -> None:
        told.put(("news", news))
        wait()

    def run() -> None:
        try:
            wait()
            told.put(("done", work(tell)))
        except _Left:
            pass
        except BaseException as error:  # it is the caller's
            told.put(("error", error))

    thread = threading.Thread(target=run, name="lamdemo-background", daemon=True)
    thread.start()
    try:
        while True:
            wanted.release()
            kind, what = told.get()
            if kind == "error":
                raise what
            yield what
            if kind == "done":
                return
    finally:
        left = True
        wanted.release()
        thread.join()
