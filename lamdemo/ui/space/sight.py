"""What the model sees of the target, and where an action acts in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.ui.notices import Notice
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import (
    Part,
    number,
)
from lamdemo.ui.space.work import play_target
from lamdemo.ui.waiting import Line

if TYPE_CHECKING:
    from lamdemo.ui.space.tab import SpaceTab


class Sight(Part):
    """The state view."""

    def __init__(self, tab: SpaceTab) -> None:
        super().__init__(tab)
        self.line = Line(tab.page.sessions, "sight", brief=True)

    def lay_out(self) -> None:
        """Make the controls."""
        with gr.Accordion("What the model sees", open=False, elem_classes="lam-card", elem_id="lam-space-fold-sight"):
            gr.HTML('<p class="lam-note">Its state of the target, and where the motion on the stage acts.</p>')
            self.look = gr.Button("Look", variant="primary", min_width=110, elem_id="lam-sight-look")
            self.line.lay_out()
            self.view = gr.HTML("", elem_id="lam-sight-view")

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        self.look.click(**self.line.does(self._look, self.tab.stage.aim, self.view))

    def _look(self, data: dict[Any, Any], request: gr.Request) -> Any:
        from lamdemo.latent_space.state_view import action_heat, colour_picture, overlay, state_colours

        with Notice():
            _, space, pipeline, _ = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            moment = float(number(data[self.tab.page.moment], 0.0))
            target = play_target(data[self.tab.page.target], moment, pipeline.fps)
            picture = target[-1]
            height, width = picture.shape[:2]
            state = pipeline.encode(target[-1:])[0].float().cpu().numpy()
            colours = colour_picture(state_colours(pipeline).colours(state), height, width)
            heat, label = None, ""
            if space.chosen is not None:
                strength = float(number(data[self.tab.stage.strength], 1.0))
                heat = overlay(picture, action_heat(pipeline, target, strength * space.chosen.z[0]))
                label = space.chosen.label
            return space_views.sight(picture, colours, heat, label)
        return gr.skip()
