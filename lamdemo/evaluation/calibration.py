"""Fitting the rule that tells how much a result can be trusted, on transfers with a known truth.

A case's truth gives its error, the motion error over that of a still picture; the rule sees the indicators alone. Of
the results that it calls good `GOOD_MARK` must be right, of those that it calls failed `FAILED_MARK` must be wrong:
the two thresholds are chosen for that on cases that the weights were not fitted on, and what they keep is counted on
cases that neither the weights nor the thresholds have seen. A label that cannot keep its mark is never given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.engine.verdict import RIGHT, WRONG, Indicators, Scale, VerdictRule, measure_indicators
from lamdemo.evaluation.case_folder import Case, find_cases
from lamdemo.evaluation.pairs import load_case
from lamdemo.evaluation.pictures import at_motion_width, end_point_errors, motion
from lamdemo.evaluation.report import describe_files, write_report

GOOD_MARK, FAILED_MARK = 0.9, 0.8  # share of each label that has to be what it says
FEWEST = 24  # cases that a rule can be fitted on
# More of the first speaks for a result, more of the others against it.
FOR, AGAINST = ("explained", "shown", "camera", "alike"), ("read_back", "imagined", "reach", "invented", "stretched")

_FOLDS, _ROUNDS = 5, 5
_STRICTER = 0.0, 0.5, 1.0  # shares by which marks are moved towards 1 where they are missed
_LEAST = 4  # cases that a threshold must give a label to
_RIDGE = 0.1  # penalty on squared weights, of scales from 0 to 1, all cases together
_EDGE = 0.05  # share of the cases beyond each end of a scale


@dataclass(frozen=True)
class Measured:
    """A case with a known truth."""

    name: str  # of the case
    kind: str  # of its action
    error: float  # motion error over that of a still picture
    indicators: Indicators  # what the rule sees


def measure_cases(pipeline: TransferPipeline, pairs: str | Path) -> list[Measured]:
    """Carry out the transfers of cases, measure them, and compare them with the truth.

    Raises:
        LamdemoError: there is no case, or one is not whole.
    """
    cases = find_cases(pairs)
    return [_measure(pipeline, c) for c in tqdm(cases, desc="transferring", disable=None)]


def _measure(pipeline: TransferPipeline, case: Case) -> Measured:
    clips = load_case(case)
    actions = pipeline.infer(clips.source, pipeline.fps)
    rollout = pipeline.begin(clips.target, history=0)
    steps = [rollout.now(), *(rollout.step(z) for z in actions.z)]
    drawn, truth = (motion(at_motion_width(c)) for c in (np.stack([s.frame for s in steps]), clips.truth))
    error = end_point_errors(drawn, truth).mean() / max(np.linalg.norm(truth, axis=-1).mean(), 1e-3)
    found = measure_indicators(pipeline, clips.source, steps, actions)
    return Measured(case.name, case.kind, float(error), found)


def calibrate(cases: Sequence[Measured], *, seed: int = 0) -> tuple[VerdictRule, dict[str, Any]]:
    """Fit a rule and say what its labels are worth.

    Args:
        cases: `FEWEST` or more.
        seed: of the folds.

    Returns:
        The rule, and figures: ``cases``, ``errors`` (how many are below `RIGHT` and above `WRONG`), and for each label
        the share of right ones in cross-validation (``precision``), the mean number of cases it is given to
        (``given``), and whether it keeps its mark (``kept``); one that does not is not given by the rule.

    Raises:
        ValueError: there are too few cases.
    """
    if len(cases) < FEWEST:
        raise ValueError(f"a rule needs {FEWEST} cases or more, not {len(cases)}")
    rng = np.random.default_rng(seed)
    rule = fit_rule(cases)
    held = [judged for _ in range(_ROUNDS) for judged in _held_out(cases, rng)]
    outer = []
    for train, test in (fold for _ in range(_ROUNDS) for fold in _folds(len(cases), rng)):
        seen = [cases[i] for i in train]
        outer.append((fit_rule(seen), _held_out(seen, rng), [cases[i] for i in test]))
    labels: dict[str, dict[str, Any]] = {}
    for label, mark in (("good", GOOD_MARK), ("failed", FAILED_MARK)):
        # A threshold that just keeps its mark on the cases that it was chosen on falls short of it on others.
        for stricter in _STRICTER:
            found = [
                _is_true(label, case.error)
                for inner, judged, test in outer
                for inner_rule in [_with_thresholds(inner, judged, stricter)]
                for case in test
                if inner_rule.label(case.indicators) == label
            ]
            labels[label] = _label_figures(found, mark)
            if labels[label]["kept"]:
                chosen = _with_thresholds(rule, held, stricter, _ROUNDS)
                rule = replace(rule, **{label: getattr(chosen, label)})
                break
    errors = np.array([c.error for c in cases])
    return rule, {
        "cases": len(cases),
        "errors": {f"below {RIGHT:g}": int((errors < RIGHT).sum()), f"above {WRONG:g}": int((errors > WRONG).sum())},
        "labels": labels,
    }


def _label_figures(true: Sequence[bool], mark: float) -> dict[str, Any]:
    precision = float(np.mean(true)) if true else None
    return {
        "mark": mark,
        "precision": precision,
        "given": len(true) / _ROUNDS,
        "kept": precision is not None and precision >= mark,
    }


def check_rule(rule: VerdictRule, cases: Sequence[Measured]) -> dict[str, Any]:
    """What a rule's labels are worth on cases that it was not fitted on: counts, and how many of each are true."""
    given = [(rule.label(c.indicators), c.error) for c in cases]
    figures: dict[str, Any] = {"cases": len(cases)}
    for label, mark in (("good", GOOD_MARK), ("failed", FAILED_MARK)):
        true = [_is_true(label, error) for which, error in given if which == label]
        figures[label] = {"given": len(true), "precision": float(np.mean(true)) if true else None, "mark": mark}
    return figures


