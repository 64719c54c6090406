"""What checkpoints share: those with the same encoder encode a clip once; and what each then makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, TransferPipeline


def _same(one: TransferPipeline, other: TransferPipeline) -> bool:
    if one.model.config.encoder != other.model.config.encoder or one.fps != other.fps:
        return False
    if one.model.device != other.model.device:
        return False
    first, second = one.model.encoder.state_dict(), other.model.encoder.state_dict()
    return first.keys() == second.keys() and all(
        first[k].dtype == second[k].dtype and torch.equal(first[k], second[k]) for k in first
    )


def same_encoders(pipelines: Mapping[str, TransferPipeline]) -> list[list[str]]:
    """Names of the pipelines, those together whose encoders are equal to the bit and that step at one rate.

    Raises:
        LamdemoError: there is no pipeline.
    """
    if not pipelines:
        raise LamdemoError("There is no checkpoint to judge; give at least one.")
    groups: list[list[str]] = []
    for name, pipeline in pipelines.items():
        for group in groups:
            if _same(pipelines[group[0]], pipeline):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def by_encoder(
    pipelines: Mapping[str, TransferPipeline],
    evaluate: Callable[[dict[str, TransferPipeline]], Mapping[str, dict[str, Any]]],
) -> dict[str, dict[str, Any]]:
    """Results by name, in the given order, of an evaluation that takes pipelines with the same encoder together."""
    results: dict[str, dict[str, Any]] = {}
    for names in same_encoders(pipelines):
        results |= evaluate({name: pipelines[name] for name in names})
    return {name: results[name] for name in pipelines}


@torch.no_grad()
def latents_of(pipeline: TransferPipeline, states: Tensor) -> np.ndarray:
    """Latents ``[S, Z]`` of states ``[T, N, D]`` that are encoded already; what `TransferPipeline.infer` gives."""
    device = pipeline.model.device
    dtype = pipeline.model.world_model.tokens.weight.dtype
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return pipeline.model.infer(states[None].to(device))[0].float().cpu().numpy()


def infer_all(
    pipelines: Mapping[str, TransferPipeline], groups: Sequence[Sequence[str]], frames: np.ndarray
) -> dict[str, LatentActions]:
    """Latent actions of frames ``[T, H, W, 3]`` by each pipeline; ``groups`` is from `same_encoders`."""
    found = {}
    for group in groups:
        states = pipelines[group[0]].encode(frames)
        for name in group:
            p = pipelines[name]
            found[name] = LatentActions(latents_of(p, states), p.fps, p.checkpoint)
    return found


def transferred(
    pipeline: TransferPipeline, actions: LatentActions, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Clips uint8 ``[T, H, W, 3]`` that begin with the target: under actions, and under no action."""
    steps = list(pipeline.stream(actions, target))
    return np.stack([s.frame for s in steps]), np.stack([s.idle for s in steps])
