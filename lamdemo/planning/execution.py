"""Plans carried out: receding horizon in a simulator (plan, act, look, plan again), and what to compare it with.

A policy sees pictures and the commands so far, never the truth; only `Hidden`, the upper bound, is told the task's own
actions. A planner in the latent space says which latent action it wants, and `decode_plan` by which command.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from lamdemo.core.actions import ActionSpec
from lamdemo.engine import KnownController
from lamdemo.planning.decoding import decode_plan
from lamdemo.planning.plans import Plan
from lamdemo.simulators import Simulator
from lamdemo.simulators.tasks import Task


class Policy(ABC):
    """What chooses the next command."""

    def begin(self, task: Task, seed: int) -> None:  # noqa: B027 (most have nothing to forget)
        """Forget what was, and take a task on."""

    @abstractmethod
    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The next command ``[A]``.

        Args:
            frame: what is seen now, uint8 ``[H, W, 3]``.
            before: the commands so far, ``[t, A]``.
        """


class Plans(Protocol):
    """What `Planner` can do, as far as it is needed here."""

    def plan(self, start: Any, goal: Any, *, history: Any = None, seed: int = 0, warm: Any = None) -> Plan:
        """From a picture to a picture."""
        ...


@dataclass(frozen=True, eq=False)
class Run:
    """What happened when a policy pursued a goal."""

    frames: np.ndarray  # uint8 [S + 1, H, W, 3], the start first
    truths: list[dict[str, np.ndarray]]  # what was true at each of them
    actions: np.ndarray  # float32 [S, A]
    distances: list[dict[str, float]]  # to the goal at each frame, see `Simulator.distance`
    reached: list[bool]  # whether that counts as being there, at each frame


Callback = Callable[[int, Any, "Policy"], bool | None]
"""Called after every step with its number (from 1), what is observed, and the policy; False ends the run."""


def pursue(
    sim: Simulator, task: Task, policy: Policy, steps: int, *, seed: int = 0, callback: Callback | None = None
) -> Run:
    """Let a policy pursue a goal for some steps; it is not told when it is there, and may walk off again.

    Args:
        sim: is taken to the task's start.
        task: what to reach.
        policy: chooses the commands.
        steps: how many at most.
        seed: of the policy's chance; each task gets its own from it.
        callback: see `Callback`.
    """
    now = sim.restore(task.start)
    policy.begin(task, int(np.random.SeedSequence([seed, task.seed]).generate_state(1)[0] >> 1))
    seen, taken = [now], np.zeros((0, sim.spec.width), np.float32)
    for k in range(steps):
        action = sim.spec.check(policy.act(seen[-1].frame, taken))
        taken = np.concatenate([taken, action])
        seen.append(sim.step(action[0]))
        if callback is not None and callback(k + 1, seen[-1], policy) is False:
            break
    distances = [sim.distance(o.truth, task.goal_truth) for o in seen]
    return Run(
        np.stack([o.frame for o in seen]),
        [dict(o.truth) for o in seen],
        taken,
        distances,
        [bool(sim.reached(d)) for d in distances],
    )


class Zero(Policy):
    """Does nothing."""

    def __init__(self, spec: ActionSpec) -> None:
        self._zero = spec.zero

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        return self._zero


class Constant(Policy):
    """Gives the same command at every step, such as the mean of the training data."""

    def __init__(self, spec: ActionSpec, command: np.ndarray) -> None:
        """Args: what the numbers are; the command, ``[A]``."""
        self._command = np.clip(command, spec.low, spec.high).astype(np.float32)

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        return self._command


class RandomPolicy(Policy):
    """Draws each command as those of the training data are spread, whatever it sees."""

    def __init__(self, spec: ActionSpec, mean: np.ndarray, spread: np.ndarray) -> None:
        """Args: what the numbers are; their mean and standard deviation, ``[A]``."""
        self._spec, self._mean, self._spread = spec, np.asarray(mean), np.asarray(spread)
        self._rng = np.random.default_rng(0)

    def begin(self, task: Task, seed: int) -> None:
        """See `Policy`."""
        self._rng = np.random.default_rng(seed)

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        drawn = self._mean + self._spread * self._rng.normal(size=self._spec.width)
        return np.clip(drawn, self._spec.low, self._spec.high).astype(np.float32)


class Hidden(Policy):
    """Knows the task's own actions, then does nothing: what can be reached at all."""

    def __init__(self, spec: ActionSpec) -> None:
        self._zero = spec.zero
        self._actions = self._zero[None]

    def begin(self, task: Task, seed: int) -> None:
        """See `Policy`."""
        self._actions = task.actions

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        return self._actions[len(before)] if len(before) < len(self._actions) else self._zero


class Planned(Policy):
    """Receding horizon: plans, carries out the first commands, looks, and plans again from where it was.

    Attributes:
        plan: the newest one; None before the first.
    """

    def __init__(
        self,
        planner: Plans,
        spec: ActionSpec,
        *,
        replan: int = 1,
        controller: KnownController | None = None,
        rest: float = 0.0,
        ridge: float = 0.0,
    ) -> None:
        """Make a policy of a planner.

        Args:
            planner: from pictures to plans.
            spec: of the simulator's actions.
            replan: steps of a plan that are carried out before the next is made.
            controller: decodes the plans of a planner in the latent space.
            rest: do nothing where the plan does not promise to cost less than that by this share: predictions are
                never sharp, so something always looks a little nearer, also from the goal itself.
            ridge: of that decoding, see `nearest_commands`.
        """
        if replan < 1:
            raise ValueError("a plan is carried out for one step at least")
        self._planner, self._spec, self._replan, self._controller = planner, spec, replan, controller
        self._rest, self._ridge = rest, ridge
        self.plan: Plan | None = None

    def begin(self, task: Task, seed: int) -> None:
        """See `Policy`."""
        self._goal, self._seed = task.goal_frame, seed
        self._queue: list[np.ndarray] = []
        self._executed = 0  # steps since the newest plan was made
        self.plan = None

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        if not self._queue:
            warm = None if self.plan is None else self.plan.warm.shifted(self._executed)
            self.plan = self._planner.plan(
                frame, self._goal, history=before if len(before) else None, seed=self._seed + len(before), warm=warm
            )
            if self._rest and self.plan.cost > (1 - self._rest) * self.plan.idle_cost:
                self._queue = [self._spec.zero]
            else:
                self._queue = list(self._commands(self.plan, before)[: self._replan])
            self._executed = len(self._queue)
        return self._queue.pop(0)

    def _commands(self, plan: Plan, before: np.ndarray) -> np.ndarray:
        if plan.actions is not None:
            return plan.actions
        if self._controller is None:
            raise ValueError("a plan in the latent space needs a controller to be carried out")
        states = np.concatenate([plan.first_state[None], plan.states[:-1]])
        return decode_plan(
            self._controller,
            torch.from_numpy(states[: self._replan])[None],
            torch.from_numpy(plan.latents[: self._replan])[None],
            before[None],
            ridge=self._ridge,
        )[0]


class ShuffledGoal(Policy):
    """Lets a policy pursue the goal of the task before: whether it looks at its goal at all."""

    def __init__(self, policy: Policy) -> None:
        """Args: the policy."""
        self._policy = policy
        self._goal: np.ndarray | None = None

    def begin(self, task: Task, seed: int) -> None:
        """See `Policy`."""
        goal = task.goal_frame if self._goal is None else self._goal
        self._policy.begin(dataclasses.replace(task, goal_frame=goal), seed)
        self._goal = task.goal_frame

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        return self._policy.act(frame, before)
