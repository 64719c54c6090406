"""Is an action's nearest neighbour, in another recording, the same action?

Latents of steps are compared by their Euclidean distance, as on the map of the page. What is asked is whether the
step nearest to a query, of all those of *other* recordings, shows the query's known action: the kind and the
direction of procedural scenes, the steering's sign of a car. Beside the latent stand vectors that need no model of
actions:

``states``
    the change of the encoder's features, averaged over the picture.
``flow``
    the step's optical flow on a grid of 8 by 8 cells, as many numbers as the latent has.

Chance is the share of right steps among all that a query is compared with: what a step drawn blindly gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.data.known_actions import IndexedClip, find_known_actions, read_known_actions
from lamdemo.data.scenes import (
    KINDS,
    Photographs,
    SceneConfig,
    Script,
    camera_velocity,
    draw_cast,
    rendered,
    write_script,
)
from lamdemo.data.splits import Part, Split
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.clips import recording_of
from lamdemo.evaluation.encoding import latents_of
from lamdemo.evaluation.pictures import MOTION_WIDTH, at_motion_width, motion
from lamdemo.evaluation.prefetch import prefetch
from lamdemo.evaluation.scenes import moving_share
from lamdemo.evaluation.statistics import mean_over
from lamdemo.video import find_videos, probe, read_clip

ACTIONS = tuple(k for k in KINDS if k != "still")
CAMERA = ("pan", "zoom", "roll")
SCENE_STEPS = 8
SEEN = 0.005  # share of the picture that must move for a step to count
CLEAR = 0.25  # steering from which a turn is clear, of 1 at most
CLIP_STEPS = 32  # of a real clip at most, from its middle
NEAR = np.cos(np.deg2rad(45))  # pans whose directions are nearer than this are alike
_FLOW_SIDE = 8
_SCENES = 11  # of the seed: other scenes than those of the atlas and of the other parts of the suite


# Nearest neighbours.


def distances(vectors: np.ndarray) -> np.ndarray:
    """Euclidean distances between all rows of ``[n, F]``, float32 ``[n, n]``."""
    from sklearn.metrics.pairwise import euclidean_distances

    x = np.asarray(vectors, np.float64)
    # Far from the origin differences of squares lose their digits.
    return euclidean_distances(x - x.mean(0)).astype(np.float32)


def rank_one(
    apart: Mapping[str, np.ndarray],
    same: np.ndarray,
    recordings: np.ndarray,
    queries: np.ndarray,
    pool: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """How often the nearest of the pool, in another recording, is right.

    Args:
        apart: by method the distances ``[n, n]``.
        same: bool ``[n, n]``, whether the second is right for the first.
        recordings: ``[n]``, numbers or names.
        queries: indices ``[q]``.
        pool: indices ``[p]`` of what they are compared with.
        classes: ``[n]``; if given, ``balanced`` is the mean over the queries' classes, each counted alike.
        seed: of the bootstrap over the queries' recordings.

    Returns:
        ``queries``, ``pool``, ``recordings`` (how many), ``chance``, and by method the share with its interval;
        with ``balanced`` (by method, and of chance) where there are classes.
    """
    allowed = recordings[queries][:, None] != recordings[pool][None]
    queries, allowed = queries[allowed.any(1)], allowed[allowed.any(1)]
    right = same[np.ix_(queries, pool)] & allowed
    chance = right.sum(1) / np.maximum(allowed.sum(1), 1)
    hits = {}
    for method, of in apart.items():
        nearest = np.where(allowed, of[np.ix_(queries, pool)], np.inf).argmin(1) if len(queries) else np.zeros(0, int)
        hits[method] = right[np.arange(len(queries)), nearest].astype(np.float64)
    names = recordings[queries].tolist()
    result: dict[str, Any] = {
        "queries": len(queries),
        "pool": len(pool),
        "recordings": len(set(names)),
        "chance": float(chance.mean()) if len(queries) else None,
        **{m: mean_over(h, names, seed=seed) for m, h in hits.items()},
    }
    if classes is not None and len(queries):
        mine = classes[queries]
        result["balanced"] = {
            m: float(np.mean([h[mine == c].mean() for c in np.unique(mine)]))
            for m, h in (*hits.items(), ("chance", chance))
        }
    return result


def nearest_of(apart: np.ndarray, recordings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of each of the rows ``[q]`` the nearest one among them in another recording: indices ``[q]``."""
    allowed = recordings[rows][:, None] != recordings[rows][None]
    return rows[np.where(allowed, apart[np.ix_(rows, rows)], np.inf).argmin(1)]


