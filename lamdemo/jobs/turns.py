"""Who computes when: one unit of one job at a time, fairly, so that nobody waits for another's whole job.

A model keeps all cores of a small machine busy, so two jobs that ran beside each other would both crawl and need twice
the memory. Here they take turns. A job is cut into units (one step of a transfer, one iteration of a planner) and
takes a turn for each; between two units whoever was served least recently goes first. A few jobs at most are under
way; others wait in line, and a visitor's second job behind another visitor's first. From the units that were measured
everyone is told how long it will take.

The rules for code that runs in a turn: it must not wait for what another job may hold, unless it goes `aside`
meanwhile; and while it is aside it must hold no lock that another's unit may want.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from lamdemo.core.errors import LamdemoError

T = TypeVar("T")

FIRST_WORD = 0.5  # seconds of waiting before a word about it: less passes unnoticed
_LOOK = 0.2  # seconds between two looks whether a job that waits was cancelled
_NEW = 0.3  # share of the latest measurement in what a unit is expected to take
_REMEMBERED = 1000  # visitors whose last turn is known


class Pause(Enum):
    """The type of `PAUSE`."""

    PAUSE = "pause"


PAUSE: Final = Pause.PAUSE
"""What a job yields where others may go first, and there is no news."""


class Cancelled(LamdemoError):
    """A job was cancelled while it waited for its first turn."""


class Busy(LamdemoError):
    """So many jobs wait that another would wait too long."""


class Overdue(LamdemoError):
    """A job waited, or took, longer than any may."""


@dataclass(frozen=True)
class Patience:
    """How long a job may take, in seconds."""

    line: float = 1200.0  # in line, until its first turn
    work: float = 900.0  # of its own from then on: its turns and what it does aside, not the turns of others
    end: float = 60.0  # more, to come to its end with what it has, before it is broken off


@dataclass(frozen=True)
class Units:
    """Units of a job that each take about as long."""

    name: str  # by which their time is measured, whatever job they are of
    count: int = 1  # how many of them
    guess: float = 1.0  # seconds that one of size 1 takes where none was measured yet
    size: float = 1.0  # how large each is, for units that take longer the more they hold


@dataclass(frozen=True)
class Waiting:
    """Told to a job that waits for a turn."""

    ahead: int  # other visitors whose turn comes before
    seconds: float  # until its own turn, as far as can be told from units measured before


class Job:
    """One thing that a visitor asked for. Made by `Turns.enter`.

    Attributes:
        visitor: who asked.
        place: where on the page its result will be; empty for none in particular.
        course: the units it is expected to come to, in order.
        brief: whether it is over after a unit or two, so that it never waits in line.
        stop: set when it shall end with what it has.
        begun: whether it had a turn.
        replaced: whether a newer job took its place, so that nobody waits for its result.
        late: whether it was told to stop since it took too long.
        own: seconds of its turns and of what it did aside, without those of others.
    """

    def __init__(
        self, turns: Turns, visitor: str, place: str, course: tuple[Units, ...], brief: bool, stop: threading.Event
    ) -> None:
        self.turns, self.visitor, self.place, self.course = turns, visitor, place, course
        self.brief, self.stop = brief, stop
        self.begun = self.replaced = self.late = False
        self._asks = False  # waits for a turn at this moment
        self._away = False  # does something that takes long and needs no place among those under way
        self.own = 0.0
        self._served = -1  # number of its last turn
        self._done = 0  # units
        self._spent = 0.0  # seconds, on the unit under way

    def _units(self) -> Iterator[Units]:
        for units in self.course:
            yield from [units] * units.count


class Turns:
    """The line at the model. All methods may be called from any thread.

    Args:
        active: jobs at most that are under way at once, brief ones not counted.
        most: jobs at most that are under way or in line.
        clock: gives seconds.
        patience: how long a job may take.
    """

    def __init__(
        self,
        active: int = 4,
        most: int = 24,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience = Patience(),
    ) -> None:
        self.active, self.most, self._clock, self.patience = active, most, clock, patience
        self._changed = threading.Condition()
        self._jobs: list[Job] = []  # in the order in which they came
        self._holder: Job | None = None
        self._since = 0.0  # when the turn under way began
        self._count = 0  # turns so far
        self._served: dict[str, int] = {}  # visitor -> number of the last turn
        self._pace: dict[str, float] = {}  # name of units -> seconds of one of size 1

    # Jobs.

    def enter(
        self,
        visitor: str,
        place: str = "",
        course: Iterable[Units] = (),
        *,
        brief: bool = False,
        stop: threading.Event | None = None,
    ) -> Job:
        """Come to the line with a job; `leave` must follow.

        A job that is not brief takes the place of the visitor's earlier one in the same ``place``.

        Raises:
            Busy: too many are there already.
        """
        job = Job(self, visitor, place, tuple(course), brief, stop or threading.Event())
        with self._changed:
            if not brief and sum(not other.brief for other in self._jobs) >= self.most:
                many = f"{self.most} jobs are under way or in line already" if self.most else "The server is going down"
                raise Busy(f"{many}; try again in a few minutes.")
            if place and not brief:
                self._replace(visitor, place)
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def close(self) -> None:
        """Take no further jobs that are not brief."""
        self.most = 0

    def drop(self, visitor: str, place: str, wait: float = 0.0) -> None:
        """Compute no more of what a visitor asked for in a place: nobody waits for it.

        Args:
            visitor: who asked.
            place: where.
            wait: seconds at most until it has left, after which nothing of it can still be on its way to the visitor.
        """
        with self._changed:
            self._replace(visitor, place)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(self._is_of(job, visitor, place) for job in self._jobs), wait)

    @staticmethod
    def _is_of(job: Job, visitor: str, place: str) -> bool:
        return not job.brief and (job.visitor, job.place) == (visitor, place)

    def _replace(self, visitor: str, place: str) -> None:
        for other in self._jobs:
            if self._is_of(other, visitor, place):
                other.replaced = True

    def leave(self, job: Job) -> None:
        """Go away, whether or not all was done; may be called again."""
        with self._changed:
            self._release(job)
            if job in self._jobs:
                self._jobs.remove(job)
            if len(self._served) > _REMEMBERED:
                here = {other.visitor for other in self._jobs}
                self._served = {visitor: turn for visitor, turn in self._served.items() if visitor in here}
            self._changed.notify_all()

    def __len__(self) -> int:
        """Jobs under way or in line."""
        return len(self._jobs)

    # Turns.

    def take(self, job: Job, timeout: float | None = None) -> bool:
        """Wait for a turn; `give_back` must follow if it came.

        Args:
            job: whose turn.
            timeout: seconds.

        Returns:
            Whether it came: not in that time, and never to a job in whose place there is a newer one.
        """
        with self._changed:
            job._asks = True
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: job.replaced or self._next() is job, timeout)
                if self._next() is not job:
                    return False
            finally:
                job._asks = False
            self._holder, self._since = job, self._clock()
            self._count += 1
            job._served = self._served[job.visitor] = self._count
            job.begun = True
            _here.job = job
            return True

    def give_back(self, job: Job) -> None:
        """End a turn; the job's unit may go on in its next one."""
        with self._changed:
            self._release(job)
            self._changed.notify_all()

    def _step_aside(self, job: Job, long: bool) -> None:
        with self._changed:
            self._release(job)
            job._away = long
            self._changed.notify_all()

    def _come_back(self, job: Job) -> None:
        with self._changed:
            job._away = False
            self._changed.notify_all()

    def done(self, job: Job) -> None:
        """A unit of a job came to its end: the next one begins, and how long this one took is remembered."""
        with self._changed:
            units = next((u for k, u in enumerate(job._units()) if k == job._done), None)
            if units is not None and units.size > 0:
                seconds = job._spent / units.size
                before = self._pace.get(units.name, seconds)
                self._pace[units.name] = before + _NEW * (seconds - before)
            job._done, job._spent = job._done + 1, 0.0

    def _release(self, job: Job) -> None:
        if self._holder is job:
            seconds = self._clock() - self._since
            job._spent, job.own = job._spent + seconds, job.own + seconds
            self._holder, _here.job = None, None

    def _next(self) -> Job | None:
        if self._holder is not None:
            return None
        asking = [job for job in self._under_way() if job._asks]
        return min(asking, key=self._precedence, default=None)

    def _precedence(self, job: Job) -> tuple[int, int, int]:
        return self._served.get(job.visitor, -1), job._served, self._jobs.index(job)

    def _order(self) -> list[Job]:
        """Jobs that need a place, each visitor's first before anyone's second, in the order in which they came."""
        jobs = [job for job in self._jobs if not (job.brief or job.replaced or job._away)]
        rank: dict[int, int] = {}
        count: dict[str, int] = {}
        for job in jobs:
            rank[id(job)] = count[job.visitor] = count.get(job.visitor, -1) + 1
        return sorted(jobs, key=lambda job: rank[id(job)])

    def _under_way(self) -> list[Job]:
        return [job for job in self._jobs if job.brief] + self._order()[: self.active]

    # How long it takes.

    def waiting(self, job: Job) -> Waiting:
        """Who is ahead of a job that has no turn, and for how long."""
        with self._changed:
            under_way = self._under_way()
            if job in under_way:
                mine = self._precedence(job)
                asking = [j for j in under_way if j is not job and j._asks and self._precedence(j) < mine]
                before = [self._holder, *asking] if self._holder is not None else asking
                seconds = sum(self._unit_left(j) for j in before)
            else:
                order = self._order()
                before = order[: order.index(job)] if job in order else order
                seconds = self._until_free([self._own_left(j) for j in before])
            return Waiting(len({j.visitor for j in before} - {job.visitor}), seconds)

    def left(self, job: Job) -> float:
        """Seconds until a job under way is done, with the turns of others between its own; 0 for none known."""
        with self._changed:
            mine = self._own_left(job)
            others = (self._own_left(j) for j in self._under_way() if j is not job)
            # Where turns are equal, everyone's rest is worked off at one pace.
            return mine + sum(min(mine, theirs) for theirs in others)

    def beside(self, job: Job) -> int:
        """Other visitors who have a job under way."""
        with self._changed:
            return len({j.visitor for j in self._under_way()} - {job.visitor})

    def _seconds(self, units: Units) -> float:
        return units.size * self._pace.get(units.name, units.guess)

    def _so_far(self, job: Job) -> float:
        return job._spent + (self._clock() - self._since if self._holder is job else 0.0)

    def _unit_left(self, job: Job) -> float:
        units = next((u for k, u in enumerate(job._units()) if k >= job._done), None)
        return 0.0 if units is None else max(self._seconds(units) - self._so_far(job), 0.0)

    def _own_left(self, job: Job) -> float:
        rest = [self._seconds(u) for k, u in enumerate(job._units()) if k > job._done]
        return self._unit_left(job) + sum(rest)

    def _until_free(self, lefts: list[float]) -> float:
        """Seconds until fewer than `active` jobs are left of these, in their order, each of them so long."""
        running, line, seconds = sorted(lefts[: self.active]), lefts[self.active :], 0.0
        while len(running) >= self.active:
            least = running.pop(0)
            seconds += least * (len(running) + 1)
            running = sorted([left - least for left in running] + line[:1])
            line = line[1:]
        return seconds


