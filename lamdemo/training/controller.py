"""Training controllers: what was commanded in episodes, and the latent actions that were seen in them.

States and latents of each episode are computed once and kept (`lamdemo.training.cached_features`); a training is then
minutes on one CPU core.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import KnownController, command_windows, fitting
from lamdemo.models.controller import Controller, ControllerConfig
from lamdemo.training.cached_features import Steps
from lamdemo.training.loop import Loop, Schedule

_ROWS = 256  # steps that are judged at once


@dataclass(frozen=True)
class ControllerTrainingConfig:
    """How a controller is trained."""

    steps: int = 3000  # of the optimizer
    batch: int = 64  # steps of episodes in each
    learning_rate: float = 1e-3  # at its highest; falls along a cosine
    warmup: float = 0.05  # share of the steps in which it rises
    weight_decay: float = 0.05  # of AdamW, on matrices
    clip: float = 1.0  # largest norm of the gradient
    # Largest standard deviation of the noise on states, in units of the whitened state, since in use most states are
    # predictions.
    noise: float = 0.2
    average: float = 0.997  # of the weights that are kept, the share that each step leaves
    seed: int = 0  # of all that is drawn at random
    save_minutes: float = 1.0  # time between two saves of the way so far

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.learning_rate <= 0 or not 0 <= self.average < 1:
            raise ValueError("training needs steps, a batch, a learning rate above 0 and an average below 1")


class _Rows:
    """Steps in the shape in which a controller takes them."""

    def __init__(self, steps: Steps, config: ControllerConfig, codes: Tensor | None) -> None:
        self.steps, self.places, self.blind = steps, steps.places, config.kind == "actions"
        self.windows = torch.from_numpy(
            np.concatenate([command_windows(steps.spec, config.history, p.actions) for p in steps.parts])
        )
        self.latents = torch.from_numpy(steps.latents)
        self.codes = None if codes is None else torch.cdist(self.latents, codes.cpu()).argmin(-1)

    def __len__(self) -> int:
        return len(self.places)

    def states(self, rows: np.ndarray) -> Tensor:
        """``[B, N, D]``; ``[B, 0, D]`` where nobody will look at them."""
        if self.blind:
            return torch.zeros(len(rows), 0, self.steps.parts[0].states.shape[-1])
        return torch.from_numpy(np.stack([self.steps.parts[i].states[t] for i, t in self.places[rows]])).float()


class ControllerTrainer(Loop[Controller, ControllerTrainingConfig]):
    """Trains a controller on steps of episodes."""

    eager = 0
    fused = None

    def __init__(
        self, config: ControllerTrainingConfig, controller: Controller, rows: _Rows, about: dict[str, Any]
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: how to train.
            controller: to be trained, where it is to be computed.
            rows: what it learns from.
            about: what a run and the one that it goes on from must have in common.
        """
        self.rows, self.about = rows, about
        super().__init__(config, controller, next(controller.parameters()).device)

    @property
    def schedule(self) -> Schedule:
        """See `Loop.schedule`."""
        c = self.config
        return Schedule(c.steps, c.learning_rate, c.warmup, 0.0, c.weight_decay, c.clip, c.average)

    @property
    def identity(self) -> dict[str, Any]:
        """See `Loop.identity`."""
        return {"about": self.about}

    def step_loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """See `Loop.step_loss`."""
        rng = np.random.default_rng([self.config.seed, step])
        chosen = rng.integers(len(self.rows), size=self.config.batch)
        states = self.rows.states(chosen)
        with torch.random.fork_rng():
            torch.manual_seed(int(rng.integers(2**62)))
            if self.config.noise and states.numel():
                states += torch.randn(states.shape) * (self.config.noise * torch.rand(len(states), 1, 1))
            out = self.module(states.to(self.device), self.rows.windows[chosen].to(self.device))
        if self.rows.codes is not None:
            return F.cross_entropy(out, self.rows.codes[chosen].to(self.device)), {}
        return (out - self.rows.latents[chosen].to(self.device)).square().sum(-1).mean(), {}


