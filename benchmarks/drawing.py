"""Drawing: a frame of each size, and what a second of the whole rollout brings."""

from __future__ import annotations

import copy
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.material import ACTING, frames_for, loaded, sized
from benchmarks.measuring import BETWEEN, SIZES, Settings, entry, rounded, timed
from lamdemo.engine.rollout import to_frames
from lamdemo.models import Canvas


def floor_of_drawing(picture: np.ndarray, layers: int, repeats: int) -> dict[str, Any]:
    """One bicubic ``cv2.remap`` of the picture ``[H, W, 3]`` for each layer."""
    h, w = picture.shape[:2]
    x, y = (v.astype(np.float32) for v in np.meshgrid(np.arange(w) + 3.3, np.arange(h) + 1.7))
    values = picture.astype(np.float32) / 255

    def remap() -> None:
        for _ in range(layers):
            cv2.remap(values, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)

    return {
        "seconds": timed(remap, max(repeats, 5))["median"],
        "of": f"one bicubic cv2.remap of the picture for each of {layers} layer{'s' * (layers > 1)}",
    }


@torch.no_grad()
def draw(settings: Settings) -> dict[str, Any]:
    """A frame from a step's grids, and new frames a second of steps with all that belongs to them."""
    pipeline, told = loaded(settings), {}
    clip, photo = ACTING
    actions = pipeline.infer(frames_for(4, pipeline.fps, clip)[:: BETWEEN + 1], refinement=0)
    z = torch.from_numpy(actions.z).to(pipeline.model.device)
    for width, height in SIZES:
        size, picture = f"{width}x{height}", sized(photo, width, height)
        pictures = pipeline.to_tensor(picture)[None]
        state, canvas = pipeline.encode(picture[None]), Canvas(pictures)
        prediction = pipeline.model.world_model(state[:, None], z[None, :1], pipeline.model.world_model.new_cache())
        rendering = pipeline.model.render(state, prediction, pictures)
        canvas.apply(rendering)  # what acts is lifted once, at the first step; here are those after it
        layers = 1 + int(bool(canvas.cover.max() > 0.5))
        floor = floor_of_drawing(picture, layers, settings.repeats)

        def apply(canvas: Canvas = canvas, rendering: Any = rendering) -> None:
            to_frames(copy.copy(canvas).apply(rendering))

        large = canvas.enlarged(rendering)

        def between(canvas: Canvas = canvas, rendering: Any = large) -> None:
            to_frames(canvas.preview(rendering, 0.5))

        told[f"draw a step's frame, {size}"] = entry(timed(apply, settings.repeats), floor, layers=layers)
        told[f"draw a frame between, {size}"] = entry(timed(between, settings.repeats), floor, layers=layers)
        rollout = pipeline.begin(picture, idle=True, between=BETWEEN, history=0)
        for z_t in actions.z[:2]:
            rollout.step(z_t)
        seconds = timed(lambda r=rollout: r.step(actions.z[2]), settings.repeats)  # type: ignore[misc]
        told[f"a step with frames between and one of no action, {size}"] = entry(seconds) | {
            "new frames a second": rounded((BETWEEN + 1) / seconds["median"])
        }
    return told
