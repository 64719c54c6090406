"""The label curve as a table: what is reached with 5, 20, 100 and all labelled episodes."""

from __future__ import annotations

from lamdemo.reporting.reports import Reports, keys_of
from lamdemo.reporting.table import Column, Row, grid
from lamdemo.reporting.view import View, nothing

PART = "label_curve"
METHODS = {
    "pretrained": "not trained on; controller",
    "unlabelled": "trained on without labels; controller",
    "labelled": "trained on with labels",
    "inverse": "none: inverse dynamics, not trained on; controller",
    "labelled_inverse": "none: inverse dynamics from labels alone",
}
OTHERS = (
    *("inferred, pretrained", "inferred, unlabelled", "hidden commands", "shuffled goal", "last command"),
    *("mean command", "random", "nothing"),
)


def counts_of(one: Reports, embodiment: str, method: str) -> list[int]:
    """Numbers of labelled episodes at which a method was judged, ascending."""
    return sorted(int(k) for k in keys_of(one.dig(f"{PART}/curves/{embodiment}/points/{method}")))


def _rows(one: Reports) -> list[Row]:
    rows = []
    for name in keys_of(one.dig(f"{PART}/curves")):
        at = f"{PART}/curves/{name}"
        for method, words in METHODS.items():
            for count in counts_of(one, name, method):
                rows.append(Row((name, words, str(count)), one, {"at": f"{at}/points/{method}/{count}"}))
        there = keys_of(one.dig(f"{at}/others"))
        rows += [Row((name, other, "–"), one, {"at": f"{at}/others/{other}"}) for other in OTHERS if other in there]
    return rows


def _seeds(row: Row) -> str:
    found = row.reports.dig(f"{row.words['at']}/seeds")
    return str(len(found)) if isinstance(found, list) else "–"


def _curve(one: Reports) -> tuple[str, str]:
    columns = (
        Column("seeds", _seeds),
        Column("one step over copying", "{at}/one_step_over_copy"),
        Column("there at the end", "{at}/success"),
        Column("distance over that at the start", "{at}/distance_over_start"),
        Column("error of plans over doing nothing", "{at}/plan_over_zero"),
    )
    tasks = one.number(f"{PART}/settings/tasks")
    note = (
        "World models of the distilled model’s size, which all begin with the checkpoint’s own; searched alike. "
        "Trainings end where the error on other recordings stops falling; with labels they may take as many steps as "
        "without and for the controller together. 95% intervals over recordings or tasks, all seeds of the choice of "
        "episodes together"
        + (f" ({tasks:.0f} tasks, dealt out to the seeds)" if tasks else "")
        + ". Inferred: latents that have seen the next frame. Shuffled goal: plans towards another scene’s goal. "
        "Simulators: plans carried out, made anew at each step; recordings: plans from a frame to the one three steps "
        "later."
    )
    return grid(["commands", "world model", "labelled episodes"], _rows(one), columns), note


def whose(view: View) -> Reports | None:
    """The checkpoint whose curve is shown: the chosen one, or the first that has one."""
    found = view.having(PART)
    return next((one for one in found if one is view.one), found[0] if found else None)


def label_curve_table(view: View) -> str:
    """The table as Markdown."""
    one = whose(view)
    if one is None:
        return nothing(view, PART)
    grids, note = _curve(one)
    return f"{grids}\n\n{note} {view.source([one], PART)}"
