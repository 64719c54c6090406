"""A plan that came by a link: the controls as it was searched with, and the plan itself, without a search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import PAUSE, Units
from lamdemo.ui import links
from lamdemo.ui.models import choices
from lamdemo.ui.notices import Notice
from lamdemo.ui.plan import shared
from lamdemo.ui.plan import views as plan_views
from lamdemo.ui.plan.records import LATENT
from lamdemo.ui.plan.settings import SOLVERS
from lamdemo.ui.waiting import QUIET

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.plan.shared import Shared
    from lamdemo.ui.plan.tab import PlanTab


class Arrival:
    """What happens when the tab is opened, with a link or without.

    Args:
        tab: which is opened.
    """

    def __init__(self, tab: PlanTab) -> None:
        self.tab = tab

    def connect(self, opened: gr.Tab, chosen: set[Any], looks: list[Any], found: list[Any]) -> None:
        """Tie it to the tab's opening.

        Args:
            opened: the tab.
            chosen: what start, goal and search are read from.
            looks: what another start and goal change.
            found: what a plan changes.
        """
        tab, settings = self.tab, self.tab.settings
        self.linked = gr.Textbox("", visible=False)
        put = [tab.source, tab.of_clip, tab.of_simulator, tab.simulator, tab.task, tab.task_steps, tab.page.name]
        put += [settings.solver, settings.preset, settings.samples, settings.iterations, settings.seed]
        does = tab.line.does(self._replay, chosen, found, self._course)

        def replay(data: dict[Any, Any], request: gr.Request) -> Iterator[Any]:
            if tab.at(request)[1].linked is None:
                # Not in the line, which would tell of waiting where nothing was asked for.
                yield {tab.old: gr.skip()}
                return
            yield from does["fn"](data, request)

        opened.select(None, None, self.linked, js=links.taken("plan"), **QUIET).then(
            self._open, {*chosen, self.linked}, [*looks, *put], **QUIET
        ).then(**does | {"fn": replay})

    def _open(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        if not data[self.linked]:
            return self.tab._open(data, request)
        try:
            return self._arrive(str(data[self.linked]), data, request)
        except LamdemoError as error:
            sentence = str(error)
        with Notice():
            raise LamdemoError(sentence)
        return self.tab._open(data, request)

    def _arrive(self, link: str, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        """Put the controls as they were when a link was made; what it holds is shown next.

        Raises:
            LamdemoError: it holds nothing that can be shown here.
        """
        tab, settings, page = self.tab, self.tab.settings, self.tab.page
        offered = [name for _, name in choices(page.models.default)]
        given = shared.read(
            link,
            clips=[key for _, key in tab.library.choices()],
            simulators=tab.simulators.names(),
            solvers=SOLVERS,
            offered=offered,
        )
        pipeline = page.pipeline(given.checkpoint, None)
        check_fits(given, pipeline)
        origin, order = given.origin, given.order
        of_clip = not origin.simulator
        put: dict[Any, Any] = {tab.source: "clip" if of_clip else "simulator", page.name: given.checkpoint}
        if of_clip:
            put |= {tab.clip: origin.footage, tab.first: origin.first, tab.last: origin.last}
        else:
            put |= {tab.simulator: origin.simulator, tab.task: origin.first, tab.task_steps: origin.last}
        put |= settings.restored(order)
        asked = {settings.what: order.what, settings.futures: order.futures, page.hub: ""}
        beside = {tab.of_clip: gr.Column(visible=of_clip), tab.of_simulator: gr.Row(visible=not of_clip)}
        _, plan = tab.at(request)
        plan.goal = None
        shown = tab._show(data | put | asked, request, put | beside, fresh=False)
        if tab.ends_view not in shown:
            return shown  # what is wrong with it was said
        # A controller was chosen by the sender, whatever acts in the clip.
        shown[settings.what] = gr.Dropdown(settings.offered(pipeline), value=order.what)
        shown |= settings.follow(pipeline, order, plan.ends, put=True)
        plan.wanted, plan.linked = order, given
        if not pipeline.checkpoint.startswith(given.weights):
            gr.Info(links.OTHER_WEIGHTS, title="Another model")
        return shown

    def _course(self, data: dict[Any, Any], *_: Any) -> list[Units]:
        futures = self.tab.settings.order(data).futures
        return [Units("plan drawn", 1, 1.0), *([Units("future", futures, 0.75)] if futures else [])]

    def _replay(self, data: dict[Any, Any], request: gr.Request) -> Iterator[Any]:
        tab = self.tab
        session, plan = tab.at(request)
        given, plan.linked = plan.linked, None
        settle = {tab.go: gr.Button(interactive=True)}
        with Notice():
            yield {tab.tries_view: plan_views.waiting("The plan of the link is drawn…")}
            if given is None or plan.ends is None:
                return
            pipeline = tab.page.pipeline(given.checkpoint, None)
            searcher = tab.made(pipeline, given.order, plan.ends)
            with session.place("plan") as folder:
                found = searcher.replay(given.commands, folder)
                for shown in tab.shown(found, searcher, folder, request):
                    yield shown if shown is PAUSE else shown | {tab.old: plan_views.old(plan)}
            yield from tab.charted(searcher, request, settle)
            return
        yield {tab.tries_view: plan_views.tries_empty(), **settle}


def check_fits(given: Shared, pipeline: TransferPipeline) -> None:
    """See that a checkpoint can show what a link holds.

    Raises:
        LamdemoError: it has no such controller or draws no such futures, or the commands are none of it.
    """
    from lamdemo.planning.futures import futures_missing

    order = given.order
    if order.what == LATENT:
        return  # how many numbers a step has there is known when the space is spanned
    known = pipeline.controller(order.what)
    if order.futures and (missing := futures_missing(pipeline, order.what)):
        raise LamdemoError(missing)
    known.spec.check(given.commands, "The commands of this link")
    if (given.commands < known.spec.low).any() or (given.commands > known.spec.high).any():
        raise LamdemoError(f"This link is damaged: its commands go beyond what {order.what} takes.")
