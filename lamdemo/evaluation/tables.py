"""Reports as Markdown tables, and marked places of Markdown files that are filled with them.

A table is made of nothing but reports, and names those it was made of. Where a report is missing the table says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lamdemo.errors import LamdemoError
from lamdemo.evaluation.results import (
    CLIPS,
    SETTINGS,
    WHOLE,
    Figure,
    Reports,
    dig,
    figure_of,
    judged_on,
    middle,
    number,
    over_copied_flow,
    prediction,
    probed,
)

NOT_MEASURED = "not measured"
HORIZONS = ("1", "2", "4", "8", "16", "32")
KINDS = ("pan", "zoom", "roll", "move", "turn", "grow", "enter", "leave", "both")
_METHODS = {
    "model": "**model**",
    "copy": "copying",
    "zero": "no action",
    "shuffled": "another’s action",
    "copied_flow": "copied flow",
    "true_flow": "true flow ¹",
    "own_flow": "flow of the step itself ¹",
    "truth": "the truth itself",
}
_MARK = re.compile(r"<!--\s*(/?)lamdemo:([\w-]+)(?:[ \t]+(\S+?))?\s*-->")
_SETTING_WORDS = {
    "across": "fitted on training recordings",
    "within": "fitted on other recordings of the same part",
    "within_train": "fitted and judged on training recordings, never on the same ones",
}


@dataclass(frozen=True)
class View:
    """What tables are made of and for.

    Attributes:
        reports: of the checkpoints that are compared.
        chosen: name of the checkpoint that tables of a single one are about.
        folder: of the file they will stand in, from which links lead to the reports; None: no links.
    """

    reports: Sequence[Reports]
    chosen: str
    folder: Path | None = None

    @property
    def one(self) -> Reports | None:
        """The chosen checkpoint's reports."""
        return next((r for r in self.reports if r.name == self.chosen), None)

    def link(self, reports: Reports, part: str, words: str | None = None) -> str:
        """A link to a report, or its name where there is no way to it."""
        path = reports.files[part]
        words = words or f"{reports.name}/{path.name}"
        return f"[{words}]({target})" if (target := relative(path, self.folder)) else words

    def source(self, of: Sequence[Reports], part: str) -> str:
        """The line under a table that says where its figures are from, and on what they were measured."""
        links = ", ".join(self.link(r, part) for r in of)
        told = {judged_on(r, part): r for r in of}
        words = f"From {links}"
        if len(told) > 1:
            return f"{words}. **Not all of these were judged on the same data; rows cannot be compared.**"
        about = _data(of[0], part)
        return f"{words}{'; ' + about if about else ''}."


def relative(path: Path, folder: Path | None) -> str:
    """A link from a folder to a file, quoted; "" where it would name folders of this machine."""
    if folder is None:
        return ""
    path, folder = path.resolve(), folder.resolve()
    try:
        shared = os.path.commonpath([path, folder])
    except ValueError:  # on different drives
        return ""
    # A link that climbs far up shows nothing to those who have one of the two folders only.
    climbed = len(folder.relative_to(shared).parts)
    if Path(shared) == Path(Path(shared).anchor) or climbed > 3:
        return ""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _data(reports: Reports, part: str) -> str:
    """What a report was measured on, in words."""
    told = []
    split = reports.dig(part, "settings", "part")
    clips, recordings = (number(reports.dig(part, "clips", k)) for k in ("files", "recordings"))
    if part == "pairs":
        cases = number(reports.dig(part, "all", "cases"))
        return f"{cases:.0f} transfers" if cases else ""
    if isinstance(split, str):
        told.append("all parts of the split" if split == "all" else f"{split} part")
    if clips and recordings:
        told.append(f"{clips:.0f} clips of {recordings:.0f} recordings")
    cases = number(reports.dig(part, "settings", "cases"))
    if cases:
        told.append(f"{cases:.0f} procedural cases")
    return ", ".join(told)


# Cells.


def said(value: Figure | float | None, digits: int = 2, missing: str = "–") -> str:
    """A figure with its interval as words."""
    if value is None:
        return missing
    one = value if isinstance(value, Figure) else Figure(value)
    words = _plain(one.value, digits)
    if one.low is None or one.high is None:
        return words
    return f"{words} [{_plain(one.low, digits)}, {_plain(one.high, digits)}]"


def _plain(value: float, digits: int) -> str:
    words = f"{value:.{digits}f}"
    return words.replace("-", "−") if float(words) else words.lstrip("-")


def _digits(value: float, mark: float) -> int:
    """Decimals that do not round a figure onto or across the mark it missed, two at least."""
    digits = 2
    while digits < 5 and value != mark and round(value, digits) == round(mark, digits):
        digits += 1
    return digits


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, as are those of words."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def _nothing(view: View, part: str, alone: bool = False) -> str:
    of = f" of {view.chosen}" if alone else ""
    return f"Not measured: there is no report {part}.json{of}."


def _with(view: View, *parts: str) -> list[Reports]:
    return [r for r in view.reports if all(p in r.results for p in parts)]


def _dials(reports: Sequence[Reports]) -> bool:
    return any(r.dial for r in reports)


def _names(reports: Reports, dials: bool) -> list[str]:
    """The first cells of a checkpoint's row."""
    return [reports.name, reports.family, *([reports.dial or "–"] if dials else [])]


def _heads(dials: bool) -> list[str]:
    return ["checkpoint", "latents", *(["limit"] if dials else [])]


# Tables.


def prediction_table(view: View) -> str:
    """The paper's Tables 1 and 2: prediction, leakage and cycle, a row a checkpoint, kinds of clips apart."""
    found = _with(view, "videos")
    if not found:
        return _nothing(view, "videos")
    dials = _dials(found)
    head = [
        *_heads(dials),
        "one step, moving half",
        "shuffled over inferred",
        "mean of 8 steps",
        "leakage",
        "cycle",
    ]
    measures = ("one_step", "shuffled", "eight_step", "leakage", "cycle")
    blocks = []
    for clips in (WHOLE, *CLIPS):
        rows = [(r, [prediction(r, m, clips) for m in measures]) for r in found]
        if any(any(figures) for _, figures in rows):
            cells = [[*_names(r, dials), *(said(f) for f in figures)] for r, figures in rows]
            blocks.append(f"**{clips[0].upper()}{clips[1:]}**\n\n{table(head, cells)}")
    notes = (
        "Errors are of states, over those of copying the last frame (1: no better than a still picture). Leakage: "
        "error at a scene cut over that without (high: the latent cannot hold the new scene). Cycle: error with "
        "latents that went to another clip and back, over that with its own (1: nothing is lost). 95% intervals over "
        "recordings."
    )
    return "\n\n".join([*blocks, f"{notes} {view.source(found, 'videos')}"])


