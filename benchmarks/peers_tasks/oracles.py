"""Costs by the true simulator, in the same protocol as ours: what planning could reach, and what features allow.

`TrueState` plans with the true dynamics and the true distance: it is as good as the search is. `TrueFeatures` plans
with the true dynamics and a checkpoint's features of the pictures that the simulator draws: what it loses against the
first, features and the cost on them lose; what a model loses against it, prediction loses.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from benchmarks.peers_tasks.tasks import BLOCK, Task
from lamdemo.core.errors import LamdemoError
from lamdemo.planning import Planner


class TrueState:
    """The distance of true states after true steps."""

    def __init__(self, task: Task, mean: np.ndarray, scale: np.ndarray) -> None:
        """Args: the task; mean and scale of the actions that candidates are standardised by."""
        self.task, self.mean, self.scale = task, mean, scale
        self.simulator: Any = gymnasium.make(task.environment, disable_env_checker=True).unwrapped
        self.simulator.reset(seed=0)
        if task.name == "tworoom":
            self._check()

    def get_cost(self, info: dict[str, Any], candidates: Tensor) -> Tensor:
        """Costs ``[B, K]`` of candidates ``[B, K, S, block * A]``."""
        actions = candidates.double().unflatten(-1, (BLOCK, -1)).flatten(2, 3).cpu().numpy() * self.scale + self.mean
        rows = []
        for b in range(len(actions)):
            start, goal = (np.asarray(info[k][b, 0, 0], np.float64) for k in ("state", "goal_state"))
            if self.task.name == "tworoom":
                ends = self.walk(start, actions[b])
            else:
                ends = np.stack([self.roll(start, goal, one) for one in actions[b]])
            rows.append([self.judge(info, b, end, goal) for end in ends])
        return torch.tensor(rows, dtype=torch.float32)

    def walk(self, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """TwoRoom's true places ``[K, 2]`` after actions ``[K, t, 2]``, all at once: its own step takes too long.

        The simulator's rule for an upright wall with one door, as `_check` makes sure.
        """
        sim = self.simulator
        radius = float(sim.variation_space["agent"]["radius"].value.item())
        speed = float(sim.variation_space["agent"]["speed"].value.item())
        low, high, half = sim.BORDER_SIZE + radius, sim.IMG_SIZE - sim.BORDER_SIZE - radius, sim.wall_thickness // 2
        left, right = sim.WALL_CENTER - half - radius, sim.WALL_CENTER + half + radius
        door, wide = float(sim.door_positions[0]), float(sim.door_sizes[0]) + 1.75
        now = np.repeat(np.asarray(start, np.float32)[None], len(actions), 0)
        for step in np.clip(actions, -1, 1).astype(np.float32).swapaxes(0, 1):
            after = np.clip(now + step * np.float32(speed), low, high)
            closed = np.abs(after[:, 1] - door) > wide
            from_left = now[:, 0] < sim.WALL_CENTER
            after[from_left & closed & (after[:, 0] > left), 0] = left - 0.5
            after[~from_left & closed & (after[:, 0] < right), 0] = right + 0.5
            now = after
        return now

    def _check(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(12):
            start, actions = rng.uniform(25, 85, 2), np.cumsum(rng.normal(0, 0.3, (40, 2)), 0) + np.array([0.4, 0.0])
            if np.abs(self.walk(start, actions[None])[0] - self.roll(start, start, actions)).max() > 1e-2:
                raise LamdemoError("This version's TwoRoom moves by other rules; leave its oracles out.")

    def roll(self, start: np.ndarray, goal: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """The true state after actions ``[t, A]``."""
        self.simulator._set_state(start)
        self.simulator._set_goal_state(goal)
        for action in np.clip(actions, -1, 1):
            told = self.simulator.step(action)[4]
        return np.asarray(told["state"], np.float64)

    def judge(self, info: dict[str, Any], b: int, end: np.ndarray, goal: np.ndarray) -> float:
        """What a true end costs."""
        if self.task.name == "tworoom":
            return float(np.linalg.norm(end - goal))
        # Push-T is reached by 20 pixels of agent and block together and by 20 degrees of the block.
        turned = abs(end[4] - goal[4]) % (2 * np.pi)
        return float(np.linalg.norm(end[:4] - goal[:4]) / 20 + min(turned, 2 * np.pi - turned) / (np.pi / 9))


class TrueFeatures(TrueState):
    """The planner's own cost, of features of pictures that are drawn after true steps."""

    STEP = 6.0
    """TwoRoom's pictures differ by the agent's place alone: of places this near (pixels) one is encoded for all."""

    def __init__(self, task: Task, mean: np.ndarray, scale: np.ndarray, planner: Planner) -> None:
        super().__init__(task, mean, scale)
        self.planner = planner
        self.seen: dict[tuple[int, ...], Tensor] = {}

    def features(self, state: np.ndarray) -> Tensor:
        """``[M]``, as the planner's search has states."""
        if self.task.name == "tworoom":
            state = np.round(state / self.STEP) * self.STEP
        key = tuple(round(float(x)) for x in state)
        if key not in self.seen:
            self.simulator._set_state(state)
            search = self.planner.distilled or self.planner.judge
            self.seen[key] = search.goal(self.planner.pipeline.encode(self.simulator.render()[None]))[0]
        return self.seen[key]

    def judge(self, info: dict[str, Any], b: int, end: np.ndarray, goal: np.ndarray) -> float:
        """See `TrueState.judge`."""
        costs = info.setdefault("lamdemo_costs", {})
        if b not in costs:
            start, wanted = (np.asarray(info[k][b, 0, 0], np.uint8) for k in ("pixels", "goal"))
            search = self.planner.distilled or self.planner.judge
            costs[b] = self.planner.cost(search, self.planner.problem(start, wanted))
        none = torch.zeros(1, 1, 1, self.task.spec.width)
        with torch.no_grad():
            return float(costs[b](self.features(end)[None, None, None], none))
