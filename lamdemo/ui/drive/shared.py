"""A drive as a link: what it began from and its commands, which are carried out again for who opens it.

Its query is ``?drive=scene&seed=10003&controller=fetch&checkpoint=layers-fd543bacf56e&commands=0.7,0~0.7,0.5``, or
``?drive=photo:palace_square&…``, with ``moment=`` in a clip. A link can come from anyone: nothing in it is taken that
the page would not offer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import gradio as gr
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Units
from lamdemo.ui import links
from lamdemo.ui.drive import views as drive_views
from lamdemo.ui.drive.work import MOST_STEPS, DriveSession, Start
from lamdemo.ui.models import choices
from lamdemo.ui.notices import Notice
from lamdemo.ui.waiting import QUIET, Line

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.drive.tab import DriveTab

_OWN = (
    "A drive on a picture of your own stays with you and cannot be shared as a link; download its video or its actions."
)
_LINK = "Opens this page and drives this again."
_SCENE = "scene"
_MOST_MOMENT = 3600.0  # seconds


@dataclass(frozen=True, eq=False)
class Shared:
    """A drive that a link holds."""

    start: Start  # what it begins from
    controller: str  # name of the controller
    checkpoint: str  # name of the model
    weights: str  # beginning of the hash of its weights
    commands: np.ndarray  # float32 [S, A]


def key_of(start: Start) -> str:
    """What a link calls a start: its kind and name; an episode's has its folder's before."""
    place = Path(start.path)
    return f"{start.kind}:{place.parent.name + '/' if start.kind == 'episode' else ''}{place.stem}"


def query(driving: DriveSession, pipeline: TransferPipeline, starts: Sequence[Start], offered: Collection[str]) -> str:
    """The part of a link after the question mark.

    Args:
        driving: what was driven.
        pipeline: the model.
        starts: what everybody's page has to drive in.
        offered: names of the checkpoints that it has.

    Raises:
        LamdemoError: nothing was driven, it is too long, or something in it is the visitor's own.
    """
    drive, start, known = driving.drive, driving.start, driving.known
    if drive is None or start is None or known is None or not len(drive.actions):
        raise LamdemoError("Nothing was driven yet; press an arrow first.")
    said: dict[str, object] = {"drive": _SCENE, "seed": start.seed}
    if start.kind != _SCENE:
        if not any(start.path == other.path for other in starts):
            raise LamdemoError(_OWN)
        said = {"drive": key_of(start), **({"moment": f"{start.moment:g}"} if start.moment else {})}
    said |= {"controller": known.name, "checkpoint": links.checkpoint_word(pipeline, offered)}
    said["commands"] = links.commands_word(drive.actions)
    text = urlencode(said, safe="~,:/")
    if len(text) > links.MOST_LINK:
        raise LamdemoError(
            f"A drive of {len(drive.actions)} steps is too long for a link; undo some, or download its actions."
        )
    return text


def read(link: str, starts: Sequence[Start], offered: Collection[str]) -> Shared:
    """What a link holds. Whether the checkpoint has its controller is asked where it is loaded.

    Args:
        link: the part after the question mark.
        starts: what the page has to drive in.
        offered: names of its checkpoints.

    Raises:
        LamdemoError: it holds no drive, or one that cannot be shown here.
    """
    said = links.fields(link)
    kind = said.get("drive", "")
    if kind == _SCENE:
        start = Start(_SCENE, "a scene of the simulator", seed=links.whole_in(said, "seed", 0, 2**31 - 1))
    else:
        found = next((each for each in starts if key_of(each) == kind), None)
        if found is None:
            raise LamdemoError("The picture of this link is not among those of this page, so it cannot be driven.")
        try:
            moment = float(said.get("moment", "0"))
        except ValueError:
            moment = -1.0
        if not 0 <= moment <= _MOST_MOMENT:
            raise LamdemoError("This link is damaged: its moment is no number of seconds.")
        start = found.at(moment)
    name, weights = links.checkpoint_in(said, offered)
    return Shared(start, said.get("controller", ""), name, weights, links.commands_in(said, most=MOST_STEPS))


class Sharing:
    """The button that makes a link, and what happens when the tab is opened with one.

    Args:
        tab: whose drives they are.
    """

    def __init__(self, tab: DriveTab) -> None:
        self.tab = tab
        self.line = Line(tab.page.sessions, "driven")

    def lay_out_button(self) -> None:
        """Make the button, beside those of the files."""
        self.share = gr.Button("Link", size="sm", min_width=64, elem_id="lam-drive-link")

    def lay_out(self) -> None:
        """Make the link's place."""
        self.link = links.place("lam-drive-link-text")
        self.linked = gr.Textbox("", visible=False)
        self.line.lay_out()

    def connect(self, opened: gr.Tab, which: list[Any], whole_tab: list[Any]) -> None:
        """Tie both to their handlers.

        Args:
            opened: the tab.
            which: controls that say which controller and which checkpoint.
            whole_tab: what is shown when the tab is opened.
        """
        tab, page = self.tab, self.tab.page
        shown = [*whole_tab, page.name, page.hub]
        does = self.line.does(self._drive_again, None, tab.view, self._course)

        def again(request: gr.Request) -> Iterator[Any]:
            if tab.driving(request)[1].linked is None:
                # Not in the line, which would tell of waiting where nothing was asked for.
                yield {tab.view: gr.skip()}
                return
            yield from does["fn"](request)

        opened.select(None, None, self.linked, js=links.taken("drive"), **QUIET).then(
            **tab.line.does(self._open, [self.linked, *which], shown)
        ).then(**does | {"fn": again})
        self.share.click(self._share, [page.name, page.hub], self.link, **QUIET).then(
            None, self.link, self.link, js=links.WHOLE, **QUIET
        )

    def _share(self, checkpoint: str | None, hub: str | None, request: gr.Request) -> Any:
        with Notice():
            page = self.tab.page
            offered = [name for _, name in choices(page.models.default)]
            _, driving = self.tab.driving(request)
            text = query(driving, page.pipeline(checkpoint, hub), self.tab.starts, offered)
            return gr.Textbox(text, info=_LINK, visible=True)
        return gr.skip()

    def _open(
        self, link: str | None, name: str | None, checkpoint: str | None, hub: str | None, request: gr.Request
    ) -> list[Any]:
        tab, page = self.tab, self.tab.page
        if link:
            with Notice():
                given = read(link, tab.starts, [each for _, each in choices(page.models.default)])
                session, driving = tab.driving(request)
                pipeline = page.pipeline(given.checkpoint, None)
                known = pipeline.controller(given.controller)
                known.spec.check(given.commands, "The commands of this link")
                if (given.commands < known.spec.low).any() or (given.commands > known.spec.high).any():
                    raise LamdemoError(f"This link is damaged: its commands go beyond what {known.name} takes.")
                start = tab.measured(session, given.start)
                tab.begin(session, driving, pipeline, known, start)
                driving.opened = driving.picked = True
                driving.linked = given
                if not pipeline.checkpoint.startswith(given.weights):
                    gr.Info(links.OTHER_WEIGHTS, title="Another model")
                return [*tab.shown(driving, pipeline, known), given.checkpoint, ""]
        return [*tab._open(name, checkpoint, hub, request), gr.skip(), gr.skip()]

    def _course(self, request: gr.Request) -> list[Units]:
        given = self.tab.driving(request)[1].linked
        return [Units("step driven", 1 if given is None else len(given.commands), 0.25)]

    def _drive_again(self, request: gr.Request) -> Iterator[Any]:
        _, driving = self.tab.driving(request)
        given, driving.linked = driving.linked, None
        yield gr.skip()
        with Notice():
            number = driving.number
            for k, action in enumerate([] if given is None else given.commands):
                if driving.number != number or driving.drive is None or driving.drive.count != k:
                    return  # the visitor has taken over
                before = driving.newest()
                yield drive_views.board(driving, [before, *driving.step(action)])
