"""The models the page has at hand: each loaded once, in the background where possible."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import os
import re
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late  # another class than Python's own before 3.11
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.devices import AUTO
from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Busy, aside

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline

Loader = Callable[[str], "TransferPipeline"]

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w][\w./-]*)?")
_LARGE = 10_000_000  # bytes of a download that takes long enough to be told of
_log = logging.getLogger(__name__)


LOOPBACK = ("", "127.0.0.1", "::1", "[::1]", "localhost")  # hosts that only this machine reaches

_served: weakref.WeakSet[Any] = weakref.WeakSet()  # Gradio's blocks, which know where they listen
_open = threading.Event()


def served_as(blocks: Any) -> None:
    """Say which page is served, or will be."""
    _served.add(blocks)


def opened_to_others() -> None:
    """Say that the page is reached by others, wherever it listens."""
    _open.set()


def is_public() -> bool:
    """Whether the page is open to others than the person at this machine.

    That is where it listens at more than this machine's own address, is shared, or was asked for through a proxy.
    Before it listens anywhere the environment tells what is planned.
    """
    if os.environ.get("SPACE_ID") or os.environ.get("LAMDEMO_HOST") or _open.is_set():
        return True
    return any(b.share or (getattr(b, "server_name", None) or "") not in LOOPBACK for b in _served)


def load(name: str, device: str = AUTO) -> TransferPipeline:
    """Load a bundled checkpoint by name, one of the Hub by id, or, on a private page, one of a folder.

    Args:
        name: of the checkpoint.
        device: to compute on; on ZeroGPU, which lends a GPU for each transfer, the CPU does all else.

    Raises:
        LamdemoError: there is none, it is damaged, or a public page was asked for a folder.
    """
    # Here and not above: torch takes seconds to import, and the page opens without it.
    from lamdemo.engine import bundled_checkpoints
    from lamdemo.engine.pretrained import hub_id, resolve_checkpoint

    name, bundled = hub_id(name), bundled_checkpoints()
    if name in bundled:
        return placed(bundled[name].resolve(), device)
    if name == DEFAULT_CHECKPOINT:
        return placed(None, device)
    # A visitor must not learn which folders this machine has, and a folder would go before a Hub id.
    if is_public() and (not _HUB_ID.fullmatch(name) or Path(name).exists()):
        raise LamdemoError("This page takes bundled checkpoints and Hub ids such as owner/name, not folders.")
    pipeline = placed(resolve_checkpoint(name, tell=Fetching(name)), device)
    pipeline.name = Path(name).name if Path(name).is_absolute() else name
    return pipeline


class Fetching:
    """Tells whoever asked for a model how far its download is, a notice a quarter.

    Args:
        name: of the model.
    """

    def __init__(self, name: str) -> None:
        self._name, self._told, self._lock = name, -1, threading.Lock()
        self._asked = contextvars.copy_context()  # downloads have threads of their own, which know of no page

    def __call__(self, done: int, total: int) -> None:
        """Note that so many bytes of so many are there."""
        from lamdemo.ui import notices

        quarter = 4 * done // max(total, 1)
        with self._lock:
            if quarter <= self._told or quarter > 3 or total < _LARGE:
                return
            self._told = quarter
        words = f"{self._name} is being fetched from the Hub: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB."
        self._asked.copy().run(notices.tell, words)


def placed(name: str | Path | None, device: str) -> TransferPipeline:
    """The pipeline of a checkpoint for a page: on ZeroGPU on the CPU, with a GPU lent for its transfers.

    Raises:
        LamdemoError: see `lamdemo.engine.TransferPipeline.from_pretrained`.
    """
    from lamdemo.engine import TransferPipeline, zero_gpu

    if zero_gpu.is_on():
        return zero_gpu.LentGpuPipeline.from_pretrained(name, device="cpu").place()
    return TransferPipeline.from_pretrained(name, device=device)


def warm_up(pipeline: TransferPipeline) -> None:
    """Carry out a small transfer: what the libraries prepare when something is computed first is then there.

    Not where a GPU is lent, which is asked for in a visitor's name.
    """
    import numpy as np

    from lamdemo.jobs.transfer import TransferRequest, transfer

    if not pipeline.all_at_once:
        frames = np.random.default_rng(0).integers(0, 256, (7, 192, 256, 3), np.uint8)
        deque(transfer(pipeline, TransferRequest(frames, frames[:1], pipeline.fps)), maxlen=0)


def choices(default: str) -> list[tuple[str, str]]:
    """Labels and names of the checkpoints that can be chosen: the default, then the other bundled ones."""
    from lamdemo.engine import bundled_checkpoints, describe_checkpoint

    bundled = bundled_checkpoints()
    found = []
    for name in (default, *(n for n in bundled if n != default)):
        label = name
        if name in bundled:
            # A damaged one keeps its name here, and choosing it says what is wrong.
            with contextlib.suppress(LamdemoError):
                label = str(describe_checkpoint(bundled[name]))
        found.append((label, name))
    return found


def plainly(offered: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Such choices with a label for the default that needs no knowledge."""
    return [("Standard model", offered[0][1]), *offered[1:]]


