"""What happens to a run from outside: a full disk, a folder not to be written, no memory. Each is one sentence."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lamdemo.core.errors import LamdemoError, reason, shown_name

# How torch says it: for memory of the machine it has no class of errors.
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory", re.I)
# A process that makes batches and was ended for memory, or for lack of room in what processes share, is told by its
# end alone, and by its signal only where that came first.
_ENDED = re.compile(r"DataLoader worker .*(killed by signal: (Killed|Bus error)|exited unexpectedly)")


def lack_of_memory(error: BaseException) -> str | None:
    """What an error says of memory, of the machine or of its GPU, in words; None where it is of something else."""
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "there is not enough memory"
    if isinstance(error, RuntimeError) and _NO_MEMORY.search(text):
        return "there is not enough memory"
    if isinstance(error, RuntimeError) and _ENDED.search(text):
        return "the system ended a process that makes batches, most likely for lack of memory"
    return None


@contextmanager
def in_words(folder: Path | None, state: Path | None, again: str) -> Iterator[None]:
    """Say in one sentence what ended a run from outside, and how to go on.

    Args:
        folder: that the run is kept in; None for one that is not kept.
        state: the file that it would go on from.
        again: how one goes on, as in "go on with --resume".

    Raises:
        LamdemoError: in the place of errors of the disk and of memory; all others pass.
    """

    def then() -> str:
        kept = state is not None and state.is_file()
        return f"what was saved before is kept, so {again}" if kept else "nothing was saved yet, so begin again"

    try:
        yield
    except OSError as error:
        if folder is None or error.errno is None:
            raise
        raise LamdemoError(
            f"Training stopped, {shown_name(folder)} cannot be written ({reason(error).lower()}): {then()} once there "
            "is room and you may write there."
        ) from error
    except (MemoryError, RuntimeError) as error:
        if (lack := lack_of_memory(error)) is None:
            raise
        raise LamdemoError(
            f"Training stopped, {lack}: {then()} with smaller batches, or with fewer other programs beside it."
        ) from error


@contextmanager
def without_traces() -> Iterator[None]:
    """Let threads that cannot write print no trace: TensorBoard's raises the same again where logs are added."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
