"""Several futures of known commands: a command leaves open what follows, and a prior that knows it draws from that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import KnownController, TransferPipeline
from lamdemo.engine.controls import command_windows
from lamdemo.models.prior import FlowPrior, futures_name, load_prior


def futures_missing(pipeline: TransferPipeline, controller: str | None) -> str:
    """An empty text where a checkpoint draws several futures of a controller's commands, else why it does not.

    Args:
        pipeline: the checkpoint.
        controller: its name; None for latent actions, which say themselves what follows.
    """
    if controller is None:
        return "A latent action has one future, so several are drawn of a controller's commands only."
    folder, name = pipeline.folder, futures_name(controller)
    # Whether they are whole is found out when they are loaded, which says what is wrong.
    if folder is not None and any((folder / f"{name}.{ending}").is_file() for ending in ("json", "safetensors")):
        return ""
    return f"The checkpoint {pipeline.name} draws no futures of {controller}; train them with lamdemo train-futures."


def find_futures(pipeline: TransferPipeline, known: KnownController) -> FlowPrior:
    """The prior of a checkpoint that is told a controller's commands.

    Raises:
        LamdemoError: there is none, or it is damaged or of other commands.
    """
    missing = futures_missing(pipeline, known.name)
    name = futures_name(known.name)
    if missing or pipeline.folder is None:
        raise LamdemoError(missing)
    found = load_prior(pipeline.folder, pipeline.model.device, name=name)
    assert found is not None  # there is at least one of its files
    if found.config.commands % known.spec.width or not found.config.commands:
        raise LamdemoError(f"{name}.json is of other commands than the controller {known.name}; train it anew.")
    return found


def draw_futures(
    pipeline: TransferPipeline,
    known: KnownController,
    state: np.ndarray,
    commands: np.ndarray,
    count: int,
    seed: int = 0,
) -> np.ndarray:
    """Latents ``[count, Z]`` of what one command could bring: as many futures of it.

    Args:
        pipeline: the checkpoint.
        known: the controller whose command it is.
        state: ``[N, D]`` in which it is given.
        commands: ``[S, A]``, the command itself last, those before it first, as many as are known.
        count: how many.
        seed: of the draws.

    Raises:
        LamdemoError: see `find_futures`; or the commands are of another width.
    """
    prior = find_futures(pipeline, known)
    return _drawn(prior, known, state, commands, count, torch.Generator(prior.basis.device).manual_seed(seed))


def _drawn(
    prior: FlowPrior,
    known: KnownController,
    state: np.ndarray,
    commands: np.ndarray,
    count: int,
    generator: torch.Generator,
) -> np.ndarray:
    history = prior.config.commands // known.spec.width
    window = command_windows(known.spec, history, np.asarray(commands, np.float32))[-1]
    given = torch.from_numpy(np.ascontiguousarray(window)).to(prior.basis).flatten()[None]
    return prior.sample(torch.from_numpy(state)[None], count, commands=given, generator=generator)[0].cpu().numpy()


@dataclass(frozen=True, eq=False)
class Future:
    """One of the ways that commands can go."""

    frames: np.ndarray  # uint8 [S + 1, H, W, 3], the start first
    states: np.ndarray  # after each step, float32 [S, N, D]
    latents: np.ndarray  # that were drawn, float32 [S, Z]


def follow_futures(
    pipeline: TransferPipeline,
    known: KnownController,
    start: np.ndarray,
    commands: np.ndarray,
    count: int,
    seed: int = 0,
    before: np.ndarray | None = None,
) -> Iterator[Future]:
    """Futures of a whole row of commands: in each the next step is drawn in the state that the one before led to.

    Args:
        pipeline: the checkpoint.
        known: the controller whose commands they are.
        start: the picture, uint8 ``[H, W, 3]``.
        commands: ``[S, A]``.
        count: how many.
        seed: of the draws; each future has its own from it.
        before: ``[R, A]``, commands before the first.

    Raises:
        LamdemoError: see `find_futures`; or the commands are of another width.
    """
    prior = find_futures(pipeline, known)
    commands = known.spec.check(commands)
    done = commands[:0] if before is None else known.spec.check(before)
    way = pipeline.begin(start, history=0)
    for k in range(count):
        generator = torch.Generator(prior.basis.device).manual_seed(1009 * seed + k)
        way.reset()
        frames, states, latents = [start], [], []
        for t in range(len(commands)):
            told = np.concatenate([done, commands[: t + 1]])
            z = _drawn(prior, known, way.state, told, 1, generator)[0]
            frames.append(way.step(z).frame)
            states.append(way.state)
            latents.append(z)
        yield Future(np.stack(frames), np.stack(states), np.stack(latents))