def _is_true(label: str, error: float) -> bool:
    return error < RIGHT if label == "good" else error > WRONG if label == "failed" else RIGHT <= error <= WRONG


def write_verdict(
    pipeline: TransferPipeline,
    pairs: str | Path,
    out: str | Path,
    *,
    test: str | Path | None = None,
    seed: int = 0,
    command: str = "lamdemo verdict",
) -> dict[str, Any]:
    """Fit the rule of a checkpoint, write it beside the weights as ``verdict.json``, and write a report.

    Args:
        pipeline: of the checkpoint, from its folder.
        pairs: folder of cases to fit on.
        out: file of the report.
        test: folder of other cases, on which the labels are counted too.
        seed: of the folds.
        command: as the report quotes it.

    Returns:
        The figures of `calibrate`, with ``kinds`` and ``measured``, the cases themselves, and ``test``.

    Raises:
        LamdemoError: there are too few cases, one is not whole, or a file cannot be written.
    """
    if pipeline.folder is None:
        raise LamdemoError("A verdict is kept beside the weights; load the checkpoint from its folder.")
    cases = measure_cases(pipeline, pairs)
    if len(cases) < FEWEST:
        raise LamdemoError(f"A verdict is fitted on {FEWEST} cases or more, not {len(cases)}; draw more of them.")
    rule, figures = calibrate(cases, seed=seed)
    figures["kinds"] = dict(Counter(c.kind or "unknown" for c in cases))
    data = {"cases": describe_files(pairs)}
    about = {"command": command, "seed": seed, "data": data["cases"], **figures}
    if test is not None:
        others = measure_cases(pipeline, test)
        data["test"], figures["test"] = describe_files(test), check_rule(rule, others)
        figures["test"]["measured"] = [asdict(c) for c in others]
    figures["measured"] = [asdict(c) for c in cases]
    write_report(out, {"evaluation": "verdict", **figures}, command=command, pipeline=pipeline, seed=seed, data=data)
    rule.write(pipeline.folder, about)
    return figures


