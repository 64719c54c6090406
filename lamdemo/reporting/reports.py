"""What a folder of reports says: reading it, and figures with their intervals.

The folder is one that `run_suite` wrote, ``<checkpoint's name>/<part>.json``; reports on learned priors may stand
beside them. Every file of it is optional, and so is every figure in a file: what is not there has not been measured,
and is never made up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.engine.pretrained import bundled_folder, capacity
from lamdemo.evaluation.statistics import ratio_of_means
from lamdemo.evaluation.suite import PARTS
from lamdemo.models.checkpoint import WEIGHTS_NAME, checkpoint_hash, read_config

FAMILIES = ("noisy", "sparse", "discrete", "disentangled", "residual")
WHOLE = "all clips"
# Reports that others than the paper's suite write into its folder.
OTHER_PARTS = ("prior", "control", "label_curve", "secondhand", "futures")
# Kinds of clips that are told apart, and the first folders of the shared data that each is made of.
CLIPS: dict[str, tuple[str, ...]] = {"in-the-wild": ("wild", "wild_nc"), "robot": ("robot",), "navigation": ("nav",)}
# Settings of a probe, the one that counts first: recordings that neither the model nor the probe was fitted on.
SETTINGS = ("across", "within", "within_train")
_LEVELS = {"low": 0, "high": 2}


@dataclass(frozen=True)
class Figure:
    """A figure and its 95% interval."""

    value: float  # what was measured
    low: float | None = None  # ends of the interval; None where none was given
    high: float | None = None


@dataclass(frozen=True)
class Reports:
    """All reports of one checkpoint."""

    name: str  # the checkpoint's
    family: str  # of its latents; "" where no report says
    results: Mapping[str, Mapping[str, Any]]  # by part of the suite, what the report's `results` are
    files: Mapping[str, Path]  # by part, where it was read
    dial: str = ""  # the family's capacity in words, such as "β 2e-05"; "" where it is not known
    capacity: float | None = None  # the same as a number
    # Steps of the stages of its training, None where they are not known.
    training: tuple[int | None, ...] | None = field(default=None)

    def dig(self, path: str) -> Any:
        """What stands at the end of a path, the part first ("videos/all/leakage/ratio"); None where nothing does."""
        return dig(self.results, path)

    def figure(self, path: str) -> Figure | None:
        """The same as a figure, see `figure_of`."""
        return figure_of(self.dig(path))

    def number(self, path: str) -> float | None:
        """The same as a finite number, without an interval; None for anything else."""
        return number(self.dig(path))


def dig(tree: Any, path: str) -> Any:
    """What stands at the end of a path of keys, parted by slashes; None where there is nothing."""
    for key in path.split("/"):
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return tree


def keys_of(tree: Any) -> list[str]:
    """Keys of what may be a mapping; none of anything else."""
    return [str(key) for key in tree] if isinstance(tree, Mapping) else []


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def figure_of(value: Any) -> Figure | None:
    """A number, or ``{"value", "low", "high"}``, as a figure; None for anything else."""
    if isinstance(value, Mapping):
        middle = number(value.get("value"))
        return None if middle is None else Figure(middle, number(value.get("low")), number(value.get("high")))
    middle = number(value)
    return None if middle is None else Figure(middle)


def read_reports(folder: str | Path, checkpoints: str | Path | None = None) -> list[Reports]:
    """Read a suite's folder.

    Args:
        folder: with a folder for each checkpoint.
        checkpoints: folder of the checkpoints themselves, whose configs say how they were limited and trained; the
            bundled ones by default. One counts only if its weights are those that were judged.

    Returns:
        One for each checkpoint, family by family, the lowest capacity first.

    Raises:
        LamdemoError: there is no report, or one is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LamdemoError(f"There is no folder {folder.name}; give one that `lamdemo evaluate --suite paper` wrote.")
    there = Path(checkpoints) if checkpoints is not None else bundled_folder()
    found = []
    for place in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = {part: file for part in (*PARTS, *OTHER_PARTS) if (file := place / f"{part}.json").is_file()}
        if files:
            found.append(_read(place.name, files, there / place.name))
    if not found:
        raise LamdemoError(
            f"The folder {folder.name} holds no reports; give one that `lamdemo evaluate --suite paper` wrote."
        )
    return sorted(found, key=_order)


