"""How time grows with steps, picture, context, batch and clip, and what grows faster than it must."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.material import ACTING, frames_for, loaded, sized
from benchmarks.measuring import BETWEEN, Settings, exponent, rounded, timed
from lamdemo.engine import TransferPipeline
from lamdemo.models import Canvas

SLACK = 0.15
"""By how much a measured power may be above the one that must be, which is what repeats differ by."""
Making = Callable[[int], Callable[[], object]]
"""Gives the work of a size."""
_STEPS, _SIDES, _BATCHES, _FRAMES = (4, 8, 16, 32), (256, 512, 768, 1024), (1, 2, 4, 8, 16, 32), (9, 17, 33, 65)


def grown(
    sizes: Sequence[int], making: Making, repeats: int, measure: Callable[[int], float] = float
) -> dict[str, Any]:
    """Seconds by size, and the power of the size by which they grow over the last two.

    Args:
        sizes: ascending, at least two.
        making: gives the work of a size.
        repeats: see `timed`.
        measure: of a size, to which the time should be in proportion at most; the size itself without it.
    """
    seconds = [timed(making(size), repeats) for size in sizes]
    power = exponent([measure(size) for size in sizes], [one["median"] for one in seconds])
    return {"sizes": list(sizes), "seconds": seconds, "power": rounded(power), "must be at most": 1.0}


@torch.no_grad()
def growth(settings: Settings) -> dict[str, Any]:
    """Measure each, and name what grows faster than it must."""
    pipeline, repeats = loaded(settings), settings.repeats
    rng = torch.Generator().manual_seed(0)
    config = pipeline.model.config

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng).to(pipeline.model.device)

    told = {
        "a rollout, by steps": grown(_STEPS, _rollout(pipeline, noise), repeats),
        "one step, by frames of context": grown(
            range(1, config.world_model.context + 1), _in_context(pipeline, noise), repeats
        ),
        "one step, by batch": grown(_BATCHES, _in_batches(pipeline, noise), repeats),
        "drawing a frame, by side": grown(_SIDES, _drawing(pipeline), repeats, lambda side: float(side**2)),
        "inferring at a glance, by frames": grown(_FRAMES, _inferring(pipeline, 0), repeats),
    }
    if pipeline.refinement_steps():
        told["inferring refined, by frames"] = grown(_FRAMES[:-1], _inferring(pipeline, None), repeats)
    too_fast = [name for name, one in told.items() if one["power"] > one["must be at most"] + SLACK]
    return {**told, "grows faster than it must": too_fast}


def _rollout(pipeline: TransferPipeline, noise: Callable[..., torch.Tensor]) -> Making:
    config = pipeline.model.config
    start = noise(1, 1, config.encoder.grid**2, config.encoder.channels)

    def making(steps: int) -> Callable[[], object]:
        actions = noise(1, steps, config.bottleneck.channels)
        return lambda: pipeline.model.world_model.rollout(start, actions)

    return making


def _in_context(pipeline: TransferPipeline, noise: Callable[..., torch.Tensor]) -> Making:
    model, config = pipeline.model.world_model, pipeline.model.config
    state = noise(1, 1, config.encoder.grid**2, config.encoder.channels)
    action = noise(1, 1, config.bottleneck.channels)

    def making(frames: int) -> Callable[[], object]:
        cache = model.new_cache()
        for _ in range(frames - 1):
            model(state, action, cache)
        return lambda: model(state, action, cache.branch())

    return making


def _in_batches(pipeline: TransferPipeline, noise: Callable[..., torch.Tensor]) -> Making:
    config = pipeline.model.config

    def making(batch: int) -> Callable[[], object]:
        states = noise(batch, 1, config.encoder.grid**2, config.encoder.channels)
        actions = noise(batch, 1, config.bottleneck.channels)
        return lambda: pipeline.model.world_model(states, actions)

    return making


def _drawing(pipeline: TransferPipeline) -> Making:
    clip, photo = ACTING
    actions = pipeline.infer(frames_for(2, pipeline.fps, clip)[:: BETWEEN + 1], refinement=0)
    z = torch.from_numpy(actions.z).to(pipeline.model.device)

    def making(side: int) -> Callable[[], object]:
        picture = sized(photo, side, side)
        pictures, state = pipeline.to_tensor(picture)[None], pipeline.encode(picture[None])
        prediction = pipeline.model.world_model(state[:, None], z[None, :1], pipeline.model.world_model.new_cache())
        rendering, canvas = pipeline.model.render(state, prediction, pictures), Canvas(pictures)
        canvas.apply(rendering)
        return lambda: canvas.preview(rendering, 1.0)

    return making


def _inferring(pipeline: TransferPipeline, refinement: int | None) -> Making:
    def making(frames: int) -> Callable[[], object]:
        clip: np.ndarray = frames_for(frames - 1, pipeline.fps)[:: BETWEEN + 1]
        return lambda: pipeline.infer(clip, refinement=refinement)

    return making


def growth_plots(report: dict[str, Any]) -> dict[str, Any]:
    """A plot of the section in a report, by its name; in proportion is a straight line at the slope of the dotted."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, one in report["sections"]["growth"].items():
        if not isinstance(one, dict) or "sizes" not in one:
            continue
        x = np.array(one["sizes"]) / one["sizes"][0]
        y = np.array([seconds["median"] for seconds in one["seconds"]])
        figure.add_scatter(x=x, y=y / y[0], name=f"{name} (power {one['power']:.2f})", mode="lines+markers")
    most = max((max(trace.x) for trace in figure.data), default=1)
    line = {"dash": "dot", "color": "#777777"}
    figure.add_scatter(x=[1, most], y=[1, most], name="in proportion", mode="lines", line=line)
    title = "How time grows"
    figure.update_layout(template="plotly_white", title=title, meta={"title": title}, width=1000, height=560)
    figure.update_xaxes(type="log", title="size, over the smallest")
    figure.update_yaxes(type="log", title="seconds, over those of the smallest")
    return {"growth": figure}