_here = threading.local()  # the job whose turn this thread has


@contextmanager
def aside(*, long: bool = False) -> Iterator[None]:
    """Let others compute while the block waits for something that is not the model: a file, a lock, another thread.

    At its end it waits for the job's next turn. Outside of a turn it does nothing.

    Args:
        long: whether it may take minutes and next to no memory, so that another job takes the place among those under
            way meanwhile.

    Raises:
        Cancelled: a newer job took its place meanwhile, and no turn will come.
    """
    job: Job | None = getattr(_here, "job", None)
    if job is None:
        yield
        return
    turns, since = job.turns, job.turns._clock()
    turns._step_aside(job, long)
    try:
        yield
    finally:
        job.own += turns._clock() - since
        turns._come_back(job)
        if not turns.take(job):
            raise Cancelled("Something else took its place.")


def in_turns(
    work: Generator[T | Pause, None, object], job: Job, *, free: int = 0, every: float = 1.0
) -> Generator[T | Waiting, None, None]:
    """Go through a job's news, taking a turn for each; the job leaves when it ends, whatever ends it.

    Args:
        work: computes one unit between two of its news; where it yields `PAUSE` others may go first, too.
        job: what it is.
        free: how many of its first news need no turn.
        every: seconds between two words to who waits.

    Yields:
        The news, and a `Waiting` now and then while a turn is waited for. Where it is cancelled before its first
        turn, `Cancelled` is raised within ``work``, and what that yields for it are the last news; where it waits
        longer than any may, `Overdue` likewise. One that takes too long is told to stop, and has a little more time
        until it is broken off so; for a program, which would take a part for the whole, it is broken off at once.
    """
    turns, patience = job.turns, job.turns.patience
    try:
        for _ in range(free):
            try:
                first = next(work)
            except StopIteration:
                return
            if first is not PAUSE:
                yield first
        while True:
            waited = told = turns._clock()
            while not turns.take(job, _LOOK):
                if job.replaced:
                    return
                if job.stop.is_set() and not job.begun:
                    yield from _ended(work, Cancelled("It was cancelled before it began."))
                    return
                now = turns._clock()
                if now - waited >= patience.line and not job.begun:
                    yield from _ended(work, Overdue(f"{_minutes(patience.line)} went by {_IN_LINE}"))
                    return
                if now - waited >= FIRST_WORD and (told == waited or now - told >= every):
                    told = now
                    yield turns.waiting(job)
            try:
                news = next(work)
            except StopIteration:
                return
            finally:
                turns.give_back(job)
            if job.replaced:
                return
            if news is not PAUSE:
                turns.done(job)
                yield news
            if job.own >= patience.work and job.place and not job.late and not job.stop.is_set():
                job.late = True
                job.stop.set()
            elif job.own >= patience.work + patience.end * bool(job.place):
                job.late = False
                yield from _ended(work, Overdue(f"It took more than {_minutes(patience.work)}{_SHORTER}"))
                return
    finally:
        work.close()
        turns.leave(job)


_IN_LINE = "and its turn did not come, so many are here; try again later."
_SHORTER = " and was ended; ask for less at once, such as fewer steps."


def late(job: Job) -> str:
    """What is said where a job was told to stop since it took too long."""
    return f"It took more than {_minutes(job.turns.patience.work)}, so this is what was there until then."


def _minutes(seconds: float) -> str:
    return "1 minute" if 30 <= seconds < 90 else f"{seconds / 60:.0f} minutes"


def _ended(work: Generator[T | Pause, None, object], error: LamdemoError) -> Iterator[T]:
    try:
        news = work.throw(error)
        while True:
            if news is not PAUSE:
                yield news
            news = next(work)
    except (StopIteration, Cancelled):
        return


def through(work: Generator[T | Pause, None, object], job: Job) -> T:
    """The last news of a job, for who wants no others.

    Raises:
        ValueError: there were none.
    """
    last: list[T] = []
    for news in in_turns(work, job):
        if not isinstance(news, Waiting):
            last = [news]
    if job.stop.is_set() and not last:
        raise Cancelled("It was cancelled before it began.")
    if not last:
        raise ValueError("a job without news")
    return last[0]
