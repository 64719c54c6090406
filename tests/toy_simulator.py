"""A simulator small enough for tests: a bright dot on a dark square, moved by (dx, dy) in shares of the side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

import numpy as np
import pytest

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.simulators import Observation
from lamdemo.simulators import simulator as registry

TOY = ActionSpec(
    "toy",
    (
        Channel("dx", "change", -0.15, 0.15, "m", ("left", "right"), -1),
        Channel("dy", "change", -0.15, 0.15, "m", ("up", "down"), 1),
    ),
)


def draw(position: np.ndarray, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """The dot at ``position`` (x, y) in [0, 1] on a ground whose colour is the scene's."""
    y, x = (np.arange(n)[:, None] / n for n in size)
    apart = (x.T - position[0]) ** 2 + (y - position[1]) ** 2
    ground = np.random.default_rng(seed).integers(20, 90, 3)
    frame = ground + (255 - ground) * np.exp(-apart / 0.01)[..., None]
    return frame.round().astype(np.uint8)


class Toy:
    """See `lamdemo.simulators.Simulator`."""

    name, spec, fps = "toy", TOY, 4.0

    def __init__(self, size: tuple[int, int] = (64, 64), seed: int = 0) -> None:
        self.size = size
        self.reset(seed)

    def reset(self, seed: int) -> Observation:
        self.seed = seed
        self.position = np.random.default_rng([seed, 1]).uniform(0.3, 0.7, 2).astype(np.float32)
        return self.observe()

    def step(self, action: np.ndarray) -> Observation:
        moved = registry.checked_action(self.spec, action)
        self.position = np.clip(self.position + moved, 0.05, 0.95).astype(np.float32)
        return self.observe()

    def observe(self) -> Observation:
        return Observation(draw(self.position, self.size, self.seed), {"position": self.position.copy()})

    def snapshot(self) -> object:
        return self.seed, self.position.copy()

    def restore(self, snapshot: Any) -> Observation:
        self.seed, self.position = snapshot[0], snapshot[1].copy()
        return self.observe()

    def distance(self, a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> dict[str, float]:
        apart = a["position"] - b["position"]
        return {"metres": float(np.linalg.norm(apart)), "sideways": float(abs(apart[0]))}

    def reached(self, distance: Mapping[str, float]) -> bool:
        return distance["metres"] < 0.05

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, eq=False)
class ToyTask:
    """See `lamdemo.planning.execution.Goal`."""

    seed: int
    start: object
    goal_frame: np.ndarray
    goal_truth: dict[str, np.ndarray]
    actions: np.ndarray


def toy_task(sim: Toy, seed: int, steps: int = 4) -> ToyTask:
    """Go one way from the scene's start."""
    sim.reset(seed)
    start = sim.snapshot()
    way = np.random.default_rng([seed, 2]).choice([-0.06, 0.06], 2)
    actions = np.repeat(way[None].astype(np.float32), steps, 0)
    for action in actions:
        goal = sim.step(action)
    return ToyTask(seed, start, goal.frame, goal.truth, actions)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``make("toy")`` make one."""
    module = ModuleType("lamdemo.simulators.toy")
    module.Toy = Toy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry._ENTRIES, "toy", registry._Entry("toy", "Toy", (), "Toy", "toy"))
