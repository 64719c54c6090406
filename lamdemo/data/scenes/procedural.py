"""Procedural scenes: photographs, cut-outs, a moving camera, and actions that are known.

They give what no real video has: the same action carried out in two different scenes, so that a transfer
has a truth to be compared with. A *script* says what happens (camera and things over time); a *cast* says
what it happens to (which photographs, which shapes). One script with two casts is one transfer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.data.scenes.motions import draw_path, draw_speed

Kind = Literal["still", "pan", "zoom", "roll", "move", "turn", "grow", "enter", "leave", "both"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_PATCH = 128  # side of a thing's picture, in pixels
_HARMONICS = 4


@dataclass(frozen=True)
class SceneConfig:
    """How procedural scenes are drawn.

    Speeds are a step's, log-uniform between their two bounds.
    """

    pan: tuple[float, float] = (0.008, 0.09)  # camera translation, in picture widths
    zoom: tuple[float, float] = (0.01, 0.13)  # camera zoom, as the logarithm of the scale
    roll: tuple[float, float] = (0.015, 0.17)  # camera roll, in radians
    move: tuple[float, float] = (0.012, 0.09)  # a thing's translation, in picture widths
    turn: tuple[float, float] = (0.05, 0.4)  # a thing's rotation, in radians
    grow: tuple[float, float] = (0.03, 0.18)  # a thing's growth, as the logarithm of the scale
    size: tuple[float, float] = (0.08, 0.22)  # a thing's radius, in picture widths
    # Share of each kind of action, in the order of `KINDS`.
    weights: tuple[float, ...] = (0.03, 0.15, 0.14, 0.14, 0.15, 0.08, 0.09, 0.08, 0.06, 0.08)


@dataclass(frozen=True)
class Script:
    """What happens."""

    kind: Kind  # the action
    camera: np.ndarray  # [T, 4]: where the camera is: x, y (picture widths), log scale, roll (radians)
    things: np.ndarray  # [K, T, 4]: where each thing is in the world, the same four numbers; scale is the radius


@dataclass(frozen=True)
class Cast:
    """What it happens to."""

    photograph: int  # index of the background's photograph
    # Centre x, y and half width, half height of the view in that photograph, from 0 to 1; a negative half width
    # mirrors it.
    frame: np.ndarray
    skins: np.ndarray  # index of each thing's photograph, [K]
    crops: np.ndarray  # centre x, y and half size of each thing's piece of its photograph, [K, 3]
    shapes: np.ndarray  # cosine and sine amplitudes of each thing's outline, [K, 2, harmonics]
    stretches: np.ndarray  # each thing's width over height, [K]
    # Further things that stand still in the world: [J, 4] as in `Script.things`; their looks are the last J of the
    # arrays above.
    extras: np.ndarray


def write_script(rng: np.random.Generator, frames: int, config: SceneConfig, kind: Kind | None = None) -> Script:
    """Draw an action of ``frames`` frames (of ``kind``, or of one drawn by the config's weights)."""
    if kind is None:
        weights = np.array(config.weights)
        kind = KINDS[rng.choice(len(KINDS), p=weights / weights.sum())]
    camera = np.zeros((frames, 4))
    angle = rng.uniform(0, 2 * np.pi)
    sign = rng.choice([-1.0, 1.0])

    def camera_motion(which: str) -> np.ndarray:
        velocity = np.zeros(4)
        if which == "pan":
            # Mostly sideways, as cameras are.
            speed = draw_speed(rng, config.pan)
            velocity[:2] = speed * np.cos(angle), speed * np.sin(angle) * rng.choice([0.3, 1.0])
        elif which == "zoom":
            velocity[2] = sign * draw_speed(rng, config.zoom)
        else:
            velocity[3] = sign * draw_speed(rng, config.roll)
        return draw_path(rng, frames, velocity)

    def thing_motion(which: str) -> np.ndarray:
        radius = draw_speed(rng, config.size)
        start = np.array([*rng.uniform(-0.32, 0.32, 2), np.log(radius), rng.uniform(-0.5, 0.5)])
        velocity = np.zeros(4)
        if which == "move":
            speed = draw_speed(rng, config.move)
            velocity[:2] = speed * np.cos(angle), speed * np.sin(angle)
        elif which == "turn":
            velocity[3] = sign * draw_speed(rng, config.turn)
        elif which == "grow":
            velocity[2] = sign * draw_speed(rng, config.grow)
        elif which in ("enter", "leave"):
            # From beyond one side, to a place inside, within the clip; leaving is the same backwards.
            side = rng.integers(4)
            away = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)][side], dtype=float)
            along = rng.uniform(-0.3, 0.3) * away[::-1]
            outside = along + away * (0.5 + 1.1 * radius)
            depth = rng.uniform(0.5, 1.0) * (0.35 + 1.1 * radius)
            share = np.linspace(0, 1, frames)[:, None] ** rng.choice([1.0, 0.7])
            places = outside - away * depth * share
            if which == "leave":
                places = places[::-1]
            rest = np.broadcast_to(start[2:], (frames, 2))
            return np.concatenate([places, rest], 1)
        path = draw_path(rng, frames, velocity)
        if which == "move":
            start[:2] -= path[frames // 2, :2] * 0.7  # so that fast things stay in view for a while
        return start + path

    things: list[np.ndarray] = []
    if kind in ("pan", "zoom", "roll"):
        camera = camera_motion(kind)
    elif kind == "both":
        camera = camera_motion(str(rng.choice(["pan", "zoom", "roll"])))
        things.append(thing_motion(str(rng.choice(["move", "turn", "grow"]))))
    elif kind != "still":
        things.append(thing_motion(kind))
    return Script(kind, camera, np.array(things).reshape(len(things), frames, 4))


def _steps_of(camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a camera ``[T, 4]`` does in each step, in its own axes: logarithms of p -> m p + c in complex numbers.

    Returns:
        ``[T - 1]`` each: the logarithm of m (scale and angle), and the constant velocity that leads to c.
    """
    place, turn = camera[:, 0] + 1j * camera[:, 1], camera[:, 2] + 1j * camera[:, 3]
    log = np.diff(turn)
    return log, np.diff(place) / np.exp(turn[:-1]) / _mean_power(log)


def _mean_power(log: np.ndarray) -> np.ndarray:
    """(exp(x) - 1) / x, the mean of exp over the way from 0 to x; 1 at 0."""
    small = np.abs(log) < 1e-6
    safe = np.where(small, 1, log)
    return np.where(small, 1 + log / 2, (np.exp(safe) - 1) / safe)


def combine(a: Script, b: Script, *, share: float = 1.0) -> Script:
    """Both of two actions at once.

    In each step the camera does what both cameras do in it, at the same time rather than one after the other: their
    velocities add up, so that the order of the two makes no difference. Things are on their own ways in the world.

    Args:
        a: an action.
        b: another of as many frames; one of the two may have things.
        share: how much of either is done: 1 all of it, 0.5 each at half its speed, 0 nothing.

    Raises:
        ValueError: they are not equally long, or both have things, and only one thing can act in a scene.
    """
    if len(a.camera) != len(b.camera):
        raise ValueError(f"actions of {len(a.camera)} and of {len(b.camera)} frames cannot go on at once")
    if len(a.things) and len(b.things):
        raise ValueError("only one thing can act in a scene, so only one of two actions may have things")
    (first, way), (second, other) = _steps_of(a.camera), _steps_of(b.camera)
    log, velocity = share * (first + second), share * (way + other)
    begin = a.camera[0] + b.camera[0]
    turn = begin[2] + 1j * begin[3] + np.concatenate([[0], np.cumsum(log)])
    step = velocity * _mean_power(log) * np.exp(turn[:-1])
    place = begin[0] + 1j * begin[1] + np.concatenate([[0], np.cumsum(step)])
    things = a.things if len(a.things) else b.things
    return Script(
        "both",
        np.stack([place.real, place.imag, turn.real, turn.imag], 1),
        things[:, :1] + share * (things - things[:, :1]),
    )


def draw_cast(rng: np.random.Generator, script: Script, photographs: int, *, like: Cast | None = None) -> Cast:
    """Draw photographs, shapes and bystanders for a script.

    Args:
        rng: source of randomness.
        script: what will happen.
        photographs: how many photographs there are to choose from.
        like: another cast of the same script. What enters then looks the same in both, since it is part of
            the action; everything else is drawn anew.
    """
    extras = np.zeros((0, 4))
    if rng.random() < 0.5:
        radius = np.log(rng.uniform(0.06, 0.18))
        extras = np.array([[*rng.uniform(-0.4, 0.4, 2), radius, rng.uniform(-1, 1)]])
    k = len(script.things) + len(extras)
    half = rng.uniform(0.28, 0.48, 2)
    frame = np.array([*rng.uniform(half, 1 - half), half[0] * rng.choice([-1, 1]), half[1]])
    amplitudes = rng.normal(size=(k, 2, _HARMONICS)) * 0.16 / np.arange(1, _HARMONICS + 1) ** 0.7
    cast = Cast(
        photograph=int(rng.integers(photographs)),
        frame=frame,
        skins=rng.integers(photographs, size=k),
        crops=np.concatenate([rng.uniform(0.25, 0.75, (k, 2)), rng.uniform(0.1, 0.25, (k, 1))], 1),
        shapes=amplitudes * (rng.random((k, 1, 1)) < 0.8),
        stretches=np.exp(rng.uniform(-0.5, 0.5, k)),
        extras=extras,
    )
    if like is not None and script.kind in ("enter", "leave") and len(script.things):
        arrays = {name: getattr(cast, name).copy() for name in ("skins", "crops", "shapes", "stretches")}
        for name, array in arrays.items():
            array[0] = getattr(like, name)[0]
        cast = replace(cast, **arrays)
    elif like is not None and len(script.things):
        # The thing itself is another one, of about the same outline: what is at that place moves.
        stretches = cast.stretches.copy()
        stretches[0] = like.stretches[0] * np.exp(rng.uniform(-0.2, 0.2))
        cast = replace(cast, stretches=stretches)
    return cast


@dataclass(frozen=True)
class Photographs:
    """A bank of pictures to draw scenes from: uint8 ``[P, 3, H, W]``, all of one size."""

    pictures: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def _outline(shapes: Tensor, angle: Tensor) -> Tensor:
    """Radius of outlines ``[K, 2, harmonics]`` at angles ``[K or 1, *, *]``."""
    order = torch.arange(1, _HARMONICS + 1, device=angle.device) * angle[..., None]
    amplitudes = shapes.reshape(len(shapes), *[1] * (angle.ndim - 1), 2, _HARMONICS)
    waves = (amplitudes[..., 0, :] * order.cos()).sum(-1) + (amplitudes[..., 1, :] * order.sin()).sum(-1)
    return (0.72 * (1 + waves)).clamp(0.25, 0.97)


def _patches(casts: list[Cast], photographs: Photographs, device: torch.device | str) -> Tensor:
    """Pictures with alpha of all things of all casts, ``[sum K, 4, P, P]``."""
    skins = np.concatenate([c.skins for c in casts])
    crops = torch.tensor(np.concatenate([c.crops for c in casts]), dtype=torch.float32, device=device)
    shapes = torch.tensor(np.concatenate([c.shapes for c in casts]), dtype=torch.float32, device=device)
    line = torch.linspace(-1, 1, _PATCH, device=device)
    v, u = torch.meshgrid(line, line, indexing="ij")
    grid = crops[:, None, None, :2] + crops[:, None, None, 2:] * torch.stack([u, v], -1)
    source = photographs.pictures[torch.as_tensor(skins, device=photographs.pictures.device)].to(device).float() / 255
    colour = F.grid_sample(source, grid * 2 - 1, padding_mode="reflection", align_corners=False)
    # Outline: radius as a Fourier series of the angle; the mean is below 1 so that it fits the patch.
    theta, rho = torch.atan2(v, u), (u * u + v * v).sqrt()
    outline = _outline(shapes, theta[None])
    alpha = ((outline - rho) * (_PATCH / 3)).sigmoid()[:, None]
    return torch.cat([colour, alpha], 1)


def _affine(pose: Tensor) -> Tensor:
    """Matrix ``[..., 2, 3]`` from poses ``[..., 4]`` (x, y, log scale, angle): p -> scale R p + (x, y)."""
    x, y, log_scale, angle = pose.unbind(-1)
    c, s = log_scale.exp() * angle.cos(), log_scale.exp() * angle.sin()
    return torch.stack([torch.stack([c, -s, x], -1), torch.stack([s, c, y], -1)], -2)


def _inverse(m: Tensor) -> Tensor:
    """Inverse of affine maps ``[..., 2, 3]``."""
    linear = torch.linalg.inv(m[..., :2])
    return torch.cat([linear, -(linear @ m[..., 2:])], -1)


def _chain(a: Tensor, b: Tensor) -> Tensor:
    """The affine map p -> a(b(p))."""
    return torch.cat([a[..., :2] @ b[..., :2], a[..., :2] @ b[..., 2:] + a[..., 2:]], -1)


def render(
    scripts: list[Script],
    casts: list[Cast],
    photographs: Photographs,
    size: int,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Render scenes of equal length to clips ``[B, T, 3, size, size]`` in [0, 1].

    The screen reaches from -0.5 to 0.5; the camera maps screen to world; a thing maps its own disc to the
    world.
    """
    b, t = len(scripts), len(scripts[0].camera)
    camera = _affine(torch.tensor(np.stack([s.camera for s in scripts]), dtype=torch.float32, device=device))
    frames = torch.tensor(np.stack([c.frame for c in casts]), dtype=torch.float32, device=device)
    line = (torch.arange(size, device=device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    screen = torch.stack([x, y, torch.ones_like(x)], -1).reshape(-1, 3)

    world = (screen @ camera.transpose(-1, -2).flatten(0, 1)).reshape(b, t, size, size, 2)
    # The view's frame in the photograph: -0.5 ... 0.5 of the world is its width and height.
    grid = frames[:, None, None, None, :2] + 2 * world * frames[:, None, None, None, 2:]
    index = torch.as_tensor([c.photograph for c in casts], device=photographs.pictures.device)
    source = photographs.pictures[index].to(device).float() / 255
    picture = F.grid_sample(
        source, (grid * 2 - 1).reshape(b, t * size, size, 2), padding_mode="reflection", align_corners=False
    ).reshape(b, 3, t, size, size)

    owners, poses, order, stretches = [], [], [], []
    for i, (script, cast) in enumerate(zip(scripts, casts, strict=True)):
        still = np.broadcast_to(cast.extras[:, None], (len(cast.extras), t, 4))
        all_things = np.concatenate([script.things, still])
        stretches.append(cast.stretches)
        for k in range(len(all_things)):
            owners.append(i)
            poses.append(all_things[k])
            order.append(k < len(script.things))
    if owners:
        patches = _patches(casts, photographs, device)
        stretch = torch.tensor(np.concatenate(stretches), dtype=torch.float32, device=device).sqrt()
        own = _affine(torch.tensor(np.stack(poses), dtype=torch.float32, device=device))
        own = own * torch.stack([stretch, 1 / stretch, torch.ones_like(stretch)], -1)[:, None, None]
        to_patch = _chain(_inverse(own), camera[owners])  # screen -> world -> the thing's disc
        for front in (False, True):  # bystanders first, what acts in front of them
            picked = [i for i, o in enumerate(order) if o is front]
            if not picked:
                continue
            places = screen @ to_patch[picked].transpose(-1, -2).flatten(0, 1)
            layer = F.grid_sample(
                patches[picked],
                places.reshape(len(picked), t * size, size, 2),
                padding_mode="zeros",
                align_corners=False,
            ).reshape(-1, 4, t, size, size)
            at = torch.as_tensor([owners[i] for i in picked], device=device)
            alpha = layer[:, 3:]
            # At most one thing of each rank in a scene, so no scene is written twice here.
            picture = picture.index_copy(0, at, picture[at] * (1 - alpha) + layer[:, :3] * alpha)
    return picture.transpose(1, 2)


def rendered(script: Script, cast: Cast, photographs: Photographs, size: int) -> np.ndarray:
    """Frames uint8 ``[T, size, size, 3]``, drawn at twice the size: texture that moves must not glitter."""
    clip = F.avg_pool2d(render([script], [cast], photographs, 2 * size)[0], 2)
    return (clip.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


class TrueMotion(NamedTuple):
    """How the places of scenes moved, known from how they were made."""

    # [B, T-1, 2, r, r], backward, in units of the picture's size: where a place of frame t + 1 was in frame t.
    flow: Tensor
    acting: Tensor  # [B, T-1, 1, r, r] in [0, 1], how much of a cell belongs to the thing that acts
    known: Tensor  # [B, T-1, 1, r, r] in [0, 1], how much of it was inside the picture in frame t


def true_motion(
    scripts: list[Script], casts: list[Cast], side: int, *, fine: int = 4, device: torch.device | str = "cpu"
) -> TrueMotion:
    """True backward flow of scenes of equal length, on a grid of ``side`` cells a side.

    What was hidden behind a thing in frame t moves as the world does. A cell takes the mean over ``fine`` by
    ``fine`` points in it.
    """
    b, t = len(scripts), len(scripts[0].camera)
    size = side * fine
    camera = _affine(torch.tensor(np.stack([s.camera for s in scripts]), dtype=torch.float32, device=device))
    line = (torch.arange(size, device=device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    here = torch.stack([x, y, torch.ones_like(x)], -1).reshape(-1, 3)

    def moved(back: Tensor) -> Tensor:
        """Where the screen's points were a frame ago, ``[..., P, 2]``, under maps ``[..., 2, 3]``."""
        return here @ back.transpose(-1, -2)

    was = moved(_chain(_inverse(camera[:, :-1]), camera[:, 1:]))  # [B, T-1, P, 2]
    acting = torch.zeros(b, t - 1, size * size, device=device)
    owners = [i for i, s in enumerate(scripts) for _ in s.things]
    if owners:
        poses = torch.tensor(np.concatenate([s.things for s in scripts if len(s.things)]), dtype=torch.float32)
        shapes = np.concatenate([c.shapes[: len(s.things)] for s, c in zip(scripts, casts, strict=True)])
        stretches = np.concatenate([c.stretches[: len(s.things)] for s, c in zip(scripts, casts, strict=True)])
        stretch = torch.tensor(stretches, dtype=torch.float32, device=device).sqrt()
        own = _affine(poses.to(device))
        own = own * torch.stack([stretch, 1 / stretch, torch.ones_like(stretch)], -1)[:, None, None]
        to_disc = _chain(_inverse(own), camera[owners])
        u, v = moved(to_disc[:, 1:]).unbind(-1)
        outline = _outline(torch.tensor(shapes, dtype=torch.float32, device=device), torch.atan2(v, u))
        inside = (u * u + v * v).sqrt() < outline  # [K, T-1, P]
        from_disc = moved(_chain(_inverse(to_disc[:, :-1]), to_disc[:, 1:]))
        for k, i in enumerate(owners):  # one thing acts in a scene
            was[i] = torch.where(inside[k][..., None], from_disc[k], was[i])
            acting[i] = inside[k].float()
    known = (was.abs().amax(-1) <= 0.5).float()

    def cells(values: Tensor) -> Tensor:
        c = values.shape[-1]
        values = values.reshape(b * (t - 1), size, size, c).permute(0, 3, 1, 2)
        return F.avg_pool2d(values, fine).reshape(b, t - 1, c, side, side)

    return TrueMotion(cells(was - here[:, :2]), cells(acting[..., None]), cells(known[..., None]))


def camera_velocity(script: Script) -> np.ndarray:
    """Camera's and thing's velocity in a script: ``[S, 6]``, columns pan x, y, zoom, roll, move x, y.

    Pan and move are in picture widths a step, zoom is the logarithm of the scale, roll is in radians. The
    pan is as the camera sees it: in its own axes and in its own scale. A thing that does not act is zero.
    """
    steps = np.diff(script.camera, axis=0)
    angle, scale = script.camera[:-1, 3], np.exp(script.camera[:-1, 2])
    x = (np.cos(angle) * steps[:, 0] + np.sin(angle) * steps[:, 1]) / scale
    y = (-np.sin(angle) * steps[:, 0] + np.cos(angle) * steps[:, 1]) / scale
    move = np.diff(script.things[0, :, :2], axis=0) if len(script.things) else np.zeros((len(steps), 2))
    return np.column_stack([x, y, steps[:, 2], steps[:, 3], move])


def draw_pairs(
    rng: np.random.Generator,
    pairs: int,
    frames: int,
    photographs: Photographs,
    size: int,
    config: SceneConfig,
    *,
    grid: int = 16,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, TrueMotion]:
    """Clips ``[2 * pairs, T, 3, size, size]`` and their true motion on ``grid`` cells a side.

    Clips 2i and 2i + 1 show the same action in two scenes.
    """
    scripts, casts = [], []
    for _ in range(pairs):
        script = write_script(rng, frames, config)
        first = draw_cast(rng, script, len(photographs))
        scripts += [script, script]
        casts += [first, draw_cast(rng, script, len(photographs), like=first)]
    pictures = render(scripts, casts, photographs, size, device=device)
    return pictures, true_motion(scripts, casts, grid, device=device)
