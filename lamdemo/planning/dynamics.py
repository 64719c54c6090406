"""What would come of actions: the world model behind one interface, whatever the actions are and however coarse it is.

Two choices make a dynamics. What an action is (`Conditioner`): a known one that a controller turns into a latent by
what is in view, a latent, or a label that the action-conditioned baseline knows. And what imagines (`Imagination`): the
full world model, or the distilled one, which is ten times as fast and works on coarser states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from lamdemo.core.devices import fast_dtype
from lamdemo.engine.rollout import predict
from lamdemo.models.action_conditioned import ActionConditioned
from lamdemo.models.controller import Controller
from lamdemo.models.distilled import DistilledModel
from lamdemo.models.prior import FlowPrior
from lamdemo.models.world_model import Prediction, WorldModel


@dataclass(frozen=True, eq=False)
class Start:
    """Where candidates start from."""

    state: Tensor  # [B, n, d], as the dynamics has states
    history: Tensor  # [B, C - 1, A], the commands before, oldest first
    seen: Tensor  # [B, N, D], the full state

    def each(self) -> Iterator[Start]:
        """The start of each problem, ``B = 1``."""
        for b in range(len(self.state)):
            yield Start(self.state[b : b + 1], self.history[b : b + 1], self.seen[b : b + 1])


@runtime_checkable
class Dynamics(Protocol):
    """Imagines what comes of actions."""

    @property
    def chunk(self) -> int:
        """Candidates of a problem that are best imagined at once; more are split."""
        ...

    @property
    def draws(self) -> int:
        """Futures that one candidate may have: those of consecutive ones that are alike."""
        ...

    def begin(self, states: Tensor, history: Tensor | None = None) -> Start:
        """Start from full states ``[B, N, D]``, with the commands ``[B, C - 1, A]`` before (none were: zeros)."""
        ...

    def rollout(self, start: Start, actions: Tensor) -> Tensor:
        """The states after each step, flattened, ``[B, K, S, M]``, of candidates ``[B, K, S, A]``."""
        ...

    def imagine(self, start: Start, actions: Tensor) -> tuple[Tensor, Prediction]:
        """Latents ``[B, S, Z]`` and all that is predicted of one candidate each, ``[B, S, A]``; in full precision."""
        ...

    def goal(self, states: Tensor) -> Tensor:
        """Full states ``[B, N, D]`` as `rollout` would give them, ``[B, M]``."""
        ...


# What an action is.


class Conditioner(ABC):
    """Turns actions into what a world model is conditioned on."""

    history = 1  # C, how many commands it sees: this step's and those before it
    looks = False  # whether it looks at the state
    draws = 1  # futures that one command may have, in turn those of consecutive rows

    def memory(self, states: Tensor) -> Tensor:
        """What it keeps of full states ``[B, N, D]``, ``[B, ...]``."""
        return states.new_zeros(len(states), 0)

    @abstractmethod
    def latents(self, memory: Tensor | None, actions: Tensor, step: int) -> Tensor:
        """``[B, Z]`` of commands ``[B, C, A]``, of `memory`, whose B may be 1, and of the step's number."""


