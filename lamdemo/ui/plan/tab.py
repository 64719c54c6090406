"""The plan's tab: start and goal, the search, the plan, the execution; and what a visitor's clicks do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import PAUSE, Units
from lamdemo.simulators.pool import SimulatorPool
from lamdemo.ui import views
from lamdemo.ui.notices import Notice
from lamdemo.ui.plan import figures, style
from lamdemo.ui.plan import views as plan_views
from lamdemo.ui.plan.arrival import Arrival
from lamdemo.ui.plan.carrying import find_truth, weights_of
from lamdemo.ui.plan.ends import MOST_APART, OWN, STEPS, TASKS, Library, between, of_task, own_goal, task_choices
from lamdemo.ui.plan.energy import Energy
from lamdemo.ui.plan.execution import Execution
from lamdemo.ui.plan.files import Files, Link, files_of
from lamdemo.ui.plan.records import LATENT, Found, Order, PlanSession, Progress
from lamdemo.ui.plan.settings import Settings
from lamdemo.ui.plan.work import Searcher
from lamdemo.ui.prepared import EXAMPLES
from lamdemo.ui.space.common import number, whole
from lamdemo.ui.waiting import QUIET, Line

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.planning.planner import CostWeights
    from lamdemo.ui.page import Page
    from lamdemo.ui.plan.ends import Ends
    from lamdemo.ui.sessions import Session

_TASK_STEPS = 4


class PlanTab:
    """Controls of the tab, and the handlers behind them.

    Two lines put it on a page: ``build()`` inside a ``gr.Tab``, and ``tie(that tab)`` once all is laid out. Its looks
    are `lamdemo.ui.plan.style.CSS`.

    Args:
        page: which it is part of: its models, sessions and checkpoint are the tab's too.
        simulators: those that tasks are of; all that are installed by default.
    """

    def __init__(self, page: Page, simulators: SimulatorPool | None = None) -> None:
        self.page = page
        self.library = Library(EXAMPLES)
        self.simulators = simulators or SimulatorPool()
        self.line = Line(page.sessions, "plan")
        self.energy = Energy(self)
        self.run = Execution(self)
        self.settings, self.arrival = Settings(), Arrival(self)
        self.files, self.link = Files("lam-plan-get"), Link(self)

    # What is on the tab.

    def build(self) -> None:
        """Make the controls; called inside the tab."""
        gr.HTML(
            "<p>Give the model a start and a goal: it tries many ways in its imagination and shows the best. It never "
            "sees what really happened between them, which stands beside the plan where it is known.</p>",
            elem_id="lam-plan-intro",
        )
        with gr.Row(elem_classes="lam-two", equal_height=False):
            with gr.Column(scale=6, min_width=340, elem_classes="lam-card"):
                self._build_ends()
            with gr.Column(scale=5, min_width=320, elem_classes="lam-card"):
                self.settings.lay_out()
                with gr.Row():
                    self.go = gr.Button("Plan", variant="primary", scale=3, min_width=160, elem_id="lam-plan-go")
                    self.stop = gr.Button("Stop", scale=1, min_width=80, interactive=False, elem_id="lam-plan-stop")
        self.old = gr.HTML("", js_on_load=None, elem_id="lam-plan-old")
        with gr.Row(elem_classes="lam-two", equal_height=False):
            with gr.Column(scale=6, min_width=340, elem_classes="lam-card"):
                gr.HTML("<h2>How the search goes</h2><p>1 is as far from the goal as the start is; 0 is there.</p>")
                self.cost_view = gr.HTML(
                    figures.empty("The costs of each iteration appear here."),
                    js_on_load=style.FIGURE,
                    elem_id="lam-plan-costs",
                )
            with gr.Column(scale=5, min_width=320, elem_classes="lam-card"):
                gr.HTML("<h2>Candidates</h2>")
                self.line.lay_out()
                self.tries_view = gr.HTML(plan_views.tries_empty(), js_on_load=None, elem_id="lam-plan-tries")
        with gr.Column(elem_classes="lam-card", elem_id="lam-plan-result"):
            gr.HTML("<h2>The plan</h2>")
            self.plan_view = gr.HTML(plan_views.plan_empty(), js_on_load=None, elem_id="lam-plan-view")
            with gr.Row(elem_id="lam-plan-keep"):
                self.files.lay_out()
                self.link.lay_out_button()
            self.link.lay_out()
        with gr.Row(elem_classes="lam-two", equal_height=False, visible=False) as self.details:
            with gr.Column(scale=6, min_width=340, elem_classes="lam-card"):
                gr.HTML("<h2>What to do</h2><p>The plan's actions, step by step.</p>")
                self.actions_view = gr.HTML("", js_on_load=None, elem_id="lam-plan-actions")
            with gr.Column(scale=5, min_width=320, elem_classes="lam-card"):
                self.energy.lay_out()
        self.run.lay_out()

    def _build_ends(self) -> None:
        clips, simulators = self.library.choices(), task_choices(self.simulators)
        gr.HTML("<h2>Start and goal</h2><p>Two moments: from the one to the other a way is searched.</p>")
        self.source = gr.Radio(
            [("of a clip", "clip"), ("of a simulator", "simulator")],
            value="clip",
            show_label=False,
            container=False,
            visible=bool(simulators),
            elem_id="lam-plan-source",
        )
        with gr.Column(visible=True) as self.of_clip:
            with gr.Row():
                self.clip = gr.Dropdown(
                    clips,
                    value=clips[0][1] if clips else None,
                    label="Clip",
                    scale=4,
                    min_width=220,
                    elem_id="lam-plan-clip",
                )
                self.own = gr.UploadButton(
                    "Your clip",
                    file_types=views.CLIP_FILES,
                    size="sm",
                    scale=1,
                    min_width=110,
                    elem_id="lam-plan-own",
                )
                self.own_goal = gr.UploadButton(
                    "Another goal",
                    file_types=views.TARGET_FILES,
                    size="sm",
                    scale=1,
                    min_width=110,
                    elem_id="lam-plan-own-goal",
                )
            with gr.Row():
                self.first = gr.Slider(
                    1, 16, 1, step=1, label="Start at frame", min_width=140, buttons=[], elem_id="lam-plan-first"
                )
                self.last = gr.Slider(
                    1, 16, 1 + STEPS, step=1, label="Goal at frame", min_width=140, buttons=[], elem_id="lam-plan-last"
                )
        for slider in (self.first, self.last):
            # As a shorter clip is chosen, browsers tell the place in the one before once more, which Gradio would
            # refuse with a notice about what nobody did. (A class of one's own would make Gradio write a stub here.)
            slider.preprocess = lambda payload: payload  # type: ignore[method-assign]
        with gr.Row(visible=False) as self.of_simulator:
            self.simulator = gr.Dropdown(
                simulators,
                value=simulators[0][1] if simulators else None,
                label="Simulator",
                scale=2,
                min_width=220,
                elem_id="lam-plan-simulator",
            )
            self.task = gr.Number(
                1, label="Task", precision=0, minimum=0, maximum=9999, min_width=90, elem_id="lam-plan-task"
            )
            self.task_steps = gr.Slider(
                1, MOST_APART, _TASK_STEPS, step=1, label="Steps to the goal", min_width=150, buttons=[]
            )
        self.ends_view = gr.HTML(plan_views.ends_empty(), js_on_load=None, elem_id="lam-plan-ends")

    # What the controls do.

    def tie(self, tab: gr.Tab) -> None:
        """Tie the controls to their handlers; called when the whole page is laid out.

        Args:
            tab: the one that `build` was called in; what is on it is read when it is opened.
        """
        page = self.page
        settings = self.settings
        models: set[Any] = {page.name, page.hub}
        chosen: set[Any] = {self.source, self.clip, self.first, self.last, self.simulator, self.task, self.task_steps}
        chosen |= models | settings.controls
        looks = [self.ends_view, self.clip, self.first, self.last, settings.horizon, settings.what, self.run.column]
        looks += [self.run.told, self.old, settings.futures, settings.told, *self.run.shows]
        # Start and goal are read and shown without the model, whatever it is busy with.
        gr.on([page.name.select, page.hub.submit], self._open, chosen, looks, **QUIET)
        self.source.input(self._change_source, chosen, [*looks, self.of_clip, self.of_simulator], **QUIET)
        self.clip.select(self._change_clip, chosen, looks, **QUIET)
        self.own.upload(self._take_own, {*chosen, self.own}, looks, **QUIET)
        self.own_goal.upload(self._take_goal, {*chosen, self.own_goal}, looks, **QUIET)
        gr.on(
            [self.first.input, self.last.input],
            self._change_frames,
            chosen,
            looks,
            trigger_mode="always_last",
            **QUIET,
        )
        gr.on(
            [self.simulator.input, self.task.submit, self.task.blur, self.task_steps.input],
            self._fresh,
            chosen,
            looks,
            trigger_mode="always_last",
            **QUIET,
        )
        marked = [self.old, settings.futures, settings.told]
        gr.on([settings.preset.input, settings.solver.input], **settings.connect(), **QUIET).then(
            self._mark, settings.controls | models, marked, **QUIET
        )
        gr.on(
            [control.input for control in settings.controls - {settings.solver}],
            self._mark,
            settings.controls | models,
            marked,
            trigger_mode="always_last",
            **QUIET,
        )
        found = [
            *(self.go, self.stop, self.run.go, self.cost_view, self.tries_view, self.plan_view),
            *(self.details, self.actions_view, *self.energy.shows, self.ends_view),
            *(self.old, *self.files.shows, self.link.link),
        ]
        self.go.click(**self.line.does(self._plan, chosen, found, self._course))
        self.line.ends_by(self.stop)
        self.energy.connect()
        self.run.connect(chosen)
        self.link.connect()
        self.arrival.connect(tab, chosen, looks, found)

    def at(self, request: gr.Request) -> tuple[Session, PlanSession]:
        """What is kept for the page that asks."""
        session = self.page.session(request)
        if session.plan is None:
            session.plan = PlanSession()
        return session, session.plan

    def plotly(self) -> str:
        """Where the browser gets Plotly."""
        return views.url(self.page.space.places.plotly())

    # Start and goal.

    def _open(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        return self._show(data, request, {}, fresh=False)

    # In another clip no controller of the clip before is searched, since nothing says that it fits: the latent space.

    def _change_source(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        of_clip = data[self.source] != "simulator"
        beside = {self.of_clip: gr.Column(visible=of_clip), self.of_simulator: gr.Row(visible=not of_clip)}
        return self._show(data | {self.settings.what: LATENT}, request, beside, fresh=True)

    def _change_clip(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        self.at(request)[1].goal = None
        given = data | {self.first: 1, self.last: 1 + STEPS, self.settings.what: LATENT}
        return self._show(given, request, {}, fresh=True)

    def _take_own(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        _, plan = self.at(request)
        before = plan.own
        plan.own, plan.goal = data[self.own], None
        given = data | {self.clip: OWN, self.first: 1, self.last: 1 + STEPS, self.settings.what: LATENT}
        shown = self._show(given, request, {self.clip: self._clips(plan, OWN)}, fresh=True)
        if self.ends_view not in shown:
            plan.own = before  # it could not be read
        return shown

    def _take_goal(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        _, plan = self.at(request)
        before, plan.goal = plan.goal, data[self.own_goal]
        shown = self._show(data, request, {}, fresh=False)
        if self.ends_view not in shown:
            plan.goal = before
        return shown

    def _change_frames(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        _, plan = self.at(request)
        pipeline = self.page.pipeline(data[self.page.name], data[self.page.hub])
        with Notice():
            count = len(self.library.get(data[self.clip], pipeline.fps, plan.own).frames)
            if max(whole(data[self.first]) or 1, whole(data[self.last]) or 1) > count:
                return {self.settings.horizon: gr.skip()}
        plan.goal = None  # a goal of the clip is wanted again
        return self._fresh(data, request)

    def _fresh(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        return self._show(data, request, {}, fresh=True)

    def _clips(self, plan: PlanSession, value: str) -> Any:
        yours = [(f"yours: {Path(plan.own).name}", OWN)] if plan.own else []
        return gr.Dropdown([*yours, *self.library.choices()], value=value)

    def _show(
        self, data: dict[Any, Any], request: gr.Request, beside: dict[Any, Any], *, fresh: bool
    ) -> dict[Any, Any]:
        """Read start and goal and show them.

        Args:
            data: of the controls.
            request: of the page.
            beside: what else changes when they could be read.
            fresh: whether the steps to plan and what is searched shall follow them.
        """
        with Notice():
            _, plan = self.at(request)
            pipeline = self.page.pipeline(data[self.page.name], data[self.page.hub])
            shown = dict(beside)
            if data[self.source] == "simulator":
                shown |= self._read_task(data, plan)
            else:
                shown |= self._read_clip(data, plan, pipeline)
            ends = plan.ends
            assert ends is not None
            offered, controls = self.settings.offered(pipeline), self.settings
            names = [name for _, name in offered]
            body = ends.spec.name if ends.spec is not None else ""
            what = data[controls.what] if data[controls.what] in names else LATENT
            if fresh or data[controls.what] not in names or (body in names and plan.found is None):
                # What acts here acts by its own controller, where there is one; else the latent space needs none.
                what = body if body in names else what if ends.spec is None else LATENT
            shown[controls.what] = gr.Dropdown(offered, value=what)
            if fresh and ends.frames is not None and len(ends.frames) - 1 <= MOST_APART:
                shown[controls.horizon] = len(ends.frames) - 1
            shown |= self.run.follow(pipeline, ends)
            horizon = shown.get(controls.horizon, data[controls.horizon])
            plan.wanted = controls.order(data | {controls.what: what, controls.horizon: horizon}, pipeline)
            plan.checkpoint = pipeline.checkpoint
            shown |= controls.follow(pipeline, plan.wanted, ends)
            shown[self.old] = plan_views.old(plan)
            return shown | (self.run.empty() if fresh else {})
        # What could not be read leaves what was there; a handler must still return something.
        return {self.settings.horizon: gr.skip()}

    def _read_clip(self, data: dict[Any, Any], plan: PlanSession, pipeline: TransferPipeline) -> dict[Any, Any]:
        footage = self.library.get(data[self.clip], pipeline.fps, plan.own)
        count = len(footage.frames)
        first = min(max(whole(data[self.first]) or 1, 1), count)
        last = min(max(whole(data[self.last]) or 1, 1), count)
        picture = own_goal(plan.goal) if plan.goal else None
        plan.ends = between(footage, first - 1, last - 1, picture)
        words = [f"frame {k}, {(k - 1) / footage.fps:.2f} s" for k in (first, last)]
        return {
            self.ends_view: plan_views.ends(plan.ends, words[0], "your picture" if plan.goal else words[1]),
            self.first: gr.Slider(maximum=count, value=first),
            self.last: gr.Slider(maximum=count, value=last),
        }

    def _read_task(self, data: dict[Any, Any], plan: PlanSession) -> dict[Any, Any]:
        task, steps = int(number(data[self.task], 0)), int(number(data[self.task_steps], _TASK_STEPS))
        if not 0 <= task < TASKS:
            raise LamdemoError(f"Tasks have numbers from 0 to {TASKS - 1}; choose one of them.")
        plan.ends = of_task(self.simulators, str(data[self.simulator] or ""), TASKS + task, steps)
        later = f"{steps} step{'s' if steps != 1 else ''} later, by a hand that is hidden"
        return {self.ends_view: plan_views.ends(plan.ends, f"task {task}", later)}

    # The search.

    def _mark(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        """A setting was changed: the plan on show may be of others."""
        with Notice():
            _, plan = self.at(request)
            pipeline = self.page.pipeline(data[self.page.name], data[self.page.hub])
            plan.wanted = self.settings.order(data, pipeline)
            return {self.old: plan_views.old(plan)} | self.settings.follow(pipeline, plan.wanted, plan.ends)
        return {self.old: gr.skip()}

    def _course(self, data: dict[Any, Any], *_: Any) -> list[Units]:
        search = self.settings.course(data, data[self.page.name])
        futures = self.settings.order(data).futures
        drawn = Units("plan drawn", 1, 1.0)
        return [search, drawn, *([Units("future", futures, 0.75)] if futures else []), Units("energy", 1, 0.5)]

    def searcher(
        self, data: dict[Any, Any], pipeline: TransferPipeline, ends: Ends, *, carried_out: bool = False
    ) -> Searcher:
        """What searches as the controls ask for: one plan, or those that are carried out step by step."""
        order = self.settings.order(data, pipeline)
        return self.made(pipeline, order, ends, weights_of(order.what) if carried_out else None)

    def made(
        self, pipeline: TransferPipeline, order: Order, ends: Ends, weights: CostWeights | None = None
    ) -> Searcher:
        """What searches as an order says."""
        return Searcher(pipeline, order, ends, self.page.space.places.get(pipeline), weights)

    def _plan(self, data: dict[Any, Any], request: gr.Request) -> Iterator[Any]:
        """A search, from the button to the plan."""
        session, plan = self.at(request)
        stop = session.stop(self.line.name)
        settle = {
            self.go: gr.Button(interactive=True),
            self.stop: gr.Button("Stop", interactive=False),
            self.run.go: gr.Button(interactive=True),
        }
        with Notice():
            yield {
                self.go: gr.Button(interactive=False),
                self.run.go: gr.Button(interactive=False),
                self.stop: gr.Button("Stop", interactive=True),
            }
            if plan.ends is None:
                shown = self._show(data, request, {}, fresh=False)
                if plan.ends is None:
                    raise LamdemoError("There is no start yet; choose a clip on the left or upload one.")
                yield {self.ends_view: shown[self.ends_view]}
            pipeline = self.page.pipeline(data[self.page.name], data[self.page.hub])
            searcher = self.searcher(data, pipeline, plan.ends)
            plan.wanted, plan.checkpoint = searcher.order, pipeline.checkpoint
            with session.place("plan") as folder:
                for news in searcher.search(folder, stop):
                    if isinstance(news, Progress):
                        yield {self.cost_view: self._costs(news), self.tries_view: plan_views.progress(news)}
                    elif isinstance(news, Found):
                        found = news
                    else:
                        yield PAUSE
                for shown in self.shown(found, searcher, folder, request):
                    yield shown if shown is PAUSE else shown | {self.old: plan_views.old(plan)}
            yield from self.charted(searcher, request, settle)
            return
        before = plan_views.searched(plan.found) if plan.found else plan_views.tries_empty()
        yield {self.tries_view: before, **settle}

    def shown(self, found: Found, searcher: Searcher, folder: Path, request: gr.Request) -> Iterator[Any]:
        """A plan that was found or came by a link: looked at further, kept and shown, with pauses for others.

        Args:
            found: the plan.
            searcher: that found it.
            folder: for its files.
            request: of the page.
        """
        _, plan = self.at(request)
        yield PAUSE
        found = replace(found, truth=find_truth(searcher, found, self.simulators, folder))
        plan.found, plan.searcher = found, searcher
        yield {
            self.cost_view: self._costs(found.progress) if found.progress else figures.empty(plan_views.NO_SEARCH),
            self.tries_view: plan_views.searched(found),
            self.plan_view: plan_views.plan(found),
            self.details: gr.Row(visible=True),
            self.actions_view: plan_views.actions(found),
            **self.energy.begun(searcher, found),
            **self.files.given(**files_of(found, searcher.pipeline, folder)),
            **self.link.gone(),
        }
        if found.order.futures:
            futures = []
            for one in searcher.futures(found):
                futures.append(one)
                yield PAUSE
            plan.found = replace(found, futures=tuple(futures))
            yield {self.plan_view: plan_views.plan(plan.found)}

    def charted(self, searcher: Searcher, request: gr.Request, settle: dict[Any, Any]) -> Iterator[Any]:
        """The landscape around the plan on show. It comes after that: without a draft it takes seconds."""
        _, plan = self.at(request)
        assert plan.found is not None
        across, up = searcher.first_axes(plan.found)
        for chart in self.energy.chart(searcher, plan.found, across, up):
            yield chart if chart is PAUSE else {self.energy.view: chart, **settle}

    def _costs(self, now: Progress) -> str:
        figure = figures.costs(now.best, now.elite, now.low, now.high, now.of, idle=now.idle, true=now.true)
        told = f"Costs by iteration: after {now.index + 1} of {now.of} the best is {now.best[-1]:.3g}"
        return figures.chart(figure, self.plotly(), told)
