"""The tab where known actions drive a picture: its controls, and the handlers behind them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.simulators.pool import SimulatorPool
from lamdemo.ui.drive import style
from lamdemo.ui.drive import views as drive_views
from lamdemo.ui.drive.futures import Futures
from lamdemo.ui.drive.shared import Sharing
from lamdemo.ui.drive.work import SCENES, SIDE, DriveSession, Scene, Start, pictures_in
from lamdemo.ui.inputs import look_at_target, read_target
from lamdemo.ui.notices import Notice
from lamdemo.ui.prepared import EXAMPLES
from lamdemo.ui.sessions import Session
from lamdemo.ui.space import style as space_style
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import data_of, number, whole
from lamdemo.ui.views import TARGET_FILES, url
from lamdemo.ui.waiting import QUIET, Line

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.engine.controls import KnownController
    from lamdemo.ui.page import Page

_FIRST = {"arm": "coffee_cup"}  # photographs that drives of a controller begin in where there is nothing better
_USUAL = "palace_square"


class DriveTab:
    """Controls of the tab, and the handlers behind them.

    Args:
        page: which it is part of: its models, sessions and chosen checkpoint are the tab's too.
        examples: folder of what comes with the page.
        worlds: the simulators.
    """

    def __init__(self, page: Page, examples: Path = EXAMPLES, worlds: SimulatorPool | None = None) -> None:
        self.page = page
        self.worlds = worlds or SimulatorPool()
        self.line = Line(page.sessions, "drive", brief=True)
        self.futures, self.sharing = Futures(self), Sharing(self)
        self.starts = pictures_in(examples, space_views.photos_in(examples / "photos"))

    # What is on the tab.

    def build(self) -> None:
        """Make the controls; called inside the tab."""
        gr.HTML(
            "<p>Give commands as a driver would. A controller turns each command into a latent action, given what is "
            "in the picture now, and the model imagines what comes next.</p>",
            elem_id="lam-drive-intro",
        )
        with gr.Row(elem_classes="lam-two"):
            with gr.Column(scale=5, min_width=340, elem_classes="lam-card", elem_id="lam-drive-seen"):
                self.view = gr.HTML(
                    drive_views.nothing("The model is being loaded."),
                    js_on_load=style.BOARD_JS,
                    elem_id="lam-drive-view",
                )
                self.line.lay_out()  # below: what it says moves nothing that is looked at
                with gr.Row():
                    self.video = gr.Button("↓ Video", size="sm", min_width=100, elem_id="lam-drive-video")
                    self.actions = gr.Button("↓ Actions (.npz)", size="sm", min_width=120, elem_id="lam-drive-actions")
                    self.sharing.lay_out_button()
                self.sharing.lay_out()
                self.saved = gr.HTML("", js_on_load=style.SAVED_JS, elem_id="lam-drive-saved")
                self.futures.lay_out()
            with gr.Column(scale=4, min_width=340, elem_classes="lam-card"):
                self.name = gr.Dropdown(
                    [], label="Controller", info="whose commands are given", elem_id="lam-drive-controller"
                )
                self.told = gr.HTML("", elem_id="lam-drive-told")
                self.console = gr.HTML("", js_on_load=style.CONSOLE_JS, elem_id="lam-drive-console")
        with gr.Column(elem_classes="lam-card"):
            gr.HTML("<h2>Where to drive</h2><p>Choose a picture; the drive begins there at once.</p>")
            self.no_scene = gr.HTML("", visible=False, elem_id="lam-drive-no-scene")
            with gr.Row(visible=False, elem_id="lam-drive-scenes") as self.scenes:
                self.seed = gr.Number(
                    SCENES,
                    label="Scene of the simulator",
                    info="its seed; from 10000 on no controller was trained on it",
                    precision=0,
                    minimum=0,
                    maximum=2**31 - 1,
                    min_width=180,
                    elem_id="lam-drive-seed",
                )
                self.scene = gr.Button("Open this scene", size="md", min_width=130, elem_id="lam-drive-scene")
                self.next_scene = gr.Button(
                    "Next scene", variant="primary", size="md", min_width=130, elem_id="lam-drive-next"
                )
            self.picks = gr.HTML("", js_on_load=space_style.CLICKS, elem_id="lam-drive-picks")
            self.moment = gr.Slider(
                0,
                1,
                0,
                step=0.05,
                label="Moment of the clip, in seconds",
                info="the drive begins there",
                buttons=[],
                visible=False,
                elem_id="lam-drive-moment",
            )
            self.own = gr.UploadButton(
                "Your own picture or clip",
                file_types=TARGET_FILES,
                size="sm",
                elem_id="lam-drive-own",
            )

    def tie(self, tab: Any) -> None:
        """Tie the controls to their handlers; called when the whole page is laid out.

        Args:
            tab: the ``gr.Tab`` that it is in.
        """
        page = self.page
        which = [self.name, page.name, page.hub]
        begun = [self.view, self.picks, self.moment]
        whole_tab = [self.name, self.told, self.console, self.scenes, self.no_scene, self.seed, *begun]
        does = self.line.does
        gr.on([page.hub.submit, page.name.change], **does(self._follow, which, whole_tab))
        self.name.select(None, js="() => { if (window.lamDrive) window.lamDrive.pause(); }", **QUIET)
        self.name.select(**does(self._choose, which, whole_tab))
        self.picks.click(**does(self._pick, which, begun), trigger_mode="always_last")
        self.own.upload(**does(self._take_own, [self.own, *which], begun))
        self.moment.input(**does(self._at_moment, [self.moment, *which], begun), trigger_mode="always_last")
        self.scene.click(**does(self._open_scene, [self.seed, *which], [*begun, self.seed]))
        self.next_scene.click(**does(self._open_next, [self.seed, *which], [*begun, self.seed]))
        self.console.click(**does(self._order, None, self.view), trigger_mode="multiple")
        self.video.click(self._save_video, None, self.saved, **QUIET)
        self.actions.click(self._save_actions, None, self.saved, **QUIET)
        self.futures.connect()
        self.sharing.connect(tab, which, whole_tab)

    # What is kept.

    def driving(self, request: gr.Request) -> tuple[Session, DriveSession]:
        """What the page that asks is driving."""
        session = self.page.session(request)
        if session.drive is None:
            session.drive = DriveSession()
        return session, session.drive

    def _known(self, driving: DriveSession, pipeline: TransferPipeline, name: str | None) -> KnownController:
        """The controller of a name, or the first one where the checkpoint has none of that name."""
        offered = pipeline.controllers
        if not offered:
            raise LamdemoError(
                f"The checkpoint {pipeline.name} has no controller, so it cannot be driven; choose another checkpoint "
                "under More settings, or train one with lamdemo train-controller."
            )
        name = name if name in offered else drive_views.in_order(offered)[0]
        known = driving.known
        if known is None or known.name != name or driving.checkpoint != pipeline.checkpoint:
            known = pipeline.controller(name)
        return known

    def begin(
        self, session: Session, driving: DriveSession, pipeline: TransferPipeline, known: KnownController, start: Start
    ) -> None:
        """Begin a drive; if that fails, the one before goes on."""
        scene = None
        if start.kind == "scene":
            scene = Scene.open(self.worlds, known.name, start.seed)
            if scene.spec.width != known.spec.width:
                raise LamdemoError(
                    f"The simulator {known.name} takes {scene.spec.width} numbers a step and this controller "
                    f"{known.spec.width}; train the controller anew."
                )
            target = scene.start.frame
        else:
            target = read_target(start.path, start.moment, pipeline.fps, SIDE)
        with session.place("drive") as folder:
            driving.begin(pipeline, known, start, target, folder, scene)

    def _usual(self, known: KnownController) -> Start:
        """What a controller's drives begin from: its own world where that is at hand, or else a photograph."""
        if self.worlds.missing(known.name) == "":
            return Start("scene", "a scene of the simulator", seed=SCENES)
        own = [s for s in self.starts if s.kind == "episode" and s.title.split(",")[0] == known.name]
        photos = [s for s in self.starts if s.kind == "photo"]
        usual = [s for s in photos if Path(s.path).stem == _FIRST.get(known.name, _USUAL)]
        found = [*own, *usual, *photos, *self.starts]
        if not found:
            raise LamdemoError("No pictures came with this page; upload one of your own below.")
        return found[0]

    # What the controls do.

    def _open(self, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request) -> list[Any]:
        """The tab was opened: show what is driven there."""
        return self._show(name, checkpoint, hub, request, anew=False)

    def _follow(self, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request) -> list[Any]:
        """Another checkpoint was chosen; who never opened the tab needs no drive, nor a simulator that starts."""
        if not self.driving(request)[1].opened:
            return [gr.skip()] * 9
        return self._show(name, checkpoint, hub, request, anew=False)

    def _choose(self, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request) -> list[Any]:
        """Another controller was chosen."""
        return self._show(name, checkpoint, hub, request, anew=True)

    def _show(
        self, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request, *, anew: bool
    ) -> list[Any]:
        session, driving = self.driving(request)
        driving.opened = True
        try:
            pipeline = self.page.pipeline(checkpoint, hub)
            known = self._known(driving, pipeline, name)
            if driving.drive is None or driving.known is not known:
                start = driving.start
                # A scene belongs to the controller of its simulator, and what the page chose to the controller it was
                # chosen for; a picture that the visitor chose can be driven by any.
                stays = start is not None and driving.picked and start.kind not in ("scene", "episode")
                if start is None or not stays or (anew and self._has_scene(known)):
                    start, driving.picked = self._usual(known), False
                self.begin(session, driving, pipeline, known, start)
            return self.shown(driving, pipeline, known)
        except LamdemoError as error:
            sentence = str(error)
        # Nothing to drive with is no accident of this click: it is said in the picture's place.
        driving.stop()
        nothing = [drive_views.nothing(sentence), drive_views.pictures(self.starts, None, ""), gr.Slider(visible=False)]
        hidden = [gr.Row(visible=False), gr.HTML(visible=False), gr.skip()]
        return [gr.Dropdown([], value=None), "", "", *hidden, *nothing]

    def shown(self, driving: DriveSession, pipeline: TransferPipeline, known: KnownController) -> list[Any]:
        """The whole tab with a drive that has begun."""
        offered = [(drive_views.controller_title(n), n) for n in drive_views.in_order(pipeline.controllers)]
        missing = self.worlds.missing(known.name)
        return [
            gr.Dropdown(offered, value=known.name),
            drive_views.known_well(known),
            drive_views.console(known.spec),
            gr.Row(visible=missing == ""),
            gr.HTML(f'<p class="lam-note">{escape(missing or "", quote=False)}</p>', visible=bool(missing)),
            driving.scene.seed if driving.scene is not None else gr.skip(),
            *self._begun(driving),
        ]

    def _has_scene(self, known: KnownController) -> bool:
        return self.worlds.missing(known.name) == ""

    def _begun(self, driving: DriveSession) -> list[Any]:
        """The view, the pictures and the moment of a drive that has begun."""
        assert driving.reel is not None and driving.start is not None and driving.known is not None
        start = driving.start
        chosen = next((i for i, s in enumerate(self.starts) if s.path and s.path == start.path), None)
        return [
            drive_views.board(driving, [driving.reel.last]),
            drive_views.pictures(self.starts, chosen, driving.known.name),
            gr.Slider(maximum=max(round(start.seconds, 2), 0.05), value=start.moment, visible=start.seconds > 0),
        ]

    def _start(
        self, start: Start, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request
    ) -> list[Any] | None:
        """Begin from something else; None, and a notice, where it cannot be used."""
        with Notice():
            session, driving = self.driving(request)
            pipeline = self.page.pipeline(checkpoint, hub)
            known = self._known(driving, pipeline, name)
            start = self.measured(session, start)
            self.begin(session, driving, pipeline, known, start)
            driving.picked = True
            return self._begun(driving)
        return None

    @staticmethod
    def measured(session: Session, start: Start) -> Start:
        """The same with the length of its clip; of a picture or a scene there is none."""
        if not start.path:
            return start
        with session.place("looked") as folder:
            return start.of_length(look_at_target(start.path, start.moment, folder).seconds)

    def _pick(
        self, name: str | None, checkpoint: str | None, hub: str | None, event: gr.EventData, request: gr.Request
    ) -> list[Any]:
        number = whole(data_of(event).get("pick"))
        if number is None or not 0 <= number < len(self.starts):
            return [gr.skip()] * 3
        return self._start(self.starts[number], name, checkpoint, hub, request) or [gr.skip()] * 3

    def _take_own(
        self, path: str | None, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request
    ) -> list[Any]:
        if not path:
            return [gr.skip()] * 3
        return self._start(Start("own", "your own", path), name, checkpoint, hub, request) or [gr.skip()] * 3

    def _at_moment(
        self, moment: float | None, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request
    ) -> list[Any]:
        start = self.driving(request)[1].start
        if start is None or not start.path:
            return [gr.skip()] * 3
        begun = self._start(start.at(float(number(moment, 0.0))), name, checkpoint, hub, request)
        return [*begun[:2], gr.skip()] if begun else [gr.skip()] * 3  # the slider is under the visitor's hand

    def _open_scene(
        self, seed: float | None, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request
    ) -> list[Any]:
        chosen = int(number(seed, SCENES))
        start = Start("scene", "a scene of the simulator", seed=chosen)
        begun = self._start(start, name, checkpoint, hub, request)
        return [*begun, chosen] if begun else [gr.skip()] * 4

    def _open_next(
        self, seed: float | None, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request
    ) -> list[Any]:
        return self._open_scene(number(seed, SCENES - 1) + 1, name, checkpoint, hub, request)

    def _order(self, event: gr.EventData, request: gr.Request) -> Any:
        """A step, one back, or back to the start."""
        said = data_of(event)
        act, ack, meant = said.get("act"), whole(said.get("n")) or 0, whole(said.get("drive"))
        _, driving = self.driving(request)
        if meant is not None and meant != driving.number:
            act = None  # for the drive before, whose commands were other ones: answered and not carried out
        with Notice():
            if act == "undo":
                driving.undo()
            elif act == "reset":
                driving.reset()
            elif act == "step":
                before = driving.newest()
                jpegs = driving.step(self._command(said.get("action"), driving))
                return drive_views.board(driving, [before, *jpegs], ack)
            return drive_views.board(driving, [driving.newest()], ack)
        # The console waits for an answer to each order, be it that nothing came of it.
        with Notice():
            if driving.reel is not None:
                return drive_views.board(driving, [driving.newest()], ack)
        return drive_views.nothing("There is no drive; choose a picture below.", ack)

    @staticmethod
    def _command(action: Any, driving: DriveSession) -> np.ndarray:
        """What a browser sends as a command, within the channels' ranges: ``[A]``."""
        if driving.known is None:
            raise LamdemoError("There is no drive yet; choose a picture below.")
        spec = driving.known.spec
        return np.clip(spec.check(action, "These commands")[0], spec.low, spec.high)

    def _save_video(self, request: gr.Request) -> Any:
        with Notice():
            session, driving = self.driving(request)
            with session.place("driven") as folder:
                path = driving.film(folder / "drive.mp4", self._fps(driving))
            return drive_views.saved({"drive.mp4": url(path)}, session.count)
        return gr.skip()

    def _save_actions(self, request: gr.Request) -> Any:
        with Notice():
            session, driving = self.driving(request)
            with session.place("commands") as folder:
                path = driving.save(folder / "drive.npz", self._fps(driving))
            return drive_views.saved({"drive.npz": url(path)}, session.count)
        return gr.skip()

    @staticmethod
    def _fps(driving: DriveSession) -> float:
        return driving.drive.rollout.inference.fps if driving.drive is not None else 4.0
