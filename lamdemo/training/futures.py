"""Training what draws futures of commands: a prior that is told them (after RLA-WM, arXiv 2605.07079).

A controller gives the one latent that a command stands for on the average. What the command leaves open, such as how
far a machine gets in a step or what a pushed thing does, differs from one time to another; a prior that is told state
and command draws latents as they were inferred, one future each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import command_windows, fitting
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, pool_states
from lamdemo.training.cached_features import Steps
from lamdemo.training.prior import Pairs, PriorTrainConfig, train_prior

HISTORY = 2  # C, commands that are seen at a step, as a controller sees them


def pairs_with_commands(steps: Steps, pooled: int, history: int = HISTORY) -> Pairs:
    """States, latents and commands ``[M, A * C]`` of steps, each recording by its number.

    Args:
        steps: from `collect_steps`.
        pooled: cells a side that states are pooled to.
        history: C.
    """
    states = [pool_states(torch.from_numpy(np.array(p.states[: len(p.latents)])).float(), pooled) for p in steps.parts]
    numbers = {name: i for i, name in enumerate(sorted(steps.recordings))}
    return Pairs(
        torch.cat(states).half(),
        torch.from_numpy(steps.latents),
        torch.cat([torch.full((len(p.latents),), numbers[p.recording]) for p in steps.parts]),
        torch.zeros(len(steps), dtype=torch.bool),
        torch.from_numpy(
            np.concatenate([command_windows(steps.spec, history, p.actions) for p in steps.parts])
        ).flatten(1),
    )


def train_futures(
    pipeline: TransferPipeline,
    steps: Steps,
    config: PriorTrainConfig | None = None,
    *,
    name: str,
    state: Path | None = None,
    stop_after: float | None = None,
) -> tuple[FlowPrior, dict[str, Any]] | None:
    """Train a prior that is told commands.

    Args:
        pipeline: whose states and latents they are.
        steps: from `collect_steps`, of training recordings.
        config: how to train.
        name: of the controller whose commands they are.
        state: folder to save to, and to go on from.
        stop_after: stop after so many minutes, to be called again.

    Returns:
        See `train_prior`.

    Raises:
        LamdemoError: see `train_prior`.
    """
    if len(steps.recordings) < 2:
        raise LamdemoError("Futures need episodes of two recordings at least; give more episodes.")
    codes = fitting(pipeline)["codes"]
    model = pipeline.model.config
    sizes = FlowPriorConfig(
        channels=model.bottleneck.channels,
        state_channels=model.encoder.channels,
        snap=codes is not None,
        commands=HISTORY * steps.spec.width,
    )
    pairs = pairs_with_commands(steps, sizes.pooled)
    return train_prior(
        pairs, sizes, config, codes=codes, state=state, label=f"futures of {name}", stop_after=stop_after
    )
