"""A page with nothing but the plan's tab and a checkpoint small enough for tests.

    python tests/plan_page.py PORT CHECKPOINT

The toy simulator of `toy_simulator` is the one that is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from toy_simulator import Toy

from lamdemo.engine import TransferPipeline
from lamdemo.simulators.pool import SimulatorPool
from lamdemo.ui import style
from lamdemo.ui.models import Models
from lamdemo.ui.plan.style import CSS
from lamdemo.ui.plan.tab import PlanTab
from lamdemo.ui.sessions import Session, Sessions
from lamdemo.ui.space.work import Places
from lamdemo.ui.waiting import CSS as TURN_CSS
from lamdemo.ui.waiting import QUEUE


class ToySimulators(SimulatorPool):
    """The toy alone."""

    def __init__(self) -> None:
        super().__init__(lambda name, seed: Toy())

    def names(self) -> list[str]:
        return ["toy"]


class PlanPage:
    """What the tab needs of `lamdemo.ui.page.Page`."""

    def __init__(self, pipeline: TransferPipeline) -> None:
        self.models, self.sessions = Models.of(pipeline), Sessions()
        self.space = SimpleNamespace(places=Places(self.sessions.root))
        gr.set_static_paths([self.sessions.root])
        with gr.Blocks(analytics_enabled=False) as self.blocks:
            self.plan = PlanTab(self, ToySimulators())  # type: ignore[arg-type]
            with gr.Tabs():
                with gr.Tab("Another"):
                    gr.HTML("<p>Another tab</p>")
                with gr.Tab("Plan") as tab:
                    self.plan.build()
            self.name, self.hub = gr.Dropdown([pipeline.name], value=pipeline.name), gr.Textbox("")
            self.plan.tie(tab)
        self.blocks.queue(**QUEUE)

    def session(self, request: Any) -> Session:
        return self.sessions.get(request.session_hash)

    def pipeline(self, name: str | None, hub: str | None) -> TransferPipeline:
        return self.models.get(name)


if __name__ == "__main__":
    PlanPage(TransferPipeline.from_pretrained(Path(sys.argv[2]))).blocks.launch(
        server_name="127.0.0.1",
        server_port=int(sys.argv[1]),
        theme=style.theme(),
        css=style.CSS + TURN_CSS + CSS,
        head=style.HEAD,
        ssr_mode=False,
        show_error=False,
    )
