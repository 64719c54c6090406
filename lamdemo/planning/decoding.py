"""From latent actions to known ones: the commands that a controller turns into the nearest latents.

A small search over commands alone: no world model is asked, so that it takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamdemo.engine import KnownController

SAMPLES = 128
ROUNDS = 5
_ELITES = 12


@dataclass(frozen=True, eq=False)
class Nearest:
    """Commands and how well they account for the latents that were wanted; B rows."""

    commands: np.ndarray  # float32 [B, A]
    wanted: np.ndarray  # [B], length of each latent, from that of the idle command on
    left: np.ndarray  # [B], what of it the command's latent does not reach: their distance
    unit: np.ndarray  # [B], what drawn commands' latents differ from the mean command's, root mean square


@torch.no_grad()
def decode_plan(
    known: KnownController, states: Tensor, latents: Tensor, before: np.ndarray, *, ridge: float = 0.0
) -> np.ndarray:
    """Commands ``[B, S, A]`` for plans in the latent space, step by step.

    Args:
        known: the controller.
        states: ``[B, S, N, D]``, in which each step is taken.
        latents: ``[B, S, Z]``, wanted.
        before: ``[B, R, A]``, commands before the first step, the newest last.
        ridge: see `nearest_commands`.
    """
    made = np.asarray(before, np.float32)
    for k in range(latents.shape[1]):
        found = nearest_commands(known, states[:, k], latents[:, k], made, ridge=ridge).commands
        made = np.concatenate([made, found[:, None]], 1)
    return made[:, before.shape[1] :]


@torch.no_grad()
def nearest_commands(
    known: KnownController, states: Tensor, latents: Tensor, before: np.ndarray, *, ridge: float = 0.0
) -> Nearest:
    """The commands whose latents, by the controller, lie nearest to the wanted ones.

    By the cross-entropy method. Each row gets the same noise, whatever is beside it.

    A latent that was searched for or inferred holds more than commands bring about, and channels of which it hardly
    tells would be set to fit that rest. So the square of a command's standard coordinates, times ``ridge``, is added to
    the square of the distance, which is measured in what drawn commands' latents differ from the mean command's.

    Args:
        known: the controller.
        states: ``[B, N, D]``.
        latents: ``[B, Z]``, wanted.
        before: ``[B, R, A]``, commands before this one, the newest last.
        ridge: see above; 0 for the nearest latent alone.
    """
    controller, spec = known.controller, known.spec
    weight = next(controller.parameters())
    lead = np.concatenate(
        [np.broadcast_to(spec.zero, (len(before), known.history, spec.width)), np.asarray(before, np.float32)], 1
    )[:, -(known.history - 1) :]
    lead = lead[:, : known.history - 1]  # none where only the step's own command is seen
    low, high = torch.from_numpy(spec.low), torch.from_numpy(spec.high)
    memory = controller.memory(states.to(weight.device, weight.dtype))
    wanted = latents.to(weight.device).float()
    found = Nearest(np.zeros((len(states), spec.width), np.float32), *np.zeros((3, len(states))))
    idle = torch.from_numpy(spec.zero)
    for b in range(len(states)):
        generator = torch.Generator().manual_seed(0)
        middle, scale = controller.mean.float().cpu(), controller.std.float().cpu()
        mean, std, best, least, unit = middle, scale, middle, np.inf, None
        past = torch.from_numpy(lead[b]).expand(SAMPLES, -1, -1)
        for _ in range(ROUNDS):
            noise = torch.randn(SAMPLES, spec.width, generator=generator)
            noise[0] = 0
            tried = (mean + std * noise).maximum(low).minimum(high)
            if unit is None:
                tried[1] = idle
            window = torch.cat([past, tried[:, None]], 1).to(weight.device, weight.dtype)
            made = controller.act(memory[b : b + 1], window).float()
            if unit is None:  # the first of the first round is the mean command, the second the idle one
                unit = (made - made[0]).square().sum(-1).mean()
                found.wanted[b], found.unit[b] = float((wanted[b] - made[1]).norm()), float(unit.sqrt())
            size = ((tried - middle) / scale.clamp_min(1e-6)).square().sum(-1)
            left = (made - wanted[b]).norm(dim=-1).cpu()
            apart = left.square() + ridge * unit.cpu() * size
            order = apart.sort(stable=True).indices[:_ELITES]
            if apart[order[0]] < least:
                best, least, found.left[b] = tried[order[0]], float(apart[order[0]]), float(left[order[0]])
            mean, std = tried[order].mean(0), tried[order].std(0).clamp_min(1e-4)
        found.commands[b] = best.numpy()
    return found