@dataclass
class Steps:
    """Steps to compare."""

    recordings: list[str] = field(default_factory=list)  # [n], names
    latents: dict[str, list[np.ndarray]] = field(default_factory=dict)  # by checkpoint [n, Z]
    # By number of the encoder's group and method [n, F], what needs no model of actions.
    raw: list[dict[str, list[np.ndarray]]] = field(default_factory=list)

    def add(
        self,
        pipelines: Mapping[str, TransferPipeline],
        groups: Sequence[Sequence[str]],
        frames: np.ndarray,
        flow: np.ndarray,
        rows: np.ndarray,
        recording: str,
    ) -> None:
        """Take the steps ``rows`` of frames ``[T, H, W, 3]`` with coarse flow ``[S, F]``."""
        self.recordings += [recording] * len(rows)
        self.raw = self.raw or [{"states": [], "flow": []} for _ in groups]
        for group, raw in zip(groups, self.raw, strict=True):
            states: Tensor = pipelines[group[0]].encode(frames).float()
            for name in group:
                self.latents.setdefault(name, []).append(latents_of(pipelines[name], states)[rows])
            pooled = states.mean(1).cpu().numpy()
            raw["states"].append(np.diff(pooled, axis=0)[rows])
            raw["flow"].append(flow[rows])

    def distances(self, groups: Sequence[Sequence[str]]) -> dict[str, dict[str, np.ndarray]]:
        """By checkpoint and method (``z``, ``states``, ``flow``) the distances ``[n, n]``."""
        found = {}
        for group, raw in zip(groups, self.raw, strict=True):
            baselines = {m: distances(np.concatenate(v)) for m, v in raw.items()}
            for name in group:
                found[name] = {"z": distances(np.concatenate(self.latents[name])), **baselines}
        return found


def coarse_flow(frames: np.ndarray) -> np.ndarray:
    """Optical flow of each step of ``[T, H, W, 3]`` on 8 by 8 cells, in picture widths: ``[S, 128]``."""
    small = at_motion_width(frames)
    cells = [cv2.resize(f, (_FLOW_SIDE, _FLOW_SIDE), interpolation=cv2.INTER_AREA) for f in motion(small)]
    return np.stack(cells).reshape(len(frames) - 1, -1) / MOTION_WIDTH


# Procedural scenes.


@dataclass(frozen=True)
class Known:
    """What is known of the steps of scenes."""

    kind: np.ndarray  # [n], as in `ACTIONS`
    camera: np.ndarray  # [n], what the camera does: of `CAMERA`, or ""
    thing: np.ndarray  # bool [n], whether something moves, comes or goes
    velocity: np.ndarray  # [n, 4]: pan x, pan y, zoom, roll, as the camera sees them

    def group(self) -> np.ndarray:
        """The kinds that one step can show: "pan", "zoom", "roll", "something moves"; and "both"."""
        alone = np.isin(self.kind, (*CAMERA, "both"))
        return np.where(alone, self.kind, "something moves")

    def shared(self) -> np.ndarray:
        """Whether two steps have something in common, the camera's motion or that something moves: ``[n, n]``."""
        moving = (self.camera[:, None] == self.camera) & (self.camera != "")
        return moving | (self.thing[:, None] & self.thing)

    def alike(self) -> np.ndarray:
        """Whether the camera moves the same way: pans less than 45° apart, zooms and rolls of one sign: ``[n, n]``."""
        pan = self.velocity[:, :2] / np.maximum(np.linalg.norm(self.velocity[:, :2], axis=1), 1e-9)[:, None]
        found = np.zeros((len(self.kind),) * 2, bool)
        for name, near in (
            ("pan", pan @ pan.T > NEAR),
            ("zoom", np.outer(np.sign(self.velocity[:, 2]), np.sign(self.velocity[:, 2])) > 0),
            ("roll", np.outer(np.sign(self.velocity[:, 3]), np.sign(self.velocity[:, 3])) > 0),
        ):
            rows = self.kind == name
            found |= near & rows[:, None] & rows
        return found


def known_of(script: Script, rows: np.ndarray) -> Known:
    """What is known of some steps of a script."""
    moved = np.abs(np.diff(script.camera, axis=0)).max(0) > 0
    camera = next((k for k, m in zip(CAMERA, (moved[:2].any(), moved[2], moved[3]), strict=True) if m), "")
    n = len(rows)
    return Known(
        np.full(n, script.kind),
        np.full(n, camera),
        np.full(n, len(script.things) > 0),
        camera_velocity(script)[rows, :4],
    )


