"""Errors of one step ahead on a stretch of one clip, of states and of drawn pictures."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lamdemo.engine import Inference
from lamdemo.models import Canvas


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean errors of one step ahead, from true states and pictures."""

    state: float  # mean absolute difference of states: model
    state_copy: float  # the same where nothing changes
    state_zero: float | None  # the model under no action; None where that was not measured, as after an adaptation
    picture: float  # mean absolute difference of pictures in [0, 1], at the encoder's square: what is drawn
    picture_copy: float  # the same for the last frame
    picture_zero: float | None  # what is drawn under no action

    @property
    def state_over_copy(self) -> float:
        """The model's error of states over that of copying."""
        return self.state / self.state_copy

    @property
    def picture_over_copy(self) -> float:
        """The same of pictures."""
        return self.picture / self.picture_copy

    def as_dict(self) -> dict[str, float | None]:
        """For reports."""
        ratios = {"state_over_copy": self.state_over_copy, "picture_over_copy": self.picture_over_copy}
        return dataclasses.asdict(self) | ratios


class Stretch(NamedTuple):
    """Frames of a clip, as the model sees them."""

    pictures: Tensor  # [T, 3, H, W]
    states: Tensor  # [T, N, D]


@torch.no_grad()
def look_at(engine: Inference, frames: np.ndarray) -> Stretch:
    """Encode frames uint8 ``[T, H, W, 3]``."""
    frames = np.ascontiguousarray(frames)
    return Stretch(
        torch.cat([engine.square(frames[at : at + 16]) for at in range(0, len(frames), 16)]),
        engine.encode(frames).float(),
    )


@torch.no_grad()
def measure_one_step(engine: Inference, clip: Stretch, *, zero: bool = True) -> Errors:
    """Errors of one step ahead, as `lamdemo.evaluation.videos` measures them: past and present are true.

    Args:
        engine: with the model.
        clip: to measure on.
        zero: whether to measure the model under no action, too.
    """
    model, states = engine.model, clip.states
    latents = engine.latents(states)
    cache = model.world_model.new_cache()
    found: dict[str, list[Tensor]] = {name: [] for name in Errors.__dataclass_fields__}
    for t, z in enumerate(latents):
        now, picture = states[None, t : t + 1], clip.pictures[t : t + 1]
        true, goal = states[t + 1], clip.pictures[t + 1]
        ways = {"": (z, cache), "_zero": (torch.zeros_like(z), cache.branch())}
        for name in ("_zero", "") if zero else ("",):
            given, memory = ways[name]
            prediction = model.world_model(now, given[None, None], memory)
            drawn = Canvas(picture).apply(model.render(now[:, 0], prediction, picture))
            found["state" + name].append((prediction.states[0, 0] - true).abs().mean())
            found["picture" + name].append((drawn[0] - goal).abs().mean())
        found["state_copy"].append((now[0, 0] - true).abs().mean())
        found["picture_copy"].append((picture[0] - goal).abs().mean())
    return Errors(**{k: float(torch.stack(v).mean()) if v else None for k, v in found.items()})  # type: ignore[arg-type]
