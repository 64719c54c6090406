"""Something enters the source: does something enter the target, where and when (paper, section 4)?

The cases are procedural: a thing waits outside the view, comes in, and the truth is the same thing coming into the
target scene. What shows in a result is its *change*: how far each of its frames is from the target (the
target, copied), less how far the model's own frame under no action is. Change is measured twice:

``photometric``
    mean absolute difference of the pixels, in [0, 1].
``perceptual``
    squared distance of the frozen encoder's unit features (see `lamdemo.evaluation.pictures.features`).

The *score* of a step is the mean change inside the truth's mask of the thing less that outside of its whole way: a
picture that changes everywhere does not score. Cases that show nothing entering use the same target: ``still``
(a source in which nothing happens), ``pan`` (a source of the same background under a moving camera) and
``shuffled`` (the thing of another case enters, elsewhere or at another time). What 95 of a hundred steps of the first
two stay below is the threshold from which something counts as shown; ``zero`` and ``truth``, which have no such cases,
are held to the model's.

A change is not yet something that entered: the target's own content, pulled out of place, changes it as well.
``likeness`` tells them apart. It is how far the result's features have come from the target's to the truth's, inside
the mask in the last steps: 1 is the truth, 0 the target as it was, below 0 something else.

Beside the model stand ``zero`` (the model under no action, its change as it is), ``copied_flow`` (the source's
optical flow laid on the target) and ``truth``. A copied target does not change: it scores 0 and shows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Photographs, SceneConfig, Script, draw_cast, rendered, write_script
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.evaluation.encoding import infer_all, same_encoders, transferred
from lamdemo.evaluation.pictures import MOTION_WIDTH, features, motion, move_by_flows
from lamdemo.evaluation.scenes import photographs, thing_mask, without_things
from lamdemo.evaluation.sheets import GREEN, checked_figure, heated, outlined, write_sheet
from lamdemo.evaluation.statistics import auc_interval, mean_over, ratio_of_means

STEPS = 7
WAITS = (0, 1, 2, 3)  # steps before the thing sets out
MEASURES = ("photometric", "perceptual")
CONTROLS = ("still", "pan", "shuffled")
NEAR = 0.15  # picture widths from the truth's thing within which something is at the right place
SHOWN = 4  # cases on the sheet
_GRID = 64  # cells a side of the maps of change
_SIZE = (0.1, 0.2)  # radius of a thing, in picture widths
_ENTERED = 0.1  # share of its final size in view from which a thing has entered
_LEAST, _UNSEEN = 0.02, 0.002  # share of the picture: in view at the end at least, at the start at most
_LAST = 2  # steps at the end over which a case is scored
_TRIES = 200


@dataclass(frozen=True)
class EnteringCase:
    """A thing enters."""

    source: np.ndarray  # uint8 [T, H, W, 3]
    truth: np.ndarray  # the same in the target scene; its first frame is the target
    pan: np.ndarray  # uint8 [T, H, W, 3], the source's background under a moving camera
    mask: np.ndarray  # bool [T, H, W], where the thing is in the truth

    @property
    def entry(self) -> int:
        """The first frame in which the thing has entered."""
        area = self.mask.mean((1, 2))
        return int(np.argmax(area >= _ENTERED * area[-1]))


def draw_case(rng: np.random.Generator, photographs: Photographs, size: int) -> EnteringCase:
    """Draw a thing that enters two scenes alike, after a wait.

    Raises:
        LamdemoError: none was found that is outside at the start and in view at the end.
    """
    config = SceneConfig(size=_SIZE)
    for _ in range(_TRIES):
        wait = int(rng.choice(WAITS))
        script = write_script(rng, STEPS + 1 - wait, config, "enter")
        things = np.concatenate([np.repeat(script.things[:, :1], wait, 1), script.things], 1)
        script = Script("enter", np.zeros((STEPS + 1, 4)), things)
        first = draw_cast(rng, script, len(photographs))
        second = draw_cast(rng, script, len(photographs), like=first)
        if len({first.photograph, second.photograph, int(first.skins[0])}) < 3:
            continue
        mask = thing_mask(script, second, 0, size)
        area = mask.mean((1, 2))
        if area[-1] < _LEAST or area[0] > _UNSEEN:
            continue
        pan = write_script(rng, STEPS + 1, config, "pan")
        return EnteringCase(
            rendered(script, first, photographs, size),
            rendered(script, second, photographs, size),
            rendered(pan, without_things(first), photographs, size),
            mask,
        )
    raise LamdemoError("No thing that enters was drawn; take another seed.")


# Change.


def on_grid(maps: np.ndarray) -> np.ndarray:
    """Maps ``[S, h, w]`` as ``[S, _GRID, _GRID]``."""
    return np.stack([cv2.resize(m.astype(np.float32), (_GRID, _GRID), interpolation=cv2.INTER_AREA) for m in maps])


def photometric_change(frames: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean absolute difference of frames ``[S, H, W, 3]`` from a target, in [0, 1]: ``[S, _GRID, _GRID]``."""
    return on_grid(np.abs(frames.astype(np.int16) - target.astype(np.int16)).mean(-1) / 255)


