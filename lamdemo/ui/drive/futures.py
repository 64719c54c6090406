"""Several futures of one command: what the last command could bring next, as a model that draws them sees it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import PAUSE, Units
from lamdemo.ui.drive.views import spoken
from lamdemo.ui.drive.work import data_url, encoded
from lamdemo.ui.notices import Notice
from lamdemo.ui.waiting import Line

if TYPE_CHECKING:
    from lamdemo.ui.drive.tab import DriveTab
    from lamdemo.ui.drive.work import DriveSession

FUTURES = 6
STEPS = 3  # that the command is held in each
_SECONDS = 0.25  # of a step on a slow machine, for the line


class Futures:
    """Draws futures of the last command from the picture as it is, and shows them side by side."""

    def __init__(self, tab: DriveTab) -> None:
        self.tab = tab
        self.line = Line(tab.page.sessions, "futures")

    def lay_out(self) -> None:
        """Make the controls."""
        with gr.Accordion("Several futures", open=False, elem_id="lam-drive-fold-futures"):
            gr.HTML(
                f'<p class="lam-note">What the last command could bring if it were held for {STEPS} more steps. A '
                "command leaves open how far and how exactly; a checkpoint that learned to draws several futures. "
                "The drive itself stays where it is.</p>"
            )
            with gr.Row():
                self.draw = gr.Button(f"Draw {FUTURES}", size="sm", min_width=110, elem_id="lam-drive-futures-draw")
            self.line.lay_out()
            self.shown = gr.HTML("", elem_id="lam-drive-futures")

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        page = self.tab.page
        self.draw.click(**self.line.does(self._draw, [page.name, page.hub], self.shown, self._course))

    def _course(self, *_: Any) -> list[Units]:
        return [Units("future", FUTURES, _SECONDS * STEPS)]

    def _draw(self, checkpoint: str | None, hub: str | None, request: gr.Request) -> Iterator[Any]:
        from lamdemo.planning.futures import draw_futures

        yield gr.skip()
        with Notice():
            _, driving = self.tab.driving(request)
            pipeline = self.tab.page.pipeline(checkpoint, hub)
            drive, known = driving.drive, driving.known
            if drive is None or known is None or not len(drive.actions):
                raise LamdemoError("There is no command yet; drive a step first.")
            seed = driving.number * 1000 + drive.count
            latents = draw_futures(pipeline, known, drive.state, drive.actions, FUTURES, seed)
            ends = []
            for z in latents:
                rollout = pipeline.begin(drive.frame, history=0)
                for _ in range(STEPS):
                    rollout.step(z)
                ends.append(rollout.frame)
                yield PAUSE
            yield self._view(driving, ends)

    @staticmethod
    def _view(driving: DriveSession, ends: list[np.ndarray]) -> str:
        """The pictures of all futures, and how much they differ."""
        assert driving.drive is not None and driving.known is not None
        word = spoken(driving.drive.actions[-1], driving.known.spec)
        spread = float(np.std(np.stack(ends).astype(np.float32), 0).mean())
        moved = float(np.mean([np.abs(e.astype(np.float32) - driving.drive.frame).mean() for e in ends]))
        pictures = "".join(
            f'<li><img src="{data_url(encoded(end))}" decoding="sync" alt="Future {i + 1} of: {escape(word)}"></li>'
            for i, end in enumerate(ends)
        )
        return (
            f'<ol class="lam-drive-futures">{pictures}</ol><p class="lam-note">{FUTURES} futures of “{escape(word)}”. '
            f"They differ from each other by {spread:.1f} of 255 grey levels (standard deviation) and from the picture "
            f"now by {moved:.1f}.</p>"
        )
