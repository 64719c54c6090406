"""How the page's handlers come to the model: each in its turn, with a line where the result will be that says how long.

Gradio's own queue only guards: it takes every event at once, and `lamdemo.jobs.turns` says who computes.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Job, Overdue, Units, Waiting, in_turns, late, through
from lamdemo.ui import watch
from lamdemo.ui.notices import say
from lamdemo.ui.sessions import Sessions

QUEUE: dict[str, Any] = {"max_size": 200, "default_concurrency_limit": None}
"""Gradio's own limits, for ``Blocks.queue``: far above what the line at the model lets in."""
THREADS = 64  # of the server: more than can wait in that line, so that what needs no model finds one free

# What the page does without the model, and what needs it: Gradio's own signs of progress would cover what is there.
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

PROGRAM = "program"  # what ends a program's calls, see `Session.stop`: its leaving
KEPT = 16  # results of one program that stay while it makes more
_LEAVES = 5.0  # seconds at most that what replaces a computation waits for its end

CSS = """
.lam-turn { min-height: 1.5em; font-size: .84rem; line-height: 1.5; color: var(--lam-soft); }
/* As high with words as without: nothing below it moves. */
.lam-turn p { margin: 0 !important; font-size: .84rem !important; line-height: 1.5 !important; color: inherit; }
.lam-turn p.waits { color: var(--lam-accent); font-weight: 600; }
/* Gradio writes its queue's figures where nobody sees them but a screen reader. */
.gradio-container .wrap.hide .progress-text, .gradio-container .wrap.hide .meta-text,
.gradio-container .wrap.hide .meta-text-center { display: none; }
"""

Course = Callable[..., Iterable[Units]]
"""From what a handler is given to the units it will come to."""


class Line:
    """A place of the page where one thing at a time is computed, and the line there that tells of it.

    Args:
        sessions: of the page.
        name: of the place; what is set going anew in it takes the place of what is going on.
        brief: whether what is computed there is over after a unit or two. Then it waits in no line, and what is set
            going anew comes after what is going on.
    """

    def __init__(self, sessions: Sessions, name: str, *, brief: bool = False) -> None:
        self.sessions, self.name, self.brief = sessions, name, brief
        self._view: gr.HTML | None = None

    def lay_out(self) -> gr.HTML:
        """Make the line, where the result will be."""
        self._view = gr.HTML("", elem_id=f"lam-turn-{self.name}", elem_classes="lam-turn", js_on_load=None)
        return self._view

    @property
    def view(self) -> gr.HTML:
        """The line."""
        assert self._view is not None, "the line is laid out before anything is tied to it"
        return self._view

    def does(self, handler: Callable[..., Any], inputs: Any, outputs: Any, course: Course | None = None) -> Any:
        """Arguments of a Gradio event that needs the model.

        Args:
            handler: a function, computed in one turn; or a generator, which takes a turn from each of its news to the
                next. Its first news comes before any turn: buttons and words, nothing computed. It has a parameter of
                the type ``gr.Request``.
            inputs: of the event.
            outputs: what the handler gives, in lists or dicts.
            course: what units that is; one that is measured by the place's name without it.

        Returns:
            Keywords for the event.
        """
        listed = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        streams = inspect.isgeneratorfunction(handler)

        @functools.wraps(handler)
        def run(*given: Any) -> Iterator[dict[Any, Any]]:
            units = course(*given) if course else [Units(self.name)]
            try:
                job = self._enter(next(x for x in given if isinstance(x, gr.Request)), units)
            except LamdemoError as error:
                watch.tally.add("jobs", f"{self.name}/busy")
                say(str(error))
                yield {self.view: gr.skip()}
                return
            work = handler(*given) if streams else _once(handler, given)
            last: dict[Any, Any] = {}
            try:
                with watch.job(self.name), closing(in_turns(work, job, free=int(streams))) as told:
                    for news in told:
                        if isinstance(news, Waiting):
                            yield {self.view: waits(news)}
                            continue
                        last = self._named(news, outputs, listed)
                        if streams and not job.replaced:  # it may have been while this was computed
                            yield last | {self.view: goes_on(job)}
            except Overdue as error:  # of a handler that never began, and so says nothing itself
                say(str(error))
                last = {}
            if job.late:
                say(late(job))
            # The last news again, with the end of the line: the browser takes what came for one that is left out of
            # the next news apart, be it a button or a dict that it keeps of the visitor, before it is shown.
            if not job.replaced:
                yield last | {self.view: ""}

        return {"fn": run, "inputs": inputs, "outputs": [*listed, self.view], **QUIET}

    def ends_by(self, button: gr.Button) -> None:
        """Tie a button that ends what is computed there; not in the queue, where it would wait for what it ends."""

        def end(request: gr.Request) -> Any:
            self.stop(request)
            return gr.Button("Stopping", interactive=False)

        button.click(end, None, button, queue=False, **QUIET)

    def stop(self, request: gr.Request) -> None:
        """End what is computed there for who asks, with what it has; what still waits is cancelled."""
        self.sessions.get(request.session_hash).stop(self.name).set()

    def drop(self, request: gr.Request) -> None:
        """End what is computed there for who asks, without its result: something else is about to take its place.

        What it has sent comes before this returns, so that its last frame does not cover what is shown next.
        """
        self.sessions.turns.drop(request.session_hash or "", self.name, wait=_LEAVES)

    def _enter(self, request: gr.Request, course: Iterable[Units]) -> Job:
        stop = None
        if not self.brief:
            stop = self.sessions.get(request.session_hash).stops[self.name] = threading.Event()
        return self.sessions.turns.enter(request.session_hash or "", self.name, course, brief=self.brief, stop=stop)

    @staticmethod
    def _named(news: Any, outputs: Any, listed: list[Any]) -> dict[Any, Any]:
        if isinstance(news, dict) and not news.get("__type__"):
            return news
        values = news if isinstance(outputs, list | tuple) and len(listed) > 1 else [news]
        return dict(zip(listed, values, strict=True))


