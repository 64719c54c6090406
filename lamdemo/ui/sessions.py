"""What the server keeps for each open page: a folder of its own, the word to stop, and its turns at the model."""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Busy, Turns
from lamdemo.ui.workplace import NO_ROOM, bytes_in, check_room

if TYPE_CHECKING:
    from lamdemo.training.adaptation import Adapted
    from lamdemo.ui.drive.work import DriveSession
    from lamdemo.ui.inputs import SourceView
    from lamdemo.ui.plan.records import PlanSession
    from lamdemo.ui.space.work import SpaceSession

MAX_AGE = 3600.0  # seconds without a sign of life after which a session's files go
AGE_ONCE_LEFT = 900.0  # the same of a page that was left, or lost its line, and still asks for something
MOST_SESSIONS = 128  # open pages for which something is kept; beyond, it goes of the one that is silent the longest
MOST_BYTES = 400 << 20  # of a session's files
MOST_ADAPTED = 16  # open pages with a model adapted to their clip; each takes what it differs in, about 12 MB


@dataclass
class Session:
    """One open page."""

    folder: Path  # where its files are; its name cannot be guessed, since files are served by their path
    # For each place of the page what ends the job in progress there when it is set, with what it has.
    stops: dict[str, threading.Event] = field(default_factory=dict)
    source: SourceView | None = None  # what is known of the source on show
    result: str | None = None  # HTML of the last result, to be put back when a new transfer fails
    compared: str | None = None  # the same of the last comparison
    adapted: Adapted | None = None  # what the model of this page alone was adapted to
    again: bool = False  # whether the transfer that was on show is to be made again, see `lamdemo.ui.memory`
    space: SpaceSession | None = None  # what goes on in the latent space's tab; None before it was opened
    drive: DriveSession | None = None  # the same of the drive's tab
    plan: PlanSession | None = None  # the same of the plan's tab
    count: int = 0  # folders made so far; a name is never used twice, for browsers keep what they fetched
    touched: float = field(default_factory=time.monotonic)  # when it was last used, on the monotonic clock
    lives: float = MAX_AGE  # seconds from then on after which it goes
    ended: bool = False  # whether its files went: what is still running for it may leave none behind

    def stop(self, place: str) -> threading.Event:
        """What ends the job in progress in a place; each job has its own, so that no other's end can end it."""
        return self.stops.setdefault(place, threading.Event())

    @contextmanager
    def place(self, kind: str, keep: int = 1) -> Iterator[Path]:
        """A new folder for one result or view; it stays unless the block ends in an error or the session ended.

        Of those of its kind only the latest stays beside it, which the page shows until the new one is there; or the
        latest ``keep``, for a program that may make several at once.

        Raises:
            LamdemoError: the session's files or the disk take no more.
        """
        if self.ended:
            raise LamdemoError("This page was left; open it again.")
        kept = sorted(self.folder.glob(f"{kind}-*"))
        for old in kept[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
        if bytes_in(self.folder) > MOST_BYTES:
            raise LamdemoError("This page has made more files than are kept for one; save what you need and reload it.")
        check_room(self.folder.parent)
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
        finally:
            if self.ended:
                shutil.rmtree(self.folder, ignore_errors=True)


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
        self._left: OrderedDict[str, None] = OrderedDict()  # the last pages that were left
        self._lock = threading.Lock()
        atexit.register(shutil.rmtree, self.root, ignore_errors=True)

    def get(self, key: str | None) -> Session:
        """The session of that key, a new one if there is none; forgets those that are long silent."""
        with self._lock:
            now = time.monotonic()
            for other, session in list(self._sessions.items()):
                if now - session.touched > session.lives and other != key:
                    self._drop(other)
            found = self._sessions.get(key or "")
            if found is None:
                if len(self._sessions) >= MOST_SESSIONS:
                    self._drop(min(self._sessions, key=lambda other: self._sessions[other].touched))
                # The folder is there once there is a file for it: an event that was under way when its page was left
                # must not leave one behind. Such a page is forgotten soon, unless it goes on: a line that broke looks
                # the same, and the page mends it by itself.
                lives = AGE_ONCE_LEFT if key in self._left else MAX_AGE
                found = self._sessions[key or ""] = Session(self.root / secrets.token_urlsafe(16), lives=lives)
            found.touched = now
            return found

    def end(self, key: str | None) -> None:
        """Stop what a session is doing and remove its files."""
        with self._lock:
            self._drop(key or "")
            self._left[key or ""] = None
            while len(self._left) > 8 * MOST_SESSIONS:
                self._left.popitem(last=False)

    def _drop(self, key: str) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            for stop in list(session.stops.values()):
                stop.set()
            session.ended, session.adapted = True, None
            shutil.rmtree(session.folder, ignore_errors=True)

    def check_room_for_adapted(self, session: Session) -> None:
        """See that one more page may have an adapted model.

        Raises:
            LamdemoError: it may not.
        """
        with self._lock:
            others = sum(s.adapted is not None for s in self._sessions.values() if s is not session)
        if others >= MOST_ADAPTED:
            raise Busy("As many visitors have an adapted model as there is room for; try again in a few minutes.")

    def stop_all(self) -> None:
        """Stop what all sessions are doing; they keep what they have."""
        with self._lock:
            for session in self._sessions.values():
                for stop in list(session.stops.values()):
                    stop.set()

    def __len__(self) -> int:
        return len(self._sessions)