def baselines_table(view: View) -> str:
    """One checkpoint on real clips beside what needs no model."""
    one = view.one
    if one is None or "videos" not in one.results:
        return _nothing(view, "videos", alone=True)
    columns = (("one_step", "moving"), ("one_step", "still"), ("eight_step", "mean"))
    rows = []
    for method in ("model", "copy", "zero", "shuffled", "copied_flow", "own_flow"):
        at = [("videos", "all", *c, "over_copy", method) for c in columns]
        cells = ["1"] * 3 if method == "copy" else [said(one.figure(*keys)) for keys in at]
        rows.append([_METHODS[method] if method != "copied_flow" else "flow of the step before", *cells])
    head = ["state error over copying", "one step, moving half", "one step, still half", "mean of 8 steps"]
    note = "¹ Has seen the next frame, as the latent has; the flow of the step before has not."
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'videos')}"


@dataclass(frozen=True)
class Mark:
    """One thing to reach.

    Attributes:
        what: the figure, in words.
        wanted: in words.
        measured: in words; `NOT_MEASURED` where it was not.
        reached: None where it cannot be told.
        source: report it is from, as a link; "" where there is none.
    """

    what: str
    wanted: str
    measured: str
    reached: bool | None
    source: str


def marks(view: View) -> list[Mark]:
    """What the chosen checkpoint and its family were to reach, and what they did."""
    found: list[Mark] = []

    def mark(
        what: str, part: str, figure: Figure | None, *, least: float | None = None, most: float | None = None,
        of: Reports | None = None, words: str = "",
    ) -> None:  # fmt: skip
        bound = most if least is None else least
        assert bound is not None
        wanted = f"at {'most' if least is None else 'least'} {bound:.2f}"
        if figure is None or of is None:
            found.append(Mark(what, wanted, NOT_MEASURED, None, ""))
            return
        reached = figure.value <= bound if least is None else figure.value >= bound
        measured = said(figure, _digits(figure.value, bound)) + words
        found.append(Mark(what, wanted, measured, reached, view.link(of, part)))

    one = view.one
    mine = {r.family: r for r in middle(view.reports)}
    if one is not None:
        mine[one.family] = one

    def of_videos(measure: str, of: Reports | None = one) -> Figure | None:
        return None if of is None else prediction(of, measure)

    def own(*keys: str) -> Figure | None:
        return None if one is None else one.figure(*keys)

    mark("one-step error over copying, moving half of the steps", "videos", of_videos("one_step"), most=0.55, of=one)
    mark("mean error of 8 steps over copying", "videos", of_videos("eight_step"), most=0.65, of=one)
    mark("error under shuffled actions over inferred, moving half", "videos", of_videos("shuffled"), least=1.3, of=one)
    for family in ("noisy", "sparse", "discrete"):
        r = mine.get(family)
        named = f" ({r.name})" if r is not None and r.name != family else ""
        mark(f"leakage, {family}{named}", "videos", of_videos("leakage", r) if r else None, least=2.0, of=r)
    for family in ("noisy", "sparse"):
        r = mine.get(family)
        named = f" ({r.name})" if r is not None and r.name != family else ""
        mark(f"cycle, {family}{named}", "videos", of_videos("cycle", r) if r else None, most=1.2, of=r)
    motion = own("pairs", "all", "motion_over_copy", "model")
    mark("procedural transfer: motion error over copying", "pairs", motion, most=0.35, of=one)
    flow = None if one is None else over_copied_flow(one)
    mark("procedural transfer: motion error over copied optical flow", "pairs", flow, most=0.7, of=one)
    found += [_lead(view, family) for family in ("noisy", "sparse")]
    steering = None if one is None else probed(one, "steering")
    words = f" ({steering[1]})" if steering else ""
    mark("linear probe of steering, R²", "probes", steering[0] if steering else None, least=0.6, of=one, words=words)
    pan = own("probes", "scenes", "targets", "pan", "z", "linear")
    mark("linear probe of camera pan in scenes, R²", "probes", pan, least=0.95, of=one)
    clear = own("rollouts", "all", "pictures", "sharpness", "model", "16")
    mark("sharpness after 16 steps on real clips, of the first frame’s", "rollouts", clear, least=0.8, of=one)
    clear = own("pairs", "all", "sharpness", "model_16")
    mark("sharpness after 16 steps of transfers, of the target’s", "pairs", clear, least=0.8, of=one)
    return found


def _lead(view: View, family: str) -> Mark:
    """Whether a continuous family predicts in-the-wild clips better than the discrete one, at equal training."""
    what, wanted = f"{family} ahead of discrete: one-step error in the wild, moving half", "intervals apart"

    def best(of: str, like: Reports | None = None) -> tuple[Figure, Reports] | None:
        known = [(f, r) for r in view.reports if r.family == of and (f := prediction(r, "one_step", "in-the-wild"))]
        equal = [k for k in known if like is None or None in (like.training, k[1].training)
                 or like.training == k[1].training]  # fmt: skip
        return min(equal or known, key=lambda k: k[0].value, default=None)

    other = best("discrete")
    first = best(family, other[1]) if other else None
    if other is None or first is None:
        return Mark(what, wanted, NOT_MEASURED, None, "")
    (a, one), (b, two) = first, other
    words = f"{said(a, 3)} ({one.name}), {said(b, 3)} ({two.name})"
    source = ", ".join(view.link(r, "videos") for r in (one, two))
    if judged_on(one, "videos") != judged_on(two, "videos"):
        return Mark(what, wanted, f"{words}, on different clips", None, source)
    if one.training != two.training and one.training and two.training:
        words += ", not equally long trained"
    apart = None if a.high is None or b.low is None else a.high < b.low
    return Mark(what, wanted, words, apart, source)


