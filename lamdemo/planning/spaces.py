"""What solvers search: standard coordinates ``u``, in which the actions of recordings are about N(0, 1).

A solver that starts from N(0, 1), as the paper's does, then starts from what people and machines do, whether the
actions are known ones (in degrees, metres or shares of full throttle) or latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError


@runtime_checkable
class Space(Protocol):
    """Translates between standard coordinates and actions."""

    @property
    def width(self) -> int:
        """U, coordinates a step."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of the coordinates."""
        ...

    @property
    def idle(self) -> Tensor:
        """The action under which nothing is done, ``[A]``."""
        ...

    def decode(self, u: Tensor) -> Tensor:
        """Actions ``[..., A]`` of coordinates ``[..., U]``."""
        ...

    def encode(self, actions: Tensor) -> Tensor:
        """Coordinates ``[..., U]`` of actions ``[..., A]``."""
        ...

    def spread(self, std: Tensor) -> Tensor:
        """How far coordinates ``[..., U]`` that differ by ``std`` move the actions, ``[..., A]``."""
        ...


@dataclass(frozen=True, eq=False)
class KnownSpace:
    """Known actions: ``a = clip(mean + scale * u, low, high)``."""

    spec: ActionSpec  # what the numbers are, and between what bounds
    mean: Tensor  # [A], of recorded actions
    scale: Tensor  # [A], their standard deviation

    def __post_init__(self) -> None:
        if self.mean.shape != (self.spec.width,) or self.scale.shape != (self.spec.width,):
            raise ValueError(f"mean and scale need {self.spec.width} numbers each")
        if not (self.scale > 0).all():
            raise ValueError("scale must be positive")

    @property
    def width(self) -> int:
        """See `Space`."""
        return self.spec.width

    @property
    def names(self) -> tuple[str, ...]:
        """See `Space`."""
        return self.spec.names

    @property
    def idle(self) -> Tensor:
        """See `Space`."""
        return torch.from_numpy(self.spec.zero).to(self.mean)

    def decode(self, u: Tensor) -> Tensor:
        """See `Space`."""
        low, high = (torch.from_numpy(bound).to(u) for bound in (self.spec.low, self.spec.high))
        return (self.mean + self.scale * u).clamp(low, high)

    def encode(self, actions: Tensor) -> Tensor:
        """See `Space`."""
        return (actions - self.mean) / self.scale

    def spread(self, std: Tensor) -> Tensor:
        """See `Space`."""
        return std * self.scale


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """Latent actions themselves, by the principal components of those inferred from unlabelled recordings.

    ``z = (std * u) @ basis``. A plan so found needs no labels at all; nothing but a prior then keeps it where
    latents live (`lamdemo.planning.costs.PriorPenalty`).
    """

    basis: Tensor  # [R, Z], orthonormal rows
    std: Tensor  # [R], along them
    # [codes, Z] of a discrete model; latents then become the nearest of them, and gradients pass as if they did not.
    codes: Tensor | None = None

    @classmethod
    def fit(cls, latents: Tensor | np.ndarray, dims: int = 12, *, codes: Tensor | None = None) -> LatentSpace:
        """The ``dims`` strongest components of ``latents [M, Z]`` about zero, which is no action.

        Latents are odd in time: every step's is the negative of the same step's backwards, so the mean of a few
        recordings says which way their cameras went and no more.

        Args:
            latents: inferred ones, of any recordings.
            dims: R; fewer where the latents vary in fewer directions.
            codes: of a discrete model.

        Raises:
            LamdemoError: there are fewer than two latents, or they do not differ.
        """
        z = torch.as_tensor(latents, dtype=torch.float32)
        if z.ndim != 2 or len(z) < 2:
            raise LamdemoError("A space of latent actions needs at least two latents; give a longer recording.")
        if dims < 1:
            raise LamdemoError(f"A space of latent actions needs at least one dimension, not {dims}.")
        _, size, rows = torch.linalg.svd(z.double(), full_matrices=False)
        std = size / len(z) ** 0.5
        count = min(dims, int((std > 1e-5 * std[0]).sum()))
        if not count or std[0] < 1e-6:
            raise LamdemoError("These latent actions do not differ; give a recording in which something moves.")
        rows = rows[:count]
        # A component's sign is arbitrary; fixed, so that the same data give the same coordinates everywhere.
        rows = rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
        return cls(rows.float(), std[:count].float(), codes)

    @property
    def width(self) -> int:
        """See `Space`."""
        return len(self.std)

    @property
    def names(self) -> tuple[str, ...]:
        """See `Space`."""
        return tuple(f"pc{i + 1}" for i in range(self.width))

    @property
    def idle(self) -> Tensor:
        """See `Space`. In every family, zero is "nothing happens"."""
        return torch.zeros_like(self.basis[0])

    def decode(self, u: Tensor) -> Tensor:
        """See `Space`."""
        z = (u * self.std) @ self.basis
        if self.codes is None:
            return z
        with torch.no_grad():
            nearest = torch.cdist(z.reshape(-1, z.shape[-1]), self.codes).argmin(-1)
        return z + (self.codes[nearest].reshape(z.shape) - z).detach()

    def encode(self, actions: Tensor) -> Tensor:
        """See `Space`."""
        return actions @ self.basis.T / self.std

    def spread(self, std: Tensor) -> Tensor:
        """See `Space`."""
        return ((std * self.std).square() @ self.basis.square()).sqrt()
