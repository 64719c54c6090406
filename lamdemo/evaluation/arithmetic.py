"""Can one reckon with latents: add, reverse, halve, strengthen them, and do the same to what happens?

A case is two procedural actions A and B, each seen in a scene of its own, and a target, in which the truth of both at
once is rendered (see `lamdemo.data.scenes.combine`). What the model makes of the target is compared with the truth by
optical flow. What is carried out on the target:

``sum``
    z of A plus z of B.
``a``, ``b``
    either alone.
``joint``
    z of a third scene in which both happen at once: what the model says of it when it need not reckon.
``shuffled``
    z of A plus another case's z of B.
``copied_flow``
    the optical flows of both sources, added up and laid on the target; needs no model.
``copy``
    the target held still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import linregress
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Cast, Kind, Photographs, SceneConfig, Script, combine, draw_cast, rendered, write_script
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.engine.rollout import Rollout
from lamdemo.evaluation.encoding import latents_of
from lamdemo.evaluation.pictures import MOTION_WIDTH, end_point_errors, motion, move_by_flows
from lamdemo.evaluation.prefetch import prefetch
from lamdemo.evaluation.scenes import moving_share
from lamdemo.evaluation.statistics import mean_over, ratio_of_means
from lamdemo.latent_space.composition import add, interpolate, reverse

STEPS = 4
PAIRS: tuple[tuple[Kind, Kind], ...] = (
    ("pan", "zoom"),
    ("pan", "roll"),
    ("zoom", "roll"),
    ("pan", "pan"),
    ("pan", "move"),
    ("zoom", "move"),
)
METHODS = ("sum", "a", "b", "joint", "shuffled", "copied_flow", "copy")
FACTORS = (0.5, 1.0, 1.5, 2.0)
LEAST = 0.01  # share of the target that either action must move, in the mean over the steps
_TRIES = 200
_CASES = 12  # of the seed


@dataclass(frozen=True)
class Sum:
    """Two actions and both at once."""

    index: int  # number of the case
    kinds: tuple[Kind, Kind]  # of A and B
    # A, B and both at once, each in a scene of its own: uint8 [T, H, W, 3].
    sources: tuple[np.ndarray, np.ndarray, np.ndarray]
    truth: np.ndarray  # both at once in the target scene; its first frame is the target
    half: np.ndarray  # both at once, each by half, from the same frame on

    @property
    def name(self) -> str:
        """Of its kinds: "pan + zoom"."""
        return " + ".join(self.kinds)

    @property
    def target(self) -> np.ndarray:
        """The picture actions are carried out on, uint8 ``[H, W, 3]``."""
        return self.truth[0]


def crossed(a: Script, b: Script) -> Script:
    """The pan ``b``, as fast as it is, at right angles to the pan ``a``."""
    way = a.camera[-1, :2] - a.camera[0, :2]
    if not way.any():
        way = a.camera[1, :2] - a.camera[0, :2]
    across = np.array([-way[1], way[0]]) / max(float(np.linalg.norm(way)), 1e-9)
    steps = np.diff(b.camera[:, :2], axis=0)
    first = steps[0] / max(float(np.linalg.norm(steps[0])), 1e-9)
    camera = b.camera.copy()
    camera[1:, :2] = camera[0, :2] + np.cumsum(steps @ first)[:, None] * across
    return replace(b, camera=camera)


def still(script: Script) -> Script:
    """The same scene before anything happens: its camera and things stay where they begin."""
    frames = len(script.camera)
    return replace(
        script, camera=np.repeat(script.camera[:1], frames, 0), things=np.repeat(script.things[:, :1], frames, 1)
    )


def draw_sum(seed: int, index: int, bank: Photographs, size: int = MOTION_WIDTH) -> Sum:
    """Draw a case; kinds take turns, and either action alone moves what can be seen in source and target.

    Raises:
        LamdemoError: no such case was found.
    """
    rng = np.random.default_rng([seed, _CASES, index])
    kinds = PAIRS[index % len(PAIRS)]
    for _ in range(_TRIES):
        a, b = (write_script(rng, STEPS + 1, SceneConfig(), k) for k in kinds)
        if kinds == ("pan", "pan"):
            b = crossed(a, b)
        both = combine(a, b)
        first, second = draw_cast(rng, a, len(bank)), draw_cast(rng, b, len(bank))
        third, target = (draw_cast(rng, both, len(bank), like=second) for _ in range(2))
        if len({c.photograph for c in (first, second, third, target)}) < 4:
            continue
        # Each alone where the other's thing stands still.
        alone = [(a, first), (b, second), (combine(a, still(b)), target), (combine(still(a), b), target)]
        if min(float(moving_share(*of).mean()) for of in alone) >= LEAST:
            break
    else:
        raise LamdemoError("No sum of actions that can be seen was drawn; take photographs with more in them.")

    def drawn(script: Script, cast: Cast) -> np.ndarray:
        return rendered(script, cast, bank, size)

    return Sum(
        index,
        kinds,
        (drawn(a, first), drawn(b, second), drawn(both, third)),
        drawn(both, target),
        drawn(combine(a, b, share=0.5), target),
    )


@dataclass
class _Carried:
    """What became of a target: frames ``[S + 1, H, W, 3]`` and states ``[S + 1, N, D]``."""

    frames: np.ndarray
    states: np.ndarray


def carry(rollout: Rollout, z: np.ndarray) -> _Carried:
    """Carry out latents ``[S, Z]`` from where a rollout stands."""
    frames, states = [rollout.frame], [rollout.state]
    for one in z:
        step = rollout.step(one)
        frames.append(step.frame)
        states.append(step.state)
    return _Carried(np.stack(frames), np.stack(states))


def evaluate_sums(
    pipelines: Mapping[str, TransferPipeline],
    groups: Sequence[Sequence[str]],
    bank: Photographs,
    cases: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Judge sums, reversals, halves and strengths of actions, by checkpoint.

    Returns:
        See `lamdemo.evaluation.space.evaluate_space`.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in pipelines}

    def latents(case: Sum) -> dict[str, list[LatentActions]]:
        found = {}
        for group in groups:
            states: list[Tensor] = [pipelines[group[0]].encode(s) for s in case.sources]
            for name in group:
                p = pipelines[name]
                found[name] = [LatentActions(latents_of(p, s), p.fps, p.checkpoint) for s in states]
        return found

    # What a case is given of another's is the B of the one before; the first takes the last's.
    before = latents(draw_sum(seed, cases - 1, bank))
    loaded = prefetch(lambda i: draw_sum(seed, i, bank), range(cases), most=3, workers=1)
    # Optical flow is taken of one clip while another is made.
    with ThreadPoolExecutor(1) as pool:
        for _, case in tqdm(loaded, total=cases, desc="arithmetic", disable=None):
            given = latents(case)
            truths = motion(case.truth), motion(case.half)
            copied = move_by_flows(case.target, motion(case.sources[0]) + motion(case.sources[1]))
            shared = {
                "copied_flow": _off(motion(copied), truths[0]),
                "copy": float(np.linalg.norm(truths[0], axis=-1).mean()),
            }
            for name, pipeline in pipelines.items():
                row = _judge(pipeline, case, given[name], before[name][1], truths, pool)
                row["error"] |= shared
                rows[name].append(row)
            before = given
    return {name: summary(of, seed) for name, of in rows.items()}


def _off(flow: np.ndarray, truth: np.ndarray) -> float:
    return float(end_point_errors(flow, truth).mean())


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def _judge(
    pipeline: TransferPipeline,
    case: Sum,
    given: Sequence[LatentActions],
    other: LatentActions,
    truths: tuple[np.ndarray, np.ndarray],
    pool: ThreadPoolExecutor,
) -> dict[str, Any]:
    """Figures of one case; ``given`` is A, B and both of it, ``other`` another's B."""
    a, b, joint = given
    rollout = Rollout(pipeline, case.target)
    clips: dict[str, np.ndarray] = {}
    backs: dict[str, list[dict[str, float]]] = {"own": [], "shuffled": []}

    def begun(z: LatentActions) -> _Carried:
        rollout.reset()
        return carry(rollout, z.z)

    turn = case.index // len(PAIRS) % 2  # A and B by turns, so that every kind has its turn
    for i, (name, z) in enumerate((("a", a), ("b", b))):
        there = begun(z)
        clips[name] = there.frames
        for words, way in (("own", reverse(z)), ("shuffled", reverse(other))):
            if words == "shuffled" and i != turn:
                continue
            back = carry(rollout, way.z)
            backs[words].append(
                {
                    "picture": _difference(back.frames[-1], case.target),
                    "picture_alone": _difference(there.frames[-1], case.target),
                    "state": _difference(back.states[-1], there.states[0]),
                    "state_alone": _difference(there.states[-1], there.states[0]),
                }
            )
            for _ in way.z:
                rollout.undo()
    clips["sum"] = begun(add(a, b)).frames
    clips["joint"] = begun(joint).frames
    clips["shuffled"] = begun(add(a, other)).frames
    clips["half"] = begun(interpolate(a, b, 0.5)).frames
    one, kind = ((a, "a"), (b, "b"))[turn]
    for factor in FACTORS:
        if factor != 1:
            clips[f"by {factor}"] = begun(replace(one, z=(factor * one.z).astype(np.float32))).frames
    flows = dict(zip(clips, pool.map(motion, clips.values()), strict=True))
    flows["by 1.0"] = flows[kind]
    return {
        "case": case.index,
        "name": case.name,
        "error": {m: _off(flows[m], truths[0]) for m in ("sum", "a", "b", "joint", "shuffled")},
        "half_error": {m: _off(flows[m], truths[1]) for m in ("half", "a", "b")}
        | {"copy": float(np.linalg.norm(truths[1], axis=-1).mean())},
        "back": backs,
        "motion": {f: float(np.linalg.norm(flows[f"by {f}"], axis=-1).mean()) for f in FACTORS},
        "latents": _latent_figures(a.z, b.z, joint.z),
    }


