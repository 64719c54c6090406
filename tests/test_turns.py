"""Turns at the model: who goes first, who waits how long, and that nothing keeps the line from moving."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import (
    PAUSE,
    Busy,
    Cancelled,
    Job,
    Overdue,
    Patience,
    Turns,
    Units,
    Waiting,
    aside,
    in_turns,
    late,
    through,
)
from lamdemo.ui.models import LoadLimits, Models

SOON = 60.0  # seconds, for what takes a thousandth of that


class Clock:
    """A clock that goes only when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def settle(turns: Turns, *jobs: Job) -> None:
    """Wait until all of these wait for a turn."""
    with turns._changed:
        assert turns._changed.wait_for(lambda: all(job._asks for job in jobs), SOON)


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_who_was_served_least_recently_goes_first() -> None:
    turns = Turns()
    a, b = turns.enter("A"), turns.enter("B")
    for job in (a, b, a):
        assert turns.take(job, SOON)
        turns.give_back(job)
    assert sorted([a, b], key=turns._precedence) == [b, a]
    # Who comes anew waits for nobody's second turn.
    c = turns.enter("C")
    assert sorted([a, b, c], key=turns._precedence) == [c, b, a]


def test_two_jobs_of_one_visitor_share_that_visitors_turns() -> None:
    turns = Turns()
    jobs = {"A1": turns.enter("A", "one"), "A2": turns.enter("A", "two"), "B": turns.enter("B")}
    order: list[str] = []
    for _ in range(8):
        name, job = min(jobs.items(), key=lambda one: turns._precedence(one[1]))
        assert turns.take(job, SOON)
        turns.give_back(job)
        order.append(name)
    assert order == ["A1", "B", "A2", "B", "A1", "B", "A2", "B"]


def test_a_second_job_waits_in_line_behind_anothers_first() -> None:
    turns = Turns(active=2)
    first, second, other = turns.enter("A", "one"), turns.enter("A", "two"), turns.enter("B", "one")
    assert turns._under_way() == [first, other]
    assert not turns.take(second, 0.01)
    turns.leave(other)
    assert turns.take(second, SOON)
    turns.give_back(second)
    # A brief one needs no place of the few.
    assert turns.take(turns.enter("D", brief=True), SOON)


def test_a_line_that_is_full_says_so() -> None:
    turns = Turns(most=2)
    first = turns.enter("A")
    turns.enter("B")
    with pytest.raises(Busy, match="try again in a few minutes"):
        turns.enter("C")
    turns.enter("C", brief=True)
    turns.leave(first)
    turns.enter("C")


def test_only_one_computes() -> None:
    turns, inside, most = Turns(), [0], [0]

    def unit() -> Iterator[int]:
        for k in range(30):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            yield k

    threads = [in_thread(lambda v=v: list(in_turns(unit(), turns.enter(v)))) for v in "ABCD"]  # type: ignore[misc]
    for thread in threads:
        thread.join(SOON)
    assert most == [1] and len(turns) == 0


def counted(turns: Turns, job: Job, news: list[Any], begun: threading.Event | None = None) -> Iterator[Any]:
    for one in news:
        assert turns._holder is job
        if begun is not None:
            begun.set()
        yield one


def test_a_pause_lets_others_go_and_is_no_news() -> None:
    turns = Turns()
    job = turns.enter("A", course=[Units("unit", 2)])
    served: list[str] = []
    other = turns.enter("B")

    def takes() -> None:
        assert turns.take(other, SOON)
        served.append("B")
        turns.leave(other)

    def work() -> Iterator[Any]:
        for part in range(3):
            served.append(f"A{part}")
            if part == 0:
                in_thread(takes)
                settle(turns, other)
            yield PAUSE
        yield "done"

    assert list(in_turns(work(), job)) == ["done"]
    assert served == ["A0", "B", "A1", "A2"] and job._done == 1


def test_what_comes_first_can_be_free() -> None:
    turns = Turns()
    holder = turns.enter("A")
    assert turns.take(holder)
    job = turns.enter("B")

    def work() -> Iterator[str]:
        yield "button"
        yield "step"

    steps = in_turns(work(), job, free=1, every=0.01)
    assert next(steps) == "button"  # though another computes
    told = next(steps)
    assert isinstance(told, Waiting) and told.ahead == 1
    turns.leave(holder)
    assert list(steps)[-1] == "step"


def test_an_error_in_a_unit_releases_the_model() -> None:
    turns = Turns()

    def fails() -> Iterator[int]:
        yield 1
        raise LamdemoError("It failed.")

    steps = in_turns(fails(), turns.enter("A"))
    assert next(steps) == 1
    with pytest.raises(LamdemoError, match="It failed"):
        next(steps)
    assert len(turns) == 0 and turns.take(turns.enter("B"), SOON)


