"""The page: what is on it and what its controls do."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.ui import map as space_map
from lamdemo.ui import opening, style, views
from lamdemo.ui.drive.style import CSS as DRIVE_CSS
from lamdemo.ui.drive.tab import DriveTab
from lamdemo.ui.models import Loader, Models, choices, is_public
from lamdemo.ui.notices import Notice, Refusal
from lamdemo.ui.plan.style import CSS as PLAN_CSS
from lamdemo.ui.plan.tab import PlanTab
from lamdemo.ui.sessions import Session, Sessions
from lamdemo.ui.space.style import CSS as SPACE_CSS
from lamdemo.ui.space.tab import SpaceTab
from lamdemo.ui.work import (
    MOST_STEPS,
    USUAL_STEPS,
    Compared,
    Finished,
    Live,
    Order,
    SourceView,
    look_at_source,
    look_at_target,
    make,
    make_comparison,
)
from lamdemo.video import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from lamdemo.pipeline import TransferPipeline

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
UPLOADS_LIVE = (600, 3600)  # seconds between two cleanings of the uploads, and their age when they go

_PICTURES = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic"]

_LIMITS = """
<div class="lam-text"><h2>What you see, and its limits</h2>
<ul>
<li>From each pair of frames the model reads one <b>latent action</b>: a short list of numbers that says what
happened, not what was in view. The bars show its length in each step; four steps are a second.</li>
<li>The result applies those numbers to your picture and never sees the source. Below it stands the same
target under no action: where both move alike, the source has nothing to do with it.</li>
<li>Latent actions are tied to places in the picture and to the camera: things move where the source moved.
They carry motion, not objects or colours.</li>
<li>The model is small and was trained briefly. Pixels are moved, not invented: what comes newly into view is
guessed, and large or sudden motion fails.</li>
</ul></div>
"""


def build_page(pipeline: TransferPipeline | Loader | Models | None = None) -> gr.Blocks:
    """The page, ready for ``launch(**launch_options())``.

    Args:
        pipeline: a loaded pipeline, or what makes one of a checkpoint's name, called in the background while
            the page opens; by default the bundled checkpoints and the Hub.
    """
    if isinstance(pipeline, Models):
        models = pipeline
    elif pipeline is None:
        models = Models()
    elif inspect.isfunction(pipeline) or inspect.ismethod(pipeline):
        models = Models(pipeline)
    else:
        models = Models.of(pipeline)  # type: ignore[arg-type]
    return Page(models).blocks


def launch_options() -> dict[str, Any]:
    """What ``launch`` needs besides address and port: looks, limits, no traces shown to visitors."""
    return {
        "theme": style.theme(),
        "css": style.CSS + SPACE_CSS + space_map.MAP_CSS + DRIVE_CSS + PLAN_CSS,
        "head": style.HEAD,
        "show_error": False,
        "max_file_size": "500mb",
        "footer_links": ["api"],
        "ssr_mode": False,
    }


class Page:
    """Controls, and the handlers behind them."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.sessions = Sessions()
        self.examples, self.photos = views.read_examples(EXAMPLES), EXAMPLES / "photos"
        self.opening = opening.read(EXAMPLES)
        # Served where they are: copies in Gradio's cache would pile up with each visitor.
        gr.set_static_paths([self.sessions.root, *(EXAMPLES / n for n in ("clips", "photos", "opening", "episodes"))])
        with gr.Blocks(
            title="Latent action transfer", analytics_enabled=False, delete_cache=UPLOADS_LIVE
        ) as self.blocks:
            self.space, self.drive, self.plan = SpaceTab(self), DriveTab(self), PlanTab(self)
            self._lay_out()
            self._connect()
            self.space.connect()
            self.drive.tie(self.drive_tab)
            self.plan.tie(self.plan_tab)
        models.warm()

    # What is on the page.

    def _lay_out(self) -> None:
        shown = self.opening
        start = shown.source if shown else None
        steps = len(start.sizes) if start else MOST_STEPS
        first, last = (shown.done.first, shown.done.first + shown.done.span) if shown else (0, USUAL_STEPS)

        gr.HTML(
            "<h1>What happens in one video, done to another picture</h1>"
            "<p>A latent action model reads what happens between the frames of a clip and carries it over to "
            "a picture or clip of yours; below the result: what the target does under no action.</p>",
            elem_id="lam-head",
        )
        self.space.lay_out_memory()
        with gr.Tabs(elem_id="lam-tabs") as self.tabs:
            with gr.Tab("Transfer", id="transfer") as self.transfer_tab:
                self._lay_out_transfer(shown, start, steps, first, last)
            with gr.Tab("Action space", id="space") as self.space_tab:
                self.space.lay_out()
            with gr.Tab("Drive", id="drive") as self.drive_tab:
                self.drive.build()
            with gr.Tab("Plan", id="plan") as self.plan_tab:
                self.plan.build()
        self._lay_out_settings()

    def _lay_out_transfer(
        self, shown: opening.Opening | None, start: SourceView | None, steps: int, first: int, last: int
    ) -> None:
        self.pairs = gr.HTML(
            views.examples(self.examples),
            js_on_load=style.EXAMPLE_CLICK,
            visible=bool(self.examples),
            elem_id="lam-pairs",
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320, elem_classes="lam-card", elem_id="lam-source"):
                gr.HTML("<h2>Source</h2><p>The clip whose actions are taken.</p>")
                self.source_view = gr.HTML(
                    views.source(start, first, last, shown.done if shown else None) if start else views.source_empty(),
                    js_on_load=None,
                    elem_id="lam-source-view",
                )
                with gr.Row():
                    self.first = gr.Slider(
                        1, steps, first + 1, step=1, label="First step", min_width=130, buttons=[], elem_id="lam-first"
                    )
                    self.last = gr.Slider(
                        1, steps, last, step=1, label="Last step", min_width=130, buttons=[], elem_id="lam-last"
                    )
                self.begin = gr.Slider(
                    0,
                    1,
                    0,
                    step=0.25,
                    label="Begin at second",
                    buttons=[],
                    visible=False,
                    elem_id="lam-begin",
                    info=f"The clip is longer than the {MOST_STEPS} steps on show.",
                )
                self.source = gr.File(
                    start.path if start else None,
                    label="Source video",
                    file_types=["video", ".gif", *sorted(VIDEO_SUFFIXES)],
                    height=116,
                    elem_id="lam-source-file",
                    elem_classes="lam-file",
                )
            with gr.Column(min_width=320, elem_classes="lam-card", elem_id="lam-target"):
                gr.HTML("<h2>Target</h2><p>The picture or clip they are carried over to.</p>")
                self.target_view = gr.HTML(
                    views.target(shown.target) if shown else views.target_empty(),
                    js_on_load=None,
                    elem_id="lam-target-view",
                )
                self.moment = gr.Slider(
                    0,
                    1,
                    0,
                    step=0.05,
                    label="Moment of the clip, in seconds",
                    buttons=[],
                    visible=False,
                    elem_id="lam-moment",
                    info="The transfer begins there; the model also sees up to a second before.",
                )
                self.target = gr.File(
                    shown.target.path if shown else None,
                    label="Target picture or clip",
                    file_types=["image", "video", *_PICTURES, *sorted(VIDEO_SUFFIXES)],
                    height=116,
                    elem_id="lam-target-file",
                    elem_classes="lam-file",
                )
                with gr.Row():
                    self.strength = gr.Slider(
                        -3,
                        3,
                        1,
                        step=0.1,
                        label="Strength",
                        min_width=130,
                        buttons=[],
                    )
                    self.repeat = gr.Slider(1, 4, 1, step=1, label="Repeat", min_width=130, buttons=[])
                self.reverse = gr.Checkbox(False, label="Reverse: do the opposite of each action")
                gr.HTML(
                    '<p class="lam-note">Strength 1 leaves the actions as they were and 0 is no action; Repeat does '
                    "them several times in a row.</p>"
                )
                with gr.Row():
                    self.go = gr.Button("Transfer", variant="primary", scale=3, min_width=160, elem_id="lam-go")
                    self.stop = gr.Button(
                        "Stop",
                        variant="secondary",
                        scale=1,
                        min_width=80,
                        interactive=False,
                        elem_id="lam-stop",
                    )
            with gr.Column(min_width=320, elem_classes="lam-card", elem_id="lam-result"):
                gr.HTML("<h2>Result</h2><p>The target under those actions.</p>")
                self.result_view = gr.HTML(
                    views.result(shown.done, _PREPARED) if shown else views.result_empty(),
                    js_on_load=None,
                    elem_id="lam-result-view",
                )
                with gr.Row():
                    self.files = [
                        gr.DownloadButton(
                            label,
                            str(getattr(shown.done, name)) if shown else None,
                            size="sm",
                            min_width=96,
                            interactive=shown is not None,
                            elem_id=f"lam-get-{name.replace('_', '-')}",
                        )
                        for name, label in _FILES.items()
                    ]
        with gr.Column(elem_classes="lam-card", visible=shown is not None, elem_id="lam-figures") as self.figures:
            self.measures_view = gr.HTML(
                views.measures(shown.done) if shown else "", js_on_load=None, elem_id="lam-measures"
            )
        with gr.Accordion("Compare checkpoints", open=False, elem_classes="lam-card", elem_id="lam-compare"):
            self.compare_names = gr.CheckboxGroup(
                [self.models.default],
                value=[self.models.default],
                label="Checkpoints",
                info="Two to six; the same transfer is run through each.",
                elem_id="lam-compare-names",
            )
            self.compare_hub = gr.Textbox(
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
                self.compare_go = gr.Button(
                    "Compare", variant="primary", scale=3, min_width=160, elem_id="lam-compare-go"
                )
                self.compare_stop = gr.Button(
                    "Stop", variant="secondary", scale=1, min_width=80, interactive=False, elem_id="lam-compare-stop"
                )
            self.compare_view = gr.HTML(views.comparison_empty(), js_on_load=None, elem_id="lam-compare-view")
            with gr.Row():
                self.compare_files = [
                    gr.DownloadButton(
                        label,
                        size="sm",
                        min_width=96,
                        interactive=False,
                        visible=False,
                        elem_id=f"lam-get-compare-{name}",
                    )
                    for name, label in _COMPARE_FILES.items()
                ]

    def _lay_out_settings(self) -> None:
        with gr.Accordion("More settings", open=False, elem_classes="lam-card", elem_id="lam-more"):
            with gr.Row():
                self.name = gr.Dropdown(
                    [self.models.default], value=self.models.default, label="Checkpoint", info="bundled with the page"
                )
                self.hub = gr.Textbox(
                    "",
                    label="Or another checkpoint",
                    placeholder="owner/name",
                    info="an id on the Hugging Face Hub" + ("" if is_public() else ", or a folder of this machine"),
                    max_lines=1,
                )
            with gr.Row():
                self.limit = gr.Slider(
                    1,
                    MOST_STEPS,
                    USUAL_STEPS,
                    step=1,
                    label="Steps at most",
                    info="of one transfer, repeats counted",
                )
                self.temperature = gr.Slider(
                    0,
                    1,
                    0,
                    step=0.05,
                    label="Temperature",
                    info="0 takes the most likely actions, 1 draws them with noise",
                )
                self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, info="of that noise")
        gr.HTML(_LIMITS)
        with gr.Accordion("Who made the examples", open=False, elem_classes="lam-card"):
            gr.HTML(views.credits(EXAMPLES))

    # What the controls do.

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        heavy: dict[str, Any] = {
            "concurrency_limit": 1,
            "concurrency_id": "model",
            "api_visibility": "private",
        }
        on_source: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": self.source_view}
        settings = [
            *(self.begin, self.first, self.last, self.moment, self.strength, self.reverse, self.repeat),
            *(self.limit, self.temperature, self.seed, self.name, self.hub),
        ]
        looked = [self.source_view, self.begin, self.first, self.last]
        results = [
            *(self.source, self.target, *looked, self.target_view, self.moment, self.result_view),
            *(self.measures_view, self.figures, self.go, self.stop, *self.files),
        ]

        for event, again in (
            (self.source.upload, False),
            (self.begin.release, True),
            (self.hub.submit, True),
        ):
            event(
                self._look_again if again else self._look_anew,
                [self.source, self.begin, self.name, self.hub],
                looked,
                **heavy,
                **on_source,
            )
        self.name.input(
            self._look_again,
            [self.source, self.begin, self.name, self.hub],
            looked,
            **heavy,
            **on_source,
        )
        self.source.clear(self._forget_source, None, looked, **quiet)
        gr.on(
            [self.first.input, self.last.input],
            self._choose,
            [self.first, self.last],
            self.source_view,
            trigger_mode="always_last",
            **quiet,
        )
        self.target.upload(self._look_at_target, [self.target], [self.target_view, self.moment], **quiet)
        self.target.clear(
            lambda: (views.target_empty(), gr.Slider(visible=False)),
            None,
            [self.target_view, self.moment],
            **quiet,
        )
        # Not on release, which the keyboard does not give.
        self.moment.input(
            self._choose_moment,
            [self.target, self.moment],
            self.target_view,
            trigger_mode="always_last",
            **quiet,
        )

        shows: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": self.result_view}
        self.go.click(self._transfer, {self.source, self.target, *settings}, results, **heavy, **shows)
        self.pairs.click(self._example, set(settings), results, **heavy, **shows)
        self.compare_go.click(
            self._compare,
            {self.source, self.target, *settings, self.compare_names, self.compare_hub},
            [self.compare_view, self.compare_go, self.compare_stop, *self.compare_files],
            **heavy,
            show_progress="minimal",
            show_progress_on=self.compare_view,
        )
        # Not in the queue, where it would wait for what it is to stop.
        for stop in (self.stop, self.compare_stop):
            stop.click(self._stop, None, stop, queue=False, **quiet)

        with gr.Row(visible=False):
            source, target = gr.File(label="source"), gr.File(label="target")
            strength, reverse, repeat = (
                gr.Number(1.0, label="strength"),
                gr.Checkbox(label="reverse"),
                gr.Number(1, label="repeat"),
            )
            video = gr.File(label="result")
            gr.Button("transfer").click(
                self._serve,
                [source, target, strength, reverse, repeat],
                video,
                api_name="transfer",
                api_description="Carry a video's actions over to a target picture or clip; gives an MP4.",
                concurrency_limit=1,
                concurrency_id="model",
            )
            names = gr.Textbox(label="checkpoints")
            report = gr.JSON(label="report")
            gr.Button("compare").click(
                self._serve_comparison,
                [source, target, names, strength, reverse, repeat],
                [video, report],
                api_name="compare",
                api_description="Run one transfer through two to six checkpoints, given as bundled names or Hub ids "
                "separated by commas; gives an MP4 of all results side by side, and their measures.",
                concurrency_limit=1,
                concurrency_id="model",
            )
            gr.Button("familiarity").click(
                self._serve_familiarity,
                [source, names],
                report,
                api_name="familiarity",
                api_description="How many steps of a video lie outside what a checkpoint (the bundled default "
                "without a name) saw in training; null where it brings no sample of that.",
                concurrency_limit=1,
                concurrency_id="model",
            )
        self.blocks.load(self._arrive, None, [self.name, self.compare_names], **quiet)
        self.blocks.unload(self._leave)

    def session(self, request: gr.Request) -> Session:
        """What is kept for the page that asks."""
        session = self.sessions.get(request.session_hash)
        if session.source is None and session.result is None and self.opening:
            session.source = self.opening.source
            session.result = views.result(self.opening.done, _PREPARED)
        return session

    def _arrive(self, request: gr.Request) -> Any:
        self.session(request)
        offered = choices(self.models.default)
        names = [name for _, name in offered]
        # One of each family, where they are there: what the paper compares.
        first = [names[0], *(n for n in ("sparse", "discrete") if n in names[1:])]
        chosen = first if len(first) > 1 else names[:2]
        return gr.Dropdown(offered, value=names[0]), gr.CheckboxGroup(offered, value=chosen)

    def _leave(self, request: gr.Request) -> None:
        self.sessions.end(request.session_hash)

    def _stop(self, request: gr.Request) -> Any:
        self.session(request).stop.set()
        return gr.Button("Stopping", interactive=False)

    def pipeline(self, name: str | None, hub: str | None) -> TransferPipeline:
        """The pipeline of a chosen checkpoint; what is typed in goes before what is chosen of a list."""
        return self.models.get((hub or "").strip() or name)

    def _look_anew(
        self, path: str | None, begin: float | None, name: str | None, hub: str | None, request: gr.Request
    ) -> Any:
        return self._look_at_source(path, begin, name, hub, request, again=False)

    def _look_again(
        self, path: str | None, begin: float | None, name: str | None, hub: str | None, request: gr.Request
    ) -> Any:
        return self._look_at_source(path, begin, name, hub, request, again=True)

    def _look_at_source(
        self,
        path: str | None,
        begin: float | None,
        name: str | None,
        hub: str | None,
        request: gr.Request,
        *,
        again: bool,
    ) -> Any:
        if again and not path:
            return [gr.skip()] * 4
        with Notice() as notice:
            session = self.session(request)
            pipeline = self.pipeline(name, hub)
            with session.place("source") as folder:
                view = look_at_source(pipeline, path, _number(begin, 0.0) if again else 0.0, folder)
            session.source = view
            if view.seconds > view.window + 1 and not again:
                gr.Info(
                    f"This clip lasts {_duration(view.seconds)}; its first {view.window:g} seconds are "
                    "shown, and “Begin at second” chooses others.",
                    title="A long clip",
                )
            return self.looked(view)
        if notice.said and not again:
            # The file was not taken: what was shown before no longer belongs to it.
            return self._forget_source(request)
        return [gr.skip()] * 4

    def looked(self, view: SourceView) -> list[Any]:
        """How a new source is shown: its view, and the sliders of its range."""
        steps = len(view.sizes)
        last = min(steps, USUAL_STEPS)
        longer = view.seconds > view.window + 1
        return [
            views.source(view, 0, last),
            gr.Slider(
                maximum=max(int(4 * (view.seconds - 2)) / 4, 1),
                value=round(4 * view.begin) / 4,
                visible=longer,
            ),
            gr.Slider(maximum=steps, value=1),
            gr.Slider(maximum=steps, value=last),
        ]

    def _forget_source(self, request: gr.Request) -> list[Any]:
        self.session(request).source = None
        return [views.source_empty(), gr.Slider(value=0, visible=False), gr.skip(), gr.skip()]

    def _choose(self, first: float, last: float, request: gr.Request) -> Any:
        view = self.session(request).source
        if view is None:
            return gr.skip()
        return views.source(view, *_range(first, last))

    def _look_at_target(self, path: str | None, request: gr.Request) -> Any:
        with Notice():
            with self.session(request).place("target") as folder:
                view = look_at_target(path, 0.0, folder)
            return views.target(view), gr.Slider(
                maximum=max(round(view.seconds, 2), 0.05), value=0, visible=view.seconds > 0
            )
        return views.target_empty(), gr.Slider(visible=False)

    def _choose_moment(self, path: str | None, moment: float, request: gr.Request) -> Any:
        with Notice():
            with self.session(request).place("target") as folder:
                return views.target(look_at_target(path, moment, folder))
        return gr.skip()

    def _transfer(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield from self._run(data, data[self.source], data[self.target], request)

    def _example(self, data: dict[Any, Any], event: gr.EventData, request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield {self.result_view: gr.skip()}  # a generator that yields nothing would clear what it may change
        number = event._data.get("example") if isinstance(event._data, dict) else None
        if isinstance(number, int) and 0 <= number < len(self.examples):
            example = self.examples[number]
            yield from self._run(data, str(example.clip), str(example.photo), request, anew=True)

    def _run(
        self,
        data: dict[Any, Any],
        source: str | None,
        target: str | None,
        request: gr.Request,
        *,
        anew: bool = False,
    ) -> Iterator[dict[Any, Any]]:
        """A transfer, from the button to the playing result; ``anew`` shows both inputs first."""
        session = self.session(request)
        session.stop.clear()
        before = session.result
        settle = {self.go: gr.Button(interactive=True), self.stop: gr.Button("Stop", interactive=False)}
        with Notice():
            start, end = _range(data[self.first], data[self.last])
            yield {
                self.go: gr.Button(interactive=False),
                self.stop: gr.Button(interactive=True),
                self.result_view: views.waiting("Reading the source and its actions…"),
            }
            pipeline = self.pipeline(data[self.name], data[self.hub])
            view = session.source
            moment = 0.0 if anew else _number(data[self.moment], 0.0)
            begin = 0.0 if anew else _number(data[self.begin], 0.0)
            # The range on the page is of the source on show, which another one may have just replaced.
            if anew or (view is not None and view.path != source):
                start, end = 0, USUAL_STEPS
            stale = view is None or view.path != source or view.checkpoint != pipeline.checkpoint
            if anew or view is None or stale or view.latents is None:
                with session.place("source") as folder:
                    view = session.source = look_at_source(pipeline, source, begin, folder)
            if anew:
                with session.place("target") as folder:
                    picture = look_at_target(target, 0.0, folder)
                keys = (self.source_view, self.begin, self.first, self.last)
                yield {
                    self.source: source,
                    self.target: target,
                    **dict(zip(keys, self.looked(view), strict=True)),
                    self.target_view: views.target(picture),
                    self.moment: gr.Slider(value=0, visible=False),
                }
            end = min(end, len(view.sizes))
            order = self._order(data, source, target, view.begin, min(start, end - 1), end, moment)
            with session.place("result") as folder:
                for news in make(pipeline, order, folder, latents=view.latents, should_stop=session.stop.is_set):
                    if isinstance(news, Live):
                        yield {self.result_view: views.live(news)}
                    else:
                        done = news
            session.result = views.result(done)
            yield {
                self.source_view: views.source(view, order.first, end, done),
                self.result_view: session.result,
                self.measures_view: views.measures(done),
                self.figures: gr.Column(visible=True),
                **{
                    button: gr.DownloadButton(value=str(getattr(done, kind)), interactive=True)
                    for button, kind in zip(self.files, _FILES, strict=True)
                },
                **settle,
            }
            return
        yield {self.result_view: before or views.result_empty(), **settle}

    def _order(
        self,
        data: dict[Any, Any],
        source: str | None,
        target: str | None,
        begin: float,
        first: int,
        last: int | None,
        moment: float,
    ) -> Order:
        return Order(
            source=source,
            target=target,
            begin=begin,
            first=first,
            last=last,
            moment=moment,
            strength=_number(data[self.strength], 1.0),
            reverse=bool(data[self.reverse]),
            repeat=int(_number(data[self.repeat], 1)),
            limit=int(_number(data[self.limit], USUAL_STEPS)),
            temperature=_number(data[self.temperature], 0.0),
            seed=int(_number(data[self.seed], 0)),
        )

    def _compare(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """The transfer on the page, by several checkpoints."""
        session = self.session(request)
        session.stop.clear()
        settle = {
            self.compare_go: gr.Button(interactive=True),
            self.compare_stop: gr.Button("Stop", interactive=False),
        }
        with Notice():
            yield {self.compare_go: gr.Button(interactive=False), self.compare_stop: gr.Button(interactive=True)}
            names = [*(data[self.compare_names] or []), *(data[self.compare_hub] or "").split(",")]
            source, view = data[self.source], session.source
            first, last = _range(data[self.first], data[self.last])
            begin = _number(data[self.begin], 0.0)
            if view is not None and view.path == source:
                begin, last = view.begin, min(last, len(view.sizes))
                first = min(first, last - 1)
            order = self._order(data, source, data[self.target], begin, first, last, _number(data[self.moment], 0.0))
            with session.place("compare") as folder:
                stop = session.stop.is_set
                for news in make_comparison(self.models.get, names, order, folder, should_stop=stop):
                    if isinstance(news, Compared):
                        done = news
                    else:
                        yield {self.compare_view: views.comparing(news)}
            session.compared = views.compared(done)
            yield {
                self.compare_view: session.compared,
                **{
                    button: gr.DownloadButton(value=str(getattr(done, kind)), interactive=True, visible=True)
                    for button, kind in zip(self.compare_files, _COMPARE_FILES, strict=True)
                },
                **settle,
            }
            return
        yield {self.compare_view: session.compared or views.comparison_empty(), **settle}

    def _serve(
        self,
        source: str | None,
        target: str | None,
        strength: float | None,
        reverse: bool | None,
        repeat: float | None,
        request: gr.Request,
    ) -> str:
        """The same for programs: the result's file, or an error of one sentence."""
        with Refusal():
            session = self.session(request)
            order = Order(
                source=source,
                target=target,
                strength=_number(strength, 1.0),
                reverse=bool(reverse),
                repeat=int(_number(repeat, 1)),
            )
            session.stop.clear()
            with session.place("result") as folder:
                *_, done = make(self.models.get(), order, folder, should_stop=session.stop.is_set)
            assert isinstance(done, Finished)
            return str(done.transfer)

    def _serve_comparison(
        self,
        source: str | None,
        target: str | None,
        checkpoints: str | None,
        strength: float | None,
        reverse: bool | None,
        repeat: float | None,
        request: gr.Request,
    ) -> tuple[str, Any]:
        """A comparison for programs: the video's file and the report."""
        with Refusal():
            session = self.session(request)
            order = Order(
                source=source,
                target=target,
                strength=_number(strength, 1.0),
                reverse=bool(reverse),
                repeat=int(_number(repeat, 1)),
            )
            session.stop.clear()
            names = (checkpoints or "").split(",")
            with session.place("compare") as folder:
                *_, done = make_comparison(self.models.get, names, order, folder, should_stop=session.stop.is_set)
            assert isinstance(done, Compared)
            return str(done.video), json.loads(done.report.read_text(encoding="utf-8"))

    def _serve_familiarity(self, source: str | None, checkpoint: str | None, request: gr.Request) -> Any:
        """How familiar a source is to a checkpoint, for programs."""
        with Refusal():
            session = self.session(request)
            pipeline = self.pipeline((checkpoint or "").strip() or None, None)
            with session.place("source") as folder:
                latents = look_at_source(pipeline, source, 0.0, folder).latents
            assert latents is not None
            judged = pipeline.judge_familiarity(latents)
            return None if judged is None else judged.as_dict()


_FILES = {"transfer": "↓ Transfer", "side_by_side": "↓ Side by side", "latents": "↓ Latents"}
_COMPARE_FILES = {"video": "↓ Comparison", "report": "↓ Measures"}
_PREPARED = "This one was made beforehand; press Transfer to make it again."


def _range(first: float | None, last: float | None) -> tuple[int, int]:
    """Chosen steps, counted from 1 and with the last one, as a half-open range from 0; either way round."""
    low, high = sorted((int(first or 1), int(last or 1)))
    return low - 1, high


def _number(value: Any, default: float) -> float:
    """A number of a control, or the default where the control was left empty."""
    return default if value is None else float(value)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
