"""The tab Transfer: a clip, a picture, and what comes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.jobs.turns import Pause, Units
from lamdemo.ui import style, views
from lamdemo.ui.inputs import MOST_SHOWN, USUAL_STEPS, SourceView, look_at_source, look_at_target
from lamdemo.ui.memory import Kept, Memory
from lamdemo.ui.notices import Notice
from lamdemo.ui.prepared import Prepared
from lamdemo.ui.waiting import QUIET, Line
from lamdemo.ui.work import Finished, Live, Order, Writing, make

if TYPE_CHECKING:
    from lamdemo.ui.page import Page
    from lamdemo.ui.sessions import Session

FILES = {
    "transfer": "↓ Video",
    "gif": "↓ GIF",
    "card": "↓ Card",
    "side_by_side": "↓ All three",
    "latents": "↓ Latents",
}
_PREPARED = "This one was made beforehand; press Transfer to make it again."


class TransferTab:
    """Controls of the tab, and the handlers behind them.

    Previews are HTML and not Gradio's players: they play in step, keep their place when a file is replaced, and show
    what no browser plays. The uploads and the webcam are Gradio's own.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.source_line = Line(page.sessions, "source", brief=True)
        self.result_line = Line(page.sessions, "result")
        self.memory = Memory(self)

    # What is on it.

    def lay_out(self) -> None:
        """Put the tab's controls where the page is being built."""
        shown = self.page.prepared[0] if self.page.prepared else None
        with gr.Row(equal_height=False, elem_id="lam-trio"):
            with gr.Column(min_width=150, elem_classes="lam-card", elem_id="lam-source"):
                self._lay_out_source(shown)
            with gr.Column(min_width=150, elem_classes="lam-card", elem_id="lam-target"):
                self._lay_out_target(shown)
            with gr.Column(min_width=150, elem_classes="lam-card", elem_id="lam-result"):
                self._lay_out_result(shown)
        with gr.Row(elem_classes="lam-card", elem_id="lam-amount"):
            self.strength = gr.Slider(
                -1.5,
                1.5,
                1,
                step=0.1,
                label="Strength",
                info="1 as in the clip, 0 nothing, −1 the opposite",
                min_width=200,
                buttons=[],
                elem_id="lam-strength",
            )
            self.repeat = gr.Slider(
                1,
                4,
                1,
                step=1,
                label="Repeat",
                info="how often it happens in a row",
                min_width=200,
                buttons=[],
                elem_id="lam-repeat",
            )
        self.pairs = gr.HTML(
            views.examples(self.page.examples_shown()),
            js_on_load=style.EXAMPLE_CLICK,
            visible=bool(self.page.examples),
            elem_id="lam-pairs",
        )
        with gr.Column(elem_classes="lam-card", visible=shown is not None, elem_id="lam-figures") as self.figures:
            self.measures_view = gr.HTML(
                views.measures(shown.done) if shown else "", js_on_load=None, elem_id="lam-measures"
            )

    def _lay_out_source(self, shown: Prepared | None) -> None:
        gr.HTML("<h2>The clip</h2><p>What happens in it …</p>")
        first, last = (shown.done.first, shown.done.first + shown.done.span) if shown else (0, USUAL_STEPS)
        self.source_line.lay_out()
        self.source_view = gr.HTML(
            views.source(shown.source, first, last, shown.done) if shown else views.source_empty(),
            js_on_load=style.RANGE,
            elem_id="lam-source-view",
        )
        with gr.Row(elem_classes="lam-own"):
            self.own_clip = gr.UploadButton(
                "Use your own clip", file_types=views.CLIP_FILES, size="md", min_width=120, elem_id="lam-own-clip"
            )
            self.film = gr.Button("Webcam", size="md", min_width=60, scale=0, elem_id="lam-film")
        self.webcam = gr.Video(
            sources=["webcam"],
            include_audio=True,
            webcam_options=gr.WebcamOptions(mirror=False),
            label="Record a clip",
            visible=False,
            elem_id="lam-webcam",
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
            info=f"The clip is longer than the {MOST_SHOWN} steps on show.",
        )
        # What other parts of the page read and set; the handles on the bars and the button above are what one sees.
        with gr.Row(elem_classes="lam-hidden"):
            self.source = gr.File(shown.source.path if shown else None, elem_id="lam-source-file")
            self.first = gr.Number(first + 1, elem_id="lam-first")
            self.last = gr.Number(last, elem_id="lam-last")

    def _lay_out_target(self, shown: Prepared | None) -> None:
        gr.HTML("<h2>Your picture</h2><p>… is done to this.</p>")
        self.target_view = gr.HTML(
            views.target(shown.target) if shown else views.target_empty(), js_on_load=None, elem_id="lam-target-view"
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
        with gr.Row(elem_classes="lam-own"):
            self.own_picture = gr.UploadButton(
                "Use your own picture",
                file_types=views.TARGET_FILES,
                size="md",
                min_width=120,
                elem_id="lam-own-picture",
            )
            self.snap = gr.Button("Webcam", size="md", min_width=60, scale=0, elem_id="lam-snap")
        self.camera = gr.Image(
            sources=["webcam"],
            type="filepath",
            webcam_options=gr.WebcamOptions(mirror=False),
            label="Take a picture",
            visible=False,
            elem_id="lam-camera",
        )
        with gr.Row(elem_classes="lam-hidden"):
            self.target = gr.File(shown.target.path if shown else None, elem_id="lam-target-file")

    def _lay_out_result(self, shown: Prepared | None) -> None:
        with gr.Row(elem_id="lam-do"):
            gr.HTML("<h2>Result</h2>", min_width=60)
            self.go = gr.Button("Transfer", variant="primary", size="md", min_width=90, elem_id="lam-go")
            self.stop = gr.Button("Stop", size="md", min_width=60, scale=0, interactive=False, elem_id="lam-stop")
        self.result_line.lay_out()
        self.result_view = gr.HTML(
            self.prepared_result(shown) if shown else views.result_empty(), js_on_load=None, elem_id="lam-result-view"
        )
        with gr.Row(elem_id="lam-keep"):
            self.files = [
                gr.DownloadButton(
                    label,
                    self._file(shown.done, name) if shown else None,
                    size="sm",
                    min_width=64,
                    interactive=shown is not None,
                    elem_id=f"lam-get-{name.replace('_', '-')}",
                )
                for name, label in FILES.items()
            ]
            self.share = gr.Button("Link", size="sm", min_width=64, elem_id="lam-link")
        self.memory.lay_out_link()

    @staticmethod
    def _file(done: Finished, name: str) -> str:
        return str(getattr(done, name))

    def prepared_result(self, shown: Prepared) -> str:
        """The result of a prepared example, as the page shows it."""
        first = shown.done.first
        order = Order(shown.source.path, shown.target.path, first=first, last=first + shown.done.span)
        return views.result(shown.done, _made_of(order), _PREPARED)

    # What its controls do.

    @property
    def settings(self) -> list[Any]:
        """What a transfer is made with, beside its source and target."""
        page = self.page
        return [
            *(self.begin, self.first, self.last, self.moment, self.strength, self.repeat),
            *(page.limit, page.temperature, page.refine, page.seed, page.name, page.hub),
        ]

    @property
    def looked(self) -> list[Any]:
        """What changes when a source is looked at."""
        return [self.source_view, self.begin, self.first, self.last]

    def connect(self) -> None:
        """Tie the controls to what they do."""
        self._connect_source()
        self._connect_target()
        results = [
            *(self.source, self.target, *self.looked, self.target_view, self.moment, self.result_view),
            *(self.measures_view, self.figures, self.go, self.stop, self.strength, self.repeat, *self.files),
        ]
        given = {self.source, self.target, *self.settings}
        transfers = self.result_line.does(self._transfer, given, results, self._course)
        self.go.click(**transfers)
        self.memory.connect(transfers)
        self.pairs.click(self._example, None, [*results, self.result_line.view], **QUIET)
        self.result_line.ends_by(self.stop)

    def _connect_source(self) -> None:
        page = self.page
        seen = [self.source, self.begin, page.name, page.hub]
        look = self.source_line.does(self._look_anew, seen, self.looked)
        self.own_clip.upload(lambda path: path, self.own_clip, self.source, **QUIET).then(**look)
        self.film.click(lambda: gr.Video(visible=True), None, self.webcam, **QUIET)
        self.webcam.stop_recording(self._take, self.webcam, [self.source, self.webcam], **QUIET).then(**look)
        again = [self.begin.release, page.hub.submit, page.name.select]
        gr.on(again, **self.source_line.does(self._look_again, seen, self.looked))
        chosen_range = [self.source_view, self.first, self.last]
        self.source_view.release(self._choose, None, chosen_range, trigger_mode="always_last", **QUIET)

    def _connect_target(self) -> None:
        shown = [self.target_view, self.moment]
        self.own_picture.upload(lambda path: path, self.own_picture, self.target, **QUIET).then(
            self._look_at_target, self.target, shown, **QUIET
        )
        self.snap.click(lambda: gr.Image(visible=True), None, self.camera, **QUIET)
        self.camera.input(self._take, self.camera, [self.target, self.camera], **QUIET).then(
            self._look_at_target, self.target, shown, **QUIET
        )
        # Not on release, which the keyboard does not give.
        self.moment.input(
            self._choose_moment, [self.target, self.moment], self.target_view, trigger_mode="always_last", **QUIET
        )

    def _course(self, data: dict[Any, Any], *_: Any) -> list[Units]:
        first, last = chosen(data[self.first], data[self.last])
        asked = (last - first) * int(number(data[self.repeat], 1))
        return units(min(asked, int(number(data[self.page.limit], Order.limit))))

    @staticmethod
    def _take(path: str | None) -> Any:
        """What was recorded becomes the input, and the camera is put away."""
        return (path, gr.update(value=None, visible=False)) if path else (gr.skip(), gr.skip())

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
        if not path:
            return [gr.skip()] * 4
        with Notice() as notice:
            session = self.page.session(request)
            pipeline = self.page.pipeline(name, hub, session)
            with session.place("source") as folder:
                view = look_at_source(pipeline, path, number(begin, 0.0) if again else 0.0, folder)
            session.source = view
            if view.seconds > view.window + 1 and not again:
                gr.Info(
                    f"This clip lasts {_duration(view.seconds)}; its first {view.window:g} seconds are "
                    "shown, and “Begin at second” chooses others.",
                    title="A long clip",
                )
            return self.looked_at(view)
        if notice.said and not again:
            # The file was not taken: what was shown before no longer belongs to it.
            session.source = None
            return [views.source_empty(), gr.Slider(value=0, visible=False), gr.skip(), gr.skip()]
        return [gr.skip()] * 4

    def looked_at(self, view: SourceView, first: int | None = None, last: int | None = None) -> list[Any]:
        """How a new source is shown: its view, and its range.

        Args:
            view: the source.
            first: first chosen step, from 0; the liveliest without it.
            last: step after the last chosen one.
        """
        if first is None or last is None:
            first, last = view.liveliest
        return [
            views.source(view, first, last),
            gr.Slider(
                maximum=max(int(4 * (view.seconds - 2)) / 4, 1),
                value=round(4 * view.begin) / 4,
                visible=view.seconds > view.window + 1,
            ),
            first + 1,
            last,
        ]

    def _choose(self, event: gr.EventData, request: gr.Request) -> Any:
        """A range that was dragged on the bars."""
        view = self.page.session(request).source
        data = event._data if isinstance(event._data, dict) else {}
        try:
            first, last = int(data["first"]), int(data["last"])
        except (KeyError, TypeError, ValueError):
            return [gr.skip()] * 3
        if view is None or not 0 <= first < last <= len(view.sizes):
            return [gr.skip()] * 3
        return [views.source(view, first, last), first + 1, last]

    def _look_at_target(self, path: str | None, request: gr.Request) -> Any:
        with Notice():
            with self.page.session(request).place("target") as folder:
                view = look_at_target(path, 0.0, folder)
            return views.target(view), gr.Slider(
                maximum=max(round(view.seconds, 2), 0.05), value=0, visible=view.seconds > 0
            )
        return views.target_empty(), gr.Slider(visible=False)

    def _choose_moment(self, path: str | None, moment: float, request: gr.Request) -> Any:
        with Notice():
            with self.page.session(request).place("target") as folder:
                return views.target(look_at_target(path, moment, folder))
        return gr.skip()

    def _example(self, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """A prepared example, at once: nothing is computed."""
        number = event._data.get("example") if isinstance(event._data, dict) else None
        if not isinstance(number, int) or not 0 <= number < len(self.page.examples):
            return {self.result_view: gr.skip()}
        shown = self.page.prepared_of(number)
        if shown is None:
            return {self.result_view: gr.skip()}
        session = self.page.session(request)
        self.result_line.drop(request)
        session.source, session.result = shown.source, self.prepared_result(shown)
        first, last = shown.done.first, shown.done.first + shown.done.span
        _, begin, *range_of = self.looked_at(shown.source, first, last)
        return {
            self.source: shown.source.path,
            self.target: shown.target.path,
            self.source_view: views.source(shown.source, first, last, shown.done),
            self.begin: begin,
            **dict(zip((self.first, self.last), range_of, strict=True)),
            self.target_view: views.target(shown.target),
            self.moment: gr.Slider(value=0, visible=False),
            self.strength: 1,
            self.repeat: 1,
            **self._shown(shown.done, session.result),
            **self._settled(),
            self.result_line.view: "",
        }

    def _transfer(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any] | Pause]:
        """A transfer, from the button to the playing result."""
        session = self.page.session(request)
        before, stop = session.result, session.stop(self.result_line.name).is_set
        with Notice():
            # What is there stays until there is something else to see.
            yield {
                self.go: gr.Button(interactive=False),
                self.stop: gr.Button("Stop", interactive=True),
                self.result_view: gr.skip() if before else views.waiting("Reading the clip and what happens in it…"),
            }
            pipeline = self.page.pipeline(data[self.page.name], data[self.page.hub], session)
            view = self._source_of(session, pipeline, data)
            first, last = chosen(data[self.first], data[self.last])
            last = min(last, len(view.sizes))
            order = self.order(data, view.begin, min(first, last - 1), last)
            with session.place("result") as folder:
                for news in make(pipeline, order, folder, latents=view.latents, should_stop=stop):
                    if isinstance(news, Live):
                        frame = news
                        yield {self.result_view: views.live(news)}
                    elif isinstance(news, Writing):
                        yield {self.result_view: views.live(frame, news)}
                    elif isinstance(news, Finished):
                        done = news
                    else:
                        yield news
            session.result = views.result(done, _made_of(order))
            yield {
                self.source_view: views.source(view, order.first, last, done),
                **self._shown(done, session.result),
                **self._settled(),
            }
            return
        yield {self.result_view: before or views.result_empty(), **self._settled()}

    def _settled(self) -> dict[Any, Any]:
        """The buttons when nothing is being made."""
        return {self.go: gr.Button(interactive=True), self.stop: gr.Button("Stop", interactive=False)}

    def _source_of(self, session: Session, pipeline: Any, data: dict[Any, Any]) -> SourceView:
        """The source on show, looked at again where it is another file or was read by another checkpoint."""
        view, path = session.source, data[self.source]
        stale = view is None or view.path != path or view.checkpoint != pipeline.checkpoint
        if view is None or stale or view.latents is None:
            with session.place("source") as folder:
                view = session.source = look_at_source(pipeline, path, number(data[self.begin], 0.0), folder)
        return view

    def _shown(self, done: Finished, result: str) -> dict[Any, Any]:
        """A result where the page shows it, with its figures and files."""
        return {
            self.result_view: result,
            self.measures_view: views.measures(done),
            self.figures: gr.Column(visible=True),
            **{
                button: gr.DownloadButton(value=self._file(done, name), interactive=True)
                for button, name in zip(self.files, FILES, strict=True)
            },
        }

    def order(self, data: dict[Any, Any], begin: float, first: int, last: int | None) -> Order:
        """What the controls ask for.

        Args:
            data: values by control.
            begin: second of the source at which its steps begin.
            first: first chosen step, from 0.
            last: step after the last chosen one.
        """
        page = self.page
        return Order(
            source=data[self.source],
            target=data[self.target],
            begin=begin,
            first=first,
            last=last,
            moment=number(data[self.moment], 0.0),
            strength=number(data[self.strength], 1.0),
            repeat=int(number(data[self.repeat], 1)),
            limit=int(number(data[page.limit], Order.limit)),
            temperature=number(data[page.temperature], 0.0),
            seed=int(number(data[page.seed], 0)),
            refine=bool(data[page.refine]),
        )


def _made_of(order: Order) -> str:
    kept = Kept(order.source or "", order.target or "", order.first + 1, order.last or 0, moment=order.moment)
    return replace(kept, strength=order.strength, repeat=order.repeat).key()


def chosen(first: float | None, last: float | None) -> tuple[int, int]:
    """Chosen steps, counted from 1 and with the last one, as a half-open range from 0; either way round."""
    low, high = sorted((int(first or 1), int(last or 1)))
    return low - 1, high


def units(steps: int) -> list[Units]:
    """What a transfer of so many steps comes to; the target is read with the first."""
    return [Units("transfer", steps + 1, 0.3), Units("transfer's file", 6, 0.8)]


def number(value: Any, default: float) -> float:
    """A number of a control, or the default where the control was left empty."""
    return default if value is None else float(value)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