def test_a_generator_that_is_closed_releases_its_place() -> None:
    turns, ended = Turns(active=1), []

    def work() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    steps = in_turns(work(), turns.enter("A"))
    next(steps)
    other = turns.enter("B")
    assert not turns.take(other, 0.01)
    steps.close()
    assert ended and turns.take(other, SOON)


def test_a_job_is_cancelled_while_it_waits() -> None:
    turns, stop = Turns(), threading.Event()
    holder = turns.enter("A")
    assert turns.take(holder)
    told: list[str] = []

    def work() -> Iterator[str]:
        try:
            yield "button"
            told.append("computed")
            yield "step"
        except Cancelled as error:
            told.append(str(error))
            yield "button again"

    steps = in_turns(work(), turns.enter("B", stop=stop), free=1)
    assert next(steps) == "button"
    stop.set()
    assert list(steps) == ["button again"]  # without a turn: another has it all the time
    assert told == ["It was cancelled before it began."] and len(turns) == 1

    # One that has no way of its own to end says nothing more, and a program is told.
    assert list(in_turns(counted(turns, holder, [1]), turns.enter("B", stop=stop))) == []
    with pytest.raises(Cancelled):
        through(counted(turns, holder, [1]), turns.enter("B", stop=stop))


def test_a_job_that_is_stopped_after_it_began_ends_by_itself() -> None:
    turns, stop = Turns(), threading.Event()

    def work() -> Iterator[str]:
        while not stop.is_set():
            yield "step"
        yield "what there is"

    steps = in_turns(work(), turns.enter("A", stop=stop))
    assert next(steps) == "step"
    stop.set()
    assert list(steps) == ["what there is"]


def test_a_newer_job_takes_the_place_of_the_older() -> None:
    turns, ended = Turns(active=1), []

    def work(name: str) -> Iterator[str]:
        try:
            for k in range(3):
                yield f"{name}{k}"
            ended.append(f"{name} to its end")
        finally:
            ended.append(name)

    old = in_turns(work("old"), turns.enter("A", "result"))
    assert next(old) == "old0"
    new = in_turns(work("new"), turns.enter("A", "result"))
    assert next(new) == "new0"  # at once, though one job at most is under way
    assert list(old) == [] and ended == ["old"]
    # Of another visitor, elsewhere, or a brief one: these are no newer ones of the same.
    keep = turns.enter("B", "result")
    for visitor, place, brief in (("A", "result", False), ("B", "plan", False), ("B", "result", True)):
        turns.enter(visitor, place, brief=brief)
    assert not keep.replaced


def test_a_job_that_nobody_wants_any_more_ends_without_its_result() -> None:
    turns, ended = Turns(), []

    def work() -> Iterator[str]:
        try:
            yield "step"
            yield "result"
        finally:
            ended.append(True)

    told, other = in_turns(work(), turns.enter("A", "result")), turns.enter("B", "result")
    assert next(told) == "step"
    turns.drop("A", "result")
    assert list(told) == [] and ended == [True]
    assert not other.replaced


def test_what_takes_a_jobs_place_waits_until_it_has_left() -> None:
    turns = Turns()
    job = turns.enter("A", "result")
    other = turns.enter("A", "plan")
    leaves = threading.Timer(0.2, turns.leave, [job])
    leaves.start()
    turns.drop("A", "result", wait=30.0)
    assert job.replaced and not leaves.is_alive() and len(turns) == 1
    turns.drop("A", "plan", wait=0.01)  # and not longer than it may
    assert other.replaced and len(turns) == 1


def test_who_waits_is_told_who_is_ahead_and_how_long() -> None:
    clock = Clock()
    turns = Turns(active=2, clock=clock)
    one = turns.enter("A", course=[Units("read", 1, 2.0), Units("step", 10, 1.0)])
    two = turns.enter("B", course=[Units("step", 5, 1.0)])
    three = turns.enter("C", course=[Units("step", 4, 1.0)])
    again = turns.enter("A", course=[Units("step", 2, 1.0)])
    assert turns.take(one)
    clock.now = 0.5
    # The rest of the unit under way.
    assert turns.waiting(two) == Waiting(1, 1.5)
    # In line: of 11.5 and 5 seconds the shorter one ends after 10, since they take turns; then 4 begin.
    assert turns.waiting(three) == Waiting(2, 10.0)
    # One's own other job is no visitor ahead. Then 6.5 and 4 are left, and the shorter ends 8 seconds later.
    assert turns.waiting(again) == Waiting(2, 18.0)
    assert turns.left(one) == 11.5 + 5 and turns.left(two) == 10 and turns.beside(one) == 1


