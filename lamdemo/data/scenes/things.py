"""Scenes of things: pairs of clips in which one action befalls another thing at another place.

The second clip of a pair has another thing, of another size, outline and aspect, whose place merely overlaps the
first one's. What is the same is the action: the whole thing moves by the same displacement, turns by the same angle or
grows by the same factor, each about its own middle. What enters is the same thing in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from lamdemo.data.scenes.casting import (
    SEEN,
    Look,
    Thing,
    draw_bystander,
    draw_cover,
    draw_look,
    draw_other,
    draw_place,
    draw_second,
    draw_veil,
    layer_of,
    silhouette,
)
from lamdemo.data.scenes.compositing import Layer, SceneClip, compose
from lamdemo.data.scenes.cutouts import SceneBank
from lamdemo.data.scenes.degrading import degrade
from lamdemo.data.scenes.depth import draw_depth_pair
from lamdemo.data.scenes.motions import draw_gait, draw_path, draw_speed, screens, walk

ThingKind = Literal[
    "still", "pan", "zoom", "roll", "move", "walk", "turn", "grow", "enter", "leave", "both", "two", "depth"
]
THING_KINDS: tuple[ThingKind, ...] = get_args(ThingKind)


@dataclass(frozen=True)
class ThingSceneConfig:
    """How scenes of things are drawn.

    Lengths are in picture widths; speeds are a step's, log-uniform between their two bounds.
    """

    # Share of each kind, in the order of `THING_KINDS`; they need not add up to 1.
    weights: tuple[float, ...] = (0.02, 0.05, 0.04, 0.04, 0.2, 0.1, 0.12, 0.12, 0.14, 0.07, 0.1, 0.06, 0.08)
    pan: tuple[float, float] = (0.008, 0.09)  # camera translation
    zoom: tuple[float, float] = (0.01, 0.13)  # camera zoom, as the logarithm of the scale
    roll: tuple[float, float] = (0.015, 0.17)  # camera roll, in radians
    move: tuple[float, float] = (0.012, 0.09)  # a thing's translation, walking included
    turn: tuple[float, float] = (0.05, 0.35)  # a thing's rotation, in radians
    grow: tuple[float, float] = (0.03, 0.18)  # a thing's growth, as the logarithm of the scale
    enter: tuple[float, float] = (0.03, 0.16)  # speed of what enters or leaves
    size: tuple[float, float] = (0.08, 0.28)  # a thing's radius, half its longer side
    other: tuple[float, float] = (0.5, 2.0)  # the second thing's radius over the first one's
    # The same in a quarter of the pairs, which have a much larger thing in the second clip.
    larger: tuple[float, float] = (1.5, 3.0)
    degraded: bool = True  # whether pictures are blurred, compressed and made noisy like real video


class _Action(NamedTuple):
    """What a thing does, in either clip."""

    delta: np.ndarray  # [T, 4], what is added to its pose, or for a walker [T, 3], its gait
    behind: int | None = None  # the frame in which it is hidden behind something, or None

    @property
    def walks(self) -> bool:
        return self.delta.shape[1] == 3

    def poses(self, look: Look, start: np.ndarray) -> np.ndarray:
        """Poses ``[T, 4]`` of a thing that starts from a pose ``[4]``."""
        return walk(start, self.delta, look.foot) if self.walks else start + self.delta


def draw_pair(
    rng: np.random.Generator,
    bank: SceneBank,
    frames: int,
    size: int,
    config: ThingSceneConfig,
    kind: ThingKind | None = None,
) -> tuple[SceneClip, SceneClip]:
    """Draw two clips of one action.

    Args:
        rng: source of all randomness.
        bank: what scenes are put together from.
        frames: how many frames a clip has, at least 2.
        size: side of the pictures, in pixels; a multiple of 64.
        config: how scenes are drawn.
        kind: what happens; drawn by the config's weights if None.
    """
    if kind is None:
        weights = np.array(config.weights)
        kind = THING_KINDS[rng.choice(len(THING_KINDS), p=weights / weights.sum())]
    pair = draw_depth_pair(rng, bank, frames, size) if kind == "depth" else _flat(rng, bank, frames, size, config, kind)
    if not config.degraded:
        return pair
    first, second = (clip._replace(pictures=degrade(rng, clip.pictures)) for clip in pair)
    return first, second


def _flat(
    rng: np.random.Generator, bank: SceneBank, frames: int, size: int, config: ThingSceneConfig, kind: ThingKind
) -> tuple[SceneClip, SceneClip]:
    """A pair whose world is a photograph with things before it."""
    camera = _draw_camera(rng, frames, config, kind)
    larger = rng.random() < 0.25
    shutter = 0.5 if config.degraded and rng.random() < 0.12 else 0.0
    action = first = None
    acts = {"both": ["move", "walk", "turn", "grow"], "two": ["move", "walk", "turn"]}.get(kind, [kind])
    act = str(rng.choice(acts))
    if act not in ("still", "pan", "zoom", "roll"):
        for _ in range(10):
            look = draw_look(rng, bank, walks=act == "walk")
            # What is slim is drawn larger, so that it can be seen as well.
            radius = draw_speed(rng, (config.size[0], config.size[1] / (2 if larger else 1))) / look.breadth**0.5
            action, start = _draw_action(rng, frames, config, act, look, radius)
            first = Thing(look, action.poses(look, start))
            if silhouette(first, camera, -1 if act == "enter" else 0).sum() > SEEN:
                break
    clips = []
    for second in (False, True):
        thing = first
        if second and first is not None and action is not None and act != "enter":
            ratio = (0.5, 1.0) if action.behind is not None else config.larger if larger else config.other
            thing = draw_other(rng, bank, first, camera, ratio, action.poses, walks=action.walks)
        behind, front = _draw_company(rng, bank, camera, config, kind, first, thing, action, moves=not second)
        photograph, place = draw_place(rng, bank)
        layers = [Layer((photograph,), screens(camera) @ place, "plane")]
        layers += [layer_of(t, camera) for t in [*behind, *([thing] if thing is not None else []), *front]]
        acting = None if thing is None else 1 + len(behind)
        clips.append(compose(layers, acting, size, kind, shutter=shutter))
    return clips[0], clips[1]


def _draw_camera(rng: np.random.Generator, frames: int, config: ThingSceneConfig, kind: ThingKind) -> np.ndarray:
    """Camera poses ``[T, 4]``; they start at 0."""
    which = rng.choice(["pan", "pan", "zoom", "roll"]) if kind == "both" else kind
    velocity = np.zeros(4)
    if which == "pan":
        speed, angle = draw_speed(rng, config.pan), rng.uniform(0, 2 * np.pi)
        # Mostly sideways, as cameras are.
        velocity[:2] = speed * np.cos(angle), speed * np.sin(angle) * rng.choice([0.3, 1.0])
    elif which == "zoom":
        velocity[2] = rng.choice([-1.0, 1.0]) * draw_speed(rng, config.zoom)
    elif which == "roll":
        velocity[3] = rng.choice([-1.0, 1.0]) * draw_speed(rng, config.roll)
    return draw_path(rng, frames, velocity)


def _draw_action(
    rng: np.random.Generator, frames: int, config: ThingSceneConfig, act: str, look: Look, radius: float
) -> tuple[_Action, np.ndarray]:
    """What a thing does, and the pose ``[4]`` from which it does so in the first clip."""
    start = np.array([*rng.uniform(0.14, 0.86, 2), np.log(radius), rng.uniform(-0.35, 0.35)])
    if act in ("enter", "leave"):
        return _draw_passage(rng, frames, config, act, look, start)
    velocity = np.zeros(4)
    if act == "walk":
        start[3] = rng.normal() * 0.04
        gait = draw_gait(rng, frames, draw_speed(rng, config.move))
        start[:2] = np.clip(start[:2] - 0.6 * gait[frames // 2, :2], 0.08, 0.92)
        return _Action(gait), start
    if act == "move":
        angle = rng.uniform(0, 2 * np.pi)
        velocity[:2] = draw_speed(rng, config.move) * np.array([np.cos(angle), np.sin(angle)])
    elif act == "turn":
        velocity[3] = rng.choice([-1.0, 1.0]) * draw_speed(rng, config.turn)
    elif act == "grow":
        velocity[2] = rng.choice([-1.0, 1.0]) * draw_speed(rng, config.grow)
    delta = draw_path(rng, frames, velocity)
    # So that fast things stay in view for a while.
    start[:2] = np.clip(start[:2] - 0.6 * delta[frames // 2, :2], 0.08, 0.92)
    return _Action(delta), start


def _draw_passage(
    rng: np.random.Generator, frames: int, config: ThingSceneConfig, act: str, look: Look, start: np.ndarray
) -> tuple[_Action, np.ndarray]:
    """An entrance, or one backwards: from beyond one of the four sides, or from behind something."""
    radius = np.exp(start[2])
    half = look.half * radius
    hidden = rng.random() < 0.25
    if hidden:
        away = np.array([(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0)][rng.choice(3, p=[0.4, 0.4, 0.2])])
        reach = half @ np.abs(away)
        outside = np.clip(start[:2], 0.3, 0.7)
        way = max(draw_speed(rng, config.enter) * (frames - 1), reach * rng.uniform(1.3, 2.2))
        aside = 0.0
    else:
        side = rng.integers(4)
        away = np.array([(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)][side])
        reach = half @ np.abs(away)
        lead = rng.uniform(-0.3, 1.1) * reach  # how far its middle is beyond the edge
        outside = 0.5 + away * (0.5 + lead) + rng.uniform(-0.34, 0.34) * np.abs(away[::-1])
        way = max(draw_speed(rng, config.enter) * (frames - 1), lead + rng.uniform(0.0, 0.8) * reach)
        aside = 0.2 * way * rng.normal()
    share = np.linspace(0, 1, frames)[:, None] ** rng.choice([0.8, 1.0, 1.0, 1.25])
    course = outside + share * (aside * away[::-1] - way * away)
    if act == "leave":
        course = course[::-1]
    start = np.array([*course[0], *start[2:]])
    delta = np.concatenate([course - course[0], np.zeros((frames, 2))], 1)
    return _Action(delta, (0 if act == "enter" else frames - 1) if hidden else None), start


def _draw_company(
    rng: np.random.Generator,
    bank: SceneBank,
    camera: np.ndarray,
    config: ThingSceneConfig,
    kind: ThingKind,
    first: Thing | None,
    thing: Thing | None,
    action: _Action | None,
    *,
    moves: bool,
) -> tuple[list[Thing], list[Thing]]:
    """What else is in a scene: things behind the one that acts, and things in front of it."""
    behind: list[Thing] = []
    front: list[Thing] = []
    clear = [silhouette(t, camera, f) for t in (first, thing) if t is not None for f in (0, len(camera) - 1)]
    for _ in range(rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])):
        bystander = draw_bystander(rng, bank, camera, clear)
        if bystander is not None:
            behind.append(bystander)
    if thing is None or action is None:
        return behind, front
    if kind == "two":
        # In the second clip the other thing may just stand there.
        does = rng.choice(["move", "turn", "grow"] if moves or rng.random() < 0.6 else ["still"])
        own = _Action(np.zeros((len(camera), 4)))
        if does != "still":
            own, _ = _draw_action(rng, len(camera), config, does, thing.look, thing.radius)
        behind.append(draw_second(rng, bank, camera, clear, own.poses))
    if action.behind is not None:
        front.append(draw_cover(rng, bank, camera, thing, action.behind))
    elif rng.random() < 0.2:
        veil = draw_veil(rng, bank, camera, thing)
        front += [veil] if veil is not None else []
    return behind, front
