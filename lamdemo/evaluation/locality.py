"""Is an action local: of two things, does only the one move that stands where the source's moved (Figure 8)?

The source shows two things, of which one moves; each in turn. The target is another scene with two things at about
the same two places, or, as a control, its plain background. What is measured is where the result's optical flow
lies: in the mask of the thing that should move, in that of the other one, or elsewhere. Beside the model stand

``zero``
    the model under no action.
``shuffled``
    the model under an action of another layout, in which the thing at the other place moved.
``copied_flow``
    the source's optical flow laid on the target; it is local to the source's outline by construction.
``truth``
    the same action rendered in the target scene: what is measured where everything is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Cast, Photographs, Script, draw_cast, rendered
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.evaluation.encoding import infer_all, same_encoders, transferred
from lamdemo.evaluation.pictures import MOTION_WIDTH, motion, move_by_flows
from lamdemo.evaluation.scenes import nothing_happens, photographs, thing_mask, without_things
from lamdemo.evaluation.sheets import GREEN, RED, checked_figure, heated, outlined, write_sheet
from lamdemo.evaluation.statistics import ratio_of_means

STEPS = 6
FLOOR = 0.25  # pixels a step at MOTION_WIDTH across, below which optical flow is noise
DILATION = 8  # pixels at MOTION_WIDTH across that a mask is grown by: optical flow is smooth across edges
SHOWN = 4  # cases on the sheet
TARGETS = ("things", "plain")
METHODS = ("model", "zero", "shuffled", "copied_flow", "truth")
_APART = 0.22  # from the middle to each thing, in picture widths


@dataclass(frozen=True)
class LocalityCase:
    """One action to transfer."""

    layout: int  # number of the two scenes, of which there are two cases
    turn: int  # which of the two things moves, 0 or 1
    source: np.ndarray  # uint8 [T, H, W, 3]
    truth: np.ndarray  # the same action in the target scene; its first frame is the target
    plain: np.ndarray  # uint8 [H, W, 3], the target scene's background alone
    moved: np.ndarray  # bool [T, H, W], mask in the truth of the thing that moves
    other: np.ndarray  # the same of the thing that does not


def _two_things(rng: np.random.Generator, photographs: int) -> Cast:
    """A cast of two things, one acting and one bystander, of photographs that all differ."""
    script = Script("move", np.zeros((2, 4)), np.zeros((1, 2, 4)))
    while True:
        cast = draw_cast(rng, script, photographs)
        if len(cast.extras) == 1 and len({cast.photograph, *cast.skins.tolist()}) == 3:
            return cast


def draw_layout(rng: np.random.Generator, layout: int, photographs: Photographs, size: int) -> list[LocalityCase]:
    """Two scenes of two things each, and the two actions in them: either thing moves, the other stands.

    Things move across the line between them, so that neither comes near the other.
    """
    first = _two_things(rng, len(photographs))
    while (second := _two_things(rng, len(photographs))).photograph == first.photograph:
        pass
    along = np.array([1.0, 0.0]) if rng.random() < 0.7 else np.array([0.0, 1.0])
    across = along[::-1]
    places = np.array([-_APART, _APART])[:, None] * along + rng.uniform(-0.05, 0.05, (2, 2))
    radii = np.log(rng.uniform(0.09, 0.14, 2))
    angles = rng.uniform(-0.5, 0.5, 2)
    jitter = rng.uniform(-0.03, 0.03, (2, 2))
    cases = []
    for turn in (0, 1):
        speed = rng.uniform(0.03, 0.05) * rng.choice([-1.0, 1.0])
        slant = rng.uniform(-0.3, 0.3)
        direction = np.cos(slant) * across + np.sin(slant) * along
        path = (np.arange(STEPS + 1) - STEPS / 2)[:, None] * speed * direction

        def scene(cast: Cast, shift: np.ndarray, turn: int = turn, path: np.ndarray = path) -> tuple[Script, Cast]:
            order = [turn, 1 - turn]
            at = np.column_stack([places + shift, radii, angles])
            acting = np.repeat(at[None, turn], STEPS + 1, 0)
            acting[:, :2] += path
            looks = {n: getattr(cast, n)[order] for n in ("skins", "crops", "shapes", "stretches")}
            script = Script("move", np.zeros((STEPS + 1, 4)), acting[None])
            return script, replace(cast, extras=at[None, 1 - turn], **looks)

        acted, cast = scene(first, np.zeros((2, 2)))
        source = rendered(acted, cast, photographs, size)
        acted, cast = scene(second, jitter)
        cases.append(
            LocalityCase(
                layout,
                turn,
                source,
                rendered(acted, cast, photographs, size),
                rendered(nothing_happens(1), without_things(cast), photographs, size)[0],
                thing_mask(acted, cast, 0, size),
                thing_mask(acted, cast, 1, size),
            )
        )
    return cases


def _grown(masks: np.ndarray) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * DILATION + 1, 2 * DILATION + 1))
    return np.stack([cv2.dilate(m.astype(np.uint8), kernel) > 0 for m in masks])


@dataclass(frozen=True)
class _Places:
    """Grown masks of a case, bool: by step ``[S, H, W]``, and over its whole path ``[H, W]``."""

    moved: np.ndarray
    other: np.ndarray
    path: np.ndarray

    @classmethod
    def of(cls, case: LocalityCase) -> _Places:
        moved = _grown(case.moved[:-1] | case.moved[1:])
        other = _grown(case.other[:-1] | case.other[1:]) & ~moved
        return cls(moved, other, np.logical_or.reduce(moved))

    def areas(self) -> dict[str, float]:
        """Shares of the picture that the masks cover, in the mean over the steps."""
        moved, other = float(self.moved.mean()), float(self.other.mean())
        return {"moved": moved, "other": other, "elsewhere": 1 - (moved + other), "path": float(self.path.mean())}


def where_it_moves(clip: np.ndarray) -> np.ndarray:
    """Length of the optical flow between frames ``[T, H, W, 3]``, in pixels, 0 below `FLOOR`: ``[S, H, W]``."""
    length = np.linalg.norm(motion(clip), axis=-1)
    return np.where(length < FLOOR, 0, length)


def shares(length: np.ndarray, moved: np.ndarray, other: np.ndarray, path: np.ndarray) -> dict[str, float]:
    """Sums of motion ``[S, H, W]`` inside masks (``[S, H, W]``, and ``[H, W]`` for the path), over the picture."""
    return {
        "moved": float(length[moved].sum()),
        "other": float(length[other].sum()),
        "elsewhere": float(length[~(moved | other)].sum()),
        "path": float(length[:, path].sum()),
        "all": float(length.sum()),
        "moved_density": float(length[moved].mean()) if moved.any() else 0.0,
        "other_density": float(length[other].mean()) if other.any() else 0.0,
    }


def evaluate_locality(
    pipelines: Mapping[str, TransferPipeline],
    *,
    photos: str | Path | None = None,
    cases: int = 24,
    seed: int = 0,
    figure: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure in which thing's place the transferred motion lies, for several checkpoints.

    Args:
        pipelines: of the models to judge, by name.
        photos: folder of photographs; the bundled ones, never in training, by default.
        cases: how many actions; two of each layout.
        seed: of everything.
        figure: where to write a sheet of the first cases, a PNG; a looping GIF of its name comes beside it.

    Returns:
        By checkpoint, plain numbers ready for JSON: ``headline``; ``targets`` (``things``, ``plain``), each by
        method with the share of motion in the ``moved`` thing's mask (``path``: anywhere on its way), in that
        of the ``other`` and ``elsewhere``, with 95% intervals by bootstrap over layouts; ``amount``, motion over
        the truth's; ``right``, in how many of the cases with any motion there is more of it, for the area, in the
        moved thing's mask than in the other's; and ``chance``, the masks' shares of the area.

    Raises:
        LamdemoError: there are fewer than four photographs or cases out of range, or the figure cannot be
            written.
    """
    if not 2 <= cases <= 1000:
        raise LamdemoError("Locality needs 2 to 1000 cases; change their number.")
    checked_figure(figure)
    groups = same_encoders(pipelines)
    bank = photographs(photos, 4, "Locality needs")
    layouts = -(-cases // 2)
    sums: dict[str, Sums] = {name: {target: {} for target in TARGETS} for name in pipelines}
    areas: list[dict[str, float]] = []
    names: list[int] = []
    sheet: list[tuple[LocalityCase, dict[str, np.ndarray]]] = []

    # Shuffled actions come from the layout before; the first takes the last's.
    def draw(layout: int) -> list[LocalityCase]:
        rng = np.random.default_rng([seed, layout])
        return draw_layout(rng, layout, bank, MOTION_WIDTH)[: cases - 2 * layout]

    before = [infer_all(pipelines, groups, c.source) for c in draw(layouts - 1)] if layouts > 1 else []
    for layout in tqdm(range(layouts), desc="locality", disable=None):
        drawn = draw(layout)
        actions = [infer_all(pipelines, groups, c.source) for c in drawn]
        for i, case in enumerate(drawn):
            places = _Places.of(case)
            areas.append(places.areas())
            names.append(layout)
            shown = _judge(pipelines, case, places, actions[i], before[-1 - i % len(before)] if before else None, sums)
            if figure is not None and len(sheet) < SHOWN:
                sheet.append((case, shown))
        before = actions
    if figure is not None:
        _draw(figure, list(pipelines), sheet)
    settings = {
        "cases": cases,
        "steps": STEPS,
        "seed": seed,
        "floor_pixels": FLOOR,
        "dilation_pixels": DILATION,
        "photographs": len(bank),
    }
    chance = {k: float(np.mean([a[k] for a in areas])) for k in areas[0]}
    return {
        name: {"evaluation": "locality", "settings": settings, **_result(of, chance, names, seed)}
        for name, of in sums.items()
    }


Sums = dict[str, dict[str, list[dict[str, float]]]]
"""By target and method, `shares` of each case."""


def _judge(
    pipelines: Mapping[str, TransferPipeline],
    case: LocalityCase,
    places: _Places,
    actions: Mapping[str, LatentActions],
    given: Mapping[str, LatentActions] | None,
    sums: Mapping[str, Sums],
) -> dict[str, np.ndarray]:
    """Add the figures of one case to the sums.

    Args:
        pipelines: to judge, by name.
        case: to carry out.
        places: of it.
        actions: of its source, by checkpoint.
        given: of another layout; None where there is none.
        sums: by checkpoint.

    Returns:
        Each checkpoint's clip on the two things.
    """
    flows, truth = motion(case.source), where_it_moves(case.truth)
    targets = {"things": case.truth[0], "plain": case.plain}
    copied = {t: where_it_moves(move_by_flows(p, flows)) for t, p in targets.items()}
    shown = {}
    for name, pipeline in pipelines.items():
        for target, picture in targets.items():
            made = _clips(pipeline, actions[name], given[name] if given else None, picture)
            lengths = {m: where_it_moves(clip) for m, clip in made.items()}
            lengths |= {"copied_flow": copied[target], "truth": truth}
            for method, length in lengths.items():
                of = shares(length, places.moved, places.other, places.path)
                sums[name][target].setdefault(method, []).append(of)
            if target == "things":
                shown[name] = made["model"]
    return shown


def _result(sums: Sums, chance: dict[str, float], layouts: list[int], seed: int) -> dict[str, Any]:
    """Figures of one checkpoint: ``headline``, ``chance`` and ``targets``."""
    of = {
        target: {method: _summary(rows, methods["truth"], layouts, seed) for method, rows in methods.items()}
        for target, methods in sums.items()
    }
    things = of["things"]
    headline = {
        "moved": things["model"]["moved"],
        "other": things["model"]["other"],
        "right": things["model"]["right"],
        "moved_copied_flow": things["copied_flow"]["moved"],
        "moved_chance": chance["moved"],
    }
    return {"headline": headline, "chance": chance, "targets": of}


def _clips(
    pipeline: TransferPipeline, actions: LatentActions, given: LatentActions | None, target: np.ndarray
) -> dict[str, np.ndarray]:
    """Clips ``[T, H, W, 3]`` under the action, under none, and under another's."""
    made = dict(zip(("model", "zero"), transferred(pipeline, actions, target), strict=True))
    if given is not None:
        made["shuffled"] = transferred(pipeline, given, target)[0]
    return made


def _summary(
    rows: list[dict[str, float]], truth: list[dict[str, float]], layouts: list[int], seed: int
) -> dict[str, Any]:
    every = {k: np.array([r[k] for r in rows]) for k in rows[0]}
    moving = every["all"] > 0
    result: dict[str, Any] = {
        k: ratio_of_means(every[k], every["all"], layouts, seed=seed) for k in ("moved", "other", "elsewhere", "path")
    }
    result["amount"] = ratio_of_means(every["all"], np.array([t["all"] for t in truth]), layouts, seed=seed)
    right = (every["moved_density"] > every["other_density"]) & moving
    result["right"] = ratio_of_means(right.astype(float), moving.astype(float), layouts, seed=seed)
    result["cases_moving"] = int(moving.sum())
    return result


def _draw(figure: Path, names: list[str], sheet: list[tuple[LocalityCase, dict[str, np.ndarray]]]) -> None:
    rows, moving = [], []
    for case, shown in sheet:
        path, stands = np.logical_or.reduce(case.moved), np.logical_or.reduce(case.other)
        # Heat is against the truth's own motion, the same for all.
        most = float(np.percentile(where_it_moves(case.truth).mean(0)[path], 90))

        def marked(picture: np.ndarray, path: np.ndarray = path, stands: np.ndarray = stands) -> np.ndarray:
            return outlined(outlined(picture, path, GREEN), stands, RED)

        row = [case.source[0], case.source[-1], marked(case.truth[0])]
        for name in names:
            heat = heated(case.truth[0], where_it_moves(shown[name]).mean(0), most)
            row += [shown[name][-1], marked(heat)]
        rows.append(row)
        moving.append([case.source, *(shown[name] for name in names), case.truth])
    labels = ["source, first", "source, last", "target", *(x for n in names for x in (n, "its motion"))]
    write_sheet(figure, labels, rows, ["source", *names, "truth"], moving, 4)