def targets_table(view: View) -> str:
    """What was to be reached, what was measured, and whether it is enough."""
    words = {True: "yes", False: "**no**", None: "–"}
    rows = [[m.what, m.wanted, m.measured, words[m.reached], m.source or "–"] for m in marks(view)]
    one = view.one
    note = f"Checkpoint {view.chosen}, where no other is named. "
    if one is not None and "videos" in one.results:
        note += f"Clips: {_data(one, 'videos')}. "
    note += (
        "Reached is judged by the value, not by its interval (95%, over recordings or cases). The lead over discrete "
        "is between each family’s best checkpoint that was trained as long, wherever that is known."
    )
    return f"{table(['figure', 'wanted', 'measured', 'reached', 'report'], rows)}\n\n{note}"


def _kinds(reports: Sequence[Reports]) -> list[str]:
    there = {k for r in reports for k in (r.dig("pairs", "kinds") or {})}
    return [k for k in KINDS if k in there] + sorted(there - set(KINDS))


def transfer_table(view: View) -> str:
    """Transfers with a known truth, by kind of action, for one checkpoint beside what needs no model."""
    one = view.one
    if one is None or "pairs" not in one.results:
        return _nothing(view, "pairs", alone=True)
    methods = ("model", "zero", "shuffled", "copied_flow", "true_flow")
    rows = []
    for kind in ("all", *_kinds([one])):
        at = ("pairs", "all") if kind == "all" else ("pairs", "kinds", kind)
        cases = number(one.dig(*at, "cases"))
        cells = [said(one.figure(*at, "motion_over_copy", m)) for m in methods]
        rows.append([kind, "–" if cases is None else f"{cases:.0f}", *cells])
    head = ["motion error over copying", "cases", *(_METHODS[m] for m in methods)]
    medians = [number(one.dig("pairs", "all", "motion_over_copy", m, "median")) for m in ("model", "copied_flow")]
    note = "¹ The truth’s own flow laid on the target: the floor of this measure."
    if None not in medians:
        note += (
            " Ratios are of sums over cases, in which large motions weigh most; the median of the cases’ own ratios is "
            f"{said(medians[0])} (copied flow: {said(medians[1])})."
        )
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'pairs')}"


def transfers_table(view: View) -> str:
    """Transfers with a known truth, by kind of action, a row a checkpoint."""
    found = _with(view, "pairs")
    if not found:
        return _nothing(view, "pairs")
    kinds = _kinds(found)

    def cells(r: Reports, method: str) -> list[str]:
        every = [("pairs", "all"), *(("pairs", "kinds", k) for k in kinds)]
        made = [r.figure(*at, "motion_over_copy", method) for at in every]
        return [said(made[0]), *(said(None if f is None else f.value) for f in made[1:])]

    dials = _dials(found)
    rows = [[*_names(r, dials), *cells(r, "model")] for r in found]
    blank = [""] * (len(_heads(dials)) - 1)
    rows += [[_METHODS[m], *blank, *cells(found[0], m)] for m in ("copied_flow", "true_flow")]
    note = "Motion error over copying. ¹ The truth’s own flow laid on the target: the floor of this measure."
    return f"{table([*_heads(dials), 'all', *kinds], rows)}\n\n{note} {view.source(found, 'pairs')}"


def pictures_table(view: View) -> str:
    """Pictures of one checkpoint's transfers against the truth's."""
    one = view.one
    if one is None or "pairs" not in one.results:
        return _nothing(view, "pairs", alone=True)
    methods = ("model", "copy", "zero", "shuffled", "copied_flow", "true_flow")
    rows = []
    for measure, words, digits in (("psnr", "PSNR, dB", 1), ("ssim", "SSIM", 3), ("perceptual", "feature distance", 4)):
        values = [number(one.dig("pairs", "all", "methods", m, measure)) for m in methods]
        rows.append([words, *(said(v, digits) for v in values)])
    sharp = {m: number(one.dig("pairs", "all", "sharpness", m)) for m in ("model", "copied_flow")}
    rows.append(["sharpness, of the target’s", *(said(sharp.get(m)) for m in methods)])
    what = one.dig("pairs", "settings", "perceptual_is")
    note = f"The distance is {what}. " if isinstance(what, str) else ""
    note += "¹ The truth’s own flow laid on the target."
    head = ["pictures of transfers", *(_METHODS[m] for m in methods)]
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'pairs')}"


def probes_table(view: View) -> str:
    """What can be read from z, a row a checkpoint; then everything that was probed of one."""
    found = _with(view, "probes")
    if not found:
        return _nothing(view, "probes")
    blocks = []
    scenes = ("pan", "zoom", "roll", "move")
    commands = [c for c in ("steering", "throttle", "translation", "rotation", "travel", "gripper", "joints")
                if any(probed(r, c) for r in found)]  # fmt: skip
    if len(found) > 1:
        dials = _dials(found)
        rows = []
        for r in found:
            known = [r.figure("probes", "scenes", "targets", t, "z", "linear") for t in scenes]
            real = [probed(r, c) for c in commands]
            rows.append([*_names(r, dials), *(said(f) for f in known), *(said(p[0] if p else None) for p in real)])
        first = [(c, next(p[1] for r in found if (p := probed(r, c)))) for c in commands]
        head = [*_heads(dials), *scenes, *commands]
        note = "R² of a linear map from z; 0: no better than the mean, 1: all of it."
        if first:
            note += " " + "; ".join(f"{c}: {on}" for c, on in first) + "."
        blocks.append(f"{table(head, rows)}\n\n{note} {view.source(found, 'probes')}")
    one = view.one if view.one in found else found[0]
    if one is not None:
        blocks.append(_probes_of(view, one))
    return "\n\n".join(blocks)


