"""Carrying a plan out in its simulator: the tab's last part."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import PAUSE, Units
from lamdemo.ui.notices import Notice
from lamdemo.ui.plan import figures, style
from lamdemo.ui.plan import views as plan_views
from lamdemo.ui.plan.carrying import execute
from lamdemo.ui.plan.files import Files, files_of_run
from lamdemo.ui.plan.records import CLOSING, INVERSE, PLANS, WAYS, Ran, Step
from lamdemo.ui.plan.settings import ways_told
from lamdemo.ui.space.common import number
from lamdemo.ui.waiting import Line

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.plan.ends import Ends
    from lamdemo.ui.plan.tab import PlanTab


class Execution:
    """Controls of the execution, and the handlers behind them.

    Args:
        tab: which it is part of.
    """

    def __init__(self, tab: PlanTab) -> None:
        self.tab = tab
        self.line = Line(tab.page.sessions, "run")
        self.files = Files("lam-plan-run-get")

    def lay_out(self) -> None:
        """Make the controls, which are seen where there is a simulator."""
        with gr.Column(elem_classes="lam-card", visible=False, elem_id="lam-plan-run") as self.column:
            gr.HTML(
                "<h2>Carry it out</h2><p>In the simulator, step by step. Inverse dynamics reads the latent action "
                "between what is seen and the goal, without a plan. For latent actions, read or searched, the "
                "controller of the simulator's name finds the commands.</p>"
            )
            self.way = gr.Radio(
                [(words, name) for name, words in WAYS.items()],
                value=CLOSING,
                label="Each step by",
                elem_id="lam-plan-run-way",
            )
            self.told = gr.HTML("", js_on_load=None, elem_id="lam-plan-run-told")
            with gr.Row():
                self.steps = gr.Slider(
                    1, 16, 8, step=1, label="Steps at most", min_width=160, buttons=[], elem_id="lam-plan-run-steps"
                )
                self.go = gr.Button("Execute", variant="primary", min_width=140, elem_id="lam-plan-execute")
                self.stop = gr.Button("Stop", min_width=80, interactive=False, elem_id="lam-plan-run-stop")
            self.line.lay_out()
            with gr.Row(elem_classes="lam-two", equal_height=False):
                with gr.Column(scale=7, min_width=340):
                    self.view = gr.HTML(plan_views.run_empty(), js_on_load=None, elem_id="lam-plan-run-view")
                    with gr.Row():
                        self.files.lay_out()
                with gr.Column(scale=4, min_width=280):
                    self.distances = gr.HTML(
                        plan_views.distances_empty(),
                        js_on_load=style.FIGURE,
                        elem_id="lam-plan-distance",
                    )

    def connect(self, chosen: set[Any]) -> None:
        """Tie the controls to their handlers.

        Args:
            chosen: what a search is asked for with.
        """
        ran = [self.go, self.stop, self.tab.go, self.view, self.distances, *self.files.shows]
        self.go.click(**self.line.does(self._execute, chosen | {self.steps, self.way}, ran, self._course))
        self.line.ends_by(self.stop)

    def follow(self, pipeline: TransferPipeline, ends: Ends) -> dict[Any, Any]:
        """What depends on checkpoint and task: whether there is one, and how often each way gets to the goal."""
        told = ways_told(pipeline, ends.simulator) if ends.simulator else ""
        return {
            self.column: gr.Column(visible=bool(ends.simulator)),
            self.told: f'<p class="lam-note">{escape(told, quote=False)}</p>' if told else "",
        }

    def empty(self) -> dict[Any, Any]:
        """What an execution shows before there is one."""
        shown = {self.view: plan_views.run_empty(), self.distances: plan_views.distances_empty()}
        return shown | self.files.given()

    @property
    def shows(self) -> list[Any]:
        """What that changes."""
        return [self.view, self.distances, *self.files.shows]

    def _course(self, data: dict[Any, Any], *_: Any) -> list[Units]:
        order, steps = self.tab.settings.order(data), int(number(data[self.steps], 8))
        size = order.samples * order.horizon * order.iterations * max(order.futures, 1)
        if data[self.way] == INVERSE:
            return [Units(f"run by inverse dynamics with {data[self.tab.page.name]}", steps, 0.5)]
        return [Units(f"run by {order.solver} with {data[self.tab.page.name]}", steps, 0.0005, size=size)]

    def _execute(self, data: dict[Any, Any], request: gr.Request) -> Iterator[Any]:
        session, plan = self.tab.at(request)
        stop = session.stop(self.line.name)
        settle = {
            self.go: gr.Button(interactive=True),
            self.stop: gr.Button("Stop", interactive=False),
            self.tab.go: gr.Button(interactive=True),
        }
        with Notice():
            yield {
                self.go: gr.Button(interactive=False),
                self.tab.go: gr.Button(interactive=False),
                self.stop: gr.Button("Stop", interactive=True),
                self.view: plan_views.waiting("The first command is chosen…"),
                **self.files.given(),
            }
            if plan.ends is None or not plan.ends.simulator:
                raise LamdemoError("Only a simulator's task can be carried out; choose one as start and goal.")
            pipeline = self.tab.page.pipeline(data[self.tab.page.name], data[self.tab.page.hub])
            searcher = self.tab.searcher(data, pipeline, plan.ends, carried_out=True)
            steps = min(max(int(number(data[self.steps], 8)), 1), 16)
            way = data[self.way] if data[self.way] in WAYS else PLANS
            gone: list[dict[str, float]] = []
            with session.place("run") as folder:
                for news in execute(searcher, self.tab.simulators, steps, folder, stop, way):
                    if isinstance(news, Step):
                        gone.append(news.distance)
                        yield {
                            self.view: plan_views.running(news, steps),
                            self.distances: self._distances(gone, steps),
                        }
                    elif isinstance(news, Ran):
                        done = news
                    else:
                        yield PAUSE
                files = files_of_run(done, way, searcher.order, plan.ends, pipeline, folder)
            yield {self.view: plan_views.ran(done), **self.files.given(**files), **settle}
            return
        yield {self.view: plan_views.run_empty(), **settle}

    def _distances(self, gone: list[dict[str, float]], steps: int) -> str:
        told = "Distance to the goal after each step: " + "; ".join(
            ", ".join(f"{value:.3g} {unit}" for unit, value in distance.items()) for distance in gone
        )
        return figures.chart(figures.distances(gone, steps), self.tab.plotly(), told)