def perceptual_change(frames: Tensor, target: Tensor) -> np.ndarray:
    """Squared distance of features ``[S, h, w, C]`` from a target's, place by place: ``[S, _GRID, _GRID]``."""
    return on_grid((frames - target).square().sum(-1).cpu().numpy())


@dataclass(frozen=True)
class Region:
    """Where in the target the truth's thing is."""

    mask: np.ndarray  # bool [S, _GRID, _GRID] after each step; its whole way until it has entered
    path: np.ndarray  # bool [_GRID, _GRID], its whole way
    place: tuple[float, float]  # x and y of its centroid after the last step, from 0 to 1
    entry: int  # the first step (counted from 1) after which it has entered

    @classmethod
    def of(cls, case: EnteringCase) -> Region:
        """The region of a case."""
        mask = on_grid(case.mask[1:]) > 0.5
        path: np.ndarray = np.logical_or.reduce(mask)
        entry = max(case.entry, 1)
        # The sliver of a thing that has hardly begun to enter is too small to be judged by.
        mask[: entry - 1] = path
        late = np.nonzero(case.mask[-1])
        height, width = case.mask.shape[1:]
        return cls(mask, path, ((late[1].mean() + 0.5) / width, (late[0].mean() + 0.5) / height), entry)

    def scores(self, change: np.ndarray) -> np.ndarray:
        """Score of each step, ``[S]``: change ``[S, _GRID, _GRID]`` inside less that outside."""
        inside = np.array([c[m].mean() for c, m in zip(change, self.mask, strict=True)])
        return inside - change[:, ~self.path].mean(1)


def centroid(change: np.ndarray) -> tuple[float, float] | None:
    """Where a map ``[h, w]`` is largest: x and y from 0 to 1 of what exceeds half of its maximum; None if flat."""
    over = np.maximum(change - change.max() / 2, 0)
    if over.sum() <= 0:
        return None
    y, x = np.mgrid[: change.shape[0], : change.shape[1]] + 0.5
    return float((over * x).sum() / over.sum() / change.shape[1]), float((over * y).sum() / over.sum() / len(change))


# Judging.


@dataclass
class _Shown:
    """What one method showed in one case: change of each measure under the entering and under the controls."""

    entering: dict[str, np.ndarray]
    controls: dict[str, dict[str, np.ndarray]]
    to_truth: np.ndarray  # perceptual distance of the last frames from the truth's, [_LAST, _GRID, _GRID]


@dataclass(frozen=True)
class _Given:
    """What enters in a case: its actions by checkpoint, and its optical flow."""

    actions: dict[str, LatentActions]
    flows: np.ndarray