def _probes_of(view: View, one: Reports) -> str:
    inputs = (
        ("z", "linear", "**z**, linear"),
        ("z", "mlp", "**z**, MLP"),
        ("z_shuffled", "linear", "chance"),
        ("difference", "linear", "features, linear"),
        ("difference", "mlp", "features, MLP"),
        ("pooled", "linear", "pooled features, linear"),
    )
    rows = []

    def add(words: str, *at: str) -> None:
        targets = one.dig("probes", *at, "targets")
        for target in targets if isinstance(targets, Mapping) else ():
            of = targets[target]
            rows.append([words, str(target), *(said(figure_of(dig(of, i, m))) for i, m, _ in inputs)])

    add("scenes", "scenes")
    used = set()
    sets = one.dig("probes", "clips")
    for name in sorted(sets) if isinstance(sets, Mapping) else ():
        for setting in SETTINGS:
            if one.dig("probes", "clips", name, setting) is not None:
                used.add(setting)
                add(f"{name}, {setting}", "clips", name, setting)
    note = (
        f"R² of probes on z of {one.name}, on recordings (and photographs) that the probe was not fitted on. Chance: z "
        "with the training side’s targets shuffled. Features: change of the encoder’s features, leading components."
    )
    note += "".join(f" *{s}*: {_SETTING_WORDS[s]}." for s in SETTINGS if s in used)
    return f"{table(['clips', 'action', *(w for _, _, w in inputs)], rows)}\n\n{note} {view.source([one], 'probes')}"


def locality_table(view: View) -> str:
    """Where motion lies if one of two things moves in the source, a row a checkpoint."""
    found = _with(view, "locality")
    if not found:
        return _nothing(view, "locality")
    columns = ("moved", "other", "elsewhere", "right", "amount")
    dials = _dials(found)
    blank = [""] * (len(_heads(dials)) - 1)
    head = [*_heads(dials), "in the right thing", "in the other", "elsewhere", "right thing moves more", "amount"]
    blocks = []
    for target, words in (("things", "onto two things"), ("plain", "onto a plain background (control)")):
        rows = []
        for r in found:
            rows.append(
                [*_names(r, dials), *(said(r.figure("locality", "targets", target, "model", c)) for c in columns)]
            )
        for method in ("shuffled", "copied_flow", "truth"):
            at = ("locality", "targets", target, method)
            if found[0].dig(*at) is not None and not (target == "plain" and method == "truth"):
                label = _METHODS[method] + (f" ({found[0].name})" if method == "shuffled" else "")
                rows.append([label, *blank, *(said(found[0].figure(*at, c)) for c in columns)])
        chance = [number(found[0].dig("locality", "chance", c)) for c in columns[:3]]
        rows.append(["share of the area", *blank, *(said(c) for c in chance), "–", "–"])
        blocks.append(f"**Transferred {words}**\n\n{table(head, rows)}")
    note = (
        "Shares of the optical flow of the result, with 95% intervals over layouts; masks are grown by a few pixels, "
        "since flow is smooth across edges. Amount: all motion over the truth’s."
    )
    return "\n\n".join([*blocks, f"{note} {view.source(found, 'locality')}"])


def entering_table(view: View) -> str:
    """Whether something enters the target when something enters the source, a row a checkpoint."""
    found = _with(view, "entering")
    if not found:
        return _nothing(view, "entering")
    columns = (("auc", "all"), ("auc", "shuffled"), ("shown",), ("right_place",), ("place_error",), ("time_error",))
    dials = _dials(found)
    blank = [""] * (len(_heads(dials)) - 1)

    def cells(r: Reports, method: str) -> list[str]:
        return [said(r.figure("entering", "methods", method, "perceptual", *c)) for c in columns]

    rows = [[*_names(r, dials), *cells(r, "model")] for r in found]
    rows += [
        [_METHODS[m], *blank, *cells(found[0], m)]
        for m in ("copied_flow", "truth")
        if found[0].dig("entering", "methods", m) is not None
    ]
    head = [
        *_heads(dials),
        "AUC, all controls",
        "AUC, another’s thing",
        "something shows",
        "at the right place",
        "place error, widths",
        "late by, steps",
    ]
    near = number(found[0].dig("entering", "settings", "near"))
    note = (
        "AUC: the chance that change at the truth’s place is larger when the thing enters than when nothing happens, "
        "the camera pans or another’s thing enters (0.5: chance). Shares of the cases; intervals over cases. Change is "
        "measured in the frozen encoder’s features."
    )
    if near is not None:
        note += f" Right place: within {near:g} picture widths."
    return f"{table(head, rows)}\n\n{note} {view.source(found, 'entering')}"


def latents_table(view: View) -> str:
    """What latents carry, a row a checkpoint."""
    found = _with(view, "latents")
    if not found:
        return _nothing(view, "latents")
    dials = _dials(found)
    head = [
        *_heads(dials),
        "effective nats",
        "own measure, nats",
        "active channels",
        "participation",
        "codes used",
        "perplexity",
        "samples: nearest ²",
        "samples: energy ³",
        "one step in the wild",
    ]
    rows = []
    for r in found:
        at, samples = ("latents", "all", "dimensions"), ("latents", "all", "samples")
        value = {k: number(r.dig(*at, k)) for k in ("active", "participation", "codes", "codes_used", "perplexity")}
        used = "–" if value["codes"] is None else f"{said(value['codes_used'], 0)} of {said(value['codes'], 0)}"
        rows.append(
            [
                *_names(r, dials),
                said(number(r.dig("latents", "channel", "effective_nats")), 1),
                said(number(r.dig("latents", "all", "information", "nats")), 1),
                said(value["active"], 1),
                said(value["participation"], 1),
                used,
                said(value["perplexity"], 1),
                said(number(r.dig(*samples, "nearest", "ratio"))),
                said(number(r.dig(*samples, "energy", "share"))),
                said(prediction(r, "one_step", "in-the-wild")),
            ]
        )
    note = (
        "Effective nats: the rate of the coarsest description of z that costs 2% of what z gains, one measure for all "
        "families. Own measure: KL of the posterior (noisy), entropy of code use (discrete); a sparse latent has none. "
        "² Distance of a draw from the prior to the nearest inferred latent, over that between recordings (1: cannot "
        "be told apart). ³ Share of the energy distance (0: one distribution)."
    )
    return f"{table(head, rows)}\n\n{note} {view.source(found, 'latents')}"


_SETS = {
    "test": "test recordings",
    "validation": "validation recordings (known cars)",
    "test_among_validation": "test recordings, among validation’s",
    "train": "training recordings",
    "all": "all recordings",
}