@dataclass(frozen=True)
class LoadLimits:
    """How much of the page models that come from elsewhere may hold up. The default one is not counted."""

    loads: int = 4  # models that are loaded at once
    waiting: int = 16  # visitors that wait for those, each of whom keeps a thread of the server
    seconds: float = 600.0  # that one waits; what is being loaded goes on and may be there for who asks next


class Models:
    """Loaded pipelines by name, the latest few.

    Args:
        loader: makes a pipeline from a name.
        keep: how many stay in memory.
        default: name of the one that is meant without a name, which stays.
        device: to compute on, for a loader that takes one.
        limits: of what is loaded at once.
    """

    def __init__(
        self,
        loader: Loader | None = None,
        keep: int = 2,
        default: str = DEFAULT_CHECKPOINT,
        device: str = AUTO,
        limits: LoadLimits = LoadLimits(),
    ):
        self._loader, self._keep, self.default = loader or partial(load, device=device), keep, default
        self._limits, self._waiting = limits, 0
        self._loaded: OrderedDict[str, TransferPipeline] = OrderedDict()
        self._loading: dict[str, Future[TransferPipeline]] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, pipeline: TransferPipeline) -> Models:
        """Models of which the default is this pipeline."""
        models = cls(default=pipeline.name)
        models._loaded[models.default] = pipeline
        return models

    def get(self, name: str | None = None) -> TransferPipeline:
        """The pipeline of that name (the default without one), loaded if it is not there.

        Raises:
            LamdemoError: it cannot be loaded, takes too long, or so many are being loaded that it must wait.
        """
        name = name or self.default
        counted = int(name != self.default)
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name]
            given = self._loading.get(name)
            full = given is None and len(self._loading.keys() - {self.default}) >= self._limits.loads
            if counted and (full or self._waiting >= self._limits.waiting):
                raise Busy("Many models are being loaded already; try again in a few minutes, or use the standard one.")
            if given is None:
                given = self._loading[name] = Future()
                # A thread of its own, so that nobody has to wait as long as the Hub may take; it tells the visitor who
                # asked, and so runs in that one's context.
                work = partial(contextvars.copy_context().run, self._load, name, given)
                threading.Thread(target=work, name="lamdemo-load", daemon=True).start()
            self._waiting += counted
        # Only who asked for the same one waits for it, and who waits lets others compute and gives its place to them.
        try:
            with aside(long=True):
                return given.result(self._limits.seconds)
        except Late as error:
            if given.done():
                raise
            minutes = self._limits.seconds / 60
            raise LamdemoError(f"{name[:80]} is not there after {minutes:.0f} minutes; try again later.") from error
        finally:
            with self._lock:
                self._waiting -= counted

    @property
    def runs_on(self) -> str:
        """What the default computes on, in words; waits for it where it is being loaded.

        Raises:
            LamdemoError: it cannot be loaded.
        """
        from lamdemo.core.devices import device_in_words
        from lamdemo.engine import zero_gpu

        if zero_gpu.is_on():
            return "a GPU that is lent for each transfer (ZeroGPU), and the CPU for all else"
        return device_in_words(self.get().model.device)

    def _load(self, name: str, given: Future[TransferPipeline]) -> None:
        try:
            made = self._loader(name)
        except BaseException as error:
            with self._lock:
                del self._loading[name]  # whoever asks next tries anew
            given.set_exception(error)
            return
        with self._lock:
            del self._loading[name]
            self._loaded[name] = made
            others = [n for n in self._loaded if n not in (self.default, name)]
            for old in others[: max(len(self._loaded) - self._keep, 0)]:
                del self._loaded[old]
        given.set_result(made)

    @property
    def ready(self) -> bool:
        """Whether the default is loaded."""
        return self.default in self._loaded

    def warm(self) -> None:
        """Begin to load the default in the background and try it, so that the first click does not wait for it."""

        def work() -> None:
            try:
                warm_up(self.get())
            except LamdemoError as error:
                _log.warning("The default checkpoint is not there yet: %s", error)
            except Exception:
                _log.exception("The default checkpoint could not be loaded")

        thread = threading.Thread(target=work, name="lamdemo-warm", daemon=True)
        thread.start()
        # A program that ends while torch is being loaded would be aborted.
        atexit.register(thread.join, 15.0)
