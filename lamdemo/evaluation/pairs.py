"""Judging transfers whose truth is known, in pictures and in motion.

A case's source shows an action; its target is another scene; its truth is the same action in that scene. The
model's answer stands beside these:

``copy``
    the target held still. Motion errors are given over this one's.
``zero``
    the model under no action.
``shuffled``
    the model under another case's action.
``copied_flow``
    the source's optical flow laid on the target: what needs no model. Flows are composed and the target is
    sampled once, as on the model's canvas, so that it does not blur.
``true_flow``
    the *truth's* optical flow laid on the target. No method but a reference: what moving the target's pixels
    can reach at best, and how far the measuring optical flow can be trusted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

import lamdemo.evaluation.entrances as entrances
import lamdemo.evaluation.on_layers as on_layers
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import MAX_STEPS, ActionEdit, LatentActions, TransferPipeline, sharpness
from lamdemo.evaluation.case_folder import Case, Layers, find_cases
from lamdemo.evaluation.encoding import latents_of, same_encoders
from lamdemo.evaluation.pictures import (
    FROZEN_FEATURES,
    at_motion_width,
    end_point_errors,
    feature_distance,
    features,
    motion,
    move_by_flows,
    psnr,
    ssim,
)
from lamdemo.evaluation.prefetch import prefetch
from lamdemo.evaluation.report import describe_files
from lamdemo.evaluation.statistics import balanced, mean_of_kinds, mean_over, ratio_of_means
from lamdemo.video import read_clip, read_image

METHODS = ("model", "copy", "zero", "shuffled", "copied_flow", "true_flow")
MEASURES = ("psnr", "ssim", "perceptual", "motion", "motion_moving")
LONG = 16  # steps after which sharpness is measured again
_MOVES = 1.0  # pixels at 256 across, from which a place of the truth counts as moving


@dataclass(frozen=True)
class _Clips:
    """A case's source ``[T, h, w, 3]``, target ``[H, W, 3]`` and truth ``[T, H, W, 3]``, and layers if known."""

    source: np.ndarray
    target: np.ndarray
    truth: np.ndarray
    layers: Layers | None


@dataclass(frozen=True)
class _Truth:
    """What drawn clips are compared with: flow ``[S, h, w, 2]``, where it is large, and features of its frames."""

    clip: np.ndarray
    target: np.ndarray
    layers: Layers | None
    motion: np.ndarray
    moves: np.ndarray
    features: Tensor


@dataclass
class _Drawn:
    """What a model drew of a case: clips ``[T, H, W, 3]`` by method, the frame after `LONG` steps, its time.

    And its own matte ``[H, W]`` after so many steps as the truth's is compared with, where it has one.
    """

    clips: dict[str, np.ndarray]
    long: np.ndarray | None
    seconds: float
    matte: np.ndarray | None


