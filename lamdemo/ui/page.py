"""The page: its tabs, the settings that they share, and what is kept for each visitor."""

from __future__ import annotations

import inspect
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.middleware import Middleware

from lamdemo.core.devices import AUTO
from lamdemo.core.errors import LamdemoError
from lamdemo.ui import guard, prepared, style, tabs, views, waiting
from lamdemo.ui import map as space_map
from lamdemo.ui.adapting import CSS as ADAPTING_CSS
from lamdemo.ui.adapting import Adaptation
from lamdemo.ui.comparison import Comparison
from lamdemo.ui.drive.style import CSS as DRIVE_CSS
from lamdemo.ui.drive.tab import DriveTab
from lamdemo.ui.models import Loader, Models, choices, is_public, plainly, served_as
from lamdemo.ui.plan.style import CSS as PLAN_CSS
from lamdemo.ui.plan.tab import PlanTab
from lamdemo.ui.prepared import EXAMPLES
from lamdemo.ui.programs import Programs
from lamdemo.ui.sessions import Session, Sessions
from lamdemo.ui.space.style import CSS as SPACE_CSS
from lamdemo.ui.space.tab import SpaceTab
from lamdemo.ui.transfer_tab import TransferTab
from lamdemo.ui.work import MOST_MADE

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline

UPLOADS_LIVE = (600, 3600)  # seconds between two cleanings of the uploads, and their age when they go

_HEAD = """
<h1>What happens in one video, done to another picture</h1>
<p>A <b>latent action world model</b> reads what happens in a clip, and does it to a picture of yours.
<a href="https://arxiv.org/abs/2601.05230" target="_blank" rel="noopener">The paper</a> ·
<a href="#lam-limits">What you see, and its limits</a></p>
"""

_LIMITS = """
<div class="lam-text" id="lam-limits"><h2>What you see, and its limits</h2>
<ul>
<li>From each pair of frames the model reads one <b>latent action</b>: a short list of numbers that says what
happened, not what was in view. The bars show its length in each step; four steps are a second.</li>
<li>The result applies those numbers to your picture and never sees the clip. Below it stands the same
picture under no action: where both move alike, the clip has nothing to do with it.</li>
<li>Latent actions are tied to places in the picture and to the camera: things move where the clip's moved.
They carry motion, not objects or colours.</li>
<li>The model is small and was trained briefly. Pixels are moved, not invented: what comes newly into view is
guessed, and large or sudden motion fails.</li>
</ul>
<h2>Where it comes from</h2>
<ul>
<li>Method: <a href="https://arxiv.org/abs/2601.05230" target="_blank" rel="noopener">Learning Latent Action World
Models In The Wild</a> (arXiv 2601.05230), which published neither code nor weights. This page, its model and its
training are a separate work, lamdemo; how the model was trained and how well it does stands in the model card that
comes with it, <code>checkpoints/*/README.md</code>.</li>
<li>To cite the method: <code>arXiv:2601.05230, Learning Latent Action World Models In The Wild, 2026</code>.</li>
</ul></div>
"""


def build_page(pipeline: TransferPipeline | Loader | Models | None = None, device: str = AUTO) -> gr.Blocks:
    """The page, ready for ``launch(**launch_options())``.

    Args:
        pipeline: a loaded pipeline, or what makes one of a checkpoint's name, called in the background while
            the page opens; by default the bundled checkpoints and the Hub.
        device: that these compute on.
    """
    if isinstance(pipeline, Models):
        models = pipeline
    elif pipeline is None:
        models = Models(device=device)
    elif inspect.isfunction(pipeline) or inspect.ismethod(pipeline):
        models = Models(pipeline)
    else:
        models = Models.of(pipeline)  # type: ignore[arg-type]
    return Page(models).blocks


def launch_options() -> dict[str, Any]:
    """What ``launch`` needs besides address and port: looks, limits, no traces shown to visitors."""
    return {
        "theme": style.theme(),
        "css": style.CSS + waiting.CSS + SPACE_CSS + space_map.MAP_CSS + DRIVE_CSS + PLAN_CSS + ADAPTING_CSS,
        "head": style.HEAD + tabs.HEAD,
        "show_error": False,
        "max_file_size": guard.MOST_FILE,
        "app_kwargs": {"middleware": [Middleware(guard.Guard)]},
        "footer_links": ["api"],
        "ssr_mode": False,
        "max_threads": waiting.THREADS,
    }


