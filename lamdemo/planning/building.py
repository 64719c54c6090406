"""A planner of a checkpoint: controllers, other world models and latents, put together by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import KnownController, TransferPipeline
from lamdemo.engine.controls import command_windows
from lamdemo.models.action_conditioned import ActionConditioned
from lamdemo.models.bottleneck import DiscreteBottleneck
from lamdemo.models.companion_files import load_action_conditioned, load_distilled
from lamdemo.models.distilled import DistilledModel
from lamdemo.models.prior import FlowPrior, futures_name, load_prior
from lamdemo.models.world_model import WorldModel
from lamdemo.planning.cem import CEM, CEMConfig
from lamdemo.planning.dynamics import (
    ByController,
    ByLabel,
    ByLatents,
    BySampling,
    Conditioner,
    Imagination,
    ModelDynamics,
)
from lamdemo.planning.gradient import Gradient, GradientConfig
from lamdemo.planning.icem import ICEM, ICEMConfig
from lamdemo.planning.mppi import MPPI, MPPIConfig
from lamdemo.planning.planner import CostWeights, Planner
from lamdemo.planning.random import RandomConfig, RandomShooting
from lamdemo.planning.solver import Solver
from lamdemo.planning.spaces import KnownSpace, LatentSpace, Space

SOLVERS: dict[str, tuple[type[Any], Callable[[Any], Solver]]] = {
    "cem": (CEMConfig, CEM),
    "icem": (ICEMConfig, ICEM),
    "mppi": (MPPIConfig, MPPI),
    "gradient": (GradientConfig, Gradient),
    "random": (RandomConfig, RandomShooting),
}
"""Solvers by name, each with its config."""

LATENT_PRIOR = 0.1  # weight of the prior in latent space


def build_solver(name: str, **settings: Any) -> Solver:
    """A solver by name, with its defaults but for ``settings``.

    Raises:
        LamdemoError: there is no such solver, or it has no such setting, or the setting is out of range.
    """
    if name not in SOLVERS:
        raise LamdemoError(f"There is no solver {str(name)[:40]!r}; choose one of {', '.join(SOLVERS)}.")
    config, solver = SOLVERS[name]
    known = [f.name for f in dataclasses.fields(config)]
    for setting in settings:
        if setting not in known:
            raise LamdemoError(f"The solver {name} has no setting {setting[:40]!r}; it has {', '.join(known)}.")
    return solver(config(**settings))


def build_planner(
    pipeline: TransferPipeline,
    *,
    controller: str | KnownController = "car",
    space: Literal["known", "latent"] = "known",
    solver: str = "cem",
    distilled: bool | DistilledModel | None = None,
    baseline: bool | ActionConditioned = False,
    horizon: int = 3,
    refine: int = 32,
    weights: CostWeights | Mapping[str, Any] | None = None,
    latents: np.ndarray | Tensor | None = None,
    dims: int = 12,
    look: Literal["each", "start"] = "each",
    futures: int = 0,
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> Planner:
    """A planner of a checkpoint.

    Args:
        pipeline: the checkpoint.
        controller: of the known actions, by name or itself; not needed in latent space.
        space: "known" searches known actions, "latent" the latent actions themselves.
        solver: one of `SOLVERS`.
        distilled: search with the checkpoint's distilled model (True), without (False), as there is one (None), or it.
        baseline: let the action-conditioned baseline imagine: the checkpoint's, or one that is given. It is searched
            in the same coordinates as with the controller.
        horizon: H.
        refine: see `Planner`.
        weights: of the cost. In latent space a prior keeps latents where they live unless this says otherwise.
        latents: ``[M, Z]`` whose principal components span the latent space; those that came with the checkpoint
            (a sample of its training's) without them.
        dims: of the latent space.
        look: whether the controller looks at every imagined state, or only at the start.
        futures: of each command, over which costs are averaged (`find_futures`); 0 for the controller's one latent.
        dtype: to search in, the device's fastest without it; plans are judged at last in the checkpoint's own.
        settings: of the solver.

    Raises:
        LamdemoError: something asked for is not there, or a setting is out of range.
    """
    _check_space(space, bool(baseline), futures)
    searching = build_solver(solver, **settings)
    device, world_model = pipeline.model.device, pipeline.model.world_model
    given = CostWeights(**weights) if isinstance(weights, Mapping) else weights
    conditioner: Conditioner
    searched: Space
    if space == "latent":
        searched, conditioner = _latent_space(pipeline, latents, dims), ByLatents()
        given = given or CostWeights(prior=LATENT_PRIOR)
    else:
        known = pipeline.controller(controller) if isinstance(controller, str) else controller
        mean, scale = (values.float().to(device) for values in (known.controller.mean, known.controller.std))
        # Searched in the controller's coordinates also with the baseline: were each to search around what its own
        # training data (flipped, reversed or not) had on average, the two would not be compared by what they imagine.
        searched, conditioner = KnownSpace(known.spec, mean, scale.clamp_min(1e-6)), ByController(known.controller)
        if futures:
            conditioner = BySampling(find_futures(pipeline, known), known.spec.width, futures)
        if baseline:
            world_model, conditioner = _by_label(pipeline, baseline, known)
    width = len(searched.idle)
    coarse = _distilled_of(pipeline, distilled, bool(baseline))

    def dynamics(imagination: Imagination) -> ModelDynamics:
        return ModelDynamics(conditioner, imagination, actions=width, look=look, dtype=dtype)

    chunk = {} if device.type == "cpu" else {"chunk": 4096}
    return Planner(
        pipeline,
        dynamics(Imagination.full(world_model, **chunk)),
        searched,
        searching,
        distilled=None if coarse is None else dynamics(Imagination.distilled(coarse, **chunk)),
        weights=given,
        horizon=horizon,
        refine=refine,
        history=conditioner.history,
    )


def _check_space(space: str, baseline: bool, futures: int) -> None:
    if space not in ("known", "latent"):
        raise LamdemoError(f"There is no space {str(space)[:40]!r}; plan in known or latent.")
    if baseline and space == "latent":
        raise LamdemoError("The twin knows no latent actions; plan over known ones.")
    if futures and (baseline or space == "latent"):
        raise LamdemoError("Futures are drawn of known commands in the world model; plan without the twin, in known.")


def find_futures(pipeline: TransferPipeline, known: KnownController) -> FlowPrior:
    """The prior of a checkpoint that is told a controller's commands.

    Raises:
        LamdemoError: there is none, or it is of other commands.
    """
    folder, name = pipeline.folder, futures_name(known.name)
    found = load_prior(folder, pipeline.model.device, name=name) if folder is not None else None
    if found is None:
        raise LamdemoError(
            f"The checkpoint {pipeline.name} draws no futures of {known.name}; train them with lamdemo train-futures."
        )
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
    history = prior.config.commands // known.spec.width
    window = command_windows(known.spec, history, np.asarray(commands, np.float32))[-1]
    generator = torch.Generator(prior.basis.device).manual_seed(seed)
    given = torch.from_numpy(np.ascontiguousarray(window)).to(prior.basis).flatten()[None]
    return prior.sample(torch.from_numpy(state)[None], count, commands=given, generator=generator)[0].cpu().numpy()


def _distilled_of(
    pipeline: TransferPipeline, asked: bool | DistilledModel | None, baseline: bool
) -> DistilledModel | None:
    if isinstance(asked, DistilledModel) or asked is False:
        return asked or None
    found = None
    if pipeline.folder is not None:
        found = load_distilled(pipeline.folder, pipeline.model.device, baseline=baseline)
    if found is None and asked:
        whose = "twin" if baseline else "world model"
        raise LamdemoError(f"The checkpoint {pipeline.name} has no draft of its {whose}; plan without one.")
    return found


def _baseline_of(pipeline: TransferPipeline) -> ActionConditioned:
    found = load_action_conditioned(pipeline.folder, pipeline.model.device) if pipeline.folder is not None else None
    if found is None:
        raise LamdemoError(f"The checkpoint {pipeline.name} has no twin; plan with its controllers.")
    return found


def _by_label(
    pipeline: TransferPipeline, given: bool | ActionConditioned, known: KnownController
) -> tuple[WorldModel, ByLabel]:
    baseline = given if isinstance(given, ActionConditioned) else _baseline_of(pipeline)
    name = next((n for n in (known.name, known.spec.name) if n in baseline.names), None)
    if name is None:
        raise LamdemoError(f"The twin knows {', '.join(baseline.names)} and not {known.name}; choose one of these.")
    return baseline.world_model, ByLabel(baseline, name)


def _latent_space(pipeline: TransferPipeline, latents: np.ndarray | Tensor | None, dims: int) -> LatentSpace:
    if latents is None:
        if pipeline.training_latents is None:
            raise LamdemoError(
                f"The checkpoint {pipeline.name} brings no sample of latents; give those of a recording."
            )
        latents = pipeline.training_latents.latents
    channels = pipeline.model.config.bottleneck.channels
    if latents.ndim != 2 or latents.shape[1] != channels:
        raise LamdemoError(f"These latents are not of {pipeline.name}, whose have {channels} numbers.")
    bottleneck, device = pipeline.model.bottleneck, pipeline.model.device
    codes = bottleneck.codes.detach().float() if isinstance(bottleneck, DiscreteBottleneck) else None
    space = LatentSpace.fit(latents, dims, codes=codes)
    return LatentSpace(space.basis.to(device), space.std.to(device), codes)