def _summary(
    cases: list[_Shown], regions: list[Region], measure: str, seed: int, threshold: float | None = None
) -> dict[str, Any]:
    """Figures of one method over all cases, by one measure; with a threshold of its own if none is given."""
    maps = [c.entering[measure] for c in cases]
    series = np.stack([r.scores(m) for r, m in zip(regions, maps, strict=True)])  # [n, S]
    last = series[:, -_LAST:].mean(1)
    against = {
        control: np.stack([r.scores(c.controls[control][measure]) for r, c in zip(regions, cases, strict=True)])
        for control in CONTROLS
        if all(control in c.controls for c in cases)
    }
    quiet = np.concatenate([against[c].ravel() for c in ("still", "pan") if c in against] or [np.zeros(1)])
    if threshold is None:
        threshold = float(np.percentile(quiet, 95))
    after = [np.arange(1, series.shape[1] + 1) >= r.entry for r in regions]

    def mean(which: str, late: bool) -> float | None:
        values = []
        for region, change, when in zip(regions, maps, after, strict=True):
            rows = change[when if late else ~when]
            place = region.path if which == "inside" else ~region.path
            if len(rows):
                values.append(float(rows[:, place].mean()))
        return float(np.mean(values)) if values else None

    shown = last > threshold
    off, late = [], []
    for i, (region, change) in enumerate(zip(regions, maps, strict=True)):
        at = centroid(change[-_LAST:].mean(0))
        off.append(float(np.hypot(at[0] - region.place[0], at[1] - region.place[1])) if at else np.inf)
        over = np.flatnonzero(series[i] > threshold)
        late.append(int(over[0]) + 1 - region.entry if len(over) else None)
    far = np.array(off)
    here = shown & (far <= NEAR)
    times = np.array([t for t, s in zip(late, shown, strict=True) if s and t is not None], np.float64)
    known = far[np.isfinite(far)]
    return {
        "auc": {
            **{control: auc_interval(last, [rows[:, -_LAST:].mean(1)], seed=seed) for control, rows in against.items()},
            "all": auc_interval(last, [rows[:, -_LAST:].mean(1) for rows in against.values()], seed=seed)
            if against
            else None,
        },
        "change": {
            "inside_before": mean("inside", False),
            "inside_after": mean("inside", True),
            "outside_before": mean("outside", False),
            "outside_after": mean("outside", True),
        },
        "threshold": threshold,
        "shown": mean_over(shown, seed=seed),
        "right_place": mean_over(here, seed=seed),
        "place_error": float(np.median(known)) if len(known) else None,
        "place_error_shown": float(np.median(far[shown])) if shown.any() else None,
        "time_error": float(times.mean()) if len(times) else None,
        "time_error_absolute": float(np.abs(times).mean()) if len(times) else None,
        "cases": [
            {
                "score": float(s),
                "shown": bool(w),
                "place_error": float(p) if np.isfinite(p) else None,
                "time_error": t,
            }
            for s, w, p, t in zip(last, shown, far, late, strict=True)
        ],
    }


