"""Sampling: actions nobody showed, on the map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import PAUSE, Units
from lamdemo.ui.notices import Notice
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import (
    Part,
    number,
)
from lamdemo.ui.space.views import Drawn
from lamdemo.ui.space.work import Place, play_target
from lamdemo.ui.waiting import QUIET, Line

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.latent_space.sampling import How
    from lamdemo.ui.space.tab import SpaceTab

# What is drawn for a group, and whether the target is told.
PRIORS: dict[str, tuple[How, bool]] = {
    "fixed": ("fixed", False),
    "anywhere": ("learned", False),
    "here": ("learned", True),
}


class Sampling(Part):
    """Sampling."""

    def __init__(self, tab: SpaceTab) -> None:
        super().__init__(tab)
        self.line = Line(tab.page.sessions, "samples")

    def lay_out(self) -> None:
        """Make the controls."""
        with gr.Accordion("Random motions", open=False, elem_classes="lam-card", elem_id="lam-space-fold-sampling"):
            gr.HTML(
                '<p class="lam-note">Motions nobody showed, drawn at random, or as the model has learned that motions '
                "are. They appear among the dots and can be clicked there.</p>"
            )
            with gr.Row():
                self.how = gr.CheckboxGroup(
                    [
                        ("Random", "fixed"),
                        ("Learned, for any picture", "anywhere"),
                        ("Learned, for this picture", "here"),
                    ],
                    value=["fixed", "here"],
                    label="Draw",
                    elem_id="lam-sample-how",
                )
                self.count = gr.Slider(
                    8, 256, 64, step=8, label="How many of each", buttons=[], elem_id="lam-sample-count"
                )
                self.seed = gr.Number(
                    0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="lam-sample-seed"
                )
            with gr.Row():
                self.draw = gr.Button("Draw", variant="primary", min_width=110, elem_id="lam-sample-draw")
                self.forget = gr.Button("Take them off the map", size="sm", min_width=150, elem_id="lam-sample-clear")
            self.line.lay_out()
            self.old = gr.HTML("", js_on_load=None, elem_id="lam-sample-old")
            self.told = gr.HTML("", elem_id="lam-sample-view")

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        tab, page = self.tab, self.tab.page
        shown = [tab.stage.overlay, self.told, self.old]
        given = {page.target, page.moment, tab.name, tab.hub, self.how, self.count, self.seed}
        self.draw.click(**self.line.does(self._draw, given, shown, self._course))
        self.forget.click(self._forget, [tab.name, tab.hub], shown, **QUIET)

    def telling(self, place: Place, draws: list[Drawn]) -> str:
        """What is told of draws and of the priors."""
        return space_views.sampling(draws, place.about)

    def _course(self, data: dict[Any, Any], *_: Any) -> list[Units]:
        return [Units("sample", 1, 0.02, size=number(data[self.count], 64) * len(data[self.how] or [1]))]

    def _draw(self, data: dict[Any, Any], request: gr.Request) -> Iterator[Any]:
        from lamdemo.latent_space.sampling import draw

        yield [gr.skip()] * 3  # a generator that yields nothing would clear what it may change
        with Notice():
            session, space, pipeline, place = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            chosen = data[self.how] or []
            groups = [group for group in PRIORS if group in chosen]
            if not groups:
                raise LamdemoError("Choose at least one way to draw: random or learned.")
            if groups != ["fixed"] and not pipeline.model.bottleneck.prior:
                groups = [group for group in groups if group != "fixed"]  # this family can only learn what is likely
            if groups != ["fixed"] and place.prior is None:
                raise LamdemoError("This checkpoint brings no learned prior; train one with lamdemo prior.")
            count, seed = int(number(data[self.count], 64)), int(number(data[self.seed], 0))
            states = None
            path, moment = data[self.tab.page.target], float(number(data[self.tab.page.moment], 0.0))
            if "here" in groups:
                states = pipeline.encode(play_target(path, moment, pipeline.fps)[-1:])
            space.samples, space.sampled = {}, (str(path), moment)
            for group in groups:
                how, given = PRIORS[group]
                z = draw(pipeline, how, count, states=states if given else None, prior=place.prior, seed=seed)
                space.samples[group] = z
                yield PAUSE
            told = [self._measured(group, z, place, pipeline) for group, z in space.samples.items()]
            yield [self.tab.stage.drawn_over(session, space, place), self.telling(place, told), ""]

    def _measured(self, group: str, z: np.ndarray, place: Place, pipeline: TransferPipeline) -> Drawn:
        """How large samples are, and how far they lie from the map's steps and from those of training."""
        from lamdemo.engine import LatentActions

        size = float(np.median(np.linalg.norm(z, axis=1)))
        judged = pipeline.out_of_distribution(LatentActions(z, pipeline.fps, pipeline.checkpoint))
        far = None
        if place.atlas is not None:
            _, found = place.atlas.nearest(z, 1)
            far = float(np.median(found)) / place.spacing
        return Drawn(group, len(z), size, far, None if judged is None else judged.count)

    def _forget(self, name: str, hub: str, request: gr.Request) -> list[Any]:
        with Notice():
            session, space, _, place = self.tab.at(name, hub, request)
            space.samples = {}
            return [self.tab.stage.drawn_over(session, space, place), self.telling(place, []), ""]
        return [gr.skip()] * 3
