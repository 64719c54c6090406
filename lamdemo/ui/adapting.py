"""The fold under the tab Transfer in which the model is adapted to the clip on show, for this page alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.jobs.turns import PAUSE, Pause, Units
from lamdemo.ui.inputs import LIMITS, MOST_SHOWN, examined, named, reading
from lamdemo.ui.notices import Notice
from lamdemo.ui.transfer_tab import TransferTab, number
from lamdemo.ui.waiting import QUIET, Line

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.training.adaptation import Adapted, Adapting
    from lamdemo.ui.page import Page

SECONDS = 60  # of computing for one adaptation
MEANT = 0.1  # share by which the error is meant to fall
_EVERY = 1.0  # seconds of computing between two news

_EMPTY = (
    f'<p class="lam-note">The model practises on the first part of the clip on show for {SECONDS} seconds, and is then '
    "tested on the last quarter, which it did not practise on. It is yours alone, serves this tab only, and goes when "
    "the page is closed.</p>"
)

CSS = """
.lam-bar { height: 8px; margin: 6px 0; border-radius: 4px; background: var(--lam-line); overflow: hidden; }
.lam-bar > span { display: block; height: 100%; background: var(--lam-accent); transition: width .3s; }
@media (prefers-reduced-motion: reduce) { .lam-bar > span { transition: none; } }
"""


class Adaptation:
    """Its controls, and the handlers behind them."""

    def __init__(self, page: Page, transfer: TransferTab) -> None:
        self.page, self.transfer = page, transfer
        self.line = Line(page.sessions, "adapt")

    def lay_out(self) -> None:
        """Put the fold where the page is being built."""
        with gr.Accordion("Adapt to this clip", open=False, elem_classes="lam-card", elem_id="lam-adapt"):
            with gr.Row():
                self.go = gr.Button(
                    "Adapt to this clip", variant="primary", scale=3, min_width=160, elem_id="lam-adapt-go"
                )
                self.stop = gr.Button("Stop", scale=1, min_width=80, interactive=False, elem_id="lam-adapt-stop")
                self.back = gr.Button(
                    "Back to the checkpoint as it was",
                    scale=3,
                    min_width=290,
                    interactive=False,
                    elem_id="lam-adapt-back",
                )
            self.line.lay_out()
            self.view = gr.HTML(_EMPTY, js_on_load=None, elem_id="lam-adapt-view")

    def connect(self) -> None:
        """Tie the controls to what they do."""
        transfer, page = self.transfer, self.page
        given = {transfer.source, transfer.begin, page.name, page.hub}
        shown = [self.view, self.go, self.stop, self.back]
        self.go.click(**self.line.does(self._adapt, given, shown, lambda *_: [Units("adapting", SECONDS, _EVERY)]))
        self.line.ends_by(self.stop)
        self.back.click(self._put_back, None, [self.view, self.back], **QUIET)

    def _adapt(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any] | Pause]:
        """An adaptation, from the button to the table."""
        from lamdemo.training.adaptation import Adapted

        session, page = self.page.session(request), self.page
        stop = session.stop(self.line.name).is_set
        with Notice():
            yield {
                self.go: gr.Button(interactive=False),
                self.stop: gr.Button("Stop", interactive=True),
                self.back: gr.Button(interactive=False),
            }
            page.sessions.check_room_for_adapted(session)
            base = page.pipeline(data[page.name], data[page.hub])
            view, path = session.source, data[self.transfer.source]
            begin = view.begin if view is not None and view.path == path else number(data[self.transfer.begin], 0.0)
            for news in adapted_to(base, path, begin, seconds=SECONDS, should_stop=stop):
                if isinstance(news, Adapted):
                    done = news
                elif news is PAUSE:
                    yield news
                else:
                    yield {self.view: progress(news)}
            # Between two clicks another may have taken the last room.
            page.sessions.check_room_for_adapted(session)
            if done.kept and not session.ended:
                session.adapted = done
            yield {self.view: told(done), **self._settled(session.adapted)}
            return
        yield {self.view: told(session.adapted) if session.adapted else _EMPTY, **self._settled(session.adapted)}

    def _settled(self, adapted: Adapted | None) -> dict[Any, Any]:
        """The buttons when nothing is being made."""
        return {
            self.go: gr.Button(interactive=True),
            self.stop: gr.Button("Stop", interactive=False),
            self.back: gr.Button(interactive=adapted is not None),
        }

    def _put_back(self, request: gr.Request) -> Any:
        self.page.session(request).adapted = None
        said = '<p class="lam-note" role="status">Transfers use the checkpoint as it was again.</p>'
        return said + _EMPTY, gr.Button(interactive=False)


def adapted_to(
    base: TransferPipeline,
    path: str | None,
    begin: float,
    *,
    seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Adapting | Adapted | Pause, None, None]:
    """Adapt a model to the steps of a clip that the page has on show.

    Args:
        base: with the model, which stays as it is.
        path: file of the clip.
        begin: where the steps on show begin, in seconds.
        seconds: of computing.
        should_stop: asked all along.

    Yields:
        A `PAUSE` wherever others may go first, news about once a second of computing, and what it came to.

    Raises:
        LamdemoError: the clip cannot be used, or is too short or too still.
    """
    from lamdemo.training.adaptation import AdaptationConfig, Adapted, adapt
    from lamdemo.video import read_clip

    path = named(path, "source")
    examined(path, "source")
    side = base.model.config.encoder.picture
    with reading():
        clip = read_clip(path, fps=base.fps, start=begin, max_frames=MOST_SHOWN + 1, size=(side, side), limits=LIMITS)
    told_at = time.monotonic()
    for news in adapt(base, clip.frames, AdaptationConfig(seconds=seconds), should_stop=should_stop):
        if isinstance(news, Adapted) or time.monotonic() - told_at >= _EVERY:
            told_at = time.monotonic()
            yield news
        else:
            yield PAUSE


def progress(news: Adapting) -> str:
    """A bar of how much of the budget is used."""
    percent = round(100 * news.share)
    doing = f"Practising: step {news.steps}" if news.steps else "Looking at the clip, and testing the model as it is"
    return (
        f'<div class="lam-bar" role="progressbar" aria-label="Adapting" aria-valuenow="{percent}" aria-valuemin="0" '
        f'aria-valuemax="100"><span style="width:{percent}%"></span></div><p class="lam-note">{doing}…</p>'
    )


def told(done: Adapted) -> str:
    """Errors before and after in plain words, copying the last frame being 100%."""
    before, after, parts = done.before, done.after, done.parts
    rows = (
        ("Prediction", "of what the model sees next", before.state_copy, before.state_zero, before.state, after.state),
        (
            "Drawn picture",
            "of the next moment",
            before.picture_copy,
            before.picture_zero,
            before.picture,
            after.picture,
        ),
    )
    lines = "".join(
        f'<tr><th scope="row">{name}<small>{what}</small></th>'
        + "".join(f"<td>{100 * (value or 0) / copied:.1f}%</td>" for value in values)
        + "</tr>"
        for name, what, copied, *values in rows
    )
    tested = f"the last {parts.held_out} steps of the clip, which it did not practise on"
    return (
        f'<p role="status">{_verdict(done)}</p>'
        f'<div class="lam-table" tabindex="0" role="region" aria-label="Error before and after"><table><thead><tr>'
        f'<th scope="col">Error one step ahead<small>{tested}; 100% is to repeat the last frame</small></th>'
        '<th scope="col">No action</th><th scope="col">Before</th><th scope="col">After</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
        f'<p class="lam-note">{done.steps} rounds of practice on the first {parts.training} steps, '
        f"{done.seconds:.0f} s of computing{', stopped early' if done.stopped else ''}; kept is what did best on "
        f"{parts.watched} further steps. Maps, controllers and verdicts are of the checkpoint as it was: the other "
        "tabs go on with that, and transfers by the adapted model have no verdict.</p>"
    )


def _verdict(done: Adapted) -> str:
    """One sentence that says whether it was worth it."""
    if not done.kept:
        return "Practice did not make the model better on this clip, so it stays as it was."
    state, picture = (_change(fall) for fall in (done.fall, done.picture_fall))
    words = f"On steps it had not seen, its prediction is {state} and its drawn picture {picture}."
    if max(done.fall, done.picture_fall) < MEANT:
        words += f" That is less than the {MEANT:.0%} this is meant to reach, and “Back” undoes it."
    return escape(f"{words} Transfers on this page now use the adapted model.")


def _change(fall: float) -> str:
    return f"{abs(fall):.1%} {'less' if fall >= 0 else 'more'} wrong than before"
