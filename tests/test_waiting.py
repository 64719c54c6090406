"""What the page's handlers become when they take turns: the line that tells, the buttons, what cancels them."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest
from gradio.helpers import special_args

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import PAUSE, Patience, Units, Waiting
from lamdemo.ui import waiting
from lamdemo.ui.notices import Notice
from lamdemo.ui.sessions import Sessions
from lamdemo.ui.waiting import Line


class Visitor(gr.Request):
    """A request of a page of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(session_hash=name)


class Handlers:
    """What a tab ties to its controls."""

    def __init__(self, line: Line, sessions: Sessions) -> None:
        self.line, self.sessions = line, sessions
        self.shown, self.go = gr.HTML(), gr.Button()
        line.lay_out()

    def make(self, steps: int, request: gr.Request) -> Iterator[Any]:
        stop = self.sessions.get(request.session_hash).stop(self.line.name)
        with Notice():
            yield {self.go: "off"}
            for k in range(steps):
                yield PAUSE
                yield {self.shown: f"step {k}"}
                if stop.is_set():
                    break
            yield {self.shown: "done", self.go: "on"}
            return
        yield {self.shown: "what was there", self.go: "on"}

    def look(self, path: str, request: gr.Request) -> list[Any]:
        return [path, gr.skip()]


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    made = Sessions()
    yield made
    shutil.rmtree(made.root)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sentences: list[str] = []
    for module in ("waiting", "notices"):
        monkeypatch.setattr(f"lamdemo.ui.{module}.say", lambda sentence, **_: sentences.append(sentence))
    return sentences


@pytest.fixture
def handlers(sessions: Sessions) -> Handlers:
    with gr.Blocks():
        return Handlers(Line(sessions, "result"), sessions)


def test_a_handler_is_still_what_gradio_takes_it_for(handlers: Handlers) -> None:
    event = handlers.line.does(handlers.make, [handlers.go], [handlers.shown, handlers.go])
    assert inspect.isgeneratorfunction(event["fn"]) and event["outputs"][-1] is handlers.line.view
    asked, *_ = special_args(event["fn"], [3], Visitor("A"))
    assert asked[0] == 3 and isinstance(asked[1], gr.Request)
    assert event["show_progress"] == "hidden"  # Gradio's own would cover the old result


def test_news_pass_and_the_line_tells_how_long(handlers: Handlers, said: list[str]) -> None:
    course = lambda steps, _: [Units("step", steps + 1, 4.0)]  # noqa: E731
    event = handlers.line.does(handlers.make, None, [handlers.shown, handlers.go], course)
    told = list(event["fn"](2, Visitor("A")))
    line = handlers.line.view
    assert "About 10 s to go." in told[0][line] and told[0][handlers.go] == "off"
    assert [news.get(handlers.shown) for news in told] == [None, "step 0", "step 1", "done", "done"]
    assert told[-1] == {**told[-2], line: ""} and not said and len(handlers.sessions.turns) == 0


def test_a_function_is_one_turn_and_its_list_is_named(handlers: Handlers) -> None:
    event = handlers.line.does(handlers.look, None, [handlers.shown, handlers.go])
    (only,) = event["fn"]("a clip", Visitor("A"))
    assert only[handlers.shown] == "a clip" and only[handlers.go] == gr.skip()
    # What a browser keeps of the visitor would not outlive a second one, which leaves it out.
    assert only[handlers.line.view] == ""


def test_who_waits_is_told_and_can_cancel(handlers: Handlers, said: list[str]) -> None:
    turns = handlers.sessions.turns
    other = turns.enter("B", course=[Units("long", 1, 40.0)])
    assert turns.take(other)
    event = handlers.line.does(handlers.make, None, [handlers.shown, handlers.go])
    told = event["fn"](2, Visitor("A"))
    assert next(told)[handlers.go] == "off"
    assert "One visitor is ahead of you, about 40 s." in next(told)[handlers.line.view]
    handlers.line.stop(Visitor("A"))
    rest = list(told)
    assert rest[-2][handlers.shown] == "what was there" and rest[-2][handlers.go] == "on"
    assert rest[-1] == {**rest[-2], handlers.line.view: ""} and not said and len(turns) == 1