def _once(handler: Callable[..., Any], given: tuple[Any, ...]) -> Generator[Any, None, None]:
    yield handler(*given)


def serve(sessions: Sessions, request: gr.Request, work: Generator[Any, None, object], course: Iterable[Units]) -> Any:
    """The last news of something computed in turns for a program that called; it takes nobody's place.

    Raises:
        LamdemoError: too many wait, or what ``work`` raises.
    """
    stop = sessions.get(request.session_hash).stop(PROGRAM)
    with watch.job(PROGRAM) as told:
        job = sessions.turns.enter(request.session_hash or "", "", course, stop=stop)
        try:
            return through(work, job)
        finally:
            told["own_ms"] = round(1000 * job.own)


# What the line says.


def waits(news: Waiting) -> str:
    """For who waits for a turn."""
    about = f", {_about(news.seconds)}"
    if not news.ahead:
        return _said(f"What you began before goes first{about}.", "waits")
    visitors = "One visitor is" if news.ahead == 1 else f"{news.ahead} visitors are"
    return _said(f"{visitors} ahead of you{about}.", "waits")


def goes_on(job: Job) -> str:
    """For who is being served: how long it will take; nothing where that is not known or not worth a word."""
    left, others = job.turns.left(job), job.turns.beside(job)
    if left < 1:
        return ""
    shared = {0: "", 1: "; you take turns with one other visitor"}.get(others, f"; {others + 1} visitors take turns")
    return _said(f"{_about(left).capitalize()} to go{shared}.", "")


def _said(sentence: str, kind: str) -> str:
    return f'<p role="status" class="{kind}">{sentence}</p>'


def _about(seconds: float) -> str:
    if seconds >= 90:
        return f"about {round(seconds / 60)} min"
    # Figures that change at every step would promise more than can be known.
    return f"about {max(round(seconds), 1) if seconds < 10 else 5 * round(seconds / 5)} s"