def space_marks_table(view: View) -> str:
    """Of one checkpoint's latent space the figures that something was wanted of, and all nine kinds."""
    return space_table(view, short=True)


def space_table(view: View, *, short: bool = False) -> str:
    """One checkpoint's latent space: neighbours, arithmetic and zero, with chance and what needs no model."""
    one = view.one
    if one is None or "space" not in one.results:
        return _nothing(view, "space", alone=True)
    rows: list[list[str]] = []

    def row(
        words: str, wanted: tuple[str, float] | None, figure: Figure | None, *beside: Figure | float | None
    ) -> None:
        mark = reached = "–"
        digits = 2
        if wanted is not None:
            way, bound = wanted
            mark = f"at {way} {bound:.2f}"
            if figure is not None:
                digits = _digits(figure.value, bound)
                reached = "yes" if (figure.value >= bound if way == "least" else figure.value <= bound) else "**no**"
        if short and wanted is None and "all nine" not in words:
            return
        rows.append([words, mark, said(figure, digits), reached, *(said(b) for b in beside)])

    def neighbours(words: str, wanted: tuple[str, float] | None, *at: str) -> None:
        where = ("space", "neighbours", *at)
        if one.dig(*where) is None:
            return
        balanced = number(one.dig(*where, "balanced", "z"))
        words += "" if balanced is None else f" (each kind counted alike: {said(balanced)})"
        beside = number(one.dig(*where, "chance")), one.figure(*where, "flow"), one.figure(*where, "states")
        row(words, wanted, one.figure(*where, "z"), *beside)

    scenes = ("scenes",)
    neighbours("kind of action: pan, zoom, roll, something moves", ("least", 0.8), *scenes, "four")
    neighbours("the same with “camera and thing at once” as a fifth", None, *scenes, "four_and_both")
    neighbours("kind of action, all nine", None, *scenes, "nine")
    neighbours("kind and direction of pans, zooms and rolls", None, *scenes, "direction", "all")
    sets = one.dig("space", "neighbours", "steering")
    for s in sets if isinstance(sets, Mapping) else ():
        named = _SETS.get(str(s), str(s))
        mark = ("least", 0.85) if s != "test_among_validation" else None
        for words, key, wanted in (
            ("steering’s sign in clear turns", "turns", mark),
            ("the same, pool of all steps", "all", None),
            ("the same, command of the step before", "delayed", None),
        ):
            at = ("space", "neighbours", "steering", str(s), key)
            beside = number(one.dig(*at, "chance")), one.figure(*at, "flow"), one.figure(*at, "states")
            row(f"{words}: {named}", wanted, one.figure(*at, "z"), *beside)
    sums = ("space", "arithmetic", "sum")
    better = [one.figure(*sums, "better", m) for m in ("sum", "shuffled", "copied_flow")]
    row("A + B is nearer to both at once than A and than B: share of cases", ("least", 0.8), *better, None)
    half = [one.figure("space", "arithmetic", "interpolation", "better", m) for m in ("half", "copy")]
    row("halfway between A and B is nearer to half of each than A and than B", None, half[0], None, None, None)
    back = {w: one.figure("space", "arithmetic", "reversal", w, "picture") for w in ("own", "shuffled")}
    row(
        "picture error left after A and its reverse, over A’s", ("most", 0.5), back["own"], back["shuffled"], None, None
    )
    state = {w: one.figure("space", "arithmetic", "reversal", w, "state") for w in ("own", "shuffled")}
    row("state error left after A and its reverse, over A’s", None, state["own"], state["shuffled"], None, None)
    fit = {k: number(one.dig("space", "arithmetic", "strength", "fit", k)) for k in ("slope", "r2")}
    row(f"motion against strength 0.5 to 2: R² of a line (slope {said(fit['slope'])})", None,
        figure_of(fit["r2"]), None, None, None)  # fmt: skip
    row(
        "motion under z = 0, percent of the width a step", None, one.figure("space", "zero", "motion"), None, None, None
    )
    about = {k: number(one.dig("space", "settings", k)) for k in ("scenes", "cases", "clear_turn", "clips")}
    many = {k: number(one.dig("space", "neighbours", "scenes", k)) for k in ("steps", "left_out")}
    note = (
        "Neighbours: the nearest step of another recording (Euclidean) is right. Chance: a step of the pool drawn "
        "blindly; for sums and reversals another case’s B. Optical flow: 8 by 8 cells as the vector; for sums the "
        "flows of both sources, added. Features: change of the encoder’s features, averaged."
    )
    if None not in (*about.values(), *many.values()):
        note += (
            f" {about['scenes']:.0f} scenes, {many['steps']:.0f} steps ({many['left_out']:.0f} in which hardly "
            f"anything moves are left out); {about['cases']:.0f} sums; clear turns: steering from "
            f"{about['clear_turn']:g}."
        )
    head = ["latent space", "wanted", "**z**", "reached", "chance", "optical flow", "features"]
    blocks = [f"{table(head, rows)}\n\n{note} {view.source([one], 'space')}"]
    if not short and isinstance(one.dig(*sums, "pairs"), Mapping):
        blocks.append(_sums_of(view, one))
    return "\n\n".join(blocks)


def _sums_of(view: View, one: Reports) -> str:
    """Sums of actions by the kinds of the two."""
    sums = ("space", "arithmetic", "sum")
    rows = []
    for pair in ("all", *one.dig(*sums, "pairs")):
        at = sums if pair == "all" else (*sums, "pairs", str(pair))
        cases = number(one.dig(*at, "cases"))
        shares = [one.figure(*at, "better", m) for m in ("sum", "joint", "shuffled", "copied_flow")]
        errors = [one.figure(*at, "over_copy", m) for m in ("sum", "a", "b", "joint")]
        cells = [*(None if f is None else f.value for f in shares), *errors]
        rows.append([str(pair), "–" if cases is None else f"{cases:.0f}", *(said(c) for c in cells)])
    head = [
        "A + B",
        "cases",
        "**better**",
        "seen at once",
        "another’s B",
        "flows added",
        "**error of A + B**",
        "of A",
        "of B",
        "seen at once, error",
    ]
    note = (
        "Better: share of cases in which the result is nearer to the truth of both at once than under A alone and than "
        "under B alone. Seen at once: z of another scene that shows both, in place of the sum. Errors of motion, over "
        "copying."
    )
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'space')}"


