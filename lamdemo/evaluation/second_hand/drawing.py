"""One action, drawn in two scenes that share nothing else: other things of other sizes before other backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

import lamdemo.evaluation.second_hand.laws as laws
from lamdemo.core.errors import LamdemoError
from lamdemo.evaluation.second_hand.bank import Bank, Cutout, Entry, read_background
from lamdemo.evaluation.second_hand.depth import Standing, World, render_world
from lamdemo.evaluation.second_hand.flat import Actor, Layered, Scene, Sun, outline, placed_within, render

Kind = Literal[
    "move", "walk", "move_pan", "turn", "grow", "enter", "leave", "one_of_two", "depth", "pan", "zoom", "roll"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
CAMERAS = ("depth", "pan", "zoom", "roll")  # kinds in which nothing acts
_SIZES = (0.075, 0.2)  # of a source's thing, see `Pose`
_LIMITS = (0.05, 0.3)  # of a target's
_ASPECTS = ((1, 1), (9, 16), (4, 3), (3, 5))  # height to width of every third target, in turns; else 3 to 4
_OVERLAP = 0.3  # share of the smaller of two outlines that the target's thing has in common with the source's
_LEFT = 0.3  # share of a leaving thing that may still be seen at the end
_LARGER = 1.9  # times that a background may be enlarged
_CHANGE = 2.5  # gray levels between the first frame and the one that differs most, in the mean over the picture
_TRIES = 300


@dataclass(frozen=True)
class Drawn:
    """A case."""

    source: np.ndarray  # uint8 [T, h, w, 3]
    truth: Layered  # its first frame is the target
    acts: bool  # whether a thing acts in it, and not the camera alone
    files: dict[str, Any]  # what each of the two was made of: name and source of each picture


class _Unseen(Exception):
    """What was drawn cannot be judged; draw again."""


def sizes(rng: np.random.Generator, index: int, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Heights and widths of a case's source (``side`` pixels high) and target."""

    def even(value: float) -> int:
        return 2 * round(value / 2)

    source = side, side if rng.random() < 0.6 else even(side * 4 / 3)
    if index % 3:
        return source, (even(side * 9 / 8), even(side * 3 / 2))
    height, width = _ASPECTS[rng.integers(len(_ASPECTS))]
    unit = side * 1.3 / np.sqrt(height * width)
    return source, (even(unit * height), even(unit * width))


def draw(kind: Kind, rng: np.random.Generator, bank: Bank, index: int, steps: int, side: int) -> Drawn:
    """Draw a case.

    Args:
        kind: of action.
        rng: source of randomness.
        bank: of cut-outs and backgrounds.
        index: the case's number: every third has a target of unusual shape.
        steps: of the action.
        side: height of the source, in pixels.

    Raises:
        LamdemoError: the bank's pictures give nothing that can be seen to happen.
    """
    for _ in range(_TRIES):
        both = sizes(rng, index, side)
        try:
            drawn = _depth(rng, bank, both, steps) if kind == "depth" else _flat(kind, rng, bank, both, steps)
        except _Unseen:
            continue
        if min(_change(drawn.source), _change(drawn.truth.frames)) >= _CHANGE:
            return drawn
    raise LamdemoError(f"No {kind} that can be seen was drawn; give more cut-outs and backgrounds.")


def _change(frames: np.ndarray) -> float:
    return float(np.abs(frames[1:].astype(np.int16) - frames[0]).mean((1, 2, 3)).max())


# Worlds with depth.


