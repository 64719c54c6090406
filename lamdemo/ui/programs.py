"""What the page offers to programs: the same jobs, without anything to look at."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.jobs.turns import Units
from lamdemo.ui import waiting
from lamdemo.ui.inputs import USUAL_STEPS, examined, look_at_source
from lamdemo.ui.notices import Refusal
from lamdemo.ui.transfer_tab import number, units
from lamdemo.ui.work import Compared, Finished, Order, make, make_comparison

if TYPE_CHECKING:
    from lamdemo.ui.page import Page


class Programs:
    """Endpoints with names, and the handlers behind them."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def connect(self) -> None:
        """Add the endpoints to the page."""
        with gr.Row(visible=False):
            source, target = gr.File(label="source"), gr.File(label="target")
            strength, reverse, repeat = (
                gr.Number(1.0, label="strength"),
                gr.Checkbox(label="reverse"),
                gr.Number(1, label="repeat"),
            )
            video = gr.File(label="result")
            gr.Button("transfer").click(
                self.transfer,
                [source, target, strength, reverse, repeat],
                video,
                api_name="transfer",
                api_description="Carry a video's actions over to a target picture or clip; gives an MP4.",
            )
            names = gr.Textbox(label="checkpoints")
            report = gr.JSON(label="report")
            gr.Button("compare").click(
                self.compare,
                [source, target, names, strength, reverse, repeat],
                [video, report],
                api_name="compare",
                api_description="Carry a video's actions over to a target picture or clip with two to six checkpoints, "
                "given as bundled names or Hub ids separated by commas; gives an MP4 of all results side by side, and "
                "their measures.",
            )
            gr.Button("familiarity").click(
                self.familiarity,
                [source, names],
                report,
                api_name="familiarity",
                api_description="How many steps of a video lie outside what a checkpoint (the bundled default "
                "without a name) saw in training; null where it brings no sample of that.",
            )

    @staticmethod
    def _order(
        source: str | None, target: str | None, strength: float | None, reverse: bool | None, repeat: float | None
    ) -> Order:
        """What is asked for, once its files were looked at: what is refused need not wait in line for that."""
        examined(source, "source")
        examined(target, "target")
        return Order(
            source=source,
            target=target,
            strength=number(strength, 1.0),
            reverse=bool(reverse),
            repeat=int(number(repeat, 1)),
        )

    def transfer(
        self,
        source: str | None,
        target: str | None,
        strength: float | None,
        reverse: bool | None,
        repeat: float | None,
        request: gr.Request,
    ) -> str:
        """Carry what happens in a video over to another picture.

        Args:
            source: The video whose action is taken; the first seconds of a long one.
            target: The picture to do it to, or a video, which is taken over from its first frame.
            strength: How strongly: 1 as in the video, 2 twice as much, 0.5 half.
            reverse: Whether to do the opposite: left for right, closer for farther.
            repeat: How many times, one after another.
            request: Of whoever calls.

        Returns:
            The result, an MP4.
        """
        with Refusal():
            session = self.page.session(request)
            order = self._order(source, target, strength, reverse, repeat)
            pipeline, stop = self.page.models.get(), session.stop(waiting.PROGRAM).is_set
            with session.place("result", waiting.KEPT) as folder:
                work = make(pipeline, order, folder, should_stop=stop)
                done = waiting.serve(self.page.sessions, request, work, units(USUAL_STEPS))
            assert isinstance(done, Finished)
            return str(done.transfer)

    def compare(
        self,
        source: str | None,
        target: str | None,
        checkpoints: str | None,
        strength: float | None,
        reverse: bool | None,
        repeat: float | None,
        request: gr.Request,
    ) -> tuple[str, Any]:
        """Carry one action over with several checkpoints, side by side.

        Args:
            source: The video whose action is taken.
            target: The picture to do it to, or a video.
            checkpoints: Two to six names, separated by commas: bundled ones such as layers, or owner/name on the Hub.
            strength: How strongly: 1 as in the video.
            reverse: Whether to do the opposite.
            repeat: How many times, one after another.
            request: Of whoever calls.

        Returns:
            An MP4 of all results, and the measures of each.
        """
        with Refusal():
            session = self.page.session(request)
            order = self._order(source, target, strength, reverse, repeat)
            names, stop = (checkpoints or "").split(","), session.stop(waiting.PROGRAM).is_set
            with session.place("compare", waiting.KEPT) as folder:
                work = make_comparison(self.page.models.get, names, order, folder, should_stop=stop)
                expected = [Units("compared step", len(names) * USUAL_STEPS, 0.3)]
                done = waiting.serve(self.page.sessions, request, work, expected)
            assert isinstance(done, Compared)
            return str(done.video), json.loads(done.report.read_text(encoding="utf-8"))

    def familiarity(self, source: str | None, checkpoint: str | None, request: gr.Request) -> Any:
        """Tell how familiar a video is to a checkpoint.

        Args:
            source: The video.
            checkpoint: A bundled name or owner/name on the Hub; the default one if it is empty.
            request: Of whoever calls.

        Returns:
            How many of its steps lie outside what was seen in training; null where that is not known.
        """
        with Refusal():
            session = self.page.session(request)
            examined(source, "source")

            def look() -> Generator[Any, None, None]:
                pipeline = self.page.pipeline((checkpoint or "").strip() or None, None)
                with session.place("source", waiting.KEPT) as folder:
                    latents = look_at_source(pipeline, source, 0.0, folder).latents
                assert latents is not None
                yield pipeline.out_of_distribution(latents)

            judged = waiting.serve(self.page.sessions, request, look(), [Units("source", 1, 1.5)])
            return None if judged is None else judged.as_dict()
