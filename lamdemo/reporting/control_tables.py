"""Tables of known actions and plans: rollouts under commands, plans on recordings, plans carried out in simulators."""

from __future__ import annotations

from lamdemo.reporting.reports import Reports, keys_of
from lamdemo.reporting.table import Bound, Column, OfOne, Row, grid, said

# Embodiments in the order of their rows, and how a reader knows them.
_EMBODIMENTS = {
    "car": "car: steering, throttle",
    "arm": "arm: moves of the hand",
    "doom": "doom: walking in a simulator",
    "fetch": "fetch: a simulated arm",
}
_POLICIES = {
    "controller": "**plans through the controller**",
    "latent": "plans in the latent space",
    "twin": "plans of the twin",
    "inverse": "inverse dynamics, no plans",
    "closing": "plans, near the goal inverse dynamics",
    "random": "random",
    "zero": "nothing",
    "mean": "the mean command",
    "hidden": "the hidden actions",
}


def _sections(one: Reports, part: str) -> dict[str, str]:
    """Embodiments that a part of ``control.json`` has, with their words."""
    there = keys_of(one.dig(f"control/{part}"))
    known = [b for b in _EMBODIMENTS if b in there]
    return {b: _EMBODIMENTS.get(b, b) for b in (*known, *(b for b in there if b not in _EMBODIMENTS))}


def _rows(one: Reports, part: str) -> list[Row]:
    sections = _sections(one, part)
    return [Row((words,), one, {"at": f"control/{part}/{name}"}) for name, words in sections.items()]


def _counted(one: Reports, part: str, what: str) -> str:
    """How many of what each section is about, and of how many recordings."""
    told = []
    for name in _sections(one, part):
        n, recordings = (one.number(f"control/{part}/{name}/{k}") for k in (what, "recordings"))
        if n is not None:
            told.append(f"{name} {n:.0f}" + ("" if recordings is None else f" of {recordings:.0f} recordings"))
    return f" {what[0].upper()}{what[1:]}: {', '.join(told)}." if told else ""


def _rollouts(one: Reports) -> tuple[str, str]:
    rows = _rows(one, "rollouts")
    columns = (
        Column("**controller** (at most 1.20)", "{at}/over_inferred/controller", bound=Bound(most=1.2)),
        Column("without the state (MLP)", "{at}/over_inferred/mlp"),
        Column("another’s commands", "{at}/over_inferred/shuffled"),
        Column("no action", "{at}/over_inferred/zero"),
        Column("twin", "{at}/over_inferred/twin"),
        Column("copying", "{at}/over_inferred/copy"),
        Column("MLP over controller", "{at}/mlp_over_controller"),
        Column("states: controller", "{at}/state/recovered/controller"),
        Column("states: MLP", "{at}/state/recovered/mlp"),
        Column("states: twin", "{at}/state/recovered/twin"),
    )
    named = (one.dig(f"{row.words['at']}/perceptual_is") for row in rows)
    what = next((w for w in named if isinstance(w, str)), None)
    note = (
        f"Eight steps from one frame of held-out episodes, mean over the steps{f' ({what})' if what else ''}, 95% "
        "intervals over recordings. Inferred latents have seen the frames that are predicted; commands have not. Twin: "
        "the same world model, trained on labels. States: of what inferred latents take off the error of copying, the "
        "share that commands take off (1: all of it)." + _counted(one, "rollouts", "stretches")
    )
    return grid(["perceptual error over that with inferred latents"], rows, columns), note


def _metres(row: Row) -> str:
    metres = [row.reports.number(f"{row.words['at']}/metres/{m}") for m in ("controller", "zero")]
    return "–" if None in metres else f"{said(metres[0], 3)} of {said(metres[1], 3)}"


def _plans(one: Reports) -> tuple[str, str]:
    columns = (
        Column("**controller** over doing nothing (at most 0.60)", "{at}/over_zero/controller", bound=Bound(most=0.6)),
        Column("over the twin (at most 1.25)", "{at}/over_twin/controller", bound=Bound(most=1.25)),
        Column("latent space", "{at}/over_zero/latent"),
        Column("twin", "{at}/over_zero/twin"),
        Column("mean command", "{at}/over_zero/mean"),
        Column("last command held", "{at}/over_zero/held"),
        Column("random", "{at}/over_zero/random"),
        Column("metres, of nothing’s", _metres),
    )
    note = (
        "From a frame to the one three steps later: the plan’s commands, summed, against those given, each channel in "
        "units of its spread; columns without another name are over doing nothing. 95% intervals over recordings. "
        "Latent space: plans of latents, each then turned into the command whose latent is nearest."
        + _counted(one, "openloop", "pairs")
    )
    return grid(["error of the summed plan"], _rows(one, "openloop"), columns), note


def _loops(one: Reports) -> tuple[str, str]:
    sections = _sections(one, "closedloop")
    rows = []
    for name in sections:
        at = f"control/closedloop/{name}"
        unit = one.dig(f"{at}/distance_is")
        label = f"{name} ({unit})" if isinstance(unit, str) else name
        rows += [
            Row((label, words), one, {"at": at, "policy": policy})
            for policy, words in _POLICIES.items()
            if one.figure(f"{at}/distance/{policy}") is not None
        ]
    columns = (
        Column("there at the end", "{at}/success/{policy}"),
        Column("there at any step", "{at}/touched/{policy}"),
        Column("distance at the end", "{at}/distance/{policy}"),
        Column("over the twin’s", "{at}/over_twin/{policy}"),
        Column("over random", "{at}/over_random/{policy}"),
        Column("over nothing", "{at}/over_zero/{policy}"),
    )
    starts = {name: one.figure(f"control/closedloop/{name}/start") for name in sections}
    begin = [f"{name} {said(start)}" for name, start in starts.items() if start is not None]
    note = (
        "The goal is a picture; a plan is made at every step and its first command carried out. 95% intervals over "
        "tasks, each a scene of its own; ratios are of mean distances on the same tasks. Inverse dynamics reads the "
        "latent action between what is seen and the goal, and the command of the nearest latent is carried out. The "
        "hidden actions are those that made the goal."
        + (f" Distance at the start: {', '.join(begin)}." if begin else "")
        + _counted(one, "closedloop", "tasks")
    )
    return grid(["simulator", "policy"], rows, columns), note


control_table = OfOne("control", _rollouts)
control_plans_table = OfOne("control", _plans)
control_loops_table = OfOne("control", _loops)