def read_report(path: Path) -> Reports:
    """One report alone.

    Raises:
        LamdemoError: it is damaged.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LamdemoError(f"The report {path.name} is damaged; make it again with lamdemo evaluate.") from error
    name, results = dig(report, "checkpoint/name"), dig(report, "results")
    # Cases by the second hand are judged as others are, and by their layers.
    part = "secondhand" if dig(results, "all/layers") else str(dig(results, "evaluation"))
    return _read(str(name), {part: path}, bundled_folder() / str(name))


def _read(name: str, files: Mapping[str, Path], checkpoint: Path) -> Reports:
    results: dict[str, Mapping[str, Any]] = {}
    family, judged = "", set()
    for part, path in files.items():
        damaged = LamdemoError(f"The report {name}/{path.name} is damaged; make it again with lamdemo evaluate.")
        try:
            report = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise damaged from error
        about = dig(report, "checkpoint")
        if not isinstance(about, Mapping) or not isinstance(dig(report, "results"), Mapping):
            raise damaged
        results[part] = report["results"]
        family = str(about.get("family") or family)
        judged.add(str(about.get("sha256")))
    if len(judged) > 1:
        raise LamdemoError(f"The reports of {name} are of different checkpoints; judge it again, or move some away.")
    dial: float | None
    if isinstance(about.get("capacity"), (int, float)):
        dial, training = float(about["capacity"]), _stages(about.get("trained") or {})
    else:  # a report of before they were written down
        dial, training = _config(checkpoint, judged.pop(), family)
    return Reports(name, family, results, dict(files), "" if dial is None else capacity(family, dial), dial, training)


def _config(folder: Path, judged: str, family: str) -> tuple[float | None, tuple[int | None, ...] | None]:
    """Dial and training steps of a checkpoint, if it is the one that was judged."""
    try:
        if not (folder / WEIGHTS_NAME).is_file() or checkpoint_hash(folder) != judged:
            return None, None
        config, about = read_config(folder)
    except (LamdemoError, OSError):
        return None, None  # it only adds to the reports, which stand without it
    if config.family != family:
        return None, None
    return config.bottleneck.capacity, _stages(about)


def _stages(about: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """Steps of each stage of training, as a checkpoint tells them; None where it does not."""
    stages = tuple(about.get(f"{stage}_steps") for stage in ("stem", "branch", "finish"))
    steps = stages if any(stages) else (about.get("steps"),)
    return steps if any(steps) else None


def _order(one: Reports) -> tuple[Any, ...]:
    place = FAMILIES.index(one.family) if one.family in FAMILIES else len(FAMILIES)
    level = _LEVELS.get(one.name.rpartition("-")[2], 1)
    # A penalty limits, codes allow.
    room = 0.0 if one.capacity is None else one.capacity if one.family == "discrete" else -one.capacity
    return place, one.family, level, room, one.name


def middle(reports: Sequence[Reports]) -> list[Reports]:
    """Of each family the checkpoint that bears its name, or else the one in the middle."""
    chosen = []
    for family in dict.fromkeys(r.family for r in reports):
        mine = [r for r in reports if r.family == family]
        chosen.append(next((r for r in mine if r.name == family), mine[(len(mine) - 1) // 2]))
    return chosen


# Figures of prediction, of some clips only.

# Where each figure stands in a summary of clips, and what it is a mean over: the sum under its ratio is their product.
_PREDICTION: dict[str, tuple[str, str, str]] = {
    "one_step": ("one_step/moving/over_copy/model", "one_step/moving/steps", "one_step/moving/error/copy"),
    "shuffled": ("cycle/one_step/moving/shuffled", "cycle/one_step/moving/steps", "cycle/one_step/moving/own"),
    "eight_step": ("eight_step/mean/over_copy/model", "eight_step/mean/steps", "eight_step/mean/error/copy"),
    "leakage": ("leakage/ratio", "leakage/cuts", "leakage/error_uncut"),
    "cycle": ("cycle/one_step/all/ratio", "cycle/one_step/all/steps", "cycle/one_step/all/own"),
}


def prediction(reports: Reports, measure: str, clips: str = WHOLE) -> Figure | None:
    """One of the figures of prediction.

    Args:
        reports: of a checkpoint.
        measure: "one_step" (error over copying, moving half of the steps), "shuffled" (error under another clip's
            latents over that under the clip's own, moving half), "eight_step" (mean of a rollout, over copying),
            "leakage" or "cycle".
        clips: `WHOLE` or one of `CLIPS`.

    Returns:
        The figure; of several folders the ratio of the sums, see `pooled`.
    """
    where, count, under = _PREDICTION[measure]
    if clips == WHOLE:
        return reports.figure(f"videos/all/{where}")
    found = []
    for part in CLIPS[clips]:
        at = f"videos/parts/{part}"
        one = reports.figure(f"{at}/{where}")
        n, mean = reports.number(f"{at}/{count}"), reports.number(f"{at}/{under}")
        if one is not None and n and mean:
            found.append((one, n * mean))
    return pooled(found)


def pooled(parts: Sequence[tuple[Figure, float]]) -> Figure | None:
    """One ratio of sums from those of parts, given the sum under each ratio.

    The value is exact. Parts share no recording, so that the distances from the value to the ends of the intervals
    add up by their squares, each in proportion to its part of the sum; that a part's share itself varies with the
    recordings drawn is left out, which is of second order where the parts' ratios are alike.
    """
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0][0]
    whole = sum(w for _, w in parts)
    value = sum(f.value * w for f, w in parts) / whole
    if any(f.low is None or f.high is None for f, _ in parts):
        return Figure(value)
    below = math.hypot(*((f.value - (f.low or 0.0)) * w / whole for f, w in parts))
    above = math.hypot(*(((f.high or 0.0) - f.value) * w / whole for f, w in parts))
    return Figure(value, value - below, value + above)


def over_copied_flow(reports: Reports) -> Figure | None:
    """Motion error of transfers over that of copied optical flow, sums over all cases; bootstrap over cases."""
    cases = reports.dig("pairs/cases")
    if not isinstance(cases, list):
        return None
    rows = [(str(dig(c, "name")), number(dig(c, "motion/model")), number(dig(c, "motion/copied_flow"))) for c in cases]
    known = [(name, a, b) for name, a, b in rows if a is not None and b is not None]
    if not known or len(known) < len(rows):
        return None
    names, model, flow = zip(*known, strict=True)
    seed = reports.number("pairs/settings/seed") or 0
    return figure_of(ratio_of_means(np.array(model), np.array(flow), names, seed=int(seed)))


def probed(reports: Reports, target: str) -> tuple[Figure, str] | None:
    """R² of a linear probe on z of a command or a pose change, and on what.

    Returns:
        Of the first setting of `SETTINGS` that was judged, in the first set of clips that knows the target; with
        the words "<set>, <setting>".
    """
    for setting in SETTINGS:
        for name in sorted(keys_of(reports.dig("probes/clips"))):
            found = reports.figure(f"probes/clips/{name}/{setting}/targets/{target}/z/linear")
            if found is not None:
                return found, f"{name}, {setting}"
    return None


def judged_on(reports: Reports, part: str) -> str:
    """Which data a part was judged on, as something that can be compared between checkpoints."""
    about = {k: reports.dig(f"{part}/{k}") for k in ("clips", "settings", "videos")}
    # A setting of None is as before there was such a setting.
    told = {
        k: {x: v for x, v in a.items() if x != "skipped" and v is not None}
        for k, a in about.items()
        if isinstance(a, Mapping)
    }
    # The threshold of moving steps is measured, and the same wherever the clips are.
    told.get("settings", {}).pop("moving_above", None)
    # Reports of before contents were hashed name the same files by their names and sizes.
    for of in ("clips", "videos"):
        told.get(of, {}).pop("content", None)
    return json.dumps(told, sort_keys=True)