def scene_neighbours(
    pipelines: Mapping[str, TransferPipeline],
    groups: Sequence[Sequence[str]],
    bank: Photographs,
    scenes: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Judge neighbours on procedural scenes, each a recording of its own; by checkpoint.

    Raises:
        LamdemoError: in too few scenes does anything move.
    """
    steps, known = Steps(), []
    left_out = 0

    def draw(i: int) -> tuple[Script, np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, _SCENES, i])
        script = write_script(rng, SCENE_STEPS + 1, SceneConfig(), ACTIONS[i % len(ACTIONS)])
        cast = draw_cast(rng, script, len(bank))
        rows = np.flatnonzero(moving_share(script, cast) >= SEEN)
        frames = rendered(script, cast, bank, MOTION_WIDTH)
        return script, frames, coarse_flow(frames), rows

    loaded = prefetch(draw, range(scenes), most=4, workers=1)
    for i, (script, frames, flow, rows) in tqdm(loaded, total=scenes, desc="neighbours in scenes", disable=None):
        left_out += SCENE_STEPS - len(rows)
        if len(rows):
            steps.add(pipelines, groups, frames, flow, rows, f"{i:04d}")
            known.append(known_of(script, rows))
    if len(known) < 2:
        raise LamdemoError("Neighbours need at least two scenes in which something moves; judge on more of them.")
    of = Known(*(np.concatenate([getattr(k, name) for k in known]) for name in ("kind", "camera", "thing", "velocity")))
    names = np.array(steps.recordings)
    apart = steps.distances(groups)
    return {name: {"left_out": left_out, **judge_scenes(apart[name], of, names, seed)} for name in pipelines}


def judge_scenes(apart: Mapping[str, np.ndarray], of: Known, recordings: np.ndarray, seed: int) -> dict[str, Any]:
    """Figures of neighbours in scenes.

    Args:
        apart: by method, ``z`` among them, the distances ``[n, n]``.
        of: what is known of the steps.
        recordings: ``[n]``.
        seed: of the bootstrap.

    Returns:
        See `lamdemo.evaluation.space.evaluate_space`.
    """
    every, group = np.arange(len(of.kind)), of.group()
    alone = np.flatnonzero(of.kind != "both")
    equal = group[:, None] == group

    def ask(same: np.ndarray, queries: np.ndarray, pool: np.ndarray, classes: np.ndarray | None) -> dict[str, Any]:
        return rank_one(apart, same, recordings, queries, pool, classes=classes, seed=seed)

    alike = of.alike()
    direction, of_kind = {}, {}
    for kind in CAMERA:
        mine = np.flatnonzero(of.kind == kind)
        direction[kind] = ask(alike, mine, alone, None)
        of_kind[kind] = ask(alike, mine, mine, None)
    camera = np.flatnonzero(np.isin(of.kind, CAMERA))
    direction["all"] = ask(alike, camera, alone, of.kind)
    nearest = nearest_of(apart["z"], recordings, every)
    where = {k: i for i, k in enumerate(ACTIONS)}
    table = np.zeros((len(ACTIONS),) * 2, int)
    np.add.at(table, ([where[k] for k in of.kind], [where[k] for k in of.kind[nearest]]), 1)
    return {
        "recordings": len(set(recordings.tolist())),
        "steps": len(every),
        "nine": ask(of.kind[:, None] == of.kind, every, every, of.kind),
        "four": ask(equal, alone, alone, group),
        "four_and_both": ask(equal, every, every, group),
        "shared": ask(of.shared(), every, every, None),
        "kinds": {k: ask(equal, rows, alone, None) for k in dict.fromkeys(group[alone].tolist())
                  if len(rows := alone[group[alone] == k])},
        "direction": direction,
        "direction_of_kind": of_kind,
        "confusion": {"kinds": list(ACTIONS), "counts": table.tolist()},
    }  # fmt: skip


# Steering.


def _steering_clips(videos: Path, split: Split | None, part: Part | Literal["all"]) -> list[IndexedClip]:
    """Clips of a part whose commands begin with steering."""
    there = {p.relative_to(videos).as_posix() for p in find_videos(videos)}
    found = []
    for clip in find_known_actions(videos):
        mine = split is None or part == "all" or split.part(clip.clip) == part
        if mine and clip.clip in there and read_known_actions(videos, clip).names[:1] == ("steering",):
            found.append(clip)
    return found


def _read_turns(videos: Path, clip: IndexedClip, fps: float, side: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames ``[T, side, side, 3]`` of a clip's middle, and the mean steering during each step and the one before.

    Returns:
        Frames and ``[S, 2]``; None where the clip cannot be read or is too short.
    """
    try:
        info = probe(videos / clip.clip)
        rate = info.fps or fps
        stride = max(round(rate / fps), 1)
        most = (int(info.seconds * rate + 1e-6) - 1) // stride
        count = min(most, CLIP_STEPS)
        if count < 2:
            return None
        first = stride * ((most - count) // 2)
        # A quarter of a frame later than it begins, so that rounding never shows the one before.
        frames = read_clip(
            videos / clip.clip, start=(first + 0.25) / rate, max_frames=stride * count + 1, size=(side, side)
        ).frames[::stride]
    except LamdemoError:
        return None
    if len(frames) < 3:
        return None
    at = first + stride * np.arange(len(frames), dtype=float)
    commands = read_known_actions(videos, clip)
    return frames, np.stack([commands.aligned(at - back)[:, 0] for back in (0, stride)], 1)


def steering_neighbours(
    pipelines: Mapping[str, TransferPipeline],
    groups: Sequence[Sequence[str]],
    videos: Path | None,
    split: Split | None,
    part: Part | Literal["all"],
    max_clips: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Judge the steering's sign at the nearest neighbour, by checkpoint.

    Test recordings are judged among themselves, and among those of the validation part, which are judged among
    themselves as well: the test part may be another's car.

    Returns:
        By checkpoint, then by set (the part's name; for ``test`` also ``validation`` and
        ``test_among_validation``): ``turns`` (queries and pool are clear turns), ``all`` (the pool is all steps that
        steer at all) and ``delayed`` (as ``turns``, by the command of the step before, since a car takes time to
        obey), see `rank_one`; empty where no clip has known steering.
    """
    if videos is None:
        return {name: {} for name in pipelines}
    parts: list[Part | Literal["all"]] = [part if split is not None else "all"]
    if parts == ["test"]:
        parts.append("validation")
    fps = pipelines[groups[0][0]].fps
    side = max(p.model.config.encoder.picture for p in pipelines.values())
    planned = []
    for p in parts:
        clips = _steering_clips(videos, split, p)
        picked = np.unique(np.linspace(0, len(clips) - 1, min(max_clips, len(clips))).round().astype(int))
        planned += [(p, clips[i]) for i in picked]
    steps = Steps()
    steering: list[np.ndarray] = []
    which: list[str] = []
    loaded = prefetch(lambda item: _read_turns(videos, item[1], fps, side), planned, most=4)
    for (p, clip), read in tqdm(loaded, total=len(planned), desc="neighbours in turns", disable=None):
        if read is None:
            continue
        frames, turned = read
        rows = np.flatnonzero(np.isfinite(turned).all(1))
        if len(rows):
            steps.add(pipelines, groups, frames, coarse_flow(frames), rows, recording_of(clip.clip))
            steering.append(turned[rows])
            which += [p] * len(rows)
    if not which:
        return {name: {} for name in pipelines}
    apart = steps.distances(groups)
    turned, of, names = np.concatenate(steering), np.array(which), np.array(steps.recordings)
    sets: dict[str, tuple[str, str]] = {p: (p, p) for p in parts}
    if len(parts) > 1:
        sets["test_among_validation"] = ("test", "validation")
    return {
        name: {
            s: found
            for s, (a, b) in sets.items()
            if (found := judge_turns(apart[name], turned, names, of == a, of == b, seed)) is not None
        }
        for name in pipelines
    }


def judge_turns(
    apart: Mapping[str, np.ndarray],
    steering: np.ndarray,
    recordings: np.ndarray,
    asked: np.ndarray,
    among: np.ndarray,
    seed: int,
) -> dict[str, Any] | None:
    """Figures of the steering's sign.

    Args:
        apart: by method the distances ``[n, n]``.
        steering: ``[n, 2]``, -1 to 1: during the step, and during the one before.
        recordings: ``[n]``.
        asked: bool ``[n]``, the part that queries are of.
        among: bool ``[n]``, the part that the pool is of.
        seed: of the bootstrap.

    Returns:
        ``turns``, ``all`` and ``delayed``; None where no query has anything to be compared with.
    """
    found = {}
    for words, command, least in (("turns", 0, CLEAR), ("all", 0, 0.0), ("delayed", 1, CLEAR)):
        turned = steering[:, command]
        sign, clear = np.sign(turned), np.abs(turned) >= CLEAR
        same = (sign[:, None] == sign) & (sign != 0)
        pool = np.flatnonzero((np.abs(turned) >= least) & (sign != 0) & among)
        found[words] = rank_one(apart, same, recordings, np.flatnonzero(clear & asked), pool, classes=sign, seed=seed)
    return found if found["turns"]["queries"] else None
