"""Tasks: from a start in a scene, reach what a hidden sequence of actions led to, shown as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.simulators.recording import actor, noise
from lamdemo.simulators.simulator import Observation, Simulator, Truth


@dataclass(frozen=True)
class TaskConfig:
    """What makes a fair task."""

    # The most steps of the simulator's own behaviour before the start, so that starts vary within a scene.
    warm: int = 8
    near: float = 2.5  # the goal is so far away that the distance divided by this does not count as reached ...
    # ... and so near that divided by this it does: what is out of sight cannot be planned to from a picture.
    far: float = 6.0
    tries: int = 40  # hidden sequences to try before the best of them is taken
    # Each of the distances that count as having reached a goal must be away by itself, so that it takes more than one
    # kind of action to get there: turning and walking.
    compound: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """A start and a goal in the scene of a seed."""

    simulator: str  # its name
    seed: int  # of the scene and of the task
    start: object  # snapshot to restore
    start_frame: np.ndarray  # what is seen there, uint8 [H, W, 3]
    start_truth: Truth  # what is true there
    goal_frame: np.ndarray  # what is to be seen, uint8 [H, W, 3]
    goal_truth: Truth  # what is true there
    actions: np.ndarray  # hidden ones that lead from start to goal, float32 [steps, A]: the upper bound
    steps: int  # how many

    def begin(self, sim: Simulator) -> Observation:
        """Put the simulator at the start."""
        return sim.restore(self.start)


_AWAY = 4  # more than all other failings of a task together


def _counting(sim: Simulator, gap: Mapping[str, float]) -> list[str]:
    """The distances that alone can keep a goal from being reached."""
    return [name for name in gap if not sim.reached({**dict.fromkeys(gap, 0.0), name: math.inf})]


def make_task(sim: Simulator, seed: int, steps: int = 6, config: TaskConfig | None = None) -> Task:
    """A task in the scene of a seed; the same for the same seed. The simulator is left at its start.

    Args:
        sim: the simulator.
        seed: of the scene; see :func:`lamdemo.simulators.recording.seeds`.
        steps: length of the hidden sequence.
        config: what makes it fair.

    Raises:
        LamdemoError: there are no steps, or nothing moves in this scene.
    """
    if steps < 1:
        raise LamdemoError(f"A task takes at least 1 step, not {steps}.")
    config = config or TaskConfig()
    rng = np.random.default_rng([seed, 2])
    seen = sim.reset(seed)
    calm = actor(sim, "scripted", rng)
    for _ in range(int(rng.integers(0, config.warm + 1))):
        seen = sim.step(calm(seen))
    start, first = sim.snapshot(), seen
    best: Task | None = None
    least = np.inf
    for trial in range(config.tries):
        # By turns, since purposeful behaviour alone may hardly ever go back or aside.
        act = noise(sim.spec, rng) if trial % 2 == 0 else actor(sim, "scripted", rng)
        seen, actions, free = sim.restore(start), [], True
        for _ in range(steps):
            action = np.clip(act(seen), sim.spec.low, sim.spec.high).astype(np.float32)
            seen = sim.step(action)
            actions.append(action)
            free = free and float(np.max(seen.truth.get("blocked", 0.0))) < 0.2
        gap = sim.distance(first.truth, seen.truth)
        closer = {name: value / config.near for name, value in gap.items()}
        away = not sim.reached(closer)
        if config.compound:
            away = all(not sim.reached({**dict.fromkeys(gap, 0.0), name: closer[name]}) for name in _counting(sim, gap))
        sighted = sim.reached({name: value / config.far for name, value in gap.items()})
        # Being away comes first: a goal that one is at already asks for nothing.
        failings = _AWAY * (not away) + 2 * (not sighted) + (not free)
        if failings < least and max(gap.values()) > 0:
            least = failings
            best = Task(
                simulator=sim.name,
                seed=seed,
                start=start,
                start_frame=first.frame,
                start_truth=first.truth,
                goal_frame=seen.frame,
                goal_truth=seen.truth,
                actions=np.stack(actions),
                steps=steps,
            )
        if least == 0:
            break
    if best is None:
        raise LamdemoError(f"Nothing can be moved in the scene {seed} of {sim.name}; take another seed.")
    sim.restore(start)
    return best
