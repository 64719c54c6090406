"""What is searched, by which method and how long; and how often plans that were searched so got to their goal."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.jobs.turns import Units
from lamdemo.ui.measured import Rate, Success, success_of, ways_of
from lamdemo.ui.plan.ends import MOST_APART, STEPS
from lamdemo.ui.plan.records import CLOSING, INVERSE, LATENT, MOST_FUTURES, PLANS, SEARCH, WAYS, Order, budgets
from lamdemo.ui.space.common import number
from lamdemo.ui.waiting import QUIET

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.plan.ends import Ends

SOLVERS = {
    "cem": "CEM: fit to the best, as in the paper",
    "icem": "iCEM: the same with smoother plans",
    "mppi": "MPPI: weighted by cost",
    "gradient": "gradient: through the world model",
    "random": "random: the best of many",
}
_LATENT = ("the latent space itself (no labels needed)", LATENT)


class Settings:
    """The search's controls. What a change of them means for the plan on show is the tab's to say."""

    def lay_out(self) -> None:
        """Make the controls."""
        gr.HTML("<h2>Search</h2><p>What is tried, by which method, and how long.</p>")
        self.what = gr.Dropdown([_LATENT], value=LATENT, label="What is searched", elem_id="lam-plan-what")
        with gr.Row():
            self.solver = gr.Dropdown(
                [(title, name) for name, title in SOLVERS.items()],
                value="cem",
                label="Solver",
                scale=3,
                min_width=200,
                elem_id="lam-plan-solver",
            )
            self.preset = gr.Radio(
                ["quick", "paper"], value="paper", label="Budget", scale=2, min_width=150, elem_id="lam-plan-preset"
            )
        samples, iterations = budgets("cem")["paper"]
        with gr.Row():
            self.samples = self._slider("samples", "Samples", samples, step=4)
            self.iterations = self._slider("iterations", "Iterations", iterations)
        with gr.Row():
            self.horizon = self._slider("horizon", "Steps to plan", STEPS)
            low, high = SEARCH["seed"]
            self.seed = gr.Number(
                0, label="Seed", precision=0, minimum=low, maximum=high, min_width=100, elem_id="lam-plan-seed"
            )
        self.futures = gr.Slider(
            0,
            MOST_FUTURES,
            0,
            step=1,
            label="Futures of each command",
            info="whose costs are averaged, each searched as long; 0 takes the one that the controller gives",
            visible=False,
            buttons=[],
            elem_id="lam-plan-futures",
        )
        self.told = gr.HTML("", js_on_load=None, elem_id="lam-plan-known")

    @staticmethod
    def _slider(name: str, label: str, value: int, step: int = 1) -> gr.Slider:
        low, high = SEARCH[name]
        return gr.Slider(
            low, high, value, step=step, label=label, min_width=130, buttons=[], elem_id=f"lam-plan-{name}"
        )

    @property
    def controls(self) -> set[Any]:
        """What an order is read from."""
        return {self.what, self.solver, self.samples, self.iterations, self.horizon, self.seed, self.futures}

    def connect(self) -> dict[str, Any]:
        """Tie budgets to their sliders; gives the event after which a preset is in place."""
        gr.on(
            [self.samples.input, self.iterations.input],
            self._own_budget,
            [self.solver, self.samples, self.iterations],
            self.preset,
            trigger_mode="always_last",
            **QUIET,
        )
        return {
            "fn": self._choose_budget,
            "inputs": [self.solver, self.preset],
            "outputs": [self.samples, self.iterations],
        }

    def _choose_budget(self, solver: str, name: str | None) -> list[Any]:
        return list(budgets(solver)[name]) if name in budgets(solver) else [gr.skip()] * 2

    def _own_budget(self, solver: str, samples: float, iterations: float) -> Any:
        budget = (int(samples), int(iterations))
        return next((name for name, given in budgets(solver).items() if given == budget), None)

    # What they ask for.

    def order(self, data: dict[Any, Any], pipeline: TransferPipeline | None = None) -> Order:
        """What the controls ask for.

        Args:
            data: of the controls.
            pipeline: without which nobody knows whether the futures that are asked for are to be had.
        """
        samples, iterations = budgets("cem")["paper"]
        order = Order(
            what=str(data[self.what] or LATENT),
            solver=str(data[self.solver] or "cem"),
            samples=int(number(data[self.samples], samples)),
            iterations=int(number(data[self.iterations], iterations)),
            horizon=min(max(int(number(data[self.horizon], STEPS)), 1), MOST_APART),
            seed=int(number(data[self.seed], 0)),
            futures=min(max(int(number(data[self.futures], 0)), 0), MOST_FUTURES),
        )
        if pipeline is not None and order.futures and _futures_missing(pipeline, order.what):
            return replace(order, futures=0)  # the slider is hidden, and keeps what it said of another controller
        return order

    def course(self, data: dict[Any, Any], checkpoint: str | None) -> Units:
        """What a search comes to."""
        order = self.order(data)
        size = order.samples * order.horizon * max(order.futures, 1)
        return Units(f"{order.solver} with {checkpoint}", order.iterations, 0.0004, size=size)

    def offered(self, pipeline: TransferPipeline) -> list[tuple[str, str]]:
        """What can be searched: actions of each controller, and the latent space."""
        offered = []
        for name in pipeline.controllers:
            known = pipeline.controller(name)
            channels = ", ".join(known.spec.names[:4]) + (", …" if known.spec.width > 4 else "")
            offered.append((f"{name}: {channels}", name))
        return [*offered, _LATENT]

    def follow(
        self, pipeline: TransferPipeline, order: Order, ends: Ends | None, *, put: bool = False
    ) -> dict[Any, Any]:
        """What depends on what is searched and where: whether futures are to be had, and how often plans get there.

        Args:
            pipeline: the checkpoint.
            order: what is asked for.
            ends: start and goal.
            put: whether the number of futures is put as it is ordered.
        """
        missing = _futures_missing(pipeline, order.what)
        words = [missing] if missing else []
        if ends is not None and ends.simulator:
            words.insert(0, success_told(pipeline, ends.simulator, order))
        told = "".join(f'<p class="lam-note">{escape(sentence, quote=False)}</p>' for sentence in words)
        value: dict[str, Any] = {"value": order.futures} if put else {}
        return {self.futures: gr.Slider(visible=not missing, **value), self.told: told}

    def restored(self, order: Order) -> dict[Any, Any]:
        """The controls as an order has them."""
        return {
            self.solver: order.solver,
            self.samples: order.samples,
            self.iterations: order.iterations,
            self.preset: self._own_budget(order.solver, order.samples, order.iterations),
            self.horizon: order.horizon,
            self.seed: order.seed,
        }


def _futures_missing(pipeline: TransferPipeline, what: str) -> str:
    from lamdemo.planning.futures import futures_missing

    return futures_missing(pipeline, None if what == LATENT else what)


# How often plans got there.


def success_told(pipeline: TransferPipeline, simulator: str, order: Order) -> str:
    """How often plans of a checkpoint reach goals in a simulator, and whether they were searched as now."""
    known = success_of(pipeline, simulator, latent=order.what == LATENT)
    if known is None:
        return (
            f"How often plans of {pipeline.name} reach their goal in {simulator} stands in no report that came with "
            f"this page; lamdemo plan --env {simulator} measures it."
        )
    beside = [
        f"{words} {_share(rate)}"
        for words, rate in (("random commands", known.random), ("doing nothing", known.nothing))
        if rate is not None
    ]
    whose = "in the latent space " if order.what == LATENT else ""
    return (
        f"Measured in {simulator}, with a new plan at each of {known.steps} steps: plans {whose}reach "
        f"{_share(known.plans)} of {known.tasks} goals"
        + (f"; {' and '.join(beside)}." if beside else ".")
        + f" {_compared(known, order)}"
    )


def ways_told(pipeline: TransferPipeline, simulator: str) -> str:
    """How often each way of choosing commands gets to the goal; empty where that was not measured."""
    rates = ways_of(pipeline, simulator)
    names = {"controller": WAYS[PLANS], "closing": WAYS[CLOSING], "inverse": WAYS[INVERSE], "random": "random commands"}
    told = [f"{words} {_share(rates[name])}" for name, words in names.items() if name in rates]
    return f"Goals reached in {simulator}, on the same tasks: {'; '.join(told)}." if told else ""


def _share(rate: Rate) -> str:
    low, high = (f"{100 * end:.0f}" for end in (rate.low, rate.high))
    return f"{100 * rate.value:.0f} %" + (f" ({low} to {high})" if low != high else "")


def _compared(known: Success, order: Order) -> str:
    now = (order.solver, order.samples, order.iterations, order.horizon)
    if now == (known.solver, known.samples, known.iterations, known.horizon) and not order.futures:
        return "That is this budget."
    return (
        f"That is with {SOLVERS.get(known.solver, known.solver).partition(':')[0]}, {known.samples} samples, "
        f"{known.iterations} iterations and {known.horizon} steps ahead; this budget was not measured."
    )
