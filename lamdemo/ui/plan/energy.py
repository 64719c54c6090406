"""What a plan's actions would cost if two of their numbers were others: a landscape, drawn below the plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import PAUSE
from lamdemo.ui.notices import Notice
from lamdemo.ui.plan import figures, style
from lamdemo.ui.plan.records import Found
from lamdemo.ui.waiting import Line

if TYPE_CHECKING:
    from lamdemo.ui.plan.tab import PlanTab
    from lamdemo.ui.plan.work import Searcher


class Energy:
    """The landscape's controls, and the handlers behind them.

    Args:
        tab: which it is part of.
    """

    def __init__(self, tab: PlanTab) -> None:
        self.tab = tab
        self.line = Line(tab.page.sessions, "energy")

    def lay_out(self) -> None:
        """Make the controls."""
        gr.HTML("<h2>Energy landscape</h2><p>What holding two numbers of the action at all steps would cost.</p>")
        with gr.Row():
            self.across = gr.Dropdown([], label="Across", min_width=110, elem_id="lam-plan-across")
            self.up = gr.Dropdown([], label="Up", min_width=110, elem_id="lam-plan-up")
        self.line.lay_out()
        self.view = gr.HTML(figures.empty("", 360), js_on_load=style.FIGURE, elem_id="lam-plan-energy")

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        gr.on(
            [self.across.input, self.up.input],
            **self.line.does(self._choose, [self.across, self.up], self.view),
            trigger_mode="multiple",
        )

    @property
    def shows(self) -> list[Any]:
        """What a new plan changes."""
        return [self.across, self.up, self.view]

    def begun(self, searcher: Searcher, found: Found) -> dict[Any, Any]:
        """The controls for a new plan, before its landscape is there."""
        names = list(searcher.axes)
        across, up = searcher.first_axes(found)
        return {
            self.across: gr.Dropdown(names, value=names[across]),
            self.up: gr.Dropdown(names, value=names[up], visible=len(names) > 1),
            self.view: figures.empty("The landscape is computed…", 360),
        }

    def chart(self, searcher: Searcher, found: Found, across: int, up: int) -> Iterator[Any]:
        """The landscape's chart, with a `PAUSE` before it wherever others may go first."""
        if across == up:
            yield figures.empty("Choose two different numbers of the action.", 360)
            return
        for news in searcher.survey(found, across, up):
            if news is PAUSE:
                yield PAUSE
                continue
            land, places = news
            names = land.names
            figure = figures.landscape(land.x, land.y, land.costs, names, **places)
            low, high = float(land.costs.min()), float(land.costs.max())
            told = f"Cost over {names[0]} and {names[1]}, from {low:.3g} to {high:.3g}"
            yield figures.chart(figure, self.tab.plotly(), told)

    def _choose(self, across: str, up: str, request: gr.Request) -> Iterator[Any]:
        yield gr.skip()  # a generator that yields nothing would clear what it may change
        with Notice():
            _, plan = self.tab.at(request)
            if plan.found is None or plan.searcher is None:
                raise LamdemoError("There is no plan yet; press Plan first.")
            names = list(plan.searcher.axes)
            if across in names and up in names:
                yield from self.chart(plan.searcher, plan.found, names.index(across), names.index(up))
