"""Do commands lead where the inferred actions lead? Rollouts of eight steps from held-out episodes.

From the first frame of a stretch the world model goes on by itself, and each rollout is drawn and compared with the
true frames (the paper's section on the controller). What differs is where the latent of a step comes from:

``inferred``
    the episode's own two frames. All others are given over this one's error.
``controller``
    the command, and the state that is imagined.
``mlp``
    the command alone: the ablation.
``shuffled``
    the controller, with the commands of another recording.
``zero``
    nothing: a latent of zeros.
``twin``
    the command's label, in a world model that was trained on labels.
``copy``
    no model: the first frame held still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.engine import TransferPipeline
from lamdemo.engine.rollout import draw, predict, to_frames
from lamdemo.evaluation.control.held_out import Stretch
from lamdemo.evaluation.pictures import FROZEN_FEATURES, feature_distance, features
from lamdemo.evaluation.statistics import ratio_of_means, swapped
from lamdemo.evaluation.videos import state_error
from lamdemo.models.world_model import WorldModel

STEPS = 8
SEEN = (2, 4, 6, 8)  # steps after which pictures are compared; the network that does it takes longest of all
_BATCH = 6  # stretches that are imagined and drawn at once


class ActionAdapter(Protocol):
    """What turns a command into something that a world model is given."""

    world_model: WorldModel  # that takes it
    history: int  # C, commands that it sees

    def latents(self, states: Tensor, commands: Tensor) -> Tensor:
        """``[B, Z]`` of states ``[B, N, D]`` and commands ``[B, C, A]``."""
        ...


@dataclass(frozen=True)
class Imagined:
    """Rollouts: states ``[B, S, N, D]``, frames uint8 ``[B, S, H, W, 3]``."""

    states: Tensor
    frames: np.ndarray


@torch.no_grad()
def imagine(
    pipeline: TransferPipeline,
    world_model: WorldModel,
    frames: np.ndarray,
    states: Tensor,
    give: Callable[[int, Tensor], Tensor],
    steps: int,
) -> Imagined:
    """Roll a world model out from one frame, and draw it.

    Args:
        pipeline: whose decoder draws.
        world_model: of the same states.
        frames: uint8 ``[B, H, W, 3]`` to start from.
        states: of the frames, ``[B, N, D]``.
        give: latents ``[B, Z]`` by the step and the state that is imagined at it.
        steps: S.
    """
    with pipeline.computing():
        predictions = [p for _, p in predict(world_model, states, give, steps)]
    drawn = draw(pipeline, pipeline.to_tensor(frames), states, predictions)
    seen = [p.states[:, 0].float().cpu() for p in predictions]
    return Imagined(torch.stack(seen, 1), np.stack([to_frames(pictures) for pictures in drawn], 1))


def evaluate_rollouts(
    pipeline: TransferPipeline,
    cut: Sequence[Stretch],
    adapters: Mapping[str, ActionAdapter],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge rollouts on stretches of `STEPS` steps.

    Args:
        pipeline: whose model it is.
        cut: the stretches, of two recordings or more.
        adapters: "controller", and whichever there are of "mlp" and "twin".
        seed: of shuffles and the bootstrap.

    Returns:
        ``stretches``, ``recordings``; ``perceptual`` (method to the ``mean`` over the steps of `SEEN`, and
        ``by_step``), ``over_inferred`` (method to the ratio of mean errors, 95% interval over recordings),
        ``over_inferred_last`` (after the last of these steps),
        ``over_copy``; ``mlp_over_controller``; ``state``: ``error`` by step, ``over_inferred``, ``over_copy``, and
        ``recovered``: of what inferred latents take off the error of copying, the share that a method takes off. A
        drawn picture has an error of its own, beside which that of a wrong action can look small; this has not.
    """
    methods = ["inferred", *adapters, "zero", "copy"]
    if "controller" in adapters:
        methods.append("shuffled")
    steps = len(cut[0].actions)
    shown = [k - 1 for k in SEEN if k <= steps]
    near = {m: np.zeros((len(cut), len(shown))) for m in methods}
    apart = {m: np.zeros((len(cut), steps)) for m in methods}
    recordings = [s.recording for s in cut]
    other = swapped(recordings, np.random.default_rng([seed, 2])) if len(set(recordings)) > 1 else None
    if other is None:
        methods = [m for m in methods if m != "shuffled"]
    bar = tqdm(range(0, len(cut), _BATCH), desc="rollouts", disable=None)
    for start in bar:
        rows = list(range(start, min(start + _BATCH, len(cut))))
        with torch.no_grad():
            truth = torch.stack([pipeline.encode(cut[i].frames) for i in rows])  # [B, T, N, D]
            with pipeline.computing():
                inferred = pipeline.model.infer(truth)
        seen = [features(pipeline, cut[i].frames[[0, *(k + 1 for k in shown)]]) for i in rows]

        gives: dict[str, tuple[WorldModel, Callable[[int, Tensor], Tensor]]] = {}
        mine = pipeline.model.world_model
        gives["inferred"] = mine, _known(inferred)
        gives["zero"] = mine, _known(torch.zeros_like(inferred))
        for name, adapter in adapters.items():
            gives[name] = adapter.world_model, _commanded(adapter, [cut[i] for i in rows])
        if "shuffled" in methods and other is not None:
            adapter = adapters["controller"]
            gives["shuffled"] = adapter.world_model, _commanded(adapter, [cut[other[i]] for i in rows])
        for method, (world, gave) in gives.items():
            first = np.stack([cut[i].frames[0] for i in rows])
            made = imagine(pipeline, world, first, truth[:, 0], gave, steps)
            apart[method][rows] = state_error(made.states, truth[:, 1:].float().cpu()).numpy()
            for b, i in enumerate(rows):
                near[method][i] = feature_distance(features(pipeline, made.frames[b, shown]), seen[b][1:])
        apart["copy"][rows] = state_error(truth[:, :1].float().cpu(), truth[:, 1:].float().cpu()).numpy()
        for b, i in enumerate(rows):
            near["copy"][i] = feature_distance(seen[b][:1], seen[b][1:])
    about = {"perceptual_is": FROZEN_FEATURES}
    return about | compare_rollouts({m: near[m] for m in methods}, {m: apart[m] for m in methods}, recordings, seed)