# Fitting.


def fit_rule(cases: Sequence[Measured]) -> VerdictRule:
    """Logistic regression of both marks on one sum of indicators, none of which counts against its own direction.

    A scale ends where the fewest cases lie beyond, so that one odd value cannot outvote the others. No label is given
    yet, see `calibrate`.
    """
    names, ends = [], []
    for name in (*FOR, *AGAINST):
        values = np.array([getattr(c.indicators, name) for c in cases])
        low, high = np.quantile(values, (_EDGE, 1 - _EDGE))
        if high > low:
            names.append(name)
            ends.append((low, high) if name in FOR else (high, low))
    unit = {n: Scale(float(w), float(b), 1.0) for n, (w, b) in zip(names, ends, strict=True)}
    x = np.array([[unit[n].merit(getattr(c.indicators, n)) for n in names] for c in cases])
    errors = np.array([c.error for c in cases])
    marks = np.stack([errors < RIGHT, errors <= WRONG], 1)

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        # The second level lies above the first by a step that is not negative.
        weights, level, step = p[:-2], p[-2], p[-1]
        margin = (x @ weights)[:, None] + np.array([level, level + step])
        pull = 1 / (1 + np.exp(-margin)) - marks
        value = np.logaddexp(0, margin).sum() - margin[marks].sum() + _RIDGE * weights @ weights
        return float(value), np.concatenate([pull.sum(1) @ x + 2 * _RIDGE * weights, [pull.sum(), pull[:, 1].sum()]])

    bounds = [(0, None)] * len(names) + [(None, None), (0, None)]
    found = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    scales = {n: replace(unit[n], weight=float(w)) for n, w in zip(names, found, strict=False)}
    return VerdictRule(scales, float(found[-2]), float(found[-2] + found[-1]))


Judged = tuple[float, float, float]  # probabilities of both marks, and the error


def _folds(count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cases to fit on and cases held out, ``_FOLDS`` times; each is held out once."""
    order = rng.permutation(count)
    return [(np.sort(np.setdiff1d(order, part)), np.sort(part)) for part in np.array_split(order, _FOLDS)]


def _held_out(cases: Sequence[Measured], rng: np.random.Generator) -> list[Judged]:
    """Each case as a rule sees it that was fitted on others."""
    found = []
    for train, test in _folds(len(cases), rng):
        rule = fit_rule([cases[i] for i in train])
        found += [(*rule.chances(cases[i].indicators), cases[i].error) for i in test]
    return found


def _with_thresholds(rule: VerdictRule, held: Sequence[Judged], stricter: float = 0.0, rounds: int = 1) -> VerdictRule:
    """The rule with thresholds that keep both marks on cases held out, each of them so many times.

    The marks are moved towards 1 by the share ``stricter``.
    """
    right, passing, errors = np.array(held).T
    good = threshold(-right, errors < RIGHT, GOOD_MARK + stricter * (1 - GOOD_MARK), _LEAST * rounds)
    failed = threshold(passing, errors > WRONG, FAILED_MARK + stricter * (1 - FAILED_MARK), _LEAST * rounds)
    # However many a mark lets through, the odds of a label are never against it.
    return replace(
        rule,
        good=None if good is None else max(-good, 0.5),
        failed=None if failed is None else min(failed, 0.5),
    )


def threshold(scores: np.ndarray, true: np.ndarray, mark: float, least: int) -> float | None:
    """The largest score up to which the share of true ones keeps a mark.

    Args:
        scores: ``[n]``, the surest first in ascending order.
        true: bool ``[n]``.
        mark: the share.
        least: how many cases there must be up to it.

    Returns:
        None where there is no such score.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    share = np.cumsum(true[order]) / np.arange(1, len(order) + 1)
    # Equal scores get one label.
    ends = np.append(ranked[1:] > ranked[:-1], True)
    fits = np.flatnonzero((share >= mark) & ends & (np.arange(1, len(order) + 1) >= least))
    return float(ranked[fits[-1]]) if len(fits) else None