def _depth(rng: np.random.Generator, bank: Bank, both: tuple[tuple[int, int], ...], steps: int) -> Drawn:
    flight = laws.flight(rng, steps, str(rng.choice(["forward", "forward", "strafe", "turn"])))
    field = rng.uniform(0.95, 1.25)
    clips, files, last = [], {}, None
    for name, size in zip(("source", "truth"), both, strict=True):
        entry = bank.background(rng, unlike=last)
        last = entry
        photo = read_background(entry)
        h, w = photo.shape[:2]
        cut = int(h * rng.uniform(0.6, 0.75))
        left = rng.integers(0, max(w // 4, 1))
        # What a photograph shows at its foot is ground, mostly.
        ground = np.ascontiguousarray(photo[cut + (h - cut) // 4 :, left : left + 3 * w // 4])
        things: list[Standing] = []
        used: list[Entry] = []
        for _ in range(rng.integers(3, 8)):
            cutout = bank.thing(rng, unlike=used)
            used.append(cutout.entry)
            z = float(np.exp(rng.uniform(np.log(3.6), np.log(13))))
            x = float(rng.uniform(-0.5, 0.5) * z)
            if all(abs(x - o.x) + abs(z - o.z) > 1 for o in things):
                things.append(Standing(cutout, x, z, float(rng.uniform(0.7, 1.9)), bool(rng.random() < 0.5)))
        world = World(
            np.ascontiguousarray(photo[:cut]), ground, tuple(things), field, float(rng.uniform(1.3, 1.7)),
            float(rng.uniform(0.0, 0.12)),
        )  # fmt: skip
        clips.append(render_world(world, flight, size, float(rng.uniform(0.3, 0.6))))
        files[name] = _told(entry, [t.cutout for t in things])
    nothing = np.zeros(clips[1].shape[:3], np.float32)
    return Drawn(clips[0], Layered(clips[1], nothing, nothing), False, files)


# Flat scenes.


@dataclass(frozen=True)
class _Part:
    """A cut-out in one of the two scenes: its look, its pose in the first frame, and what is seen of it then."""

    cutout: Cutout
    pose: np.ndarray
    mirrored: bool
    size: tuple[int, int]

    def outline(self, motion: np.ndarray | None = None) -> np.ndarray:
        """Alpha on a coarse grid, at first or after a motion ``[4]``."""
        pose = self.pose if motion is None else self.pose + motion
        return outline(self.cutout, pose, self.mirrored, self.size)


def _flat(kind: Kind, rng: np.random.Generator, bank: Bank, both: tuple[tuple[int, int], ...], steps: int) -> Drawn:
    camera = np.zeros((steps + 1, 4))
    if kind in ("pan", "zoom", "roll", "move_pan"):
        camera = getattr(laws, "pan" if kind == "move_pan" else kind)(rng, steps)
    parts: list[_Part] = []
    motion = np.zeros((steps + 1, 4))
    if kind not in CAMERAS:
        motion, parts = _acting(kind, rng, bank, both, steps)
    # In one of two, one more stands in both.
    still = np.zeros((steps + 1, 4))
    seconds = _second(rng, bank, parts) if kind == "one_of_two" else []
    seed = int(rng.integers(2**32))
    clips, files, last = [], {}, None
    for i, size in enumerate(both):
        actors = [_actor(rng, p.cutout, p.pose + still, p.mirrored) for p in seconds[i : i + 1]]
        actors += _bystanders(rng, bank, size, parts, seconds, still)
        acting = None
        if parts:
            acting = len(actors)
            # What enters looks alike in both: the source is all that is known of it.
            light = np.random.default_rng(seed) if kind == "enter" else rng
            actors.append(_actor(light, parts[i].cutout, parts[i].pose + motion, parts[i].mirrored))
        entry = _background(rng, bank, camera, size, last)
        last = entry
        photo = read_background(entry)
        placed, _ = placed_within(rng, photo, camera, size)
        sun = Sun(rng.uniform(0.25, 0.55), rng.uniform(-0.6, 0.6), rng.uniform(0.12, 0.4))
        # A shadow that comes in before its thing would tell of it in the target.
        shaded = kind != "enter" and rng.random() < 0.5
        scene = Scene(
            size, photo * np.float32(np.exp(rng.uniform(-0.15, 0.15))), placed, camera, tuple(actors), acting,
            sun if shaded else None, float(rng.uniform(0.3, 0.6)),
        )  # fmt: skip
        clips.append(render(scene))
        files["truth" if i else "source"] = _told(entry, [a.cutout for a in actors], acting)
    return Drawn(clips[0].frames, clips[1], bool(parts), files)


def _told(background: Entry, cutouts: Sequence[Cutout], acting: int | None = None) -> dict[str, Any]:
    """The pictures that a clip is made of, for ``case.json``."""
    things = [{"file": c.entry.name, "source": c.entry.source} for c in cutouts]
    told: dict[str, Any] = {"background": {"file": background.name, "source": background.source}, "things": things}
    return told if acting is None else {**told, "acting": things[acting]["file"]}


def _actor(rng: np.random.Generator, cutout: Cutout, poses: np.ndarray, mirrored: bool) -> Actor:
    gain = np.exp(rng.uniform(-0.2, 0.2) + rng.uniform(-0.06, 0.06, 3))
    return Actor(cutout, poses, mirrored, gain.astype(np.float32))


def _background(
    rng: np.random.Generator, bank: Bank, camera: np.ndarray, size: tuple[int, int], unlike: Entry | None
) -> Entry:
    """A background that need not be enlarged much to lie under all that the camera sees."""
    for _ in range(40):
        entry = bank.background(rng, unlike=unlike)
        if placed_within(np.random.default_rng(0), read_background(entry), camera, size)[1] <= _LARGER:
            break
    return entry


def _log_size(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(np.log(low), np.log(high)))


def _acting(
    kind: Kind, rng: np.random.Generator, bank: Bank, both: tuple[tuple[int, int], ...], steps: int
) -> tuple[np.ndarray, list[_Part]]:
    """A motion, and what carries it out in source and truth."""
    cutout = bank.thing(rng, alive=kind == "walk")
    size = np.exp(_log_size(rng, *_SIZES))
    mirrored = bool(rng.random() < 0.5)
    lean = rng.uniform(-0.12, 0.12)
    if kind in ("enter", "leave"):
        parts = [_Part(cutout, np.array([0.5, 0.5, np.log(size), lean]), mirrored, s) for s in both]
        motion, start = _across(kind, rng, parts, steps)
        parts = [_Part(p.cutout, np.array([*start, *p.pose[2:]]), mirrored, p.size) for p in parts]
    else:
        if kind in ("turn", "grow"):
            motion = laws.turn(rng, steps) if kind == "turn" else laws.grow(rng, steps)
        else:
            motion = laws.walk(rng, steps, size) if kind == "walk" else laws.move(rng, steps)
        middle = rng.uniform(0.36, 0.64, 2) - (motion[:, :2].min(0) + motion[:, :2].max(0)) / 2
        pose = np.array([*middle, np.log(size), lean])
        parts = [_Part(cutout, pose, mirrored, both[0])]
    if kind == "enter":
        return motion, parts
    return motion, [parts[0], _another(kind, rng, bank, parts[0], motion, both[1])]


def _across(kind: Kind, rng: np.random.Generator, parts: list[_Part], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """A way into the picture or out of it: its motion, and where it starts."""
    side = rng.choice(4, p=(0.38, 0.38, 0.1, 0.14))  # left, right, top, bottom
    axis, sign = (0, (-1, 1)[side]) if side < 2 else (1, (-1, 1)[side - 2])
    reach = 0.0
    for part in parts:
        # In the middle of a view that is twice as wide, so that all of the thing is in it.
        half = np.array([*part.pose[:2], part.pose[2] - np.log(2), part.pose[3]])
        line = outline(part.cutout, half, part.mirrored, part.size).max(axis)
        seen, middle = np.flatnonzero(line > 0.02), len(line) / 2
        reach = max(reach, max(seen[-1] + 1 - middle, middle - seen[0]) / middle)
    outside = np.array([0.5, 0.5])
    outside[1 - axis] = rng.uniform(0.3, 0.7)
    outside[axis] = 0.5 + sign * (0.5 + reach + 0.01)
    inside = outside.copy()
    inside[axis] = 0.5 + sign * (0.5 - rng.uniform(0.6, 1.0) * reach - rng.uniform(0, 0.2))
    inside[1 - axis] += rng.uniform(-0.1, 0.1)
    done = laws.progress(rng, steps)
    wait = int(rng.integers(0, min(3, steps))) if kind == "enter" else 0
    if wait:
        done = np.interp(np.arange(steps + 1), np.linspace(wait, steps, steps + 1), done)
    begin, end = (outside, inside) if kind == "enter" else (inside, outside)
    motion = np.zeros((steps + 1, 4))
    motion[:, :2] = done[:, None] * (end - begin)
    return motion, begin


def _another(
    kind: Kind, rng: np.random.Generator, bank: Bank, first: _Part, motion: np.ndarray, size: tuple[int, int]
) -> _Part:
    """The target's thing: another, larger or smaller, that has a part of the source's place."""
    before = first.outline()
    cutout = bank.thing(rng, alive=kind == "walk", unlike=[first.cutout.entry])
    for _ in range(40):
        log_size = float(np.clip(first.pose[2] + rng.uniform(-1, 1) * np.log(2), *np.log(_LIMITS)))
        away = rng.uniform(0, 1.3) * np.exp(max(log_size, first.pose[2]))
        angle = rng.uniform(0, 2 * np.pi)
        place = first.pose[:2] + away * np.array([np.cos(angle), np.sin(angle)])
        pose = np.array([*place, log_size, rng.uniform(-0.15, 0.15)])
        part = _Part(cutout, pose, bool(rng.random() < 0.5), size)
        now, then = part.outline(), part.outline(motion[-1])
        common = np.minimum(before, now).sum() / max(min(before.sum(), now.sum()), 1e-6)
        least = 0.01 * now.size
        if common < _OVERLAP or min(before.sum(), now.sum()) < least:
            continue
        if then.sum() <= _LEFT * now.sum() if kind == "leave" else then.sum() >= 0.6 * least:
            return part
    raise _Unseen


def _second(rng: np.random.Generator, bank: Bank, parts: list[_Part]) -> list[_Part]:
    """One more in source and truth each, apart from what acts in either, about as large."""
    acting = np.maximum(*(p.outline() for p in parts))
    found: list[_Part] = []
    for part in parts:
        cutout = bank.thing(rng, unlike=[p.cutout.entry for p in (*parts, *found)])
        for _ in range(60):
            log_size = float(np.clip(part.pose[2] + rng.uniform(-0.35, 0.35), *np.log(_LIMITS)))
            pose = np.array([*rng.uniform(0.12, 0.88, 2), log_size, rng.uniform(-0.12, 0.12)])
            second = _Part(cutout, pose, bool(rng.random() < 0.5), part.size)
            seen = second.outline()
            if seen.sum() > 0.015 * seen.size and np.minimum(seen, acting).sum() < 0.05 * seen.sum():
                found.append(second)
                break
        else:
            raise _Unseen
    return found


def _bystanders(
    rng: np.random.Generator,
    bank: Bank,
    size: tuple[int, int],
    parts: list[_Part],
    seconds: list[_Part],
    still: np.ndarray,
) -> list[Actor]:
    """Things that stand about, behind what acts and mostly beside it."""
    taken = [p.outline() for p in parts]
    used = [p.cutout.entry for p in (*parts, *seconds)]
    actors = []
    most = 1 if seconds else 3
    for _ in range(rng.integers(0 if parts else 1, most + 1)):
        cutout = bank.thing(rng, unlike=used)
        pose = np.array([*rng.uniform(0.05, 0.95, 2), _log_size(rng, 0.06, 0.16), rng.uniform(-0.12, 0.12)])
        part = _Part(cutout, pose, bool(rng.random() < 0.5), size)
        seen = part.outline()
        # Nothing else may stand where the source says that something acts.
        if any(np.minimum(seen, t).sum() > 0.15 * max(min(seen.sum(), t.sum()), 1e-6) for t in taken):
            continue
        used.append(cutout.entry)
        actors.append(_actor(rng, cutout, pose + still, part.mirrored))
    return actors