def _known(latents: Tensor) -> Callable[[int, Tensor], Tensor]:
    """Latents ``[B, S, Z]``, step by step, whatever the states."""
    return lambda k, _: latents[:, k]


def _commanded(adapter: ActionAdapter, whose: Sequence[Stretch]) -> Callable[[int, Tensor], Tensor]:
    """What a adapter makes of the commands of stretches, step by step."""

    def give(k: int, states: Tensor) -> Tensor:
        commands = np.stack([s.commands(k, adapter.history) for s in whose])
        return adapter.latents(states, torch.from_numpy(commands).to(states.device))

    return give


def compare_rollouts(
    near: Mapping[str, np.ndarray], apart: Mapping[str, np.ndarray], recordings: Sequence[str], seed: int
) -> dict[str, Any]:
    """Figures of perceptual errors ``[n, pictures]`` and errors of states ``[n, S]``; see `evaluate_rollouts`."""

    def over(errors: Mapping[str, np.ndarray], base: str) -> dict[str, Any]:
        return {m: ratio_of_means(e, errors[base], recordings, seed=seed) for m, e in errors.items() if m != base}

    mean = {m: e.mean(1) for m, e in near.items()}
    states = {m: e.mean(1) for m, e in apart.items()}
    worse = None
    if {"mlp", "controller"} <= mean.keys():
        worse = ratio_of_means(mean["mlp"], mean["controller"], recordings, seed=seed)
    return {
        "stretches": len(recordings),
        "recordings": len(set(recordings)),
        "steps": int(next(iter(apart.values())).shape[1]),
        "pictures_after": [k for k in SEEN if k <= next(iter(apart.values())).shape[1]],
        "perceptual": {m: {"mean": e.mean(), "by_step": e.mean(0)} for m, e in near.items()},
        "over_inferred": over(mean, "inferred"),
        "over_inferred_last": over({m: e[:, -1] for m, e in near.items()}, "inferred"),
        "over_copy": over(mean, "copy"),
        "mlp_over_controller": worse,
        "state": {
            "error": {m: e.mean(0) for m, e in apart.items()},
            "over_inferred": over(states, "inferred"),
            "over_copy": over(states, "copy"),
            "recovered": {
                m: ratio_of_means(states["copy"] - e, states["copy"] - states["inferred"], recordings, seed=seed)
                for m, e in states.items()
                if m not in ("copy", "inferred")
            },
        },
    }
