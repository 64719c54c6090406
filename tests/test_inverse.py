"""Acting by inverse dynamics: what is read is done, and what cannot be read is left to another policy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_simulator import TOY, Toy, toy_task

from lamdemo.planning.decoding import nearest_commands
from lamdemo.planning.execution import Policy, pursue
from lamdemo.planning.inverse import InversePolicy

SEEN = 0.2  # how far away what is read is true


def where(frame: np.ndarray) -> np.ndarray:
    """The dot's place (x, y), in shares of the side."""
    at = np.argwhere(frame.sum(-1) >= frame.sum(-1).max() - 2).mean(0)
    return at[::-1] / frame.shape[0]


def infer(states: Tensor) -> Tensor:
    """The way between two places; beyond what can be seen a latent that no command has."""
    way = states[:, 1:, 0] - states[:, :-1, 0]
    far = way.norm(dim=-1, keepdim=True) > SEEN
    return torch.cat([torch.where(far, 0.0, way), torch.where(far, way, 0.0)], -1)


PIPELINE: Any = SimpleNamespace(
    encode=lambda frames: torch.tensor(np.stack([where(f) for f in frames]), dtype=torch.float32)[:, None],
    model=SimpleNamespace(infer=infer),
)
KNOWN: Any = SimpleNamespace(
    controller=SimpleNamespace(
        mean=torch.zeros(2),
        std=torch.full((2,), 0.08),
        act=lambda memory, window: torch.cat([window[:, -1], torch.zeros(len(window), 2)], -1),
        memory=lambda states: states[:, :1],
        parameters=lambda: iter([torch.zeros(1)]),
    ),
    spec=TOY,
    history=1,
)


class Right(Policy):
    """Goes to the right; takes down how often it was begun and asked."""

    def __init__(self) -> None:
        self.begun = self.asked = 0

    def begin(self, task: Any, seed: int) -> None:
        self.begun += 1

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.array([0.05, 0.0], np.float32)


def task_to(sim: Toy, way: tuple[float, float]) -> Any:
    """A task whose goal lies so far from the middle."""
    task: Any = toy_task(sim, 1)
    start = (1, np.array([0.2, 0.5], np.float32))
    sim.restore((1, start[1] + np.array(way, np.float32)))
    goal = sim.observe()
    return SimpleNamespace(**vars(task) | {"start": start, "goal_frame": goal.frame, "goal_truth": goal.truth})


def test_a_goal_that_can_be_read_is_reached_and_held() -> None:
    sim = Toy()
    policy = InversePolicy(PIPELINE, KNOWN)
    run = pursue(sim, task_to(sim, (0.15, -0.1)), policy, 5)
    assert [d["metres"] < 0.05 for d in run.distances] == [False, *[True] * 5]
    assert policy.reading is not None and np.abs(run.actions[2:]).max() < 0.03
    np.testing.assert_array_equal(policy.reading.command, run.actions[-1])
    assert len(policy.reading.before) == 4 and policy.reading.latent.shape == (4,)


def test_without_another_policy_what_cannot_be_read_leads_nowhere() -> None:
    sim = Toy()
    run = pursue(sim, task_to(sim, (0.6, 0.0)), InversePolicy(PIPELINE, KNOWN), 5)
    assert not run.reached[-1] and run.distances[-1]["metres"] > 0.5


def test_another_policy_goes_where_the_goal_can_be_read_and_is_not_asked_there() -> None:
    sim, far = Toy(), Right()
    policy = InversePolicy(PIPELINE, KNOWN, far=far)
    run = pursue(sim, task_to(sim, (0.6, 0.1)), policy, 14)
    assert run.reached[-1] and policy.reading is not None
    # 0.61 away, and 0.05 nearer at each step until 0.2 are left.
    assert far.begun == 1 and 8 <= far.asked <= 9
    assert (run.actions[: far.asked] == np.array([0.05, 0.0], np.float32)).all()


def test_a_plan_from_before_is_not_gone_on_with() -> None:
    """Who was near and is far again, as where something was in the way, asks for a new plan."""
    sim, far = Toy(), Right()
    policy = InversePolicy(PIPELINE, KNOWN, far=far)
    policy.begin(task_to(sim, (0.6, 0.0)), 0)
    frames = {x: sim.restore((1, np.array([x, 0.5], np.float32))).frame for x in (0.2, 0.7)}
    nothing = np.zeros((0, 2), np.float32)
    for x, begun in ((0.2, 1), (0.2, 1), (0.7, 1), (0.2, 2)):
        policy.act(frames[x], nothing)
        assert far.begun == begun and (policy.reading is not None) == (x == 0.7)


@pytest.mark.parametrize("wanted,left", [((0.1, 0.0, 0.0, 0.0), 0.0), ((0.0, 0.0, 0.3, 0.4), 0.5)])
def test_how_well_commands_account_for_a_latent(wanted: tuple[float, ...], left: float) -> None:
    found = nearest_commands(KNOWN, torch.zeros(1, 1, 2), torch.tensor([wanted]), np.zeros((1, 0, 2), np.float32))
    assert found.wanted[0] == pytest.approx(np.linalg.norm(wanted))
    assert found.left[0] == pytest.approx(left, abs=0.01)
    # Commands of 0.08 in each of two channels, within what the simulator takes.
    assert found.unit[0] == pytest.approx(0.08 * 2**0.5, rel=0.25)
