"""The models the page has at hand: each loaded once, in the background where possible."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import aside

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline

Loader = Callable[[str], "TransferPipeline"]

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w][\w./-]*)?")
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


def load(name: str) -> TransferPipeline:
    """Load a bundled checkpoint by name, one of the Hub by id, or, on a private page, one of a folder.

    Raises:
        LamdemoError: there is none, it is damaged, or a public page was asked for a folder.
    """
    # Here and not above: torch takes seconds to import, and the page opens without it.
    from lamdemo.engine import TransferPipeline, bundled_checkpoints
    from lamdemo.engine.pretrained import hub_id

    name, bundled = hub_id(name), bundled_checkpoints()
    if name in bundled:
        return TransferPipeline.from_pretrained(bundled[name].resolve())
    if name == DEFAULT_CHECKPOINT:
        return TransferPipeline.from_pretrained()
    # A visitor must not learn which folders this machine has, and a folder would go before a Hub id.
    if is_public() and (not _HUB_ID.fullmatch(name) or Path(name).exists()):
        raise LamdemoError("This page takes bundled checkpoints and Hub ids such as owner/name, not folders.")
    return TransferPipeline.from_pretrained(name)


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


class Models:
    """Loaded pipelines by name, the latest few.

    Args:
        loader: makes a pipeline from a name.
        keep: how many stay in memory.
        default: name of the one that is meant without a name, which stays.
    """

    def __init__(self, loader: Loader = load, keep: int = 2, default: str = DEFAULT_CHECKPOINT):
        self._loader, self._keep, self.default = loader, keep, default
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
            LamdemoError: it cannot be loaded.
        """
        name = name or self.default
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name]
            mine = name not in self._loading
            given = self._loading.setdefault(name, Future())
        # Only who asked for the same one waits for it, and who waits lets others compute.
        with aside():
            if mine:
                self._load(name, given)
            return given.result()

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
        """Begin to load the default in the background, so that the first click does not wait for it."""

        def work() -> None:
            try:
                self.get()
            except LamdemoError as error:
                _log.warning("The default checkpoint is not there yet: %s", error)
            except Exception:
                _log.exception("The default checkpoint could not be loaded")

        thread = threading.Thread(target=work, name="lamdemo-warm", daemon=True)
        thread.start()
        # A program that ends while torch is being loaded would be aborted.
        atexit.register(thread.join, 15.0)
