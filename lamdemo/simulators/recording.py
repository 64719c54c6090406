"""Recording episodes in a simulator: what is done there, and which scenes are for what.

Behaviours are seeded and know only the actions' spec and what is seen, so they are the same for every simulator:
``random`` is smooth noise, held for a few steps; ``scripted`` is what the simulator itself calls purposeful (going to
places, reaching for things); ``mixed`` goes back and forth between both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.episode import Episode
from lamdemo.simulators.simulator import Observation, Simulator

Behaviour = Literal["random", "scripted", "mixed"]
BEHAVIOURS: tuple[str, ...] = get_args(Behaviour)

Actor = Callable[[Observation], np.ndarray]
"""Chooses the next action ``[A]`` from what is seen; it may remember."""

SEEDS = {"train": range(0, 10_000), "validation": range(10_000, 20_000), "test": range(20_000, 30_000)}


@runtime_checkable
class Scripted(Protocol):
    """A simulator that knows something purposeful to do in its scenes."""

    def scripted(self, rng: np.random.Generator) -> Actor:
        """A behaviour that acts to some purpose, drawn from ``rng``."""
        ...


@dataclass(frozen=True)
class NoiseConfig:
    """Random behaviour."""

    hold: tuple[int, int] = (1, 5)  # the fewest and the most steps for which one draw holds
    alone: float = 0.25  # chance that a draw moves one channel only, so that each channel's effect is seen by itself
    still: float = 0.15  # chance that a channel of a draw is zero
    jitter: float = 0.06  # standard deviation of what is added at each step, in half ranges of the channel


@dataclass(frozen=True)
class MixedConfig:
    """Mixed behaviour."""

    length: tuple[int, int] = (5, 12)  # the fewest and the most steps of one kind at a time
    random: float = 0.5  # chance that a stretch is random


def seeds(part: str) -> range:
    """Seeds of the scenes of a part: ``train``, ``validation`` or ``test``; no scene is in two of them.

    Raises:
        LamdemoError: there is no such part.
    """
    if part not in SEEDS:
        raise LamdemoError(f"There is no part {part!r} of the scenes; there are train, validation and test.")
    return SEEDS[part]


def part_of(seed: int) -> str:
    """The part that a scene's seed belongs to; what is beyond all of them is for testing."""
    return next((part for part, own in SEEDS.items() if seed in own), "test")


def noise(spec: ActionSpec, rng: np.random.Generator) -> Actor:
    """Random behaviour: draws over the whole range of each channel, held for a few steps, going over smoothly."""
    config = NoiseConfig()
    low, high, zero = (np.asarray(v, np.float64) for v in (spec.low, spec.high, spec.zero))
    wanted, now, left = zero.copy(), zero.copy(), 0

    def act(seen: Observation) -> np.ndarray:
        nonlocal wanted, now, left
        # Pushing on against a wall teaches nothing.
        if left <= 0 or _blocked(seen):
            left = int(rng.integers(config.hold[0], config.hold[1] + 1))
            wanted = rng.uniform(low, high)
            wanted[rng.random(len(low)) < config.still] = 0.0
            if rng.random() < config.alone:
                only = int(rng.integers(len(low)))
                wanted = np.where(np.arange(len(low)) == only, rng.uniform(low, high), zero)
        left -= 1
        now = 0.35 * now + 0.65 * wanted
        shaken = now + rng.normal(size=len(low)) * config.jitter * (high - low) / 2 * (wanted != 0)
        return np.clip(shaken, low, high).astype(np.float32)

    return act


def _blocked(seen: Observation) -> bool:
    return bool(np.max(seen.truth.get("blocked", 0.0)) > 0.3)


def actor(sim: Simulator, behaviour: str, rng: np.random.Generator) -> Actor:
    """The behaviour of a name in a simulator; without a scripted one of its own, a simulator's is random.

    Raises:
        LamdemoError: there is no such behaviour.
    """
    if behaviour not in BEHAVIOURS:
        raise LamdemoError(f"There is no behaviour {behaviour!r}; there are {', '.join(BEHAVIOURS)}.")
    if behaviour == "random" or not isinstance(sim, Scripted):
        return noise(sim.spec, rng)
    if behaviour == "scripted":
        return sim.scripted(rng)
    return _mixed(noise(sim.spec, rng), sim.scripted(rng), rng, MixedConfig())


def _mixed(wild: Actor, calm: Actor, rng: np.random.Generator, config: MixedConfig) -> Actor:
    current, left = calm, 0

    def act(seen: Observation) -> np.ndarray:
        nonlocal current, left
        if left <= 0:
            left = int(rng.integers(config.length[0], config.length[1] + 1))
            current = wild if rng.random() < config.random else calm
        left -= 1
        return current(seen)

    return act


def record(sim: Simulator, behaviour: str = "mixed", steps: int = 40, seed: int = 0) -> Episode:
    """Record one episode in the scene of a seed.

    Args:
        sim: where; it is reset to the seed, and stays where the episode ends.
        behaviour: one of :data:`BEHAVIOURS`.
        steps: actions, 1 or more.
        seed: of the scene and of the behaviour; the same seed gives the same episode.

    Returns:
        ``steps + 1`` frames with the actions between them and the truth at each, named ``NAME-SEED``.

    Raises:
        LamdemoError: there is no such behaviour, or there are no steps.
    """
    if steps < 1:
        raise LamdemoError(f"An episode takes at least 1 step, not {steps}.")
    rng = np.random.default_rng([seed, 1])
    act = actor(sim, behaviour, rng)
    seen = sim.reset(seed)
    frames, truths, actions = [seen.frame], [seen.truth], []
    for _ in range(steps):
        # What is recorded is what was carried out: nothing out of range.
        action = np.clip(act(seen), sim.spec.low, sim.spec.high).astype(np.float32)
        seen = sim.step(action)
        actions.append(action)
        frames.append(seen.frame)
        truths.append(seen.truth)
    name = f"{sim.name}-{seed:05d}"
    about: dict[str, Any] = {"simulator": sim.name, "seed": seed, "behaviour": behaviour, "part": part_of(seed)}
    return Episode(
        name=name,
        frames=np.stack(frames),
        actions=np.stack(actions),
        fps=sim.fps,
        spec=sim.spec,
        truth={key: np.stack([t[key] for t in truths]).astype(np.float32) for key in truths[0]},
        recording=name,
        about=about,
    )


def record_many(
    sim: Simulator, behaviour: str, steps: int, first: int, count: int, skip: Callable[[str], bool] = lambda name: False
) -> Iterator[Episode]:
    """Episodes of the seeds ``first``, ``first + 1``, ..., but those whose name ``skip`` knows already."""
    for seed in range(first, first + count):
        if not skip(f"{sim.name}-{seed:05d}"):
            yield record(sim, behaviour, steps, seed)
