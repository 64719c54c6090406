"""What the server keeps for each open page: a folder of its own, the word to stop, and its turns at the model."""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Turns
from lamdemo.ui.workplace import NO_ROOM, bytes_in, check_room

if TYPE_CHECKING:
    from lamdemo.ui.drive.work import DriveSession
    from lamdemo.ui.inputs import SourceView
    from lamdemo.ui.plan.records import PlanSession
    from lamdemo.ui.space.work import SpaceSession

MAX_AGE = 3600.0  # seconds without a sign of life after which a session's files go
MOST_SESSIONS = 128  # open pages for which something is kept; beyond, it goes of the one that is silent the longest
MOST_BYTES = 400 << 20  # of a session's files


@dataclass
class Session:
    """One open page."""

    folder: Path  # where its files are; its name cannot be guessed, since files are served by their path
    # For each place of the page what ends the job in progress there when it is set, with what it has.
    stops: dict[str, threading.Event] = field(default_factory=dict)
    source: SourceView | None = None  # what is known of the source on show
    result: str | None = None  # HTML of the last result, to be put back when a new transfer fails
    compared: str | None = None  # the same of the last comparison
    again: bool = False  # whether the transfer that was on show is to be made again, see `lamdemo.ui.memory`
    space: SpaceSession | None = None  # what goes on in the latent space's tab; None before it was opened
    drive: DriveSession | None = None  # the same of the drive's tab
    plan: PlanSession | None = None  # the same of the plan's tab
    count: int = 0  # folders made so far; a name is never used twice, for browsers keep what they fetched
    touched: float = field(default_factory=time.monotonic)  # when it was last used, on the monotonic clock

    def stop(self, place: str) -> threading.Event:
        """What ends the job in progress in a place; each job has its own, so that no other's end can end it."""
        return self.stops.setdefault(place, threading.Event())

    @contextmanager
    def place(self, kind: str, keep: int = 1) -> Iterator[Path]:
        """A new folder for one result or view; it stays unless the block ends in an error.

        Of those of its kind only the latest stays beside it, which the page shows until the new one is there; or the
        latest ``keep``, for a program that may make several at once.

        Raises:
            LamdemoError: the session's files or the disk take no more.
        """
        kept = sorted(self.folder.glob(f"{kind}-*"))
        for old in kept[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
        if bytes_in(self.folder) > MOST_BYTES:
            raise LamdemoError("This page has made more files than are kept for one; save what you need and reload it.")
        check_room(self.folder)
        self.count += 1
        new = self.folder / f"{kind}-{self.count:06d}"
        try:
            new.mkdir(parents=True)
        except OSError as error:
            raise LamdemoError(NO_ROOM) from error
        try:
            yield new
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


class Sessions:
    """All open pages, by Gradio's session hash.

    Attributes:
        root: folder of their folders, removed when the program ends.
        turns: whose turn it is to compute.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="lamdemo-")).resolve()
        self.turns = Turns()
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        atexit.register(shutil.rmtree, self.root, ignore_errors=True)

    def get(self, key: str | None) -> Session:
        """The session of that key, a new one if there is none; forgets those that are long silent."""
        with self._lock:
            now = time.monotonic()
            for other, session in list(self._sessions.items()):
                if now - session.touched > MAX_AGE and other != key:
                    self._drop(other)
            found = self._sessions.get(key or "")
            if found is None:
                if len(self._sessions) >= MOST_SESSIONS:
                    self._drop(min(self._sessions, key=lambda other: self._sessions[other].touched))
                folder = self.root / secrets.token_urlsafe(16)
                folder.mkdir(parents=True)
                found = self._sessions[key or ""] = Session(folder)
            found.touched = now
            return found

    def end(self, key: str | None) -> None:
        """Stop what a session is doing and remove its files."""
        with self._lock:
            self._drop(key or "")

    def _drop(self, key: str) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            for stop in list(session.stops.values()):
                stop.set()
            shutil.rmtree(session.folder, ignore_errors=True)

    def stop_all(self) -> None:
        """Stop what all sessions are doing; they keep what they have."""
        with self._lock:
            for session in self._sessions.values():
                for stop in list(session.stops.values()):
                    stop.set()

    def __len__(self) -> int:
        return len(self._sessions)