def test_what_was_measured_goes_before_what_was_guessed() -> None:
    clock = Clock()
    turns = Turns(clock=clock)

    def slow() -> Iterator[int]:
        for k in range(4):
            clock.now += 6.0
            yield k

    job = turns.enter("A", course=[Units("step", 4, guess=1.0, size=2.0)])
    steps = in_turns(slow(), job)
    assert turns.left(job) == 8.0
    next(steps)
    assert turns.left(job) == 18.0
    next(steps)
    next(steps)
    assert turns.left(job) == 6.0
    # Others profit by it; more units than were expected are no harm.
    assert turns.left(turns.enter("B", course=[Units("step", 2)])) == 6.0 + 6.0
    assert turns.left(turns.enter("C")) == 0.0
    assert list(steps) == [3] and list(in_turns(slow(), turns.enter("A", course=[Units("step")]))) == [0, 1, 2, 3]


def test_others_compute_while_one_waits_for_something_else() -> None:
    turns, loaded, got = Turns(), threading.Event(), []

    def loads() -> Iterator[str]:
        with aside():
            assert loaded.wait(SOON)
        assert turns._holder is job
        yield "loaded"

    job = turns.enter("A")
    thread = in_thread(lambda: got.extend(in_turns(loads(), job)))
    other = turns.enter("B")
    assert turns.take(other, SOON)
    loaded.set()
    settle(turns, job)  # it wants its turn back
    assert not got
    turns.leave(other)
    thread.join(SOON)
    assert got == ["loaded"] and len(turns) == 0
    with aside():  # outside of a turn it is nothing
        pass


def test_a_model_that_is_loaded_keeps_only_those_waiting_who_want_it() -> None:
    come, asked, got = threading.Event(), [], []

    def loader(name: str) -> Any:
        asked.append(name)
        if name == "slow":
            assert come.wait(SOON)
        if name == "gone":
            raise LamdemoError("There is none.")
        return f"the {name} one"

    models, turns = Models(loader), Turns()

    def reads() -> Iterator[Any]:
        yield models.get("slow")

    waiting = [in_thread(lambda: got.extend(in_turns(reads(), turns.enter("A")))) for _ in range(2)]
    while len(turns) < 2 or "slow" not in asked:
        pass
    # Another model and the model's turn are free meanwhile.
    assert models.get("quick") == "the quick one"
    other = turns.enter("B")
    assert turns.take(other, SOON)
    turns.leave(other)
    come.set()
    for thread in waiting:
        thread.join(SOON)
    assert got == ["the slow one"] * 2 and asked.count("slow") == 1
    for _ in range(2):  # a failure is not kept
        with pytest.raises(LamdemoError, match="There is none"):
            models.get("gone")
    assert asked.count("gone") == 2


def test_the_last_news_alone() -> None:
    turns = Turns()

    def work() -> Iterator[Any]:
        yield 1
        yield PAUSE
        yield 2

    assert through(work(), turns.enter("A")) == 2 and len(turns) == 0
    with pytest.raises(ValueError, match="without news"):
        through(iter_nothing(), turns.enter("A"))


def iter_nothing() -> Iterator[Any]:
    return
    yield


# Jobs that wait or take too long.


class Ticking(Clock):
    """A clock that goes 100 seconds further each time it is looked at."""

    def __call__(self) -> float:
        self.now += 100.0
        return self.now


def test_who_waits_too_long_for_a_first_turn_is_told_so() -> None:
    turns = Turns(clock=Ticking(), patience=Patience(line=600.0))
    holder = turns.enter("A")
    assert turns.take(holder)
    told: list[str] = []

    def work() -> Iterator[str]:
        try:
            yield "button"
            yield "step"
        except Overdue as error:
            told.append(str(error))
            yield "button again"

    news = list(in_turns(work(), turns.enter("B"), free=1))
    assert news[0] == "button" and news[-1] == "button again" and len(turns) == 1
    assert len(news) > 2 and all(isinstance(one, Waiting) for one in news[1:-1])
    assert told == ["10 minutes went by and its turn did not come, so many are here; try again later."]
    # A program is told by an error.
    with pytest.raises(Overdue, match="10 minutes went by"):
        through(once(), turns.enter("B"))
    assert len(turns) == 1


def once() -> Iterator[str]:
    yield "step"


def long_one(clock: Clock, job: Job, told: list[str], heeds: bool) -> Iterator[Any]:
    """Steps of 10 seconds, until it is stopped, if it heeds that; then one that writes."""
    try:
        while not (heeds and job.stop.is_set()):
            clock.now += 10.0
            yield "step"
        clock.now += 10.0
        yield "what there is"
    except Overdue as error:
        told.append(str(error))
        yield "nothing"


