"""All tables by name, as the marked places of Markdown files ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lamdemo.core.errors import LamdemoError
from lamdemo.reporting.control_tables import control_loops_table, control_plans_table, control_table
from lamdemo.reporting.family_tables import content_table, futures_table, second_hands_table
from lamdemo.reporting.label_tables import label_curve_table
from lamdemo.reporting.paper_tables import (
    baselines_table,
    entering_table,
    latents_table,
    locality_table,
    pictures_table,
    prediction_table,
    probes_table,
    rollouts_table,
    transfer_table,
    transfers_table,
)
from lamdemo.reporting.reports import Reports
from lamdemo.reporting.second_hand import second_hand_table
from lamdemo.reporting.space_tables import prior_table, priors_table, space_marks_table, space_table, spaces_table
from lamdemo.reporting.table import OfOne
from lamdemo.reporting.targets import targets_table
from lamdemo.reporting.view import View

TABLES: dict[str, Callable[[View], str]] = {
    "targets": targets_table,
    "prediction": prediction_table,
    "baselines": baselines_table,
    "secondhand": second_hand_table,
    "secondhands": second_hands_table,
    "transfer": transfer_table,
    "transfers": transfers_table,
    "pictures": pictures_table,
    "latents": latents_table,
    "content": content_table,
    "probes": probes_table,
    "locality": locality_table,
    "entering": entering_table,
    "rollouts": rollouts_table,
    "space": space_table,
    "spacemarks": space_marks_table,
    "spaces": spaces_table,
    "priors": priors_table,
    "prior": prior_table,
    "futures": futures_table,
    "control": control_table,
    "controlplans": control_plans_table,
    "controlloops": control_loops_table,
    "labelcurve": label_curve_table,
}

OF_PARTS = {name: name for name in TABLES} | {
    "videos": "prediction",
    "pairs": "transfer",
    "label_curve": "labelcurve",
}
"""The table that shows most of a part of reports, by the part's name."""


def tables_of(reports: Sequence[Reports]) -> str:
    """What reports say, one table below the other, for a terminal: every part of every checkpoint."""
    said = []
    for part in dict.fromkeys(part for one in reports for part in one.results):
        table = TABLES.get(OF_PARTS.get(part, ""))
        having = [one for one in reports if part in one.results]
        # A table of one checkpoint comes once for each.
        for shown in [[one] for one in having] if isinstance(table, OfOne) else [having]:
            if table is not None:
                said.append(table(View(shown, shown[0].name)))
    return "\n\n".join(said)


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
    table = TABLES[name]
    if only is not None:
        if all(r.name != only for r in view.reports):
            known = ", ".join(r.name for r in view.reports)
            raise LamdemoError(f"There are no reports of {only!r} for the table {name}; there are those of {known}.")
        # Targets need the others beside the one that they are about.
        alone = isinstance(table, OfOne) or table in (targets_table, space_table)
        view = View(view.reports if alone else [r for r in view.reports if r.name == only], only, view.folder)
    return table(view)
