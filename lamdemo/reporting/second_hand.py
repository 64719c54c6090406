"""The table of transfers that a second hand drew: what was to be reached, by kind of action and in their mean."""

from __future__ import annotations

from lamdemo.reporting.reports import Figure, Reports, keys_of
from lamdemo.reporting.table import METHODS, Bound, Column, OfOne, Row, counted, grid, said

PART = "secondhand"  # the report, of `lamdemo evaluate --pairs` on the second hand's cases
MEAN = "mean of kinds"
# Motion error over copying that each kind is to reach at most; None where nothing was set.
_MOST: dict[str, float | None] = {
    "move": 0.4, "walk": 0.5, "move_pan": None, "one_of_two": 0.45, "turn": 0.6, "grow": 0.6, "enter": 0.8,
    "leave": 0.55, "depth": 0.35, "pan": 0.25, "zoom": 0.25, "roll": 0.25, MEAN: 0.5,
}  # fmt: skip
KINDS = tuple(kind for kind in _MOST if kind != MEAN)
# Of the mean over kinds.
_ON_THING, _IN_HOLE, _IOU = Bound(most=0.5), Bound(most=0.45), Bound(least=0.75)
_ENTERING = {
    "likeness_last": ("likeness of what enters at the end", Bound(least=0.5)),
    "likeness": ("likeness, mean over the steps", None),
    "place": ("place (IoU of what changed)", None),
    "appears": ("something appears", None),
    "time": ("too early or late by, steps", None),
}


def _judged(figure: Figure | None, bound: Bound | None) -> str:
    """A figure, and whether it is what was wanted."""
    if figure is None or bound is None:
        return said(figure)
    return f"{bound.said(figure)} {'✓' if bound.reached(figure) else '✗'}"


def _layer(head: str, path: str, bound: Bound) -> Column:
    """A figure of the layers, which is wanted of the mean over kinds alone."""

    def cell(row: Row) -> str:
        mean = row.words["kind"] == MEAN
        # The IoU stands beside the layers in the mean over kinds, and among them in each kind.
        at = path.removeprefix("layers/") if mean and path.endswith("iou") else path
        return _judged(row.reports.figure(f"{row.words['at']}/{at}"), bound if mean else None)

    return Column(head, cell)


def _kinds(one: Reports) -> str:
    there = keys_of(one.dig(f"{PART}/kinds"))
    kinds = [k for k in _MOST if k in there] + sorted(set(there) - set(_MOST))
    rows = [Row((k,), one, {"kind": k, "at": f"{PART}/kinds/{k}", "cases": f"{PART}/kinds/{k}/cases"}) for k in kinds]
    mean = {"kind": MEAN, "at": f"{PART}/mean_of_kinds", "cases": f"{PART}/all/cases"}
    rows.append(Row((f"**{MEAN}**",), one, mean))
    most = {kind: None if value is None else Bound(most=value) for kind, value in _MOST.items()}

    def model(row: Row) -> str:
        figure = one.figure(f"{row.words['at']}/motion_over_copy/model")
        return _judged(figure, most.get(row.words["kind"]))

    def wanted(row: Row) -> str:
        bound = most.get(row.words["kind"])
        return "–" if bound is None else f"{bound.value:.2f}"

    columns = (
        Column("cases", lambda row: counted(one.number(row.words["cases"]))),
        Column("at most", wanted),
        Column(METHODS["model"], model),
        *(
            Column(METHODS[m], f"{{at}}/motion_over_copy/{m}/value")
            for m in ("zero", "shuffled", "copied_flow", "true_flow")
        ),
        _layer("on the thing ²", "layers/on_thing_last/model", _ON_THING),
        _layer("in the hole ²", "layers/in_hole_last/model", _IN_HOLE),
        _layer("IoU of the thing ³", "layers/iou", _IOU),
    )
    return grid(["motion error over copying"], rows, columns)


def _entering(one: Reports) -> str:
    at = f"{PART}/kinds/enter/entering"
    rows = [Row((words,), one, {"measure": measure}) for measure, (words, _) in _ENTERING.items()]

    def model(row: Row) -> str:
        measure = row.words["measure"]
        return _judged(one.figure(f"{at}/model/{measure}"), _ENTERING[measure][1])

    def least(row: Row) -> str:
        bound = _ENTERING[row.words["measure"]][1]
        return "–" if bound is None else f"{bound.value:.2f}"

    others = ("copy", "zero", "shuffled", "copied_flow", "true_flow")
    columns = (
        Column("at least", least),
        Column(METHODS["model"], model),
        *(Column(METHODS[m], f"{at}/{m}/{{measure}}/value") for m in others),
    )
    return grid(["entering"], rows, columns)


def _second_hand(one: Reports) -> tuple[str, str]:
    note = (
        "Cut-outs and backgrounds are held out from training, and the code that draws them shares nothing with the "
        "training’s. Ratios of sums over a kind’s cases; in the mean each kind counts alike (95% over cases within "
        "kinds). ¹ The truth’s own flow laid on the target. ² Picture error after the last step over the copied "
        f"target’s, where the truth’s thing is and where it has left a hole; wanted: {_ON_THING} and "
        f"{_IN_HOLE.value:.2f}. ³ Of the model’s own matte after 6 steps; wanted: {_IOU}."
    )
    return f"{_kinds(one)}\n\n{_entering(one)}", note


second_hand_table = OfOne(PART, _second_hand)
