"""The tab of the latent space: its parts put together, checkpoints, what outlives a reload."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.ui import links
from lamdemo.ui.models import choices, plainly
from lamdemo.ui.notices import Notice, Refusal, say
from lamdemo.ui.sessions import Session
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import KEEP_LIMIT, names_of, of_kind
from lamdemo.ui.space.directions import DirectionsPanel
from lamdemo.ui.space.others import OtherMaps
from lamdemo.ui.space.playing import Playing
from lamdemo.ui.space.sampling import Sampling
from lamdemo.ui.space.sight import Sight
from lamdemo.ui.space.stage import Stage
from lamdemo.ui.space.timeline import Timeline
from lamdemo.ui.space.work import Place, Places, Played, SpaceSession, play, play_target
from lamdemo.ui.waiting import KEPT, PROGRAM, QUIET, Line, serve

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.page import Page


_STORAGE = "lamdemo-space"  # where the browser keeps what outlives a reload
_KEPT = ("strength", "steps", "share", "gain", "count", "seed", "how", "which")  # names of settings there


class SpaceTab:
    """Controls of the tab, and the handlers behind them.

    Args:
        page: which it is part of: its models, sessions, source and target are the tab's too.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.places = Places(page.sessions.root)
        self.line = Line(page.sessions, "space", brief=True)
        self.stage = Stage(self)
        self.timeline = Timeline(self)
        self.playing = Playing(self)
        self.directions = DirectionsPanel(self)
        self.sampling = Sampling(self)
        self.sight = Sight(self)
        self.others = OtherMaps(self)

    def lay_out(self) -> None:
        """Make the controls; called inside the tab."""
        with gr.Tabs(overflow_behavior="wrap"):  # all in sight on a phone, too
            with gr.Tab("Directions", elem_id="lam-space-tab-directions"):
                # The stage stays in sight beside all that plays on it.
                with gr.Row(elem_classes="lam-two", elem_id="lam-space-desk"):
                    with gr.Column(scale=5, min_width=340, elem_id="lam-space-choice"):
                        with gr.Column(elem_classes="lam-card", elem_id="lam-space-map"):
                            self.directions.lay_out()
                            self.stage.lay_out_map()
                            self.directions.lay_out_names()
                        with gr.Column(elem_classes="lam-card", elem_id="lam-space-near"):
                            self.stage.lay_out_near()
                        self.timeline.lay_out()
                        self.sampling.lay_out()
                        self.sight.lay_out()
                    with gr.Column(scale=4, min_width=340, elem_classes="lam-card", elem_id="lam-space-stage"):
                        self.stage.lay_out()
            with gr.Tab("Steer", elem_id="lam-space-tab-steer"):
                self.playing.lay_out()

    def lay_out_memory(self) -> None:
        """Make what is kept; called outside the tab, since what is in a tab is not there before that is opened."""
        # What outlives a reload, in the visitor's own browser. The secret is none: nothing here is.
        self.kept = gr.BrowserState({}, storage_key=_STORAGE, secret="lamdemo")
        # A Hub id counts once it was submitted: what is being typed must not change what a click does.
        self.hub = gr.State("")
        self.linked = gr.Textbox("", visible=False)

    def lay_out_checkpoint(self) -> None:
        """Make the choice of a checkpoint, where the map wants it."""
        default = self.page.models.default
        self.name = gr.Dropdown(
            [default],
            value=default,
            label="Checkpoint",
            info="each has a space of its own",
            scale=3,
            min_width=260,
            elem_id="lam-space-checkpoint",
        )

    def connect(self) -> None:
        """Tie the controls to their handlers; called when the whole page is laid out."""
        page = self.page
        for part in (self.stage, self.timeline, self.playing, self.directions, self.sampling, self.sight, self.others):
            part.connect()
        opened = [
            *(self.stage.map, self.stage.overlay, self.stage.near, self.directions.cards, self.sampling.told),
            *(self.stage.old, self.sampling.old, self.sight.view),
            *(
                self.playing.pad,
                self.playing.board,
                self.directions.save_names,
                self.timeline.zero,
                self.directions.chosen,
                self.directions.new_name,
                *self.timeline.shows,
                self.others.which,
            ),
        ]
        which = self.directions.which
        chosen = [*opened, page.name, page.hub, self.hub, self.kept]
        self.name.select(**self.line.does(self._choose_checkpoint, [self.name, which, self.kept], chosen))
        followed = [*opened, self.name, self.hub]
        gr.on(
            [page.name.select, page.hub.submit],
            **self.line.does(self._follow_checkpoint, [page.name, page.hub, which, self.kept], followed),
        )
        sliders = (self.stage.strength, self.stage.steps, self.timeline.share, self.playing.gain, self.sampling.count)
        gr.on(
            # What the visitor sets, and not what a link brings.
            [*(c.input for c in (*sliders, self.sampling.seed, self.sampling.how, which))],
            self._keep_settings,
            [*self._settings(), self.kept],
            self.kept,
            trigger_mode="always_last",
            **QUIET,
        )
        page.blocks.load(
            **self.line.does(
                self._arrive,
                [self.linked, self.kept],
                [
                    *(self.name, *self.stage.taken, self.stage.view, *self._settings(), *opened),
                    *(self.timeline.fold, self.kept),
                ],
            ),
            # The link is taken out of the address: what is made of it from here on is the browser's own to keep.
            js="""(link, kept) => {
              const given = window.lamAsked ?? '';
              if (!given.includes('actions=')) return ['', kept];
              history.replaceState(null, '', location.pathname);
              return [given, kept];
            }""",
        ).then(**self._plays_link())
        with gr.Row(visible=False):
            latents, text, target = gr.File(label="latents"), gr.Textbox(label="link"), gr.File(label="target")
            video = gr.File(label="result")
            gr.Button("apply").click(
                self.apply,
                [latents, text, target],
                video,
                api_name="apply",
                api_description="Carry out latent actions, given as an .npz file or as the text of a share link, on a "
                "target picture or clip; gives an MP4.",
            )

    def _settings(self) -> list[Any]:
        """Controls whose values outlive a reload, in the order of `_KEPT`."""
        return [
            *(self.stage.strength, self.stage.steps, self.timeline.share, self.playing.gain, self.sampling.count),
            *(self.sampling.seed, self.sampling.how, self.directions.which),
        ]

    def _arrive(self, linked: str | None, kept: Any, request: gr.Request) -> list[Any]:
        from lamdemo.engine import bundled_checkpoints
        from lamdemo.models import checkpoint_hash

        page, linked = self.page, linked or ""
        session = self.session(request)
        kept = kept if isinstance(kept, dict) else {}
        offered = plainly(choices(page.models.default))
        names = [name for _, name in offered]
        name = str(kept.get("checkpoint"))
        name = name if name in names else names[0]
        if linked:
            # A link says which checkpoint it is of; where that one comes with the page, it is chosen.
            of, bundled = _made_with(linked), bundled_checkpoints()
            name = next((n for n in names if n in bundled and of and checkpoint_hash(bundled[n]).startswith(of)), name)
        opened = self._open(name, None, str(kept.get("which") or "probe"), kept, session, linked=linked)
        space = self.space(request)
        chosen = {"strength": space.knobs[0], "steps": space.knobs[1]} if space.linked and space.knobs else {}
        settings = [
            _setting(control, (kept | chosen).get(key)) for key, control in zip(_KEPT, self._settings(), strict=True)
        ]
        taken, shown = self._target_of(linked if space.linked else "", request)
        # A timeline that came by a link takes the place of one's own when it is edited, not before.
        kept = (kept if linked else self.timeline.kept(session, kept)) | {"checkpoint": name}
        there = space.timeline is not None and bool(space.timeline.blocks)
        return [
            gr.Dropdown(offered, value=name),
            *taken,
            self.stage.still(session, shown, 0.0),
            *settings,
            *opened,
            gr.Accordion(open=True) if there else gr.skip(),
            kept,
        ]

    def _target_of(self, linked: str, request: gr.Request) -> tuple[list[Any], str | None]:
        """The target of a link, or else what is there: what `Stage.taken` lists, and its file."""
        photos = self.page.photos
        asked, missing = links.picture_in(linked, photos)
        if missing:
            gr.Info(links.NO_PICTURE, title="Without the sender's picture")
        if asked is not None:
            return self.stage.take_target(str(asked), request), str(asked)
        return [gr.skip()] * 4, self.page.opening.target.path if self.page.opening else None

    def _plays_link(self) -> dict[str, Any]:
        """Arguments of the event that plays what came by a link."""
        stage, timeline = self.stage, self.timeline
        does = stage.line.does(timeline.play, {*stage.aim, self.kept}, stage.shows, timeline.course)

        def play(data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
            space = self.space(request)
            if not space.linked:
                # Not in the line: it would take the place of what was clicked while the page was arriving.
                yield {stage.view: gr.skip()}
                return
            space.linked = False
            yield from does["fn"](data, request)

        return does | {"fn": play}

    def session(self, request: gr.Request) -> Session:
        """What is kept for the page that asks, with a place for the latent space."""
        session = self.page.session(request)
        if session.space is None:
            session.space = SpaceSession()
        return session

    def space(self, request: gr.Request) -> SpaceSession:
        """What goes on in the latent space on the page that asks."""
        space = self.session(request).space
        assert isinstance(space, SpaceSession)
        return space

    def at(
        self, name: str | None, hub: str | None, request: gr.Request
    ) -> tuple[Session, SpaceSession, TransferPipeline, Place]:
        """Everything of one checkpoint; what belonged to another is put away."""
        session = self.session(request)
        space = session.space
        assert isinstance(space, SpaceSession)
        pipeline = self.page.pipeline(name, hub)
        if space.checkpoint != pipeline.checkpoint:
            session.space = space = SpaceSession(checkpoint=pipeline.checkpoint)
        return session, space, pipeline, self.places.get(pipeline)

    def _open(
        self, name: str | None, hub: str | None, which: str, kept: dict[str, Any], session: Session, *, linked: str = ""
    ) -> list[Any]:
        """Show a checkpoint's space: what `connect` calls ``opened``."""
        with Notice():
            pipeline = self.page.pipeline(name, hub)
            space = session.space
            if not isinstance(space, SpaceSession) or space.checkpoint != pipeline.checkpoint:
                foreign = isinstance(space, SpaceSession) and (space.performed is not None or space.foreign)
                space = session.space = SpaceSession(checkpoint=pipeline.checkpoint, foreign=foreign)
            place = self.places.get(pipeline)
            if place.problem:
                say(place.problem)
            space.names = _kept_names(kept, pipeline.checkpoint)
            self._restore(space, pipeline, linked, kept)
            if place.atlas is not None:
                with contextlib.suppress(LamdemoError):  # the source's own column has said what is wrong
                    self.stage.read_source(session, pipeline)
            return [
                self.stage.map_html(space.looking or place, pipeline),
                self.stage.drawn_over(session, space, place),
                space_views.elsewhere(place, [], []),
                space_views.directions(place, of_kind(place, which), names_of(place, space)),
                self.sampling.telling(place, []),
                space_views.old(space),
                "",
                "",
                self.playing.buttons(space, place),
                space_views.playing_empty(),
                self.directions.book(session, space, place),
                space_views.zero(pipeline.family),
                "",
                "",
                *self.timeline.shown(session),
                self.others.offered(space, pipeline),
            ]
        return [gr.skip()] * 21

    def _restore(self, space: SpaceSession, pipeline: TransferPipeline, linked: str, kept: dict[str, Any]) -> None:
        """Put back a timeline: of a link, else the one this browser kept."""
        from lamdemo.latent_space.composition import Composition

        channels = pipeline.model.config.bottleneck.channels
        space.restored = True
        if linked:
            with Notice():
                made = Composition.decode(linked, checkpoint=pipeline.checkpoint, channels=channels)
                space.timeline, space.linked = made, True
                block = made.blocks[0]
                if len(made.blocks) == 1 and len(block.terms) == 1 and not block.reverse:
                    # One motion is on the stage as if it had been clicked.
                    space.choose(block.terms[0])
                    space.knobs = block.strength * block.terms[0].weight, block.repeat
                return
        timelines = kept.get("timelines")
        text = timelines.get(pipeline.checkpoint[:16]) if isinstance(timelines, dict) else None
        if isinstance(text, str) and space.timeline is None:
            try:
                space.timeline = Composition.decode(
                    text, checkpoint=pipeline.checkpoint, channels=channels, limit=KEEP_LIMIT
                )
            except LamdemoError:
                space.timeline = None  # what an older version kept is no fault of the visitor's

    def recall(self, kept: Any, request: gr.Request) -> SpaceSession:
        """What goes on here; where the server has forgotten (it was started anew), the timeline the browser kept."""
        session, space = self.session(request), self.space(request)
        if not space.restored:
            kept = kept if isinstance(kept, dict) else {}
            pipeline = self.page.pipeline(str(kept.get("checkpoint") or "") or None, None)
            if space.checkpoint != pipeline.checkpoint:
                session.space = space = SpaceSession(checkpoint=pipeline.checkpoint)
            space.names = _kept_names(kept, pipeline.checkpoint)
            self._restore(space, pipeline, "", kept)
        return space

    def _choose_checkpoint(self, name: str, which: str, kept: Any, request: gr.Request) -> list[Any]:
        kept = kept if isinstance(kept, dict) else {}
        opened = self._open(name, None, which, kept, self.session(request))
        return [*opened, name, "", "", kept | {"checkpoint": name}]

    def _follow_checkpoint(self, name: str, hub: str, which: str, kept: Any, request: gr.Request) -> list[Any]:
        """The page's other tab chose a checkpoint."""
        opened = self._open(name, hub, which, kept if isinstance(kept, dict) else {}, self.session(request))
        return [*opened, gr.skip() if (hub or "").strip() else name, (hub or "").strip()]

    def _keep_settings(self, *values: Any) -> dict[str, Any]:
        *settings, kept = values
        return (kept if isinstance(kept, dict) else {}) | dict(zip(_KEPT, settings, strict=True))

    def apply(self, latents: str | None, link: str | None, target: str | None, request: gr.Request) -> str:
        """Carry out latent actions that are known already on a picture.

        Args:
            latents: A latents.npz that a transfer or this page wrote; it goes before a link.
            link: The text of a share link of the page's action space.
            target: The picture to do it to, or a video.
            request: Of whoever calls.

        Returns:
            The result, an MP4.
        """
        from lamdemo.latent_space.composition import Composition

        with Refusal():
            session = self.session(request)
            pipeline = self.page.pipeline(None, None)
            if latents:
                made = Composition.load(latents)
            elif link:
                made = Composition.decode(
                    link, checkpoint=pipeline.checkpoint, channels=pipeline.model.config.bottleneck.channels
                )
            else:
                raise LamdemoError("There are no actions; give a latents.npz or the text of a share link.")
            if not target:
                raise LamdemoError("There is no target; give a picture or a clip.")
            with session.place("apply", KEPT) as folder:
                work = play(
                    pipeline,
                    made.latents(),
                    play_target(target, 0.0, pipeline.fps),
                    "actions",
                    folder,
                    should_stop=session.stop(PROGRAM).is_set,
                )
                done = serve(self.page.sessions, request, work, self.stage.units(len(made)))
            assert isinstance(done, Played)
            return str(done.video)


def _setting(control: Any, value: Any) -> Any:
    """A setting that the browser kept, where it is one that the control can have."""
    if isinstance(control, gr.Slider | gr.Number):
        low, high = control.minimum, control.maximum
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return value if fits and (low is None or value >= low) and (high is None or value <= high) else gr.skip()
    known = {choice[1] for choice in control.choices}
    if isinstance(control, gr.CheckboxGroup):
        return value if isinstance(value, list) and set(map(str, value)) <= known else gr.skip()
    return value if isinstance(value, str) and value in known else gr.skip()


def _kept_names(kept: dict[str, Any], checkpoint: str) -> dict[str, str]:
    """Names of directions that the browser kept for a checkpoint."""
    names = kept.get("names") if isinstance(kept, dict) else None
    mine = names.get(checkpoint[:16]) if isinstance(names, dict) else None
    if not isinstance(mine, dict):
        return {}
    from lamdemo.latent_space.naming import NameBook

    try:
        return dict(NameBook(checkpoint, mine).names)
    except LamdemoError:
        return {}  # an older version's, or somebody's hand in the browser


def _made_with(link: str) -> str:
    """Beginning of the hash of the checkpoint that a link's actions were made with; empty for nonsense."""
    from lamdemo.latent_space.composition import Composition

    try:
        return Composition.decode(link).checkpoint
    except LamdemoError:
        return ""  # it is told when the link is opened
