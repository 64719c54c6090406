"""The plan's tab: start and goal, the search, the plan, the execution; and what a visitor's clicks do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.errors import LamdemoError
from lamdemo.ui import views
from lamdemo.ui.notices import Notice
from lamdemo.ui.plan import figures, style
from lamdemo.ui.plan import views as plan_views
from lamdemo.ui.plan.ends import MOST_APART, OWN, STEPS, Library, Simulators, between, of_task, own_goal
from lamdemo.ui.plan.work import LATENT, Found, Order, PlanSession, Progress, Ran, Searcher, Step, budgets, execute
from lamdemo.ui.space.common import HEAVY, QUIET, number, whole
from lamdemo.video import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from lamdemo.pipeline import TransferPipeline
    from lamdemo.ui.page import Page
    from lamdemo.ui.plan.ends import Ends
    from lamdemo.ui.sessions import Session

_PICTURES = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif"]
_SOLVERS = [
    ("CEM: fit to the best, as in the paper", "cem"),
    ("iCEM: the same with smoother plans", "icem"),
    ("MPPI: weighted by cost", "mppi"),
    ("gradient: through the world model", "gradient"),
    ("random: the best of many", "random"),
]
_LATENT = ("the latent space itself (no labels needed)", LATENT)
_TASKS = 10_000  # first seed of the scenes that no controller was trained on
_TASK_STEPS = 4


class PlanTab:
    """Controls of the tab, and the handlers behind them.

    Two lines put it on a page: ``build()`` inside a ``gr.Tab``, and ``tie(that tab)`` once all is laid out. Its looks
    are `lamdemo.ui.plan.style.CSS`.

    Args:
        page: which it is part of: its models, sessions and checkpoint are the tab's too.
        simulators: those that tasks are of; all that are installed by default.
    """

    def __init__(self, page: Page, simulators: Simulators | None = None) -> None:
        from lamdemo.ui.page import EXAMPLES

        self.page = page
        self.library = Library(EXAMPLES)
        self.simulators = simulators or Simulators()

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
                self._build_search()
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
                self.tries_view = gr.HTML(plan_views.tries_empty(), js_on_load=None, elem_id="lam-plan-tries")
        with gr.Column(elem_classes="lam-card", elem_id="lam-plan-result"):
            gr.HTML("<h2>The plan</h2>")
            self.plan_view = gr.HTML(plan_views.plan_empty(), js_on_load=None, elem_id="lam-plan-view")
        with gr.Row(elem_classes="lam-two", equal_height=False, visible=False) as self.details:
            with gr.Column(scale=6, min_width=340, elem_classes="lam-card"):
                gr.HTML("<h2>What to do</h2><p>The plan's actions, step by step.</p>")
                self.actions_view = gr.HTML("", js_on_load=None, elem_id="lam-plan-actions")
            with gr.Column(scale=5, min_width=320, elem_classes="lam-card"):
                gr.HTML(
                    "<h2>Energy landscape</h2><p>What holding two numbers of the action at all steps would cost.</p>"
                )
                with gr.Row():
                    self.across = gr.Dropdown([], label="Across", min_width=110, elem_id="lam-plan-across")
                    self.up = gr.Dropdown([], label="Up", min_width=110, elem_id="lam-plan-up")
                self.energy_view = gr.HTML(figures.empty("", 360), js_on_load=style.FIGURE, elem_id="lam-plan-energy")
        with gr.Column(elem_classes="lam-card", visible=False, elem_id="lam-plan-run") as self.execution:
            gr.HTML(
                "<h2>Carry it out</h2><p>In the simulator, with a new plan after each step; where the latent space is "
                "searched, the controller of the simulator's name finds the commands.</p>"
            )
            with gr.Row():
                self.run_steps = gr.Slider(
                    1, 16, 8, step=1, label="Steps at most", min_width=160, buttons=[], elem_id="lam-plan-run-steps"
                )
                self.run_go = gr.Button("Execute", variant="primary", min_width=140, elem_id="lam-plan-execute")
                self.run_stop = gr.Button("Stop", min_width=80, interactive=False, elem_id="lam-plan-run-stop")
            with gr.Row(elem_classes="lam-two", equal_height=False):
                with gr.Column(scale=7, min_width=340):
                    self.run_view = gr.HTML(plan_views.run_empty(), js_on_load=None, elem_id="lam-plan-run-view")
                with gr.Column(scale=4, min_width=280):
                    self.distance_view = gr.HTML(
                        plan_views.distances_empty(),
                        js_on_load=style.FIGURE,
                        elem_id="lam-plan-distance",
                    )

    def _build_ends(self) -> None:
        clips, simulators = self.library.choices(), self.simulators.choices()
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
                    file_types=["video", ".gif", *sorted(VIDEO_SUFFIXES)],
                    size="sm",
                    scale=1,
                    min_width=110,
                    elem_id="lam-plan-own",
                )
                self.own_goal = gr.UploadButton(
                    "Another goal",
                    file_types=["image", *_PICTURES],
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

    def _build_search(self) -> None:
        gr.HTML("<h2>Search</h2><p>What is tried, by which method, and how long.</p>")
        self.what = gr.Dropdown([_LATENT], value=LATENT, label="What is searched", elem_id="lam-plan-what")
        with gr.Row():
            self.solver = gr.Dropdown(
                _SOLVERS, value="cem", label="Solver", scale=3, min_width=200, elem_id="lam-plan-solver"
            )
            self.preset = gr.Radio(
                ["quick", "paper"], value="paper", label="Budget", scale=2, min_width=150, elem_id="lam-plan-preset"
            )
        samples, iterations = budgets("cem")["paper"]
        with gr.Row():
            self.samples = gr.Slider(
                4, 512, samples, step=4, label="Samples", min_width=130, buttons=[], elem_id="lam-plan-samples"
            )
            self.iterations = gr.Slider(
                1, 30, iterations, step=1, label="Iterations", min_width=130, buttons=[], elem_id="lam-plan-iterations"
            )
        with gr.Row():
            self.horizon = gr.Slider(
                1,
                MOST_APART,
                STEPS,
                step=1,
                label="Horizon (steps)",
                min_width=130,
                buttons=[],
                elem_id="lam-plan-horizon",
            )
            self.seed = gr.Number(
                0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, min_width=100, elem_id="lam-plan-seed"
            )
        with gr.Row():
            self.go = gr.Button("Plan", variant="primary", scale=3, min_width=160, elem_id="lam-plan-go")
            self.stop = gr.Button("Stop", scale=1, min_width=80, interactive=False, elem_id="lam-plan-stop")

    # What the controls do.

    def tie(self, tab: gr.Tab) -> None:
        """Tie the controls to their handlers; called when the whole page is laid out.

        Args:
            tab: the one that `build` was called in; what is on it is read when it is opened.
        """
        page = self.page
        chosen: set[Any] = {self.source, self.clip, self.first, self.last, self.simulator, self.task, self.task_steps}
        chosen |= {page.name, page.hub, self.what}
        looks = [self.ends_view, self.clip, self.first, self.last, self.horizon, self.what, self.execution]
        looks += [self.old, self.run_view, self.distance_view]
        gr.on([tab.select, page.name.input, page.hub.submit], self._open, chosen, looks, **HEAVY)
        self.source.input(self._change_source, chosen, [*looks, self.of_clip, self.of_simulator], **HEAVY)
        self.clip.input(self._change_clip, chosen, looks, **HEAVY)
        self.own.upload(self._take_own, {*chosen, self.own}, looks, **HEAVY)
        self.own_goal.upload(self._take_goal, {*chosen, self.own_goal}, looks, **HEAVY)
        gr.on(
            [self.first.input, self.last.input],
            self._change_frames,
            chosen,
            looks,
            trigger_mode="always_last",
            **HEAVY,
        )
        gr.on(
            [self.simulator.input, self.task.submit, self.task.blur, self.task_steps.input],
            self._change_task,
            chosen,
            looks,
            trigger_mode="always_last",
            **HEAVY,
        )
        gr.on(
            [self.preset.input, self.solver.input],
            self._choose_budget,
            [self.solver, self.preset],
            [self.samples, self.iterations],
            **QUIET,
        )
        gr.on(
            [self.samples.input, self.iterations.input],
            self._own_budget,
            [self.solver, self.samples, self.iterations],
            self.preset,
            trigger_mode="always_last",
            **QUIET,
        )
        settings = {self.what, self.solver, self.samples, self.iterations, self.horizon, self.seed}
        self.go.click(
            self._plan,
            chosen | settings,
            [
                *(self.go, self.stop, self.run_go, self.cost_view, self.tries_view, self.plan_view),
                *(self.details, self.actions_view, self.across, self.up, self.energy_view, self.ends_view),
                self.old,
            ],
            **HEAVY,
        )
        gr.on(
            [self.across.input, self.up.input],
            self._landscape,
            [self.across, self.up],
            self.energy_view,
            trigger_mode="always_last",
            **HEAVY,
        )
        self.run_go.click(
            self._execute,
            chosen | settings | {self.run_steps},
            [self.run_go, self.run_stop, self.go, self.run_view, self.distance_view],
            **HEAVY,
        )
        # Not in the queue, where it would wait for what it is to stop.
        for stop in (self.stop, self.run_stop):
            stop.click(self._stop, None, stop, queue=False, **QUIET)

    def at(self, request: gr.Request) -> tuple[Session, PlanSession]:
        """What is kept for the page that asks."""
        session = self.page.session(request)
        if session.plan is None:
            session.plan = PlanSession()
        return session, session.plan

    def _plotly(self) -> str:
        return views.url(self.page.space.places.plotly())

    # Start and goal.

    def _open(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        return self._show(data, request, {}, fresh=False)

    def _change_source(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        of_clip = data[self.source] != "simulator"
        beside = {self.of_clip: gr.Column(visible=of_clip), self.of_simulator: gr.Row(visible=not of_clip)}
        return self._show(data, request, beside, fresh=True)

    def _change_clip(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        self.at(request)[1].goal = None
        return self._show(data | {self.first: 1, self.last: 1 + STEPS}, request, {}, fresh=True)

    def _take_own(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        _, plan = self.at(request)
        before = plan.own
        plan.own, plan.goal = data[self.own], None
        given = data | {self.clip: OWN, self.first: 1, self.last: 1 + STEPS}
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
                return {self.horizon: gr.skip()}
        plan.goal = None  # a goal of the clip is wanted again
        return self._show(data, request, {}, fresh=True)

    def _change_task(self, data: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        return self._show(data, request, {}, fresh=True)

    def _clips(self, plan: PlanSession, value: str) -> Any:
        from pathlib import Path

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
            fresh: whether the horizon and what is searched shall follow them.
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
            offered = self._offered(pipeline)
            names = [name for _, name in offered]
            body = ends.spec.name if ends.spec is not None else ""
            what = data[self.what] if data[self.what] in names else LATENT
            if fresh or data[self.what] not in names or (body in names and plan.found is None):
                # What acts here acts by its own controller, where there is one; else the latent space needs none.
                what = body if body in names else what if ends.spec is None else LATENT
            shown[self.what] = gr.Dropdown(offered, value=what)
            if fresh and ends.frames is not None and len(ends.frames) - 1 <= MOST_APART:
                shown[self.horizon] = len(ends.frames) - 1
            shown[self.execution] = gr.Column(visible=bool(ends.simulator))
            shown[self.old] = plan_views.old(plan.found, ends)
            if fresh:
                shown |= {self.run_view: plan_views.run_empty(), self.distance_view: plan_views.distances_empty()}
            return shown
        # What could not be read leaves what was there; a handler must still return something.
        return {self.horizon: gr.skip()}

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
        if not 0 <= task < _TASKS:
            raise LamdemoError(f"Tasks have numbers from 0 to {_TASKS - 1}; choose one of them.")
        plan.ends = of_task(self.simulators, str(data[self.simulator] or ""), _TASKS + task, steps)
        return {
            self.ends_view: plan_views.ends(
                plan.ends, f"task {task}", f"{steps} step{'s' if steps != 1 else ''} later, by a hand that is hidden"
            )
        }

    def _offered(self, pipeline: TransferPipeline) -> list[tuple[str, str]]:
        """What can be searched: actions of each controller, and the latent space."""
        offered = []
        for name in pipeline.controllers:
            known = pipeline.controller(name)
            channels = ", ".join(known.spec.names[:4]) + (", …" if known.spec.width > 4 else "")
            offered.append((f"{name}: {channels}", name))
        return [*offered, _LATENT]

    # The search.

    def _choose_budget(self, solver: str, name: str | None) -> list[Any]:
        return list(budgets(solver)[name]) if name in budgets(solver) else [gr.skip()] * 2

    def _own_budget(self, solver: str, samples: float, iterations: float) -> Any:
        budget = (int(samples), int(iterations))
        return next((name for name, given in budgets(solver).items() if given == budget), None)

    def _order(self, data: dict[Any, Any]) -> Order:
        samples, iterations = budgets("cem")["paper"]
        return Order(
            what=str(data[self.what] or LATENT),
            solver=str(data[self.solver] or "cem"),
            samples=int(number(data[self.samples], samples)),
            iterations=int(number(data[self.iterations], iterations)),
            horizon=min(max(int(number(data[self.horizon], STEPS)), 1), MOST_APART),
            seed=int(number(data[self.seed], 0)),
        )

    def _stop(self, request: gr.Request) -> Any:
        self.page.session(request).stop.set()
        return gr.Button("Stopping", interactive=False)

    def _searcher(self, data: dict[Any, Any], pipeline: TransferPipeline, ends: Ends) -> Searcher:
        return Searcher(pipeline, self._order(data), ends, self.page.space.places.get(pipeline))

    def _plan(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """A search, from the button to the plan."""
        session, plan = self.at(request)
        session.stop.clear()
        settle = {
            self.go: gr.Button(interactive=True),
            self.stop: gr.Button("Stop", interactive=False),
            self.run_go: gr.Button(interactive=True),
        }
        try:
            with Notice():
                yield {
                    self.go: gr.Button(interactive=False),
                    self.run_go: gr.Button(interactive=False),
                    self.stop: gr.Button(interactive=True),
                    self.tries_view: plan_views.waiting("Reading start and goal…"),
                }
                if plan.ends is None:
                    shown = self._show(data, request, {}, fresh=False)
                    if plan.ends is None:
                        raise LamdemoError("There is no start yet; choose a clip on the left or upload one.")
                    yield {self.ends_view: shown[self.ends_view]}
                pipeline = self.page.pipeline(data[self.page.name], data[self.page.hub])
                searcher = self._searcher(data, pipeline, plan.ends)
                with session.place("plan") as folder:
                    for news in searcher.search(folder, session.stop):
                        if isinstance(news, Progress):
                            yield {self.cost_view: self._costs(news), self.tries_view: plan_views.progress(news)}
                        else:
                            plan.found, plan.searcher = news, searcher
                assert plan.found is not None
                yield self._found(plan.found, searcher) | {self.old: plan_views.old(plan.found, plan.ends)}
                # After the plan is on show: without a draft it takes seconds.
                across, up = searcher.first_axes(plan.found)
                yield {self.energy_view: self._energy(searcher, plan.found, across, up), **settle}
                return
            before = plan_views.searched(plan.found) if plan.found else plan_views.tries_empty()
            yield {self.tries_view: before, **settle}
        finally:
            session.stop.set()  # who leaves the page ends the search

    def _costs(self, now: Progress) -> str:
        figure = figures.costs(now.best, now.elite, now.low, now.high, now.of, idle=now.idle, true=now.true)
        told = f"Costs by iteration: after {now.index + 1} of {now.of} the best is {now.best[-1]:.3g}"
        return figures.chart(figure, self._plotly(), told)

    def _found(self, found: Found, searcher: Searcher) -> dict[Any, Any]:
        names = list(searcher.axes)
        across, up = searcher.first_axes(found)
        return {
            self.cost_view: self._costs(found.progress),
            self.tries_view: plan_views.searched(found),
            self.plan_view: plan_views.plan(found),
            self.details: gr.Row(visible=True),
            self.actions_view: plan_views.actions(found),
            self.across: gr.Dropdown(names, value=names[across]),
            self.up: gr.Dropdown(names, value=names[up], visible=len(names) > 1),
            self.energy_view: figures.empty("The landscape is computed…", 360),
        }

    def _energy(self, searcher: Searcher, found: Found, across: int, up: int) -> str:
        if across == up:
            return figures.empty("Choose two different numbers of the action.", 360)
        land, places = searcher.landscape(found, across, up)
        names = land.names
        figure = figures.landscape(land.x, land.y, land.costs, names, **places)
        low, high = float(land.costs.min()), float(land.costs.max())
        told = f"Cost over {names[0]} and {names[1]}, from {low:.3g} to {high:.3g}"
        return figures.chart(figure, self._plotly(), told)

    def _landscape(self, across: str, up: str, request: gr.Request) -> Any:
        with Notice():
            _, plan = self.at(request)
            if plan.found is None or plan.searcher is None:
                raise LamdemoError("There is no plan yet; press Plan first.")
            names = list(plan.searcher.axes)
            if across in names and up in names:
                return self._energy(plan.searcher, plan.found, names.index(across), names.index(up))
        return gr.skip()

    # The execution.

    def _execute(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        session, plan = self.at(request)
        session.stop.clear()
        settle = {
            self.run_go: gr.Button(interactive=True),
            self.run_stop: gr.Button("Stop", interactive=False),
            self.go: gr.Button(interactive=True),
        }
        try:
            with Notice():
                yield {
                    self.run_go: gr.Button(interactive=False),
                    self.go: gr.Button(interactive=False),
                    self.run_stop: gr.Button(interactive=True),
                    self.run_view: plan_views.waiting("The first plan is made…"),
                }
                if plan.ends is None or not plan.ends.simulator:
                    raise LamdemoError("Only a simulator's task can be carried out; choose one as start and goal.")
                pipeline = self.page.pipeline(data[self.page.name], data[self.page.hub])
                searcher = self._searcher(data, pipeline, plan.ends)
                steps = min(max(int(number(data[self.run_steps], 8)), 1), 16)
                gone: list[dict[str, float]] = []
                with session.place("run") as folder:
                    for news in execute(searcher, self.simulators, steps, folder, session.stop):
                        if isinstance(news, Step):
                            gone.append(news.distance)
                            yield {
                                self.run_view: plan_views.running(news, steps),
                                self.distance_view: self._distances(gone, steps),
                            }
                        else:
                            done = news
                assert isinstance(done, Ran)
                words = plan_views.outcome(done.distances, done.reached, done.stopped)
                yield {self.run_view: plan_views.ran(done.video, done.last, words, done.reached), **settle}
                return
            yield {self.run_view: plan_views.run_empty(), **settle}
        finally:
            session.stop.set()

    def _distances(self, gone: list[dict[str, float]], steps: int) -> str:
        told = "Distance to the goal after each step: " + "; ".join(
            ", ".join(f"{value:.3g} {unit}" for unit, value in distance.items()) for distance in gone
        )
        return figures.chart(figures.distances(gone, steps), self._plotly(), told)