def spaces_table(view: View) -> str:
    """The latent spaces of several checkpoints, a row each."""
    found = _with(view, "space")
    if not found:
        return _nothing(view, "space")
    columns: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("kind, of four", ("neighbours", "scenes", "four", "z")),
        ("kind, of nine", ("neighbours", "scenes", "nine", "z")),
        ("direction", ("neighbours", "scenes", "direction", "all", "z")),
        ("steering, known cars", ("neighbours", "steering", "validation", "turns", "z")),
        ("steering, test", ("neighbours", "steering", "test", "turns", "z")),
        ("A + B better than either", ("arithmetic", "sum", "better", "sum")),
        ("both at once, seen", ("arithmetic", "sum", "better", "joint")),
        ("error of A + B over the better one’s", ("arithmetic", "sum", "over_either", "sum")),
        ("z of both − (A + B)", ("arithmetic", "sum", "latents", "distance")),
        ("left after reverse", ("arithmetic", "reversal", "own", "picture")),
        ("halfway better", ("arithmetic", "interpolation", "better", "half")),
        ("strength, R²", ("arithmetic", "strength", "fit", "r2")),
        ("motion of z = 0, %", ("zero", "motion")),
    )
    dials = _dials(found)
    rows = [[*_names(r, dials), *(said(r.figure("space", *at)) for _, at in columns)] for r in found]
    first = found[0]
    chance = {words: number(first.dig("space", *at[:-1], "chance")) for words, at in columns if at[0] == "neighbours"}
    chance["A + B better than either"] = number(first.dig("space", "arithmetic", "sum", "better", "shuffled", "value"))
    rows.append(["chance", *[""] * (len(_heads(dials)) - 1), *(said(chance.get(words)) for words, _ in columns)])
    flows = {words: first.figure("space", *at[:-1], "flow") for words, at in columns if at[0] == "neighbours"}
    flows["A + B better than either"] = first.figure("space", "arithmetic", "sum", "better", "copied_flow")
    rows.append(["optical flow", *[""] * (len(_heads(dials)) - 1), *(said(flows.get(words)) for words, _ in columns)])
    note = (
        "Shares at rank 1, and shares of cases (chance: another case’s B). “Both at once, seen”: z of a scene that "
        "shows both, in place of the sum. “z of both − (A + B)”: distance over the size of the former."
    )
    return f"{table([*_heads(dials), *(w for w, _ in columns)], rows)}\n\n{note} {view.source(found, 'space')}"


_WAYS = {
    "learned": "**learned prior**, given the state",
    "stateless": "learned prior, without a state",
    "shuffled": "learned prior, another recording’s state",
    "fixed": "the family’s own prior",
    "gaussian": "Gaussian of training latents",
    "resampled": "training latents, drawn blindly",
}


def prior_table(view: View) -> str:
    """`priors_table`, and every way to draw samples of one checkpoint."""
    found = _with(view, "prior")
    blocks = [priors_table(view)]
    one = view.one if view.one in found else found[0] if found else None
    if one is not None and isinstance(one.dig("prior", "all", "energy"), Mapping):
        blocks.append(_ways_of(view, one))
    return "\n\n".join(blocks)


def priors_table(view: View) -> str:
    """Samples of new actions against inferred latents: the learned prior beside the fixed one, a row a checkpoint."""
    found = _with(view, "prior")
    if not found:
        return _nothing(view, "prior")
    dials = _dials(found)
    rows = []
    for r in found:
        energies = [r.figure("prior", "all", "energy", w) for w in ("learned", "stateless", "fixed", "gaussian")]
        gains = [
            r.figure("prior", *at, "fixed")
            for at in (("all", "closer"), ("all", "closer_stateless"), ("within_parts", "closer"))
        ]
        # Closer, as far as these recordings can tell.
        told = [said(g) if g is None or g.low is None or g.low <= 0 else f"**{said(g)}**" for g in gains]
        rows.append([*_names(r, dials), *(said(f) for f in energies), said(r.figure("prior", "all", "floor")), *told])
    head = [
        *_heads(dials),
        "learned, given the state",
        "learned, without a state",
        "own prior",
        "Gaussian",
        "floor",
        "own − given the state",
        "own − without a state",
        "own − given the state, within parts",
    ]
    note = (
        "Energy distance of samples from inferred latents (0: one distribution), 95% intervals over recordings. Floor: "
        "two halves of the recordings. The last three columns: by how much the learned prior is closer than the "
        "family’s own, in bold where the interval is above zero; within parts, each part’s samples are set against the "
        "latents of that part."
    )
    return f"{table(head, rows)}\n\n{note} {view.source(found, 'prior')}"


def _ways_of(view: View, one: Reports) -> str:
    rows = []
    for way, words in _WAYS.items():
        if one.dig("prior", "all", "energy", way) is None:
            continue
        rows.append(
            [
                words,
                said(one.figure("prior", "all", "energy", way)),
                said(one.figure("prior", "all", "closer", way)),
                said(number(one.dig("prior", "two_sample", way, "p")), 3),
                said(number(one.dig("prior", "two_sample", way, "accuracy"))),
                said(number(one.dig("prior", "nearest", way))),
                said(one.figure("prior", "step", way, "score", "over_stateless")),
            ]
        )
    head = [
        f"samples of {one.name}",
        "energy distance",
        "less the learned prior’s",
        "p",
        "told apart",
        "nearest",
        "energy score of the step",
    ]
    note = (
        "p: of a permutation test by recording. Told apart: accuracy of a nearest-neighbour classifier (0.5: not at "
        "all). Nearest: distance to the nearest inferred latent over that between recordings. Energy score: how well "
        "samples say the step’s own latent, over the stateless prior’s (below 1: the state helps)."
    )
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'prior')}"


