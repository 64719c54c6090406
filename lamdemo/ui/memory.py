"""What of the tab Transfer outlives a reload, and what a link to a result holds.

The browser keeps which clip and picture were on show and how the action was set, as a dict; a link holds the same as a
query, ``?clip=woman_walking&picture=sheep&steps=3-10``, with the names of files that came with the page. An upload is
kept by its place on this server, where it stays for an hour, and can be no part of a link. What comes back is looked at
and transferred anew: results are not kept, and the same weights make the same of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import gradio as gr
from gradio.utils import get_upload_folder

from lamdemo.core.errors import LamdemoError
from lamdemo.ui import links, views
from lamdemo.ui.inputs import look_at_source, look_at_target
from lamdemo.ui.notices import Notice
from lamdemo.ui.waiting import QUIET

if TYPE_CHECKING:
    from lamdemo.ui.transfer_tab import TransferTab

_STORAGE = "lamdemo-transfer"
_NO_CLIP = "The clip of this link is not among those of this page; its own is shown in its place."
# Written down once the page has come back to what it was, and at each change from then on.
_KEEP = """(clip, picture, begin, first, last, moment, strength, repeat, result, kept) => window.lamBack
  ? { clip: clip?.path ?? '', picture: picture?.path ?? '', begin, first, last, moment, strength, repeat,
      made: (result ?? '').match(/data-lam-made="([^"]*)"/)?.[1] ?? '' } : kept"""
# A link is taken out of the address: a reload comes back to what was made of it since.
_ARRIVE = """(link, kept) => {
  const given = window.lamAsked ?? '', asked = new URLSearchParams(given);
  if (asked.has('actions')) return ['', {}];  // the picture of that link goes before the one that was kept
  if (!asked.has('clip')) return ['', kept];
  history.replaceState(null, '', location.pathname);
  return [given, kept];
}"""
_BACK = "() => { window.lamBack = true; }"


@dataclass(frozen=True)
class Kept:
    """What was on show."""

    clip: str = ""  # the source's file
    picture: str = ""  # the target's
    first: int = 0  # first chosen step, from 1; 0 for the liveliest range
    last: int = 0  # last one
    begin: float = 0.0  # second of the source at which its steps begin
    moment: float = 0.0  # second of the target
    strength: float = 1.0  # factor on the actions
    repeat: int = 1  # how often they are carried out
    made: str = ""  # what the result on show was made of, see `lamdemo.ui.views.request_key`

    @classmethod
    def read(cls, said: object) -> Kept:
        """Take what a browser sends, which can be anything; what is no such thing is left out."""
        given = said if isinstance(said, Mapping) else {}
        found: dict[str, Any] = {}
        for name, usual in asdict(cls()).items():
            value = given.get(name)
            right = isinstance(value, str) if isinstance(usual, str) else _is_number(value)
            if right and value is not None:
                found[name] = type(usual)(value)
        return cls(**found)

    @classmethod
    def of_link(cls, link: str, clips: Path, photos: Path) -> tuple[Kept, bool]:
        """Read a link.

        Args:
            link: the part after the question mark.
            clips: folder of the page's clips.
            photos: of its pictures.

        Returns:
            What it holds, and whether its picture is one that is not here.
        """
        said = {name: values[0] for name, values in parse_qs(link).items()}
        first, _, last = said.get("steps", "").partition("-")
        numbers = {"first": first, "last": last} | {n: said.get(n, "") for n in ("begin", "strength", "repeat")}
        read: dict[str, object] = {}
        for name, text in numbers.items():
            try:
                read[name] = float(text)
            except ValueError:
                continue
        clip, (picture, missing) = links.file_called(said.get("clip", ""), clips), links.picture_in(link, photos)
        return cls.read(read | {"clip": str(clip or ""), "picture": str(picture or "")}), missing

    def key(self) -> str:
        """What a result of it would be made of, see `lamdemo.ui.views.request_key`."""
        source = views.made_from(self.clip, self.first - 1, self.last)
        return views.request_key(
            source, views.made_from(self.picture, round(100 * self.moment), 0), self.strength, self.repeat
        )

    def link(self, clips: Path, photos: Path) -> str:
        """The part of a link after the question mark.

        Raises:
            LamdemoError: the clip did not come with the page.
        """
        clip = Path(self.clip)
        if clip.parent != clips or not clip.is_file():
            raise LamdemoError(
                "Your own clip stays with you and is no part of a link; keep the result as a video, a GIF or a card."
            )
        said: dict[str, object] = {"clip": clip.stem, "picture": links.picture_of(self.picture, photos)}
        said["steps"] = f"{self.first}-{self.last}"
        usual = Kept()
        for name in ("begin", "strength", "repeat"):
            if getattr(self, name) != getattr(usual, name):
                said[name] = f"{getattr(self, name):g}"
        return urlencode(said)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