def _latent_figures(a: np.ndarray, b: np.ndarray, joint: np.ndarray) -> dict[str, float]:
    """How far the sum, and the nearer of both, lie from the latent of both at once; and that one's size."""
    total = a + b

    def far(z: np.ndarray) -> float:
        return float(np.linalg.norm(z - joint, axis=1).mean())

    sizes = np.linalg.norm(total, axis=1) * np.linalg.norm(joint, axis=1)
    cosine = (total * joint).sum(1) / np.maximum(sizes, 1e-9)
    return {
        "sum": far(total),
        "nearer": min(far(a), far(b)),
        "size": float(np.linalg.norm(joint, axis=1).mean()),
        "cosine": float(cosine.mean()),
    }


def linear_fit(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Slope, intercept and R² of the straight line nearest to points ``[n]``; None where x or y do not vary."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 2 or x.std() < 1e-9 or y.std() < 1e-9:
        return {"slope": None, "intercept": None, "r2": None}
    fit = linregress(x, y)
    return {"slope": float(fit.slope), "intercept": float(fit.intercept), "r2": float(fit.rvalue**2)}


def summary(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Figures over cases."""
    kinds = list(dict.fromkeys(r["name"] for r in rows))
    by_kind = {k: [r for r in rows if r["name"] == k] for k in kinds}
    return {
        "cases": len(rows),
        "sum": {
            **_sums(rows, "error", "sum", seed),
            "pairs": {k: _sums(of, "error", "sum", seed) for k, of in by_kind.items()},
            "latents": _consistency(rows, seed),
        },
        "interpolation": _sums(rows, "half_error", "half", seed),
        "reversal": {words: _returns(rows, words, seed) for words in ("own", "shuffled")},
        "strength": _strength(rows, seed),
    }


def _sums(rows: Sequence[Mapping[str, Any]], key: str, method: str, seed: int) -> dict[str, Any]:
    """Whether a method is nearer to the truth than A alone and B alone, and by how much."""
    names = [r["case"] for r in rows]
    errors = {m: np.array([r[key][m] for r in rows]) for m in rows[0][key]}
    either = np.minimum(errors["a"], errors["b"])
    return {
        "cases": len(rows),
        "better": {m: mean_over(errors[m] < either, names, seed=seed) for m in errors if m not in ("a", "b")},
        "over_either": {m: ratio_of_means(errors[m], either, names, seed=seed) for m in errors if m not in ("a", "b")},
        "over_copy": {m: ratio_of_means(e, errors["copy"], names, seed=seed) for m, e in errors.items() if m != "copy"},
        "median_over_either": float(np.median(errors[method] / np.maximum(either, 1e-9))),
    }


def _consistency(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """How far z of A plus z of B is from z of both at once, over the latter's size."""
    names = [r["case"] for r in rows]
    of = {k: np.array([r["latents"][k] for r in rows]) for k in ("sum", "nearer", "size", "cosine")}
    return {
        "distance": ratio_of_means(of["sum"], of["size"], names, seed=seed),
        "distance_of_nearer": ratio_of_means(of["nearer"], of["size"], names, seed=seed),
        "cosine": float(of["cosine"].mean()),
    }


def _returns(rows: Sequence[Mapping[str, Any]], words: str, seed: int) -> dict[str, Any]:
    """What is left of an action after its reverse, or another's, over what it does."""
    of = [(r["case"], b) for r in rows for b in r["back"][words]]
    names = [case for case, _ in of]
    return {
        what: ratio_of_means(
            np.array([b[what] for _, b in of]), np.array([b[f"{what}_alone"] for _, b in of]), names, seed=seed
        )
        for what in ("picture", "state")
    } | {f"{what}_alone": float(np.mean([b[f"{what}_alone"] for _, b in of])) for what in ("picture", "state")}


def _strength(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Motion against the factor: over that of the action as it is, and a line of its pixels against those wanted."""
    names = [r["case"] for r in rows]
    whole = np.array([r["motion"][1.0] for r in rows])
    each = {f: np.array([r["motion"][f] for r in rows]) for f in FACTORS}
    x = np.concatenate([f * whole for f in FACTORS if f != 1])
    y = np.concatenate([each[f] for f in FACTORS if f != 1])
    fits = [linear_fit(np.array(FACTORS), np.array([e[i] for e in each.values()])) for i in range(len(rows))]
    known = [f["r2"] for f in fits if f["r2"] is not None]
    return {
        "motion_over_whole": {str(f): ratio_of_means(e, whole, names, seed=seed) for f, e in each.items()},
        "fit": linear_fit(x, y),
        "median_r2_of_cases": float(np.median(known)) if known else None,
    }