@pytest.mark.parametrize(("heeds", "steps", "end"), [(True, 6, "what there is"), (False, 9, "nothing")])
def test_a_job_that_takes_too_long_ends_with_what_it_has_or_is_broken_off(heeds: bool, steps: int, end: str) -> None:
    clock, told = Clock(), list[str]()
    turns = Turns(clock=clock, patience=Patience(work=60.0, end=30.0))
    job = turns.enter("A", "result")
    news = list(in_turns(long_one(clock, job, told, heeds), job))
    assert news == ["step"] * steps + [end] and len(turns) == 0
    if heeds:
        assert (
            job.late and not told and late(job) == "It took more than 1 minute, so this is what was there until then."
        )
    else:
        assert not job.late and told == [
            "It took more than 1 minute and was ended; ask for less at once, such as fewer steps."
        ]


def test_a_program_that_asks_for_too_much_gets_no_part_for_the_whole() -> None:
    clock, told = Clock(), list[str]()
    turns, stop = Turns(clock=clock, patience=Patience(work=60.0)), threading.Event()
    job = turns.enter("A", stop=stop)
    with pytest.raises(Overdue, match="ask for less"):
        list(in_turns(counted_time(clock), job))
    # Its other calls have the same event.
    assert not stop.is_set() and not told and len(turns) == 0


def counted_time(clock: Clock) -> Iterator[str]:
    for _ in range(100):
        clock.now += 10.0
        yield "step"


def test_only_ones_own_time_counts_with_what_is_done_aside() -> None:
    clock = Clock()
    turns = Turns(clock=clock, patience=Patience(work=60.0))
    job, other = turns.enter("A", "result"), turns.enter("B")

    def work() -> Iterator[str]:
        yield "step"
        with aside():
            clock.now += 50.0
        yield "read"
        clock.now += 15.0
        yield "step"
        yield "last"

    steps = in_turns(work(), job)
    assert next(steps) == "step"
    assert turns.take(other)
    clock.now += 1000.0  # another's turn
    turns.give_back(other)
    assert next(steps) == "read" and not job.late
    assert next(steps) == "step" and not job.late
    assert next(steps) == "last" and job.late and job.stop.is_set()


def test_who_waits_for_a_model_gives_its_place_to_others() -> None:
    turns, come = Turns(active=1), threading.Event()
    job, got = turns.enter("A"), list[str]()

    def loads() -> Iterator[str]:
        with aside(long=True):
            assert come.wait(SOON)
        yield "loaded"

    thread = in_thread(lambda: got.extend(in_turns(loads(), job)))
    other = turns.enter("B")  # one at most is under way
    assert turns.take(other, SOON)
    turns.give_back(other)
    come.set()
    thread.join(SOON)
    assert got == ["loaded"]  # who came first goes first again
    # What is over soon keeps its place.
    job, kept = turns.enter("A"), turns.enter("C")
    turns.leave(other)
    assert turns.take(job)
    with aside():
        assert not turns.take(kept, 0.01)
    turns.leave(job)
    assert turns.take(kept, SOON)


def test_a_job_that_is_replaced_while_it_is_aside_ends() -> None:
    turns, begun, come, told = Turns(), threading.Event(), threading.Event(), list[str]()
    old = turns.enter("A", "result")

    def reads() -> Iterator[str]:
        try:
            with aside():
                begun.set()
                assert come.wait(SOON)
            told.append("computed")
        except Cancelled:
            told.append("cancelled")
        yield "button"

    thread = in_thread(lambda: told.extend(in_turns(reads(), old)))
    assert begun.wait(SOON)
    turns.enter("A", "result")
    come.set()
    thread.join(SOON)
    assert not thread.is_alive() and told == ["cancelled"] and len(turns) == 1


def test_models_that_come_slowly_are_few_and_who_waits_for_them_too() -> None:
    come = threading.Event()

    def loader(name: str) -> Any:
        assert name == "quick" or come.wait(SOON)
        return name

    models = Models(loader, default="quick", limits=LoadLimits(loads=2, waiting=3, seconds=0.01))
    for name in ("a", "b"):
        with pytest.raises(LamdemoError, match=f"{name} is not there after 0 minutes; try again later"):
            models.get(name)
    with pytest.raises(Busy, match="Many models are being loaded already"):
        models.get("c")
    assert models.get() == "quick"  # the standard one is not counted
    models._limits = LoadLimits(loads=2, waiting=3, seconds=SOON)
    got: list[Any] = []
    threads = [in_thread(lambda: got.append(models.get("a"))) for _ in range(3)]
    while models._waiting < 3:
        pass
    with pytest.raises(Busy):
        models.get("b")
    come.set()
    for thread in threads:
        thread.join(SOON)
    # What was being loaded while nobody waited is there now.
    assert got == ["a"] * 3 and models.get("b") == "b" and models._waiting == 0
