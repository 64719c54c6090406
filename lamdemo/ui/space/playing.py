"""Steering: keys that act on the picture as it is now, with a way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo.ui.inputs import BETWEEN
from lamdemo.ui.notices import Notice
from lamdemo.ui.space import style
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import (
    Part,
    data_of,
    names_of,
    number,
)
from lamdemo.ui.space.work import Place, SpaceSession, play_target
from lamdemo.ui.waiting import Line

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.space.tab import SpaceTab


class Playing(Part):
    """The sub-tab Steer."""

    def __init__(self, tab: SpaceTab) -> None:
        super().__init__(tab)
        self.line = Line(tab.page.sessions, "play", brief=True)

    def lay_out(self) -> None:
        """Make the controls."""
        with gr.Row(elem_classes="lam-two"):
            with gr.Column(scale=4, min_width=320, elem_classes="lam-card"):
                self.line.lay_out()
                self.board = gr.HTML(space_views.playing_empty(), js_on_load=style.FLIPBOOK, elem_id="lam-play-view")
            with gr.Column(scale=3, min_width=320, elem_classes="lam-card"):
                gr.HTML(
                    "<h2>Steer</h2><p>Press Start; then each key moves the picture on by one step, from where it is. "
                    "The keys work while the picture is in sight, but not while you type.</p>"
                )
                self.start = gr.Button("Start with the picture", variant="primary", elem_id="lam-play-start")
                self.gain = gr.Slider(
                    0.25, 3, 1, step=0.25, label="Strength of each press", buttons=[], elem_id="lam-play-gain"
                )
                self.pad = gr.HTML("", js_on_load=style.PAD, elem_id="lam-play-pad")

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        tab, page = self.tab, self.tab.page
        given: set[Any] = {page.target, page.moment, tab.name, tab.hub, self.gain}
        shown = [self.board, self.pad]
        self.start.click(**self.line.does(self._start, given, shown))
        self.pad.click(**self.line.does(self._press, given, shown), trigger_mode="multiple")

    def buttons(self, space: SpaceSession, place: Place) -> str:
        """The buttons as they are now."""
        actions = []
        for key, (browser, shown) in space_views.KEYS.items():
            action = place.keys.get(key)
            if action is not None:
                actions.append((browser, shown, names_of(place, space).get(action.id) or action.id))
        undo = space.rollout is not None and space.rollout.can_undo
        return space_views.pad(actions, space.chosen, undo)

    def _begin(self, data: dict[Any, Any], space: SpaceSession, pipeline: TransferPipeline) -> None:
        path, moment = data[self.tab.page.target], float(number(data[self.tab.page.moment], 0.0))
        target = play_target(path, moment, pipeline.fps)
        space.rollout, space.pressed, space.playing = pipeline.begin(target, between=BETWEEN), [], (str(path), moment)

    def _start(self, data: dict[Any, Any], request: gr.Request) -> list[Any]:
        with Notice():
            _, space, pipeline, place = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            self._begin(data, space, pipeline)
            assert space.rollout is not None
            return [space_views.playing([space.rollout.frame], 0, []), self.buttons(space, place)]
        return [gr.skip()] * 2

    def _press(self, data: dict[Any, Any], event: gr.EventData, request: gr.Request) -> list[Any]:
        said = data_of(event)
        act, pressed = said.get("act"), said.get("key")
        with Notice():
            _, space, pipeline, place = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            here = (str(data[self.tab.page.target]), float(number(data[self.tab.page.moment], 0.0)))
            if space.rollout is None or space.playing != here:
                self._begin(data, space, pipeline)
            rollout = space.rollout
            assert rollout is not None
            frames = [rollout.frame]
            gain = float(number(data[self.gain], 1.0))
            if act == "undo":
                if rollout.undo() and space.pressed:
                    space.pressed.pop()
                frames.append(rollout.frame)
            elif act == "reset":
                rollout.reset()
                space.pressed.clear()
                frames.append(rollout.frame)
            else:
                z, word = self._pressed(str(pressed), space, place)
                if z is None:
                    return [gr.skip()] * 2
                for one in z[:4]:
                    step = rollout.step(gain * one)
                    frames += [*step.between, step.frame]
                    space.pressed.append(word)
            return [space_views.playing(frames, rollout.count, space.pressed), self.buttons(space, place)]
        return [gr.skip()] * 2

    def _pressed(self, key: str, space: SpaceSession, place: Place) -> tuple[np.ndarray | None, str]:
        if key == " " and space.chosen is not None:
            return space.chosen.z, space.chosen.label
        for name, (browser, _) in space_views.KEYS.items():
            action = place.keys.get(name)
            if browser == key and action is not None:
                return action.z[None], names_of(place, space).get(action.id) or action.id
        return None, ""