def evaluate_pairs(
    pipeline: TransferPipeline | Mapping[str, TransferPipeline],
    pairs: str | Path,
    *,
    max_clips: int | None = None,
    seed: int = 0,
    refinement: int | None = None,
) -> dict[str, Any]:
    """Transfer every case's action and compare with its truth.

    The source's frames are taken as they are, each one step after the other.

    Args:
        pipeline: of the model to judge; or several by name, of which those with the same encoder share what
            depends on it alone.
        pairs: folder of cases, as `write_cases` makes them.
        max_clips: at most so many cases, taken in turns from the kinds.
        seed: of the choice of cases, of whose action is given to whom, and of the bootstrap.
        refinement: see `TransferPipeline.infer`.

    Returns:
        Plain numbers, ready for JSON (for several pipelines: by their names): ``headline``, the means over kinds;
        these in full, ``mean_of_kinds``, in which each kind counts alike, with 95% by bootstrap over cases within
        kinds; ``all`` and ``kinds``, each with

        - ``methods``: for each the means over cases of ``psnr`` (dB), ``ssim``, ``perceptual`` (see
          `feature_distance`), ``motion`` (mean end-point error of the optical flow between consecutive
          frames, in pixels at 256 across) and ``motion_moving`` (the same where the truth moves by more than
          a pixel);
        - ``motion_over_copy`` and ``motion_moving_over_copy``: sum over cases over the sum of ``copy``, whose
          end-point error is the truth's motion; 95% by bootstrap over cases; ``median`` of the cases' ratios;
        - ``layers``, where the truth's layers are known: errors of `layer_errors` over those of ``copy``, a ratio of
          sums, and ``iou`` of the model's own matte (None without one), see `thing_iou`;
        - ``entering``, where something enters: for each method the measures of `entrance`;
        - ``sharpness``: of the last frame over the target's; ``model_16`` after 16 steps, actions repeated;
        - ``seconds_per_transfer``: median, from the source's frames to the last picture;

        and ``cases``: name, kind, motion errors of each.

    Raises:
        LamdemoError: there is no case, or one is not whole.
    """
    pipelines = pipeline if isinstance(pipeline, Mapping) else {"": pipeline}
    found = find_cases(pairs)
    rng = np.random.default_rng(seed)
    found = [found[i] for i in balanced([c.kind for c in found], max_clips, rng)]
    # Each case is given the action of the one before it in a drawn order.
    order = rng.permutation(len(found))
    rows: dict[str, list[dict[str, Any]]] = {name: [{} for _ in found] for name in pipelines}
    alike = [{n: pipelines[n] for n in names} for names in same_encoders(pipelines)]
    given = {n: p.infer(_source(found[order[-1]])) for n, p in pipelines.items()} if len(found) > 1 else {}
    loaded = prefetch(lambda i: load_case(found[i]), order, most=3)
    # Drawing is timed and has the machine to itself; what is measured afterwards shares it.
    with ThreadPoolExecutor(2) as pool:
        for i, clips in tqdm(loaded, total=len(found), desc="transferring", disable=None):
            for sharing in alike:
                for name, row in _judge(sharing, found[i], clips, given, refinement, pool).items():
                    rows[name][i] = row
    about = {
        "evaluation": "pairs",
        "settings": {
            "max_clips": max_clips,
            "seed": seed,
            "refinement": refinement,
            "moving_above_pixels": _MOVES,
            "perceptual_is": FROZEN_FEATURES,
        },
        "clips": describe_files(
            pairs, [f"{c.name}/{n}" for c in found for n in ("source.mp4", "target.png", "truth.mp4")]
        ),
    }
    results = {name: {**about, **_result(rows[name], seed)} for name in pipelines}
    return results if isinstance(pipeline, Mapping) else results[""]


