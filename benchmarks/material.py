"""What several sections work on: the model, a clip, pictures of each size, a controller."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.measuring import BETWEEN, CLIP, EXAMPLES, Settings
from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import KnownController, fitting
from lamdemo.models.controller import Controller
from lamdemo.models.controller import ControllerConfig as Config
from lamdemo.video import read_clip, read_image

ACTING = EXAMPLES / "clips" / "rabbit_walks_right.mp4", EXAMPLES / "photos" / "polar_bear.jpg"
"""An example in which a thing acts, so that two layers are drawn."""


@functools.cache
def pipeline_of(checkpoint: str | None) -> TransferPipeline:
    """The model that is measured, loaded once a process."""
    return TransferPipeline.from_pretrained(checkpoint)


def loaded(settings: Settings) -> TransferPipeline:
    """The model of some settings."""
    return pipeline_of(settings.checkpoint)


@functools.cache
def frames_of(clip: Path, fps: float, side: int = 640) -> np.ndarray:
    """A clip's frames ``[T, H, W, 3]`` as the program reads them."""
    return read_clip(clip, fps=fps, max_side=side).frames


def frames_for(steps: int, fps: float, clip: Path = CLIP) -> np.ndarray:
    """Frames of so many steps and those between, ``[S * (BETWEEN + 1) + 1, H, W, 3]``: a clip, there and back again."""
    frames = frames_of(clip, fps * (BETWEEN + 1))
    there_and_back = np.concatenate([np.arange(len(frames)), np.arange(len(frames) - 2, 0, -1)])
    return frames[np.resize(there_and_back, steps * (BETWEEN + 1) + 1)]


def sized(picture: Path, width: int, height: int) -> np.ndarray:
    """A picture ``[H, W, 3]``, stretched."""
    return cv2.resize(read_image(picture), (width, height), interpolation=cv2.INTER_AREA)


def controller_of(pipeline: TransferPipeline, name: str | None = None) -> tuple[KnownController, bool]:
    """The checkpoint's controller of that name or its first, or an untrained one; and whether it is its own."""
    if pipeline.controllers:
        return pipeline.controller(name if name in pipeline.controllers else pipeline.controllers[0]), True
    spec = ActionSpec("car", (Channel("steering", "rate", -1, 1), Channel("throttle", "rate", -1, 1)))
    made = Controller(Config(actions=spec.width), **fitting(pipeline)).eval()
    torch.nn.init.normal_(made.out.weight, std=0.02)
    return KnownController("car", spec, made), False
