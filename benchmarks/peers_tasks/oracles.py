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
from lamdemo.planning import Planner


class TrueState:
    """The distance of true states after true steps."""

    def __init__(self, task: Task, mean: np.ndarray, scale: np.ndarray) -> None:
        """Args: the task; mean and scale of the actions that candidates are standardised by."""
        self.task, self.mean, self.scale = task, mean, scale
        self.simulator: Any = gymnasium.make(task.environment, disable_env_checker=True).unwrapped
        self.simulator.reset(seed=0)

    def get_cost(self, info: dict[str, Any], candidates: Tensor) -> Tensor:
        """Costs ``[B, K]`` of candidates ``[B, K, S, block * A]``."""
        actions = candidates.double().unflatten(-1, (BLOCK, -1)).flatten(2, 3).cpu().numpy() * self.scale + self.mean
        rows = []
        for b in range(len(actions)):
            start, goal = (np.asarray(info[k][b, 0, 0], np.float64) for k in ("state", "goal_state"))
            rows.append([self.judge(info, b, self.roll(start, goal, one), goal) for one in actions[b]])
        return torch.tensor(rows, dtype=torch.float32)

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

    STEP = 4.0
    """TwoRoom's pictures differ by the agent's place alone: of places this near (pixels) one is encoded for all."""

    def __init__(self, task: Task, mean: np.ndarray, scale: np.ndarray, planner: Planner) -> None:
        super().__init__(task, mean, scale)
        self.planner = planner
        self.seen: dict[tuple[int, ...], Tensor] = {}

    def features(self, state: np.ndarray) -> Tensor:
        """``[M]``, as the planner's search has states."""
        if self.task.name == "tworoom":
            state = np.round(state / self.STEP) * self.STEP
        key = tuple(int(round(x)) for x in state)
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