@torch.no_grad()
def judge_controller(controller: Controller, steps: Steps) -> dict[str, float]:
    """How near a controller's latents come to the inferred ones.

    Args:
        controller: to judge.
        steps: with true states; best of recordings that were not trained on.

    Returns:
        ``r2``: share of the latents' variance that is explained, over all channels together. ``ratio``: mean of
        ``|z - z_hat|`` over the mean of ``|z - mean z|``. ``cosine``: mean cosine of z and z_hat, each step weighted
        by ``|z|``, so that steps in which nothing happens count little. ``steps`` and ``recordings``: how many there
        were.
    """
    rows = _Rows(steps, controller.config, None)
    device = next(controller.parameters()).device
    controller.eval()
    found = []
    for start in range(0, len(rows), _ROWS):
        chosen = np.arange(start, min(start + _ROWS, len(rows)))
        given = rows.states(chosen).to(device), rows.windows[chosen].to(device)
        found.append(controller.latents(*given).float().cpu())
    z, z_hat = rows.latents, torch.cat(found)
    error, spread, size = z - z_hat, z - z.mean(0), z.norm(dim=-1)
    cosine = F.cosine_similarity(z, z_hat, dim=-1)
    return {
        "r2": float(1 - error.square().sum() / spread.square().sum().clamp_min(1e-12)),
        "ratio": float(error.norm(dim=-1).mean() / spread.norm(dim=-1).mean().clamp_min(1e-12)),
        "cosine": float((cosine * size).sum() / size.sum().clamp_min(1e-12)),
        "steps": len(steps),
        "recordings": len(steps.recordings),
    }


def train_controller(
    pipeline: TransferPipeline,
    steps: Steps,
    validation: Steps | None,
    controller_config: ControllerConfig,
    config: ControllerTrainingConfig | None = None,
    *,
    name: str = "controller",
    state: Path | None = None,
    stop_after: float | None = None,
) -> KnownController | None:
    """Train a controller.

    Args:
        pipeline: whose states and latents they are.
        steps: from `collect_steps`, of training recordings.
        validation: of others, to measure on; nothing is chosen by them here.
        controller_config: its sizes.
        config: how to train.
        name: of the controller.
        state: file that holds the way so far, every minute or so, and is removed at the end.
        stop_after: stop after so many minutes, to be called again.

    Returns:
        The controller with the weights' average, and figures in its ``about``; None where it was stopped before.

    Raises:
        LamdemoError: recordings are both trained on and measured on, or their actions differ, the state is of other
            settings or damaged, or the loss is no number.
    """
    config = config or ControllerTrainingConfig()
    if controller_config.actions != steps.spec.width:
        raise ValueError("the controller's commands are of another width than the episodes'")
    if validation is not None and (both := sorted(steps.recordings & validation.recordings)):
        raise LamdemoError(f"{both[0]} is to be trained on and measured on; split episodes by recording.")
    if validation is not None and validation.spec.names != steps.spec.names:
        raise LamdemoError(
            f"What is measured on has other actions ({', '.join(validation.spec.names)}) than what is trained on "
            f"({', '.join(steps.spec.names)}); give episodes of the same kind."
        )
    fits = fitting(pipeline)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        controller = Controller(controller_config, **fits).to(pipeline.model.device)
    rows = _Rows(steps, controller_config, fits["codes"])
    controller.fit_scales(rows.windows[:, -1])
    about: dict[str, Any] = {
        "data": {"steps": len(steps), "episodes": len(steps.parts), "recordings": len(steps.recordings)},
        "training": {k: v for k, v in dataclasses.asdict(config).items() if k != "save_minutes"},
    }
    bound = {**about, "name": name, "checkpoint": pipeline.checkpoint, "config": dataclasses.asdict(controller_config)}
    trainer, folder = ControllerTrainer(config, controller, rows, bound), None
    if state is not None:
        trainer.state_name, folder = state.name, state.parent
        trainer.resume(folder)
    if not trainer.run(folder, minutes=stop_after, title=name):
        return None
    trainer.finish().requires_grad_(False)
    given = steps.commands.astype(np.float64)
    about["commands"] = {"mean": given.mean(0).tolist(), "std": given.std(0).tolist()}
    about["figures"] = {"train": judge_controller(controller, _some(steps, 2000))}
    if validation is not None:
        about["figures"]["validation"] = judge_controller(controller, validation)
    if state is not None:
        state.unlink(missing_ok=True)
    return KnownController(name, steps.spec, controller, about)


def _some(steps: Steps, most: int) -> Steps:
    """About ``most`` steps of whole parts, spread over all of them."""
    every = max(len(steps) // most, 1)
    return Steps(steps.spec, steps.parts[::every])