class ByController(Conditioner):
    """Known actions through a controller, which looks at the state."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.history = controller.config.history
        self.looks = controller.config.kind == "state"

    def memory(self, states: Tensor) -> Tensor:
        """See `Conditioner`."""
        return self.controller.memory(states)

    def latents(self, memory: Tensor | None, actions: Tensor, step: int) -> Tensor:
        """See `Conditioner`."""
        if memory is None:
            memory = actions.new_zeros(1, 0, self.controller.config.width)
        return self.controller.act(memory, actions)


class ByLabel(Conditioner):
    """Known actions as labels, by which the action-conditioned baseline was trained."""

    def __init__(self, baseline: ActionConditioned, name: str) -> None:
        self.baseline, self.name, self.history = baseline, name, baseline.config.history

    def latents(self, memory: Tensor | None, actions: Tensor, step: int) -> Tensor:
        """See `Conditioner`."""
        return self.baseline.latents(self.name, actions)


class BySampling(Conditioner):
    """Known actions through a prior that is told them: each row is one of the futures that they leave open.

    Args:
        prior: see `lamdemo.models.prior`.
        width: A.
        draws: futures of each command. Their noise is the same for all commands, so that these can be compared.
        seed: of the noise.
    """

    looks = True
    _FLOW = 4  # steps of the flow

    def __init__(self, prior: FlowPrior, width: int, draws: int, seed: int = 0) -> None:
        self.prior, self.draws, self.seed = prior, draws, seed
        self.history = prior.config.commands // width

    def memory(self, states: Tensor) -> Tensor:
        """See `Conditioner`."""
        return self.prior.context(states)

    def latents(self, memory: Tensor | None, actions: Tensor, step: int) -> Tensor:
        """See `Conditioner`."""
        assert memory is not None
        generator = torch.Generator(actions.device).manual_seed(1009 * self.seed + step)
        return self.prior.sample(
            None,
            1,
            context=memory.expand(len(actions), -1),
            commands=actions.flatten(1),
            steps=self._FLOW,
            noises=self.draws,
            generator=generator,
        )[:, 0]


class ByLatents(Conditioner):
    """Latent actions as they are."""

    def latents(self, memory: Tensor | None, actions: Tensor, step: int) -> Tensor:
        """See `Conditioner`."""
        return actions[:, -1]


# What imagines.


@dataclass(frozen=True, eq=False)
class Imagination:
    """A world model and the states it works on."""

    world_model: WorldModel  # predicts them
    project: Callable[[Tensor], Tensor]  # full states [..., N, D] to them, [..., n, d]
    lift: Callable[[Tensor], Tensor]  # and back, as well as that goes
    chunk: int  # candidates that are imagined at once; so many that what they need stays in the processor's cache
    coarse: DistilledModel | None = None  # the distilled model, if it is one

    @classmethod
    def full(cls, world_model: WorldModel, chunk: int = 16) -> Imagination:
        """The world model itself."""
        return cls(world_model, lambda states: states, lambda states: states, chunk)

    @classmethod
    def distilled(cls, distilled: DistilledModel, chunk: int = 75) -> Imagination:
        """One distilled from it."""
        return cls(distilled.world_model, distilled.project, distilled.lift, chunk, distilled)


class CoarseLook:
    """A controller's memory of coarse states: ``controller.memory(distilled.lift(coarse))``, a few times faster.

    Lifting is linear, and so is the first thing a controller does to a state: together they are one matrix, of a
    quarter of the size, and the lifted states are never made.
    """

    @torch.no_grad()
    def __init__(self, controller: Controller, distilled: DistilledModel) -> None:
        """Args: a controller whose patches are whole coarse cells; the distilled model."""
        tokens, p, cell = controller.tokens, controller.config.patch, distilled.cell
        self.controller, self.side = controller, distilled.side
        self.cells = p // distilled.config.pool  # coarse cells along each side of one token
        q, d = self.cells, distilled.config.channels
        # What each channel of each coarse cell of the first token adds to that token's patch.
        ones = torch.zeros(q * q * d + 1, distilled.side, distilled.side, d, device=tokens.weight.device)
        ones[:-1, :q, :q] = torch.eye(q * q * d).reshape(-1, q, q, d).to(ones)
        lifted = distilled.lift(ones.flatten(1, 2).to(distilled.basis.dtype)).unflatten(
            1, (distilled.grid, distilled.grid)
        )
        patch = lifted[:, :p, :p].reshape(len(ones), p * p * cell).to(tokens.weight.dtype)
        self.weight = (tokens.weight @ (patch[:-1] - patch[-1]).T).contiguous()
        self.places = tokens.weight @ patch[-1] + tokens.bias + controller.places

    def __call__(self, coarse: Tensor) -> Tensor:
        """``[B, n, d]`` to ``[B, P, E]``."""
        b, side, q = len(coarse), self.side // self.cells, self.cells
        x = coarse.reshape(b, side, q, side, q, -1).transpose(2, 3).reshape(b, side * side, -1)
        x = F.linear(x, self.weight) + self.places
        for block in self.controller.blocks:
            x = block(x)
        return x


class ModelDynamics:
    """A conditioner and an imagination, put together.

    Gradients with respect to actions that ask for them pass through all steps. Everything else is computed without.
    """

    def __init__(
        self,
        conditioner: Conditioner,
        imagination: Imagination,
        *,
        actions: int,
        look: Literal["each", "start"] = "each",
        dtype: torch.dtype | None = None,
    ) -> None:
        """Put a dynamics together.

        Args:
            conditioner: what an action is.
            imagination: what imagines.
            actions: A.
            look: whether a controller looks at every state that is imagined, or only at the start.
            dtype: to compute matrix products in; the device's fastest without it (`fast_dtype`).
        """
        self.conditioner, self.imagination, self.actions = conditioner, imagination, actions
        self.look, self.dtype = look, dtype or fast_dtype(self.device)
        self._look_again: Callable[[Tensor], Tensor] | None = None
        if conditioner.looks and look == "each":
            self._look_again = self._looking()

    @property
    def chunk(self) -> int:
        """See `Dynamics`."""
        return self.imagination.chunk

    @property
    def draws(self) -> int:
        """See `Dynamics`."""
        return self.conditioner.draws

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.imagination.world_model.tokens.weight.device

    def _computing(self, exact: bool = False) -> AbstractContextManager[object]:
        dtype = self.imagination.world_model.tokens.weight.dtype if exact else self.dtype
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)

    @torch.no_grad()
    def begin(self, states: Tensor, history: Tensor | None = None) -> Start:
        """See `Dynamics`.

        Raises:
            ValueError: the history is of another length or width.
        """
        seen = states.float().to(self.device)
        before = self.conditioner.history - 1
        if history is None:
            history = seen.new_zeros(len(seen), before, self.actions)
        if history.shape != (len(seen), before, self.actions):
            raise ValueError(f"the history must be [{len(seen)}, {before}, {self.actions}], not {list(history.shape)}")
        return Start(self.imagination.project(seen), history.float().to(self.device), seen)

    def goal(self, states: Tensor) -> Tensor:
        """See `Dynamics`."""
        with torch.no_grad():
            return self.imagination.project(states.float().to(self.device)).flatten(1)

    def rollout(self, start: Start, actions: Tensor) -> Tensor:
        """See `Dynamics`."""
        with torch.set_grad_enabled(actions.requires_grad):
            parts = []
            for alone, candidates in zip(start.each(), actions, strict=True):
                memory = self._memory(alone.seen)
                for some in candidates.split(self.chunk):
                    steps = [p.states[:, 0].flatten(1) for _, p in self._run(alone, some, memory)]
                    parts.append(torch.stack(steps, 1))
            return torch.cat(parts).unflatten(0, actions.shape[:2])

    @torch.no_grad()
    def imagine(self, start: Start, actions: Tensor) -> tuple[Tensor, Prediction]:
        """See `Dynamics`."""
        latents, predictions = [], []
        for alone, candidate in zip(start.each(), actions, strict=True):
            done = self._run(alone, candidate[None], self._memory(alone.seen, exact=True), exact=True)
            latents.append(torch.stack([z for z, _ in done], 1))
            predictions.append([torch.cat(part, 1) for part in zip(*(p for _, p in done), strict=True)])
        joined = Prediction(*(torch.cat(part) for part in zip(*predictions, strict=True)))
        return torch.cat(latents).float(), joined

    def _looking(self) -> Callable[[Tensor], Tensor]:
        """What the conditioner keeps of states as the imagination has them."""
        distilled, by = self.imagination.coarse, self.conditioner
        if (
            distilled is not None
            and isinstance(by, ByController)
            and not by.controller.config.patch % distilled.config.pool
        ):
            return CoarseLook(by.controller, distilled)
        return lambda states: by.memory(self.imagination.lift(states))

    def _memory(self, seen: Tensor, exact: bool = False) -> Tensor | None:
        if not self.conditioner.looks:
            return None
        with self._computing(exact):
            return self.conditioner.memory(seen)

    def _run(
        self, start: Start, actions: Tensor, memory: Tensor | None, exact: bool = False
    ) -> list[tuple[Tensor, Prediction]]:
        """Latents ``[K, Z]`` and predictions (``T = 1``) of each step, of candidates ``[K, S, A]`` from one start."""
        world_model, c = self.imagination.world_model, self.conditioner.history
        k, s = actions.shape[:2]
        commands = torch.cat([start.history.expand(k, -1, -1), actions], 1)
        seen = memory

        def latent(t: int, states: Tensor) -> Tensor:
            nonlocal seen
            if t and self._look_again is not None:
                seen = self._look_again(states)
            return self.conditioner.latents(seen, commands[:, t : t + c], t)

        with self._computing(exact):
            return list(predict(world_model, start.state.expand(k, -1, -1), latent, s))
