"""What of a plan can be taken along: its actions as JSON and as a table, its videos, and a link."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo import __version__
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.ui import links
from lamdemo.ui.models import choices
from lamdemo.ui.notices import Notice
from lamdemo.ui.plan import shared
from lamdemo.ui.plan.records import WAYS, Found, Order, Ran
from lamdemo.ui.waiting import QUIET

if TYPE_CHECKING:
    from lamdemo.core.actions import ActionSpec
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.plan.ends import Ends
    from lamdemo.ui.plan.tab import PlanTab

FORMAT = "lamdemo-plan/1"
FILES = {"json": "↓ Actions (JSON)", "csv": "↓ Actions (CSV)", "video": "↓ Video", "beside": "↓ Beside the truth"}
_LINK = "Opens this page and shows this plan again, without a search."


class Files:
    """Buttons for the files of what is on show.

    Args:
        prefix: how the buttons' ids begin.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def lay_out(self) -> None:
        """Make the buttons, inside a row."""
        self.buttons = {
            name: gr.DownloadButton(
                label, None, size="sm", min_width=104, interactive=False, elem_id=f"{self._prefix}-{name}"
            )
            for name, label in FILES.items()
        }

    @property
    def shows(self) -> list[Any]:
        """What a new result changes."""
        return list(self.buttons.values())

    def given(self, **paths: Path | None) -> dict[Any, Any]:
        """The buttons for files of these names; of what is not there, none can be pressed."""
        return {
            button: gr.DownloadButton(
                value=str(path) if (path := paths.get(name)) else None, interactive=path is not None
            )
            for name, button in self.buttons.items()
        }


def files_of(found: Found, pipeline: TransferPipeline, folder: Path) -> dict[str, Path]:
    """Write the files of a plan.

    Args:
        found: the plan.
        pipeline: that found it.
        folder: where they go.

    Returns:
        All that there are, by the names of `FILES`.
    """
    truth = found.truth
    told = {
        "cost": found.cost,
        "cost_of_doing_nothing": found.idle_cost,
        "cost_of_what_was_done": found.true_cost,
        "in_simulator": None if truth is None else _way(truth.distances, truth.reached),
        "latents": found.latents.tolist(),
    }
    files = _write(folder / "plan", pipeline, found.ends, found.order, told, found.spec, found.actions, found.latents)
    return files | {"video": found.video} | ({} if truth is None else {"beside": truth.beside})


def files_of_run(
    ran: Ran, way: str, order: Order, ends: Ends, pipeline: TransferPipeline, folder: Path
) -> dict[str, Path]:
    """Write the files of an execution, likewise; its actions are those that were carried out, chosen in a `WAYS`."""
    told = {"each_step_by": WAYS[way], "in_simulator": _way(ran.distances, ran.reached)}
    files = _write(folder / "run", pipeline, ends, order, told, ends.spec, ran.actions, None)
    return files | {"video": ran.video, "beside": ran.beside}


def _way(distances: Sequence[Mapping[str, float]], reached: bool) -> dict[str, Any]:
    return {"distance_to_goal_by_step": [dict(d) for d in distances], "reached": bool(reached)}


def _write(
    stem: Path,
    pipeline: TransferPipeline,
    ends: Ends,
    order: Order,
    told: Mapping[str, Any],
    spec: ActionSpec | None,
    actions: np.ndarray | None,
    latents: np.ndarray | None,
) -> dict[str, Path]:
    """Actions with all that they need to be understood as JSON, and as a table with a row for each step."""
    table = actions if actions is not None else latents
    assert table is not None
    if actions is not None and spec is not None:
        channels = [{"name": c.name, "unit": c.unit, "low": c.low, "high": c.high} for c in spec.channels]
        heads = [f"{c.name} [{c.unit}]" if c.unit else c.name for c in spec.channels]
    else:
        channels, heads = [], [f"z{i}" for i in range(table.shape[1])]
    said = {
        "format": FORMAT,
        "lamdemo": __version__,
        "checkpoint": {"name": pipeline.name, "sha256": pipeline.checkpoint},
        "between": "a clip or picture of one's own" if ends.origin is None else asdict(ends.origin),
        "search": asdict(order),
        "steps_a_second": pipeline.fps,
        "channels": channels,
        "actions": None if actions is None else actions.tolist(),
        **told,
    }
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["step", "second", *heads])
    writer.writerows([t + 1, f"{t / pipeline.fps:g}", *map(str, row)] for t, row in enumerate(table))
    files = {name: stem.with_suffix(f".{name}") for name in ("json", "csv")}
    write_safely(files["json"], (json.dumps(said, indent=2) + "\n").encode())
    write_safely(files["csv"], stream.getvalue().encode())
    return files


class Link:
    """The button that makes a link to the plan on show.

    Args:
        tab: whose plan.
    """

    def __init__(self, tab: PlanTab) -> None:
        self.tab = tab

    def lay_out_button(self) -> None:
        """Make it, beside the files' buttons."""
        self.share = gr.Button("Link", size="sm", min_width=64, elem_id="lam-plan-link")

    def lay_out(self) -> None:
        """Make the link's place."""
        self.link = links.place("lam-plan-link-text")

    def connect(self) -> None:
        """Tie the button to its handler."""
        self.share.click(self._share, None, self.link, **QUIET).then(
            None, self.link, self.link, js=links.WHOLE, **QUIET
        )

    def gone(self) -> dict[Any, Any]:
        """The link's place for another plan."""
        return {self.link: gr.Textbox("", visible=False)}

    def _share(self, request: gr.Request) -> Any:
        with Notice():
            _, plan = self.tab.at(request)
            if plan.found is None or plan.searcher is None:
                raise LamdemoError("There is no plan to share yet; press Plan first.")
            offered = [name for _, name in choices(self.tab.page.models.default)]
            return gr.Textbox(shared.query(plan.found, plan.searcher.pipeline, offered), info=_LINK, visible=True)
        return gr.skip()
