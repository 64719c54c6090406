"""The map, the stage where its actions happen to the target, and the same action elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Units
from lamdemo.ui import links, views
from lamdemo.ui import map as space_map
from lamdemo.ui.inputs import look_at_source, look_at_target
from lamdemo.ui.notices import Notice
from lamdemo.ui.sessions import Session
from lamdemo.ui.space import style
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import (
    STEPS,
    WORDS,
    Part,
    data_of,
    names_of,
    number,
    of_kind,
    whole,
)
from lamdemo.ui.space.work import Place, Played, SpaceSession, elsewhere, play, play_target
from lamdemo.ui.waiting import QUIET, Line
from lamdemo.ui.work import MOST_STEPS, Live, Writing
from lamdemo.video import write_image

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.latent_space.composition import Composition, Term
    from lamdemo.ui.space.tab import SpaceTab

_MOST_NEAR = 8  # steps of other recordings on show
# What a link does, and what it does where the picture is the visitor's own.
_SHARED = (
    "Opens this page with this picture and plays this on it.",
    "Opens this page and plays this. Your own picture is not part of the link: who opens it sees another one.",
)


class Stage(Part):
    """The map and the stage."""

    def __init__(self, tab: SpaceTab) -> None:
        super().__init__(tab)
        self.pictures = space_views.photos_in(tab.page.photos)
        self.line = Line(tab.page.sessions, "stage")

    def lay_out_map(self) -> None:
        """Make the map, and what chooses whose map it is."""
        self.tab.line.lay_out()
        self.map = gr.HTML(
            space_views.map_empty(), js_on_load=space_map.MAP_JS, apply_default_css=False, elem_id="lam-space-plot"
        )
        self.overlay = gr.HTML(space_map.overlay_html(), js_on_load=None, elem_id=space_map.OVERLAY_ID)
        with gr.Row():
            self.tab.lay_out_checkpoint()
            self.tab.others.lay_out()
            self.clip = gr.UploadButton(
                "Show my clip on the map",
                file_types=views.CLIP_FILES,
                size="sm",
                scale=1,
                min_width=170,
                elem_id="lam-space-clip",
            )

    def lay_out_near(self) -> None:
        """Make the place of the same action elsewhere."""
        gr.HTML("<h2>The same motion elsewhere</h2><p>The nearest steps of other recordings; each can be clicked.</p>")
        self.near = gr.HTML(space_views.elsewhere_empty(), js_on_load=style.CLICKS, elem_id="lam-space-near-view")

    def lay_out(self) -> None:
        """Make the stage."""
        self.view = gr.HTML(space_views.stage_empty(), js_on_load=None, elem_id="lam-space-view")
        self.line.lay_out()  # below: what it says moves nothing that is looked at
        self.old = gr.HTML("", js_on_load=None, elem_id="lam-space-old")
        with gr.Column(elem_id="lam-space-knobs"):
            with gr.Row():
                self.strength = gr.Slider(
                    -3, 3, 1, step=0.1, label="Strength", min_width=120, buttons=[], elem_id="lam-space-strength"
                )
                self.steps = gr.Slider(
                    1, 16, STEPS, step=1, label="Steps", min_width=120, buttons=[], elem_id="lam-space-steps"
                )
            with gr.Row():
                self.again = gr.Button("Play", variant="primary", min_width=90, elem_id="lam-space-again")
                self.reverse = gr.Button("Reverse", min_width=90, elem_id="lam-space-reverse")
                self.stop = gr.Button("Stop", min_width=70, elem_id="lam-space-stop")
            with gr.Row():
                self.video = gr.DownloadButton(
                    "↓ Video", size="sm", min_width=90, interactive=False, elem_id="lam-space-video"
                )
                self.share = gr.Button("Share as a link", size="sm", min_width=120, elem_id="lam-space-link")
            self.link = links.place("lam-space-link-text")
        shown = self.tab.page.opening
        with gr.Column(elem_id="lam-space-pictures"):
            self.photos = gr.HTML(
                space_views.photos(self.pictures, self.photo_of(shown.target.path if shown else None)),
                js_on_load=style.CLICKS,
                elem_id="lam-space-photos",
            )
            self.target = gr.UploadButton(
                "Use your own picture or clip", file_types=views.TARGET_FILES, size="sm", elem_id="lam-space-target"
            )

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        tab, page = self.tab, self.tab.page
        # What is clicked while something else happens on the stage takes its place.
        acts: dict[str, Any] = {"trigger_mode": "multiple"}
        self.map.click(**self.line.does(self._on_shown, self.aim, self.shows, self.course), **acts)
        self.near.click(**self.line.does(self._on_shown, self.aim, self.shows, self.course), **acts)
        self.again.click(**self.line.does(self._play_again, self.aim, self.shows, self.course), **acts)
        back = [*self.shows, self.strength]
        self.reverse.click(**self.line.does(self._play_reverse, self.aim, back, self.course), **acts)
        # Not in the queue, where it would wait for what it is to stop.
        self.stop.click(self._stop, None, None, queue=False, **QUIET)
        looked = [self.overlay, page.source, page.source_view, page.begin, page.first, page.last]
        self.clip.upload(**tab.line.does(self._take_clip, [self.clip, tab.name, tab.hub], looked))
        page.source_view.change(**tab.line.does(self._show_path, [tab.name, tab.hub], self.overlay))
        self.photos.click(self._take_photo, None, self.taken, **QUIET)
        self.target.upload(self.take_target, self.target, self.taken, **QUIET)
        gr.on(
            [page.target.change, page.moment.input],
            self._show_target,
            [page.target, page.moment],
            [
                *(self.view, self.photos, tab.playing.board, self.old, tab.sight.view, tab.sampling.old),
                *(self.video, self.link),
            ],
            trigger_mode="always_last",
            **QUIET,
        )
        gr.on(
            [self.strength.input, self.steps.input],
            self._turn,
            [self.strength, self.steps],
            self.old,
            trigger_mode="always_last",
            **QUIET,
        )
        self.share.click(self._share, page.target, self.link, **QUIET).then(
            None,
            self.link,
            self.link,
            js=links.WHOLE,
            **QUIET,
        )

    @property
    def aim(self) -> set[Any]:
        """What every action on the target depends on."""
        tab, page = self.tab, self.tab.page
        return {page.target, page.moment, tab.name, tab.hub, self.strength, self.steps}

    @property
    def taken(self) -> list[Any]:
        """What another target changes."""
        page = self.tab.page
        return [page.target, page.target_view, page.moment, self.photos]

    @property
    def shows(self) -> list[Any]:
        """What an action changes."""
        return [self.view, self.near, self.overlay, self.tab.playing.pad, self.video, self.old, self.link]

    def map_html(self, place: Place, pipeline: TransferPipeline) -> str:
        """The map of a checkpoint, or a word on how to make one."""
        if place.atlas is None or place.data is None:
            return space_views.map_empty(
                place.problem
                or f"The checkpoint {pipeline.name} brings no map of its latent space; make one with lamdemo atlas. "
                "The timeline works without."
            )
        whose = (
            "Map of latent actions" if place.atlas.plays else f"Map of the latent actions that {place.atlas.name} reads"
        )
        plotly = views.url(self.tab.places.plotly())
        return space_map.map_html(views.url(place.data), plotly, whose, plays=place.atlas.plays)

    def photo_of(self, path: str | None) -> int | None:
        """Which of the pictures a target is, if it is one."""
        return next((i for i, (_, p) in enumerate(self.pictures) if path and str(p) == path), None)

    def still(self, session: Session, path: str | None, moment: float) -> str:
        """The stage with the target on it."""
        if not path:
            return space_views.stage_empty()
        try:
            with session.place("still") as folder:
                picture = play_target(path, moment, 4.0)[-1]
                return space_views.stage_empty(views.url(write_image(folder / "target.jpg", picture)))
        except LamdemoError:
            return space_views.stage_empty()  # the target's own column has said what is wrong

    def _show_target(self, path: str | None, moment: float | None, request: gr.Request) -> list[Any]:
        session = self.tab.session(request)
        space, here = self.tab.space(request), (str(path), float(moment or 0))
        # Who is quick has begun with this target before the page was told of it; that must not be wiped away.
        stays, plays = space.staged == here, space.playing == here
        if not stays:
            space.staged = None
            space.show(None)
        if not plays:
            space.playing, space.rollout, space.pressed = None, None, []
        return [
            gr.skip() if stays else self.still(session, path, here[1]),
            space_views.photos(self.pictures, self.photo_of(path)),
            gr.skip() if plays else space_views.playing_empty(),
            space_views.old(space),
            "",
            space_views.old_samples(space, here),
            gr.skip() if stays else gr.DownloadButton(value=None, interactive=False),
            gr.skip() if stays else gr.Textbox("", visible=False),
        ]

    def _turn(self, strength: float | None, steps: float | None, request: gr.Request) -> str:
        """Strength or steps were changed: what is on the stage may be of others."""
        space = self.tab.space(request)
        space.knobs = float(number(strength, 1.0)), int(number(steps, STEPS))
        return space_views.old(space)

    def _share(self, path: str | None, request: gr.Request) -> Any:
        """A link to what is on the stage."""
        with Notice():
            made = self.tab.space(request).performed
            if made is None:
                raise LamdemoError("There is no result to share yet; click a motion first.")
            picture = links.picture_of(path, self.tab.page.photos)
            return gr.Textbox(links.query(made, picture), info=_SHARED[picture == links.OWN], visible=True)
        return gr.skip()

    def _take_photo(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        number = whole(data_of(event).get("photo"))
        if number is None or not 0 <= number < len(self.pictures):
            return [gr.skip()] * 4
        return self.take_target(str(self.pictures[number][1]), request)

    def take_target(self, path: str | None, request: gr.Request) -> list[Any]:
        """Take another target, here and in the other tab: what `taken` lists."""
        with Notice():
            with self.tab.session(request).place("target") as folder:
                view = look_at_target(path, 0.0, folder)
            return [
                path,
                views.target(view),
                gr.Slider(maximum=max(round(view.seconds, 2), 0.05), value=0, visible=view.seconds > 0),
                space_views.photos(self.pictures, self.photo_of(path)),
            ]
        return [gr.skip()] * 4

    def drawn_over(self, session: Session, space: SpaceSession, place: Place, chosen: list[int] | None = None) -> str:
        """What lies on the map: the source's path, samples, what is chosen."""
        if space.looking is not None:
            return self.tab.others.drawn_over(space, space.looking)
        atlas = place.atlas
        if atlas is None:
            return space_map.overlay_html()

        def placed(z: np.ndarray) -> dict[str, np.ndarray]:
            return {key: atlas.place(z, key) for key in atlas.coordinates}

        path = None
        source = session.source
        if source is not None and source.latents is not None and source.checkpoint == space.checkpoint:
            path = space_map.MapPath(
                placed(source.latents.z),
                seconds=source.begin + np.arange(len(source.latents)) / source.fps,
                sizes=source.latents.size,
            )
        samples = [
            space_map.MapSamples(WORDS[group], placed(z), np.linalg.norm(z, axis=1))
            for group, z in space.samples.items()
        ]
        star = None
        if space.chosen is not None:
            middle = placed(space.chosen.z.mean(0, keepdims=True))
            star = space_map.MapChosen(
                chosen or [], {key: place[0] for key, place in middle.items()}, space.chosen.label
            )
        return space_map.overlay_html(path, samples, star, self._clusters(space, place))

    def _clusters(self, space: SpaceSession, place: Place) -> dict[int, str]:
        """Names of the atlas' clusters by their number."""
        names = names_of(place, space)
        return {int(d.key.removeprefix("cluster")): names[d.key] for d in of_kind(place, "cluster") if names.get(d.key)}

    def _on_shown(self, data: dict[Any, Any], event: gr.EventData, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Something was clicked of the map that is shown, which may be another model's."""
        space = self.tab.space(request)
        if space.looking is None:
            yield from self.on_map(data, event, request)
            return
        yield {self.view: gr.skip()}
        with Notice():
            yield self.tab.others.look(data_of(event), space, space.looking)

    def on_map(self, data: dict[Any, Any], event: gr.EventData, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Something of the map was clicked, or a small clip of one of its steps."""
        yield {self.view: gr.skip()}  # a generator that yields nothing would clear what it may change
        said = data_of(event)
        with Notice():
            session, space, pipeline, place = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            found = self._pointed(said, session, space, place)
            if found is not None:
                term, indices = found
                yield from self.carry_out(data, term, session, space, pipeline, place, indices)

    def _pointed(
        self, said: dict[str, Any], session: Session, space: SpaceSession, place: Place
    ) -> tuple[Term, list[int]] | None:
        """What a click on the map meant: an action, and the steps of the atlas it is of."""
        from lamdemo.latent_space.composition import Term

        kind, index, atlas = said.get("kind"), whole(said.get("index")), place.atlas
        if kind == "path":
            step, source = whole(said.get("step")), session.source
            if source is None or source.latents is None or step is None or not 0 <= step < len(source.latents):
                return None
            when = source.begin + step / source.fps
            return Term(source.latents.z[step : step + 1], f"your clip at {when:.2f} s"), []
        if kind == "sample":
            groups, group = list(space.samples), whole(said.get("group"))
            if group is None or index is None or not 0 <= group < len(groups):
                return None
            z = space.samples[groups[group]]
            if not 0 <= index < len(z):
                return None
            return Term(z[index : index + 1], f"{WORDS[groups[group]]}, sample {index + 1}"), []
        if atlas is None:
            return None
        if kind == "lasso":
            raw = said.get("indices")
            indices = [i for i in raw if isinstance(i, int)] if isinstance(raw, list) else []
            z = atlas.mean(indices)
            return Term(z[None], f"mean of {len(indices)} step{'s' if len(indices) != 1 else ''}"), indices
        if kind in ("point", None) and index is not None:
            if not 0 <= index < len(atlas):
                raise LamdemoError("There is no such step on this map; click one of its points.")
            return Term(atlas.latents[index][None], space_views.step_name(place, index)), [index]
        return None

    def _play_again(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield {self.view: gr.skip()}  # a generator that yields nothing would clear what it may change
        with Notice():
            session, space, pipeline, place = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            if space.chosen is None:
                raise LamdemoError("There is no action yet; click a point of the map, a direction or a sample first.")
            yield from self.carry_out(data, space.chosen, session, space, pipeline, place)

    def _play_reverse(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        space = self.tab.space(request)
        if space.chosen is not None:
            strength = 0.0 - float(number(data[self.strength], 1.0))
            yield {self.strength: strength}
            data = data | {self.strength: strength}
        yield from self._play_again(data, request)

    def _stop(self, request: gr.Request) -> None:
        self.line.stop(request)

    def course(self, data: dict[Any, Any], *_: Any) -> list[Units]:
        """What an action that is held for the chosen number of steps comes to."""
        return self.units(int(number(data[self.steps], STEPS)))

    @staticmethod
    def units(steps: int) -> list[Units]:
        """What so many steps on the stage come to."""
        return [Units("stage", min(steps, MOST_STEPS) + 1, 0.2), Units("stage's file", 3, 0.5)]

    def carry_out(
        self,
        data: dict[Any, Any],
        term: Term,
        session: Session,
        space: SpaceSession,
        pipeline: TransferPipeline,
        place: Place,
        indices: list[int] | None = None,
    ) -> Iterator[dict[Any, Any]]:
        """Put an action on the stage and carry it out on the target."""
        from lamdemo.latent_space.composition import Block, Composition

        strength, steps = float(number(data[self.strength], 1.0)), int(number(data[self.steps], STEPS))
        space.choose(term)
        block = Block((term,), strength=strength, repeat=steps if len(term.z) == 1 else 1)
        made = Composition((block,), pipeline.fps, pipeline.checkpoint)
        label = term.label if strength == 1 else f"{strength:g} × {term.label}"
        more = {self.tab.playing.pad: self.tab.playing.buttons(space, place)}
        space.knobs = strength, steps
        yield from self.perform(data, made, label, session, pipeline, more, space.knobs)
        atlas = place.atlas
        if atlas is None or space.looking is not None:  # the map and what is near are another's
            return
        # Which recording the action comes from is not "elsewhere".
        own = int(atlas.recording[indices[0]]) if indices and len(indices) == 1 else None
        near, distances = elsewhere(atlas, term.z.mean(0), own, _MOST_NEAR)
        yield {
            self.near: space_views.elsewhere(place, near, distances),
            self.overlay: self.drawn_over(session, space, place, indices),
        }

    def perform(
        self,
        data: dict[Any, Any],
        made: Composition,
        label: str,
        session: Session,
        pipeline: TransferPipeline,
        more: dict[Any, Any],
        setting: tuple[float, int] | None = None,
    ) -> Iterator[dict[Any, Any]]:
        """Carry out actions on the target, on the stage.

        Args:
            data: of the controls.
            made: the actions.
            label: what to call them.
            session: of the page.
            pipeline: the model.
            more: what else changes when they were carried out.
            setting: strength and steps that the stage's controls gave them; None where these have no part in it.
        """
        stop = session.stop(self.line.name).is_set
        path, moment = data[self.tab.page.target], float(number(data[self.tab.page.moment], 0.0))
        target = play_target(path, moment, pipeline.fps)
        space = session.space
        assert space is not None
        space.staged = (str(path), moment)
        with session.place("space") as folder:
            for news in play(pipeline, made.latents(), target, label, folder, should_stop=stop):
                if isinstance(news, Live):
                    last = news
                    yield {self.view: space_views.live(news, label)}
                elif isinstance(news, Writing):
                    yield {self.view: space_views.live(last, label, news)}
                else:
                    done = news
        assert isinstance(done, Played)
        space.show(made, setting)
        yield {
            self.view: space_views.played(done),
            self.video: gr.DownloadButton(value=str(done.video), interactive=True),
            self.old: space_views.old(space),
            self.link: gr.Textbox("", visible=False),  # of what was there before
            **more,
        }

    def read_source(self, session: Session, pipeline: TransferPipeline) -> None:
        """See that the source's actions are known to this checkpoint, for its path on the map.

        The page opens with a source whose actions were inferred beforehand and not kept.
        """
        source = session.source
        if source is not None and (source.latents is None or source.checkpoint != pipeline.checkpoint):
            with session.place("source") as folder:
                session.source = look_at_source(pipeline, source.path, source.begin, folder)

    def _take_clip(self, path: str | None, name: str, hub: str, request: gr.Request) -> list[Any]:
        """The visitor's own clip: the source of the other tab, too."""
        with Notice():
            session, space, pipeline, place = self.tab.at(name, hub, request)
            with session.place("source") as folder:
                session.source = look_at_source(pipeline, path, 0.0, folder)
            looked = self.tab.page.looked(session.source)
            return [self.drawn_over(session, space, place), path, *looked]
        return [gr.skip()] * 6

    def _show_path(self, name: str, hub: str, request: gr.Request) -> Any:
        with Notice():
            session, space, pipeline, place = self.tab.at(name, hub, request)
            self.read_source(session, pipeline)
            return self.drawn_over(session, space, place)
        return gr.skip()
