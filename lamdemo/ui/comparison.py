"""The fold under the tab Transfer in which checkpoints are compared on one transfer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.jobs.turns import Units
from lamdemo.ui import views
from lamdemo.ui.models import is_public
from lamdemo.ui.notices import Notice
from lamdemo.ui.transfer_tab import TransferTab, chosen, number
from lamdemo.ui.waiting import Line
from lamdemo.ui.work import Compared, make_comparison

if TYPE_CHECKING:
    from lamdemo.ui.page import Page

_FILES = {"video": "↓ Comparison", "report": "↓ Measures"}


class Comparison:
    """Its controls, and the handler behind them."""

    def __init__(self, page: Page, transfer: TransferTab) -> None:
        self.page, self.transfer = page, transfer
        self.line = Line(page.sessions, "compare")

    def lay_out(self) -> None:
        """Put the fold where the page is being built."""
        default = self.page.models.default
        with gr.Accordion("Compare checkpoints", open=False, elem_classes="lam-card", elem_id="lam-compare"):
            self.names = gr.CheckboxGroup(
                [default],
                value=[default],
                label="Checkpoints",
                info="Two to six; the same transfer is run through each.",
                elem_id="lam-compare-names",
            )
            self.hub = gr.Textbox(
                "",
                label="And others",
                placeholder="owner/name, owner/other",
                info="ids on the Hugging Face Hub"
                + ("" if is_public() else ", or folders of this machine")
                + ", separated by commas",
                max_lines=1,
                elem_id="lam-compare-hub",
            )
            with gr.Row():
                self.go = gr.Button("Compare", variant="primary", scale=3, min_width=160, elem_id="lam-compare-go")
                self.stop = gr.Button(
                    "Stop", variant="secondary", scale=1, min_width=80, interactive=False, elem_id="lam-compare-stop"
                )
            self.line.lay_out()
            self.view = gr.HTML(views.comparison_empty(), js_on_load=None, elem_id="lam-compare-view")
            with gr.Row():
                self.files = [
                    gr.DownloadButton(
                        label,
                        size="sm",
                        min_width=96,
                        interactive=False,
                        visible=False,
                        elem_id=f"lam-get-compare-{name}",
                    )
                    for name, label in _FILES.items()
                ]

    def connect(self) -> None:
        """Tie the controls to what they do."""
        transfer = self.transfer
        given = {transfer.source, transfer.target, *transfer.settings, self.names, self.hub}
        shown = [self.view, self.go, self.stop, *self.files]
        self.go.click(**self.line.does(self._compare, given, shown, self._course))
        self.line.ends_by(self.stop)

    def _course(self, data: dict[Any, Any], *_: Any) -> list[Units]:
        first, last = chosen(data[self.transfer.first], data[self.transfer.last])
        names = [*(data[self.names] or []), *filter(None, (data[self.hub] or "").split(","))]
        return [Units("look up", len(names), 0.1), Units("compared step", len(names) * (last - first + 2), 0.3)]

    def _compare(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """The transfer on the page, by several checkpoints."""
        session, transfer = self.page.session(request), self.transfer
        stop = session.stop(self.line.name).is_set
        settle = {self.go: gr.Button(interactive=True), self.stop: gr.Button("Stop", interactive=False)}
        with Notice():
            yield {self.go: gr.Button(interactive=False), self.stop: gr.Button("Stop", interactive=True)}
            names = [*(data[self.names] or []), *(data[self.hub] or "").split(",")]
            view = session.source
            first, last = chosen(data[transfer.first], data[transfer.last])
            begin = number(data[transfer.begin], 0.0)
            if view is not None and view.path == data[transfer.source]:
                begin, last = view.begin, min(last, len(view.sizes))
                first = min(first, last - 1)
            order = transfer.order(data, begin, first, last)
            with session.place("compare") as folder:
                for news in make_comparison(self.page.models.get, names, order, folder, should_stop=stop):
                    if isinstance(news, Compared):
                        done = news
                    else:
                        yield {self.view: views.comparing(news)}
            session.compared = views.compared(done)
            yield {
                self.view: session.compared,
                **{
                    button: gr.DownloadButton(value=str(getattr(done, kind)), interactive=True, visible=True)
                    for button, kind in zip(self.files, _FILES, strict=True)
                },
                **settle,
            }
            return
        yield {self.view: session.compared or views.comparison_empty(), **settle}