class _Looker:
    """Measures change with one encoder, from one target, and what is left to the truth."""

    def __init__(self, pipeline: TransferPipeline, case: EnteringCase) -> None:
        self.pipeline, self.target = pipeline, case.truth[0]
        self.seen = features(pipeline, self.target[None])
        self.truth = features(pipeline, case.truth[1:])
        self.truth_change = self._change(case.truth[1:], self.truth)

    def _change(self, frames: np.ndarray, seen: Tensor) -> dict[str, np.ndarray]:
        return {
            "photometric": photometric_change(frames, self.target),
            "perceptual": perceptual_change(seen, self.seen),
        }

    def __call__(self, frames: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Change of frames ``[S, H, W, 3]`` by measure, and distance of the last ones from the truth."""
        seen = features(self.pipeline, frames)
        return self._change(frames, seen), perceptual_change(seen[-_LAST:], self.truth[-_LAST:])


def _likeness(cases: list[_Shown], truth: list[_Shown], regions: list[Region], seed: int) -> dict[str, float | None]:
    """How much of the way from the target to the truth was gone, inside the mask."""
    left, whole = [], []
    for case, true, region in zip(cases, truth, regions, strict=True):
        inside = region.mask[-_LAST:]
        whole.append(float(true.entering["perceptual"][-_LAST:][inside].mean()))
        left.append(float(case.to_truth[inside].mean()))
    gone = np.array(whole) - np.array(left)
    return ratio_of_means(gone, np.array(whole), list(range(len(cases))), seed=seed)


def _above(change: dict[str, np.ndarray], idle: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {m: np.maximum(change[m] - idle[m], 0) for m in MEASURES}


def evaluate_entering(
    pipelines: Mapping[str, TransferPipeline],
    *,
    photos: str | Path | None = None,
    cases: int = 24,
    seed: int = 0,
    figure: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure whether what enters a source enters the target, for several checkpoints.

    Args:
        pipelines: of the models to judge, by name.
        photos: folder of photographs; the bundled ones, never in training, by default.
        cases: how many things enter.
        seed: of everything.
        figure: where to write a sheet of the first cases, a PNG; a looping GIF of its name comes beside it.

    Returns:
        By checkpoint, plain numbers ready for JSON: ``headline``; ``methods`` (``model``, ``zero``,
        ``copied_flow``, ``truth``), each with ``likeness`` and by measure with ``auc`` (by control and against all),
        ``change`` inside and outside the thing's way before and after it entered, ``threshold``, ``shown`` (in
        how many cases something is), ``right_place`` (something is, within `NEAR` of the truth's thing),
        ``place_error`` (median, in picture widths, of all cases and of those shown), ``time_error`` (mean, in
        steps, late is positive; and its absolute value) of those shown, and ``cases``.

    Raises:
        LamdemoError: there are fewer than three photographs or cases out of range, or the figure cannot be
            written.
    """
    if not 2 <= cases <= 1000:
        raise LamdemoError("Entering needs 2 to 1000 cases; change their number.")
    checked_figure(figure)
    groups = same_encoders(pipelines)
    bank = photographs(photos, 3, "Entering needs")

    def draw(i: int) -> EnteringCase:
        return draw_case(np.random.default_rng([seed, i]), bank, MOTION_WIDTH)

    found: dict[str, dict[str, list[_Shown]]] = {name: {} for name in pipelines}
    regions: list[Region] = []
    sheet: list[tuple[EnteringCase, dict[str, tuple[np.ndarray, np.ndarray]]]] = []
    # Each case is also given what entered in the one before it; the first what entered in the last.
    last = draw(cases - 1).source
    given = _Given(infer_all(pipelines, groups, last), motion(last))
    for i in tqdm(range(cases), desc="entering", disable=None):
        case = draw(i)
        regions.append(Region.of(case))
        given, shown, seen = _judge(pipelines, groups, case, given)
        for name, methods in shown.items():
            for method, one in methods.items():
                found[name].setdefault(method, []).append(one)
        if figure is not None and len(sheet) < SHOWN:
            sheet.append((case, seen))
    settings = {
        "cases": cases,
        "steps": STEPS,
        "seed": seed,
        "near": NEAR,
        "photographs": len(bank),
        "entry": [r.entry for r in regions],
    }
    if figure is not None:
        _draw(figure, list(pipelines), sheet)
    return {
        name: {"evaluation": "entering", "settings": settings, **_result(shows, regions, seed)}
        for name, shows in found.items()
    }


def _judge(
    pipelines: Mapping[str, TransferPipeline], groups: Sequence[Sequence[str]], case: EnteringCase, given: _Given
) -> tuple[_Given, dict[str, dict[str, _Shown]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """One case for all checkpoints.

    Args:
        pipelines: to judge, by name.
        groups: of those with the same encoder.
        case: to carry out.
        given: what entered in another case.

    Returns:
        What enters in this case; what is shown, by checkpoint and method; frames ``[S, H, W, 3]`` and change in the
        last of them, by checkpoint.
    """
    target = case.truth[0]
    actions = infer_all(pipelines, groups, case.source)
    panned = infer_all(pipelines, groups, case.pan)
    flows = motion(case.source)
    copies = {
        "entering": move_by_flows(target, flows)[1:],
        "pan": move_by_flows(target, motion(case.pan))[1:],
        "shuffled": move_by_flows(target, given.flows)[1:],
    }
    found: dict[str, dict[str, _Shown]] = {}
    seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for group in groups:
        look = _Looker(pipelines[group[0]], case)
        changed = {name: look(clip) for name, clip in copies.items()}
        nothing = {m: np.zeros_like(c) for m, c in look.truth_change.items()}
        truth = _Shown(look.truth_change, {}, nothing["perceptual"][-_LAST:])
        copied = _Shown(
            changed["entering"][0],
            {"still": nothing, "pan": changed["pan"][0], "shuffled": changed["shuffled"][0]},
            changed["entering"][1],
        )
        for name in group:
            pipeline = pipelines[name]
            frames, idle_frames = (clip[1:] for clip in transferred(pipeline, actions[name], target))
            idle, idle_left = look(idle_frames)
            change, left = look(frames)
            model = _Shown(_above(change, idle), {"still": nothing}, left)
            for control, others in (("pan", panned[name]), ("shuffled", given.actions[name])):
                model.controls[control] = _above(look(transferred(pipeline, others, target)[0][1:])[0], idle)
            zero = _Shown(idle, {}, idle_left)
            found[name] = {"model": model, "zero": zero, "copied_flow": copied, "truth": truth}
            seen[name] = frames, model.entering["perceptual"][-_LAST:].mean(0)
    return _Given(actions, flows), found, seen


def _result(shows: Mapping[str, list[_Shown]], regions: list[Region], seed: int) -> dict[str, Any]:
    """Figures of one checkpoint: ``headline`` and ``methods``."""
    methods: dict[str, dict[str, Any]] = {m: {} for m in shows}
    for measure in MEASURES:
        of_model = _summary(shows["model"], regions, measure, seed)
        for method, of in shows.items():
            # What has no cases of its own in which nothing enters is held to the model's threshold.
            limit = of_model["threshold"] if method in ("zero", "truth") else None
            methods[method][measure] = of_model if method == "model" else _summary(of, regions, measure, seed, limit)
    for method, of in shows.items():
        methods[method]["likeness"] = _likeness(of, shows["truth"], regions, seed)
    of_model = methods["model"]["perceptual"]
    headline = {
        "auc": of_model["auc"]["all"],
        "auc_shuffled": of_model["auc"]["shuffled"],
        "shown": of_model["shown"],
        "right_place": of_model["right_place"],
        "right_place_copied_flow": methods["copied_flow"]["perceptual"]["right_place"],
        "likeness": methods["model"]["likeness"],
        "likeness_copied_flow": methods["copied_flow"]["likeness"],
        "place_error": of_model["place_error"],
        "time_error": of_model["time_error"],
    }
    return {"headline": headline, "methods": methods}


def _draw(
    figure: Path, names: list[str], sheet: list[tuple[EnteringCase, dict[str, tuple[np.ndarray, np.ndarray]]]]
) -> None:
    rows, moving = [], []
    for case, seen in sheet:
        target = case.truth[0]
        row = [case.source[0], case.source[-1], target, outlined(case.truth[-1], case.mask[-1], GREEN)]
        most = max(float(change.max()) for _, change in seen.values())
        for name in names:
            frames, change = seen[name]
            row += [frames[-1], outlined(heated(target, change, most), case.mask[-1], GREEN)]
        rows.append(row)
        held = [np.concatenate([target[None], seen[name][0]]) for name in names]
        moving.append([case.source, *held, case.truth])
    labels = ["source, first", "source, last", "target", "truth", *(x for n in names for x in (n, "its change"))]
    write_sheet(figure, labels, rows, ["source", *names, "truth"], moving, 4)