def _result(rows: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    kinds = sorted({r["kind"] for r in rows})
    whole, means = _summary(rows, seed), _means(rows, seed)
    return {
        "headline": {
            "motion": means["motion_over_copy"]["model"],
            "motion_copied_flow": means["motion_over_copy"]["copied_flow"],
            "psnr": means["psnr"]["model"],
            "psnr_copy": means["psnr"]["copy"],
            "on_thing": means["layers"]["on_thing_last"]["model"],
            "in_hole": means["layers"]["in_hole_last"]["model"],
            "iou": means["iou"],
            "sharpness": whole["sharpness"]["model"],
            "sharpness_16": whole["sharpness"][f"model_{LONG}"],
            "seconds_per_transfer": whole["seconds_per_transfer"],
        },
        "mean_of_kinds": means,
        "all": whole,
        "kinds": {k or "unknown": _summary([r for r in rows if r["kind"] == k], seed) for k in kinds},
        "cases": [
            {
                "name": r["name"],
                "kind": r["kind"],
                "steps": r["steps"],
                "motion": {m: r["methods"][m]["motion"] for m in r["methods"]},
                **({"layers": r["layers"], "iou": r["iou"]} if r["layers"] else {}),
                **({"entering": r["entering"]} if r["entering"] else {}),
            }
            for r in rows
        ],
    }


def _values(rows: list[dict[str, Any]], group: str, method: str, measure: str) -> np.ndarray:
    """A measure in each case, ``[n]``; NaN in those where it is not known."""
    return np.array([r[group].get(method, {}).get(measure, math.nan) for r in rows], np.float64)


def _over_copy(
    rows: list[dict[str, Any]], group: str, measure: str, names: list[str], seed: int
) -> dict[str, dict[str, float | None]]:
    """By method, a measure's sum over cases over that of the copied target, where the latter is known."""
    still = _values(rows, group, "copy", measure)
    known = np.isfinite(still)
    cases = np.array([r["name"] for r in rows])[known]
    return {
        m: ratio_of_means(_values(rows, group, m, measure)[known], still[known], cases, seed=seed)
        for m in names
        if m != "copy"
    }


def _means(rows: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Means over kinds."""
    kinds = [r["kind"] for r in rows]
    names = [m for m in METHODS if m in rows[0]["methods"]]
    one = np.ones(len(rows))

    def over_copy(group: str, measure: str) -> dict[str, dict[str, float | None]]:
        still = _values(rows, group, "copy", measure)
        return {
            m: mean_of_kinds(_values(rows, group, m, measure), still, kinds, seed=seed) for m in names if m != "copy"
        }

    return {
        "kinds": sorted(set(kinds)),
        "motion_over_copy": over_copy("methods", "motion"),
        "psnr": {m: mean_of_kinds(_values(rows, "methods", m, "psnr"), one, kinds, seed=seed) for m in names},
        "layers": {measure: over_copy("layers", measure) for measure in on_layers.MEASURES},
        "iou": mean_of_kinds(np.array([r["iou"] for r in rows]), one, kinds, seed=seed),
    }


def _source(case: Case) -> np.ndarray:
    frames = read_clip(case.folder / "source.mp4").frames
    if not 2 <= len(frames) <= MAX_STEPS + 1:
        raise LamdemoError(f"The source of case {case.name} has {len(frames)} frames; it needs 2 to {MAX_STEPS + 1}.")
    return frames


def load_case(case: Case) -> _Clips:
    """A case's clips.

    Raises:
        LamdemoError: they do not fit together.
    """
    source = _source(case)
    target = read_image(case.folder / "target.png", max_side=None)
    truth = read_clip(case.folder / "truth.mp4").frames
    if len(truth) != len(source):
        raise LamdemoError(
            f"In case {case.name} the source has {len(source)} frames and the truth {len(truth)}; make them equal."
        )
    height, width = target.shape[:2]
    more = truth.shape[1] - height, truth.shape[2] - width
    # Videos have even sides: an odd target's truth may have one row or column more.
    if not (more[0] in (0, height % 2) and more[1] in (0, width % 2)):
        raise LamdemoError(f"In case {case.name} target and truth differ in size; make them equal.")
    return _Clips(source, target, truth[:, :height, :width], Layers.read(case.folder, len(truth)))


def _judge(
    pipelines: dict[str, TransferPipeline],
    case: Case,
    clips: _Clips,
    given: dict[str, LatentActions],
    refinement: int | None,
    pool: ThreadPoolExecutor,
) -> dict[str, dict[str, Any]]:
    """Figures of one case for pipelines with the same encoder; ``given`` is replaced by their actions in it."""
    first = next(iter(pipelines.values()))
    target, truth = clips.target, clips.truth
    begin = time.perf_counter()
    states = first.encode(clips.source)
    encoding = time.perf_counter() - begin
    drawn = {}
    for name, pipeline in pipelines.items():
        begin = time.perf_counter()
        actions = LatentActions(latents_of(pipeline, states), pipeline.fps, pipeline.checkpoint)
        actions = pipeline.refined(clips.source, actions, refinement)
        drawn[name] = _draw(pipeline, clips, actions, given.get(name), begin - encoding)
        given[name] = actions

    true_motion = motion(at_motion_width(truth))
    against = _Truth(
        truth,
        target,
        clips.layers,
        true_motion,
        np.linalg.norm(true_motion, axis=-1) > _MOVES,
        features(first, truth[1:]),
    )
    shared = {
        "copy": np.repeat(target[None], len(truth), 0),
        "copied_flow": move_by_flows(target, motion(at_motion_width(clips.source))),
        "true_flow": move_by_flows(target, true_motion),
    }
    jobs = {("", m): clip for m, clip in shared.items()}
    jobs |= {(name, m): clip for name, made in drawn.items() for m, clip in made.clips.items()}
    compared = pool.map(lambda job: _compare(first, job[0][1], job[1], against), jobs.items())
    figures = dict(zip(jobs, compared, strict=True))
    clear = max(sharpness(target), 1e-6)
    rows = {}
    for name, made in drawn.items():
        methods = {m: figures[name if m in made.clips else "", m] for m in METHODS if m in made.clips or m in shared}
        rows[name] = {
            "name": case.name,
            "kind": case.kind,
            "steps": len(truth) - 1,
            "seconds": made.seconds,
            "methods": {m: {k: f[k] for k in MEASURES} for m, f in methods.items()},
            "layers": {m: part for m, f in methods.items() if (part := _part(f, on_layers.MEASURES))},
            "iou": math.nan if clips.layers is None else on_layers.thing_iou(made.matte, clips.layers),
            "entering": {m: part for m, f in methods.items() if (part := _part(f, entrances.MEASURES))},
            "sharpness": {
                "model": sharpness(made.clips["model"][-1]) / clear,
                "truth": sharpness(truth[-1]) / clear,
                "copied_flow": sharpness(shared["copied_flow"][-1]) / clear,
                f"model_{LONG}": sharpness(made.long) / clear if made.long is not None else math.nan,
            },
        }
    return rows


def _draw(
    pipeline: TransferPipeline, clips: _Clips, actions: LatentActions, given: LatentActions | None, begin: float
) -> _Drawn:
    """A model's clips: under the actions, under none, and under another case's where there is one."""
    steps = len(actions)
    repeat = -(-LONG // steps) if steps < LONG else 1
    frames, idle, long, seconds, matte = [], [], None, math.nan, None
    # One stream serves both: after the action was carried out once, it is carried out again.
    for step in pipeline.stream(actions, clips.target, edit=ActionEdit(repeat=repeat)):
        if step.index <= steps:
            frames.append(step.frame)
            idle.append(step.idle)
        if step.index == min(on_layers.IOU_AFTER, steps):
            matte = getattr(step, "matte", None)
        if step.index == steps:
            seconds = time.perf_counter() - begin
        if step.index == LONG:
            long = step.frame
        if step.index >= max(steps, LONG):
            break
    made = {"model": np.stack(frames), "zero": np.stack(idle)}
    if given is not None:
        # Another case may have more steps or fewer: its action is cut short or carried out again.
        z = np.resize(given.z, (steps, given.z.shape[1]))
        other = LatentActions(z, given.fps, given.checkpoint)
        made["shuffled"] = np.stack([s.frame for s in pipeline.stream(other, clips.target)])
    return _Drawn(made, long, seconds, matte)


def _compare(pipeline: TransferPipeline, method: str, clip: np.ndarray, truth: _Truth) -> dict[str, float]:
    """Measures of a clip against the truth."""
    if method == "copy":
        flow = np.zeros_like(truth.motion)
        near = feature_distance(features(pipeline, clip[:1]), truth.features)
    else:
        flow = motion(at_motion_width(clip))
        near = feature_distance(features(pipeline, clip[1:]), truth.features)
    off = end_point_errors(flow, truth.motion)
    pairs = list(zip(clip[1:], truth.clip[1:], strict=True))
    layers = truth.layers
    return {
        **(on_layers.layer_errors(clip, truth.clip, layers) if layers is not None else {}),
        **(entrances.entrance(clip, truth.target, truth.clip, layers) if layers is not None and layers.enters else {}),
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a, b) for a, b in pairs])),
        "perceptual": float(near.mean()),
        "motion": float(off.mean()),
        "motion_moving": float(off[truth.moves].mean()) if truth.moves.any() else math.nan,
    }


def _part(figures: dict[str, float], measures: tuple[str, ...]) -> dict[str, float]:
    return {k: figures[k] for k in measures if k in figures}


def _mean(values: list[float]) -> float | None:
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else None


def _summary(rows: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Figures over some cases."""
    names = [m for m in METHODS if m in rows[0]["methods"]]

    def with_median(measure: str) -> dict[str, dict[str, float | None]]:
        ratios = _over_copy(rows, "methods", measure, names, seed)
        still = _values(rows, "methods", "copy", measure)
        for m, ratio in ratios.items():
            single = _values(rows, "methods", m, measure)[still > 0] / still[still > 0]
            ratio["median"] = float(np.median(single)) if len(single) else None
        return ratios

    layered = [r for r in rows if r["layers"]]
    entering = [r for r in rows if r["entering"]]
    return {
        "cases": len(rows),
        "seconds_per_transfer": float(np.median([r["seconds"] for r in rows])),
        "methods": {m: {k: _mean([r["methods"][m][k] for r in rows]) for k in MEASURES} for m in names},
        "motion_over_copy": with_median("motion"),
        "motion_moving_over_copy": with_median("motion_moving"),
        "sharpness": {k: _mean([r["sharpness"][k] for r in rows]) for k in rows[0]["sharpness"]},
        **({"layers": _on_layers(layered, names, seed)} if layered else {}),
        **({"entering": _entering(entering, names, seed)} if entering else {}),
    }


def _on_layers(rows: list[dict[str, Any]], names: list[str], seed: int) -> dict[str, Any]:
    """Errors on the thing and in the hole over those of the copied target, and the IoU of the thing."""
    ious = np.array([r["iou"] for r in rows], np.float64)
    known = np.isfinite(ious)
    return {
        **{k: _over_copy(rows, "layers", k, names, seed) for k in on_layers.MEASURES},
        "iou": mean_over(ious[known], np.flatnonzero(known), seed=seed),
    }


def _entering(rows: list[dict[str, Any]], names: list[str], seed: int) -> dict[str, Any]:
    """For each method the mean of each measure of an entrance over the cases in which it is known."""
    found: dict[str, Any] = {}
    for m in names:
        found[m] = {}
        for measure in entrances.MEASURES:
            values = _values(rows, "entering", m, measure)
            known = np.flatnonzero(np.isfinite(values))
            found[m][measure] = mean_over(values[known], known, seed=seed)
    return found