def test_stop_is_of_one_place_and_of_the_job_there_now(handlers: Handlers) -> None:
    event = handlers.line.does(handlers.make, None, [handlers.shown, handlers.go])
    for place in ("plan", "result"):
        handlers.sessions.get("A").stop(place).set()  # of another place, and of a job before
    told = event["fn"](3, Visitor("A"))
    assert [next(told).get(handlers.shown) for _ in range(2)] == [None, "step 0"]
    handlers.line.stop(Visitor("A"))
    assert [news.get(handlers.shown) for news in told] == ["done", "done"]


def test_a_newer_one_takes_the_place_and_the_older_says_nothing_more(handlers: Handlers) -> None:
    event = handlers.line.does(handlers.make, None, [handlers.shown, handlers.go])
    old = event["fn"](9, Visitor("A"))
    next(old)
    next(old)
    new = event["fn"](1, Visitor("A"))
    assert next(new)[handlers.go] == "off"
    assert list(old) == []  # not even its button, which is the newer one's now
    assert [news.get(handlers.shown) for news in new] == ["step 0", "done", "done"]


def test_a_full_line_is_one_sentence(handlers: Handlers, said: list[str]) -> None:
    turns = handlers.sessions.turns
    for k in range(turns.most):
        turns.enter(f"visitor {k}")
    event = handlers.line.does(handlers.make, None, [handlers.shown, handlers.go])
    assert list(event["fn"](1, Visitor("A"))) == [{handlers.line.view: gr.skip()}]
    assert len(said) == 1 and "try again in a few minutes" in said[0]


def test_too_long_a_wait_is_one_sentence_and_settles_the_buttons(handlers: Handlers, said: list[str]) -> None:
    turns = handlers.sessions.turns
    turns.patience = Patience(line=0.0)
    assert turns.take(turns.enter("B"))
    event = handlers.line.does(handlers.make, None, [handlers.shown, handlers.go])
    last = list(event["fn"](2, Visitor("A")))[-1]
    assert last[handlers.go] == "on" and last[handlers.line.view] == "" and len(turns) == 1
    assert said == ["0 minutes went by and its turn did not come, so many are here; try again later."]
    # A handler that is one function never began, and has nothing to put back.
    event = handlers.line.does(handlers.look, None, [handlers.shown, handlers.go])
    assert list(event["fn"]("a clip", Visitor("A"))) == [{handlers.line.view: ""}] and said[1] == said[0]


def test_too_long_a_job_shows_what_it_has_and_says_so(handlers: Handlers, said: list[str]) -> None:
    handlers.sessions.turns.patience = Patience(work=0.0, end=60.0)
    event = handlers.line.does(handlers.make, None, [handlers.shown, handlers.go])
    shown = [news.get(handlers.shown) for news in event["fn"](9, Visitor("A"))]
    assert shown == [None, "step 0", "done", "done"] and len(said) == 1 and "until then" in said[0]


def test_a_program_takes_nobodys_place(handlers: Handlers) -> None:
    def works(k: int) -> Iterator[int]:
        yield k

    keep = handlers.sessions.turns.enter("A", "result")
    assert waiting.serve(handlers.sessions, Visitor("A"), works(3), [Units("step")]) == 3
    assert not keep.replaced

    def fails() -> Iterator[int]:
        raise LamdemoError("It failed.")
        yield

    with pytest.raises(LamdemoError, match="It failed"):
        waiting.serve(handlers.sessions, Visitor("A"), fails(), [Units("step")])
    assert len(handlers.sessions.turns) == 1


@pytest.mark.parametrize(
    ("ahead", "seconds", "sentence"),
    [
        (1, 40.2, "One visitor is ahead of you, about 40 s."),
        (3, 3.4, "3 visitors are ahead of you, about 3 s."),
        (2, 0.1, "2 visitors are ahead of you, about 1 s."),
        (1, 100.0, "One visitor is ahead of you, about 2 min."),
        (0, 5.0, "What you began before goes first, about 5 s."),
    ],
)
def test_words_for_who_waits(ahead: int, seconds: float, sentence: str) -> None:
    assert sentence in waiting.waits(Waiting(ahead, seconds))
