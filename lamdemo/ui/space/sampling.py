"""Sampling: actions nobody showed, on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo.errors import LamdemoError
from lamdemo.ui.notices import Notice
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import (
    HEAVY,
    QUIET,
    Part,
    number,
)
from lamdemo.ui.space.views import Drawn
from lamdemo.ui.space.work import Place, play_target

if TYPE_CHECKING:
    from lamdemo.latent_space.sampling import How
    from lamdemo.pipeline import TransferPipeline

# What is drawn for a group, and whether the target is told.
PRIORS: dict[str, tuple[How, bool]] = {
    "fixed": ("fixed", False),
    "anywhere": ("learned", False),
    "here": ("learned", True),
}


class Sampling(Part):
    """Sampling."""

    def lay_out(self) -> None:
        """Make the controls."""
        with gr.Column(elem_classes="lam-card"):
            gr.HTML(
                "<h2>Sampling</h2><p>Actions nobody showed: drawn from the family's own prior, or from one that "
                "learned which actions there are, and which follow a picture like the target. They appear on the map "
                "and can be clicked there.</p>"
            )
            with gr.Row():
                self.how = gr.CheckboxGroup(
                    [
                        ("The family's own prior", "fixed"),
                        ("The learned prior, for any picture", "anywhere"),
                        ("The learned prior, given the target", "here"),
                    ],
                    value=["fixed", "here"],
                    label="Draw from",
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
            self.told = gr.HTML("", elem_id="lam-sample-view")

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        tab, page = self.tab, self.tab.page
        shown = [tab.stage.overlay, self.told]
        self.draw.click(
            self._draw,
            {page.target, page.moment, tab.name, tab.hub, self.how, self.count, self.seed},
            shown,
            **HEAVY,
        )
        self.forget.click(self._forget, [tab.name, tab.hub], shown, **QUIET)

    def telling(self, place: Place, draws: list[Drawn]) -> str:
        """What is told of draws and of the priors."""
        return space_views.sampling(draws, place.about)

    def _draw(self, data: dict[Any, Any], request: gr.Request) -> list[Any]:
        from lamdemo.latent_space.sampling import draw

        with Notice():
            session, space, pipeline, place = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            chosen = data[self.how] or []
            groups = [group for group in PRIORS if group in chosen]
            if not groups:
                raise LamdemoError("Choose at least one prior to draw from.")
            if groups != ["fixed"] and place.prior is None:
                raise LamdemoError("This checkpoint brings no learned prior; train one with lamdemo prior.")
            count, seed = int(number(data[self.count], 64)), int(number(data[self.seed], 0))
            states = None
            if "here" in groups:
                moment = float(number(data[self.tab.page.moment], 0.0))
                states = pipeline.encode(play_target(data[self.tab.page.target], moment, pipeline.fps)[-1:])
            space.samples = {}
            for group in groups:
                how, given = PRIORS[group]
                z = draw(pipeline, how, count, states=states if given else None, prior=place.prior, seed=seed)
                space.samples[group] = z
            told = [self._measured(group, z, place, pipeline) for group, z in space.samples.items()]
            return [self.tab.stage.drawn_over(session, space, place), self.telling(place, told)]
        return [gr.skip()] * 2

    def _measured(self, group: str, z: np.ndarray, place: Place, pipeline: TransferPipeline) -> Drawn:
        """How large samples are, and how far they lie from the map's steps and from those of training."""
        from lamdemo.pipeline import LatentActions

        size = float(np.median(np.linalg.norm(z, axis=1)))
        judged = pipeline.judge_familiarity(LatentActions(z, pipeline.fps, pipeline.checkpoint))
        far = None
        if place.atlas is not None:
            _, found = place.atlas.nearest(z, 1)
            far = float(np.median(found)) / place.spacing
        return Drawn(group, len(z), size, far, None if judged is None else judged.count)

    def _forget(self, name: str, hub: str, request: gr.Request) -> list[Any]:
        with Notice():
            session, space, _, place = self.tab.at(name, hub, request)
            space.samples = {}
            return [self.tab.stage.drawn_over(session, space, place), self.telling(place, [])]
        return [gr.skip()] * 2