class Memory:
    """What brings the tab back.

    Args:
        tab: the tab.
    """

    def __init__(self, tab: TransferTab) -> None:
        self.tab, self.page = tab, tab.page
        self.folders = tab.page.photos.parent / "clips", tab.page.photos

    def lay_out(self) -> None:
        """Make what is kept; called outside the tabs."""
        # The secret is none: nothing here is.
        self.kept = gr.BrowserState({}, storage_key=_STORAGE, secret="lamdemo")
        self.linked = gr.Textbox("", visible=False)

    def lay_out_link(self) -> None:
        """Make the link's place, below the result."""
        self.link = links.place("lam-link-text")

    def connect(self, transfers: dict[str, Any]) -> None:
        """Tie it to the page's arrival.

        Args:
            transfers: the arguments of the event that makes a transfer.
        """
        tab, stage = self.tab, self.page.space.stage
        state: list[Any] = [
            *(tab.source, tab.target, tab.begin, tab.first, tab.last, tab.moment, tab.strength, tab.repeat),
            tab.result_view,
        ]
        changes = [control.change for control in state]
        gr.on(changes, None, [*state, self.kept], self.kept, js=_KEEP, queue=False, **QUIET)
        back = [tab.source, *tab.looked, *stage.taken, tab.strength, tab.repeat]
        look = tab.source_line.does(self._come_back, [self.linked, self.kept, self.page.name, self.page.hub], back)

        def again(data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
            session = self.page.session(request)
            if not session.again:
                # Not in the line: it would take the place of what was begun while the page was arriving.
                yield {tab.result_view: gr.skip()}
                return
            session.again = False
            yield from transfers["fn"](data, request)

        def arrive(
            link: str | None, said: Any, name: str | None, hub: str | None, request: gr.Request
        ) -> Iterator[dict[Any, Any]]:
            if not link and self._as_opened(Kept.read(said)):
                # Not in the line either, which would tell of waiting where nothing was asked for.
                yield {tab.source: gr.skip()}
                return
            yield from look["fn"](link, said, name, hub, request)

        self.page.blocks.load(**look | {"fn": arrive}, js=_ARRIVE).then(None, None, None, js=_BACK, **QUIET).then(
            **transfers | {"fn": again}
        )
        tab.share.click(self._share, state[:-1], self.link, **QUIET).then(
            None, self.link, self.link, js=links.WHOLE, **QUIET
        )

    def _share(self, clip: str | None, picture: str | None, *settings: float) -> Any:
        names = ("begin", "first", "last", "moment", "strength", "repeat")
        with Notice():
            kept = Kept.read({"clip": clip or "", "picture": picture or "", **dict(zip(names, settings, strict=True))})
            text = kept.link(*self.folders)
            mine = f"picture={links.OWN}" in text
            info = "Opens this page and makes this again." + (" Your own picture is not part of the link." * mine)
            return gr.Textbox(text, info=info, visible=True)
        return gr.skip()

    def _come_back(
        self, link: str | None, said: Any, name: str | None, hub: str | None, request: gr.Request
    ) -> list[Any]:
        """Show what a link asks for, or else what was on show before a reload."""
        tab, stage, session = self.tab, self.page.space.stage, self.page.session(request)
        nothing = [gr.skip()] * (7 + len(stage.taken))
        missing = False
        if link:
            kept, missing = Kept.of_link(link, *self.folders)
        else:
            kept = Kept.read(said)
        opening = self.page.opening
        usual = (opening.source.path, opening.target.path) if opening else ("", "")
        clip = kept.clip if self._may_be_read(kept.clip) else usual[0]
        picture = kept.picture if self._may_be_read(kept.picture) else usual[1]
        if not clip or not picture:
            return nothing
        if missing:
            gr.Info(links.NO_PICTURE, title="Without the sender's picture")
        if link and not kept.clip:
            gr.Info(_NO_CLIP, title="Without the link's clip")
        shown = session.source
        with Notice():
            pipeline = self.page.pipeline(name, hub)
            with session.place("source") as folder:
                view = look_at_source(pipeline, clip, kept.begin, folder)
            if session.source is not shown:
                return nothing  # another clip was taken in the meantime
            session.source = view
            first, last = (
                (kept.first - 1, kept.last) if 0 < kept.first <= kept.last <= len(view.sizes) else (None, None)
            )
            taken = stage.take_target(picture, request)
            if kept.moment:
                with session.place("target") as folder:
                    at = look_at_target(picture, kept.moment, folder)
                taken[1], taken[2] = views.target(at), gr.Slider(maximum=at.seconds, value=at.moment, visible=True)
            session.again = bool(link) or (bool(kept.made) and kept.made == kept.key())
            strength, repeat = min(max(kept.strength, -1.5), 1.5), min(max(kept.repeat, 1), 4)
            return [clip, *tab.looked_at(view, first, last), *taken, strength, repeat]
        return nothing

    def _as_opened(self, kept: Kept) -> bool:
        """Whether it is what the page opens with anyway."""
        if kept == Kept():
            return True
        if (shown := self.page.opening) is None:
            return False
        done = shown.done
        opened = Kept(shown.source.path, shown.target.path, done.first + 1, done.first + done.span)
        return replace(kept, made="", begin=0.0) == opened

    def _may_be_read(self, path: str) -> bool:
        """Whether a browser may name a file: one that came with the page, or an upload that is still there."""
        if not path:
            return False
        place = Path(path).resolve()
        return place.is_file() and (
            place.parent in self.folders or Path(get_upload_folder()).resolve() in place.parents
        )