def rollouts_table(view: View) -> str:
    """Error and sharpness against the horizon, a row a checkpoint."""
    found = _with(view, "rollouts")
    if not found:
        return _nothing(view, "rollouts")
    dials = _dials(found)
    blank = [""] * (len(_heads(dials)) - 1)
    head = [*_heads(dials), *(f"{h} step{'s' if h != '1' else ''}" for h in HORIZONS)]

    def cells(r: Reports, *at: str) -> list[str]:
        return [said(r.figure("rollouts", "all", *at, h)) for h in HORIZONS]

    def rows(*at: str) -> list[list[str]]:
        return [[*_names(r, dials), *cells(r, *at)] for r in found]

    blocks = [f"**State error over copying**\n\n{table(head, rows('state', 'intervals', 'model'))}"]
    if any(r.dig("rollouts", "all", "pictures") for r in found):
        sharp = rows("pictures", "sharpness", "model")
        sharp.append([_METHODS["truth"], *blank, *cells(found[0], "pictures", "sharpness", "truth")])
        blocks.append(f"**Sharpness, of the first frame’s**\n\n{table(head, sharp)}")
        near = rows("pictures", "perceptual_over_copy", "model")
        what = found[0].dig("rollouts", "perceptual_is")
        named = f" ({what})" if isinstance(what, str) else ""
        blocks.append(f"**Perceptual distance over copying**{named}\n\n{table(head, near)}")
    return "\n\n".join([*blocks, f"Rollouts from one frame, 95% intervals. {view.source(found, 'rollouts')}"])


# Bodies in the order of their rows, and how a reader knows them.
_BODIES = {
    "car": "car: steering, throttle",
    "arm": "arm: moves of the hand",
    "doom": "doom: walking in a simulator",
    "fetch": "fetch: a simulated arm",
}
_POLICIES = {
    "controller": "**plans through the controller**",
    "latent": "plans in the latent space",
    "twin": "plans of the twin",
    "random": "random",
    "zero": "nothing",
    "hidden": "the hidden actions",
}


def _sections(one: Reports, part: str) -> dict[str, str]:
    """Bodies that a part of ``control.json`` has, with their words."""
    there = one.dig("control", part)
    found = list(there) if isinstance(there, Mapping) else []
    return {b: _BODIES.get(b, b) for b in (*_BODIES, *(b for b in found if b not in _BODIES)) if b in found}


def _against(figure: Figure | None, most: float) -> list[str]:
    """A figure and whether it is at most so much."""
    if figure is None:
        return ["–", "–"]
    return [said(figure, _digits(figure.value, most)), "yes" if figure.value <= most else "**no**"]


def _counted(one: Reports, part: str, bodies: Mapping[str, str], what: str) -> str:
    """How many of what each section is about, and of how many recordings."""
    told = []
    for body in bodies:
        n, recordings = (number(one.dig("control", part, body, k)) for k in (what, "recordings"))
        if n is not None:
            told.append(f"{body} {n:.0f}" + ("" if recordings is None else f" of {recordings:.0f} recordings"))
    return f" {what[0].upper()}{what[1:]}: {', '.join(told)}." if told else ""


def control_table(view: View) -> str:
    """Rollouts under commands, over those under inferred latents: a row a body."""
    one = view.one
    if one is None or "control" not in one.results:
        return _nothing(view, "control", alone=True)
    bodies = _sections(one, "rollouts")
    rows = []
    for body, words in bodies.items():
        at = ("control", "rollouts", body)
        others = [said(one.figure(*at, "over_inferred", m)) for m in ("mlp", "shuffled", "zero", "twin", "copy")]
        worse = said(one.figure(*at, "mlp_over_controller"))
        states = [said(one.figure(*at, "state", "recovered", m)) for m in ("controller", "mlp", "twin")]
        rows.append([words, *_against(one.figure(*at, "over_inferred", "controller"), 1.2), *others, worse, *states])
    head = [
        "perceptual error over that with inferred latents",
        "**controller** (at most 1.20)",
        "reached",
        "without the state (MLP)",
        "another’s commands",
        "no action",
        "twin",
        "copying",
        "MLP over controller",
        "states: controller",
        "states: MLP",
        "states: twin",
    ]
    what = next((w for b in bodies if isinstance(w := one.dig("control", "rollouts", b, "perceptual_is"), str)), None)
    note = (
        f"Eight steps from one frame of held-out episodes, mean over the steps{f' ({what})' if what else ''}, 95% "
        "intervals over recordings. Inferred latents have seen the frames that are predicted; commands have not. Twin: "
        "the same world model, trained on labels. States: of what inferred latents take off the error of copying, the "
        "share that commands take off (1: all of it)." + _counted(one, "rollouts", bodies, "stretches")
    )
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'control')}"


def control_plans_table(view: View) -> str:
    """Open-loop plans on recorded episodes: a row a body."""
    one = view.one
    if one is None or "control" not in one.results:
        return _nothing(view, "control", alone=True)
    bodies = _sections(one, "openloop")
    rows = []
    for body, words in bodies.items():
        at = ("control", "openloop", body)
        mine = one.figure(*at, "over_zero", "controller")
        others = [said(one.figure(*at, "over_zero", m)) for m in ("latent", "twin", "mean", "held", "random")]
        metres = [number(one.dig(*at, "metres", m)) for m in ("controller", "zero")]
        space = "–" if None in metres else f"{said(metres[0], 3)} of {said(metres[1], 3)}"
        rows.append(
            [words, *_against(mine, 0.6), *_against(one.figure(*at, "over_twin", "controller"), 1.25), *others, space]
        )
    head = [
        "error of the summed plan",
        "**controller** over doing nothing (at most 0.60)",
        "reached",
        "over the twin (at most 1.25)",
        "reached",
        "latent space",
        "twin",
        "mean command",
        "last command held",
        "random",
        "metres, of nothing’s",
    ]
    note = (
        "From a frame to the one three steps later: the plan’s commands, summed, against those given, each channel in "
        "units of its spread; columns without another name are over doing nothing. 95% intervals over recordings. "
        "Latent space: plans of latents, each then turned into the command whose latent is nearest."
        + _counted(one, "openloop", bodies, "pairs")
    )
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'control')}"