class Page:
    """The tabs, what they share, and the visitors' sessions."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.sessions = Sessions()
        self.examples, self.photos = views.read_examples(EXAMPLES), EXAMPLES / "photos"
        self.prepared = [p for e in self.examples if (p := prepared.read(EXAMPLES, e)) is not None]
        # Served where they are: copies in Gradio's cache would pile up with each visitor.
        kept = ("clips", "photos", prepared.FOLDER, "episodes")
        gr.set_static_paths([self.sessions.root, *(EXAMPLES / n for n in kept)])
        with gr.Blocks(
            title="Latent action transfer", analytics_enabled=False, delete_cache=UPLOADS_LIVE
        ) as self.blocks:
            self.transfer = TransferTab(self)
            self.comparison = Comparison(self, self.transfer)
            self.adaptation = Adaptation(self, self.transfer)
            self.space, self.drive = SpaceTab(self), DriveTab(self)
            self.plan = PlanTab(self, self.drive.worlds)  # one pool of simulators for both
            self._lay_out()
            self._connect()
            self.space.connect()
            self.drive.tie(self.drive_tab)
            self.plan.tie(self.plan_tab)
        self.blocks.queue(**waiting.QUEUE)
        served_as(self.blocks)
        guard.stand_before(self)
        models.warm()

    def readiness(self) -> dict[str, Any]:
        """Whether the model is there and the line at it has room, for who watches the server."""
        turns = self.sessions.turns
        loaded, line = self.models.ready, len(turns)
        return {"ready": loaded and line < turns.most, "model": loaded, "line": line, "sessions": len(self.sessions)}

    def _lay_out(self) -> None:
        gr.HTML(_HEAD, elem_id="lam-head")
        self.space.lay_out_memory()
        self.transfer.memory.lay_out()
        with gr.Tabs(elem_id="lam-tabs") as self.tabs:
            with gr.Tab("Transfer", id="transfer") as self.transfer_tab:
                self.transfer.lay_out()
                self.adaptation.lay_out()
                self.comparison.lay_out()
            self._share()
            with gr.Tab("Action space", id="space") as self.space_tab:
                self.space.lay_out()
            with gr.Tab("Drive", id="drive") as self.drive_tab:
                self.drive.build()
            with gr.Tab("Plan", id="plan") as self.plan_tab:
                self.plan.build()
        self._lay_out_settings()

    def _share(self) -> None:
        """What the other tabs read and set of the tab Transfer."""
        tab = self.transfer
        self.source, self.source_view, self.begin, self.first, self.last = tab.source, *tab.looked
        self.target, self.target_view, self.moment = tab.target, tab.target_view, tab.moment

    @property
    def opening(self) -> prepared.Prepared | None:
        """The example that the page opens with."""
        return self.prepared[0] if self.prepared else None

    def _lay_out_settings(self) -> None:
        with gr.Accordion("More settings", open=False, elem_classes="lam-card", elem_id="lam-more"):
            with gr.Row():
                self.name = gr.Dropdown(
                    [self.models.default], value=self.models.default, label="Model", info="bundled with the page"
                )
                self.hub = gr.Textbox(
                    "",
                    label="Or another model",
                    placeholder="owner/name",
                    info="an id on the Hugging Face Hub" + ("" if is_public() else ", or a folder of this machine"),
                    max_lines=1,
                )
            with gr.Row():
                self.limit = gr.Slider(
                    1, MOST_MADE, MOST_MADE, step=1, label="Steps at most", info="of one transfer, repeats counted"
                )
                self.temperature = gr.Slider(
                    0,
                    1,
                    0,
                    step=0.05,
                    label="Temperature",
                    info="0 takes the most likely actions, 1 draws them with noise",
                )
                self.refine = gr.Checkbox(
                    True,
                    label="Refine the reading",
                    info="a short search for actions that explain the source better, where the model allows it",
                )
                self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, info="of that noise")
        gr.HTML(_LIMITS)
        with gr.Accordion("Who made the examples", open=False, elem_classes="lam-card"):
            gr.HTML(views.credits(EXAMPLES))
        self.runs_on = gr.HTML("", elem_id="lam-runs-on")

    def _connect(self) -> None:
        self.transfer.connect()
        self.comparison.connect()
        self.adaptation.connect()
        Programs(self).connect()
        self.blocks.load(self._arrive, None, [self.name, self.comparison.names], **waiting.QUIET)
        self.blocks.load(self._tell_device, None, self.runs_on, **waiting.QUIET)
        self.blocks.unload(self._leave)

    def examples_shown(self) -> list[tuple[views.Example, Path | None]]:
        """The examples, each with a still picture of its clip where it was prepared."""
        return [(e, prepared.poster(EXAMPLES, e)) for e in self.examples]

    def prepared_of(self, number: int) -> prepared.Prepared | None:
        """The prepared result of an example."""
        return prepared.read(EXAMPLES, self.examples[number])

    def session(self, request: gr.Request) -> Session:
        """What is kept for the page that asks."""
        session = self.sessions.get(request.session_hash)
        if session.source is None and session.result is None and self.prepared:
            session.source = self.prepared[0].source
            session.result = self.transfer.prepared_result(self.prepared[0])
        return session

    def pipeline(self, name: str | None, hub: str | None, session: Session | None = None) -> TransferPipeline:
        """The pipeline of a chosen checkpoint; what is typed in goes before what is chosen of a list.

        Args:
            name: of the list.
            hub: typed in.
            session: whose adapted model is meant, where it has one of this checkpoint; the checkpoint without it.
        """
        chosen = self.models.get((hub or "").strip() or name)
        adapted = session.adapted if session is not None else None
        return chosen if adapted is None or adapted.base != chosen.checkpoint else adapted.pipeline(chosen)

    def looked(self, view: Any) -> list[Any]:
        """See `TransferTab.looked_at`."""
        return self.transfer.looked_at(view)

    def _arrive(self, request: gr.Request) -> Any:
        self.session(request)
        offered = choices(self.models.default)
        names = [name for _, name in offered]
        # One of each family, where they are there: what the paper compares.
        first = [names[0], *(n for n in ("sparse", "discrete") if n in names[1:])]
        chosen = first if len(first) > 1 else names[:2]
        return gr.Dropdown(plainly(offered), value=names[0], info=offered[0][0]), gr.CheckboxGroup(
            offered, value=chosen
        )

    def _tell_device(self) -> str:
        try:
            return f'<p class="lam-note">This page computes on: {escape(self.models.runs_on)}.</p>'
        except LamdemoError:
            return ""  # whoever asks for a transfer is told why the model is not there

    def _leave(self, request: gr.Request) -> None:
        self.sessions.end(request.session_hash)