def control_loops_table(view: View) -> str:
    """Closed loop in simulators: a row a policy."""
    one = view.one
    if one is None or "control" not in one.results:
        return _nothing(view, "control", alone=True)
    bodies = _sections(one, "closedloop")
    rows = []
    for body in bodies:
        at = ("control", "closedloop", body)
        unit = one.dig(*at, "distance_is")
        for policy, words in _POLICIES.items():
            if one.figure(*at, "distance", policy) is None:
                continue
            figures = [one.figure(*at, k, policy) for k in ("success", "touched", "distance", "over_twin")]
            ratios = [one.figure(*at, k, policy) for k in ("over_random", "over_zero")]
            cells = [said(f) for f in (*figures, *ratios)]
            rows.append([f"{body} ({unit})" if isinstance(unit, str) else body, words, *cells])
    head = [
        "simulator",
        "policy",
        "there at the end",
        "there at any step",
        "distance at the end",
        "over the twin’s",
        "over random",
        "over nothing",
    ]
    begin = [f"{b} {said(f)}" for b in bodies if (f := one.figure("control", "closedloop", b, "start")) is not None]
    note = (
        "The goal is a picture; a plan is made at every step and its first command carried out. 95% intervals over "
        "tasks, each a scene of its own; ratios are of mean distances on the same tasks. The hidden actions are those "
        "that made the goal."
        + (f" Distance at the start: {', '.join(begin)}." if begin else "")
        + _counted(one, "closedloop", bodies, "tasks")
    )
    return f"{table(head, rows)}\n\n{note} {view.source([one], 'control')}"


TABLES: dict[str, Callable[[View], str]] = {
    "targets": targets_table,
    "prediction": prediction_table,
    "baselines": baselines_table,
    "transfer": transfer_table,
    "transfers": transfers_table,
    "pictures": pictures_table,
    "latents": latents_table,
    "probes": probes_table,
    "locality": locality_table,
    "entering": entering_table,
    "rollouts": rollouts_table,
    "space": space_table,
    "spacemarks": space_marks_table,
    "spaces": spaces_table,
    "priors": priors_table,
    "prior": prior_table,
    "control": control_table,
    "controlplans": control_plans_table,
    "controlloops": control_loops_table,
}
# Tables that are about one checkpoint, or need the others beside it.
_OF_ONE = (
    *("targets", "baselines", "transfer", "pictures", "space", "spacemarks"),
    *("control", "controlplans", "controlloops"),
)


def make_table(name: str, view: View, only: str | None = None) -> str:
    """A table by its name.

    Args:
        name: one of `TABLES`.
        view: what it is made of.
        only: a checkpoint; a table that compares several is then of this one alone, any other is about it.

    Raises:
        LamdemoError: there is no such table, or no report of that checkpoint.
    """
    if name not in TABLES:
        raise LamdemoError(f"There is no table {name!r}; choose from {', '.join(TABLES)}.")
    if only is not None:
        if all(r.name != only for r in view.reports):
            known = ", ".join(r.name for r in view.reports)
            raise LamdemoError(f"There are no reports of {only!r} for the table {name}; there are those of {known}.")
        of = view.reports if name in _OF_ONE else [r for r in view.reports if r.name == only]
        view = View(of, only, view.folder)
    return TABLES[name](view)


# The page of all results, and marked places of others.

_SECTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "What was to be reached": (("targets",), ()),
    "Prediction, leakage, cycle": (("prediction", "baselines"), ("leakage",)),
    "Capacity": (("latents",), ("capacity", "use")),
    "Transfers with a known truth": (("transfer", "transfers", "pictures"), ("transfer",)),
    "Probes": (("probes",), ("probes",)),
    "Locality": (("locality",), ()),
    "Entering": (("entering",), ()),
    "Long rollouts": (("rollouts",), ("rollouts",)),
    "The latent space": (("space", "spaces", "prior"), ()),
    "Known actions and plans": (("control", "controlplans", "controlloops"), ()),
}


def results_page(view: View, plots: Mapping[str, str], *, pictures: bool) -> str:
    """A page of all tables and plots, Markdown.

    Args:
        view: what it is made of.
        plots: titles of the plots beside it, by name.
        pictures: they are there as PNG, too.
    """
    blocks = [
        "# Results",
        f"Made by `lamdemo report` from reports on {', '.join(r.name for r in view.reports)}; each table names them.",
    ]
    for title, (tables, shown) in _SECTIONS.items():
        blocks.append(f"## {title}")
        blocks += [make_table(name, view) for name in tables]
        for name in shown:
            if name in plots:
                link = f"({name}.html)"
                blocks.append(f"[![{plots[name]}]({name}.png)]{link}" if pictures else f"[{plots[name]}]{link}")
    return "\n\n".join(blocks) + "\n"


def fill(text: str, view: View, file: str) -> str:
    """Fill the marked places of a Markdown text.

    A place is ``<!-- lamdemo:NAME -->`` to ``<!-- /lamdemo:NAME -->``, each on a line of its own; what stands between
    is replaced by the table of that name. ``<!-- lamdemo:NAME CHECKPOINT -->`` asks for that checkpoint's.

    Args:
        text: of the file.
        view: what tables are made of.
        file: its name, for messages.

    Returns:
        The text with its tables; the same where they have not changed.

    Raises:
        LamdemoError: there is no such place, one is not closed, or names what there is not.
    """
    made: list[str] = []
    at = 0
    open_mark: re.Match[str] | None = None
    for mark in _MARK.finditer(text):
        closing, name = mark[1], mark[2]
        if not closing and open_mark is None:
            made += [text[at : mark.end()], "\n\n", make_table(name, view, mark[3]), "\n\n"]
            open_mark = mark
        elif closing and open_mark is not None and open_mark[2] == name:
            at, open_mark = mark.start(), None
        else:
            what = f"{'/' if closing else ''}lamdemo:{name}"
            raise LamdemoError(f"In {file} the mark {what} stands where it cannot; close each mark before the next.")
    if open_mark is not None:
        name = open_mark[2]
        raise LamdemoError(f"In {file} the mark lamdemo:{name} is not closed; add <!-- /lamdemo:{name} --> after it.")
    if not made:
        raise LamdemoError(
            f"{file} has no marked place; add <!-- lamdemo:targets --> and <!-- /lamdemo:targets --> where a table "
            "should be."
        )
    return "".join([*made, text[at:]])
